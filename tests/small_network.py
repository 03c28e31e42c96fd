"""A network of ours of two layers and heads, as an ONNX file: exported without PyTorch, in no time."""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from featherface_core.boxes import STRIDES
from featherface_core.detect.detector import METADATA_KEY, OUTPUTS
from featherface_core.exporting.export import describe
from featherface_core.models.variants import build_model

CHANNELS, VALUES = 8, (4, 2, 10)
STAGES = ("backbone.stages.0.0.conv", "backbone.stages.1.0.pointwise.conv")


def small_network(path: Path, spoilt: bool = False, metadata: bool = True) -> Path:
    """A 3x3 and a 1x1 convolution with LeakyReLUs, and one more a level for all that an anchor has; any batch and size.

    spoilt: the first channel between the two is so much larger than the others that no one scale suits them all; nothing comes
    of it.
    """
    draw = np.random.default_rng(0)
    nodes, weights = [], []
    last = "input"
    for i, name in enumerate(STAGES):
        side = 3 if i == 0 else 1
        kernel = draw.normal(0, 0.5, (CHANNELS, 3 if i == 0 else CHANNELS, side, side)).astype(np.float32)
        kernel *= 0.01 if i == 0 else 1
        if spoilt and i == 0:
            kernel[0] *= 3000
        if spoilt and i == 1:
            kernel[:, 0] = 0
        weights += [(f"{name}.weight", kernel), (f"{name}.bias", draw.normal(0, 0.1, CHANNELS).astype(np.float32))]
        conv = helper.make_node(
            "Conv", [last, f"{name}.weight", f"{name}.bias"], [f"conv{i}"], name=f"node_conv{i}", pads=[side // 2] * 4
        )
        nodes += [conv, helper.make_node("LeakyRelu", [f"conv{i}"], [f"act{i}"], name=f"node_act{i}", alpha=0.1)]
        last = f"act{i}"
    anchors, width = 2, sum(VALUES)
    for level, stride in enumerate(STRIDES):
        name = f"heads.levels.{level}"
        kernel = draw.normal(0, 0.1, (anchors * width, CHANNELS, 3, 3)).astype(np.float32)
        weights += [
            (f"{name}.weight", kernel),
            (f"{name}.bias", draw.normal(0, 0.5, anchors * width).astype(np.float32)),
        ]
        head = helper.make_node(
            "Conv",
            [last, f"{name}.weight", f"{name}.bias"],
            [f"head{level}"],
            name=f"node_head{level}",
            pads=[1] * 4,
            strides=[stride] * 2,
        )
        nodes += [
            head,
            helper.make_node("Transpose", [f"head{level}"], [f"last{level}"], perm=[0, 2, 3, 1]),
            helper.make_node("Reshape", [f"last{level}", "shape"], [f"level{level}"]),
        ]
    nodes += [
        helper.make_node("Concat", [f"level{level}" for level in range(len(STRIDES))], ["all"], axis=1),
        helper.make_node("Split", ["all", "parts"], [OUTPUTS[0], "logits", OUTPUTS[2]], axis=2),
        helper.make_node("Softmax", ["logits"], [OUTPUTS[1]], axis=2),
    ]
    weights += [("shape", np.array([0, -1, width])), ("parts", np.array(VALUES))]
    sides = ["batch", 3, "height", "width"]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, sides)],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", "anchors", values])
            for name, values in zip(OUTPUTS, VALUES, strict=True)
        ],
        [numpy_helper.from_array(value, name) for name, value in weights],
    )
    model = helper.make_model(graph)
    model.opset_import[0].version, model.ir_version = 19, 9
    if metadata:
        entry = model.metadata_props.add()
        entry.key, entry.value = METADATA_KEY, json.dumps(describe(build_model("v2", device="meta"), "untrained"))
    onnx.save(model, path)
    return path
