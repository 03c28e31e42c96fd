"""An ONNX file that finds the same two faces in every picture."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from featherface_core.boxes import count_anchors
from featherface_core.config import PostprocessConfig
from featherface_core.detect.detector import default_constants
from featherface_core.exporting.export import describe
from featherface_core.exporting.graph import describe_in
from featherface_core.exporting.postprocess import add_postprocess
from featherface_core.models.variants import build_model

CANVAS = (64, 96)
FACES = {0: 0.9, 40: 0.7}  # anchor: score


def stub_onnx(path: Path, post: PostprocessConfig | None = None, canvas: tuple[int, int] = CANVAS) -> Path:
    """An ONNX file of ours for one size that finds FACES' anchors in every picture: no export, no torch.

    post: of a file with post-processing. canvas: height and width.
    """
    count = count_anchors(*canvas)
    boxes, scores, landmarks = (np.zeros((1, count, n), np.float32) for n in (4, 2, 10))
    for anchor, score in FACES.items():
        boxes[0, anchor] = 0.5, -0.5, 0.7, 0.3
        landmarks[0, anchor] = np.arange(10) / 10
        scores[0, anchor] = 1 - score, score
    outputs = {"bbox_regressions": boxes, "classifications": scores, "landmarks": landmarks}
    graph = helper.make_graph(
        [helper.make_node("Identity", [f"{name}_known"], [name]) for name in outputs],
        "stub",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, *canvas])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape) for name, value in outputs.items()],
        [numpy_helper.from_array(value, f"{name}_known") for name, value in outputs.items()],
    )
    model = helper.make_model(graph)
    model.opset_import[0].version, model.ir_version = 19, 9
    if post:
        add_postprocess(model, post, default_constants())
    describe_in(model, describe(build_model("v2", device="meta"), "untrained", post))
    onnx.save(model, path)
    return path
