"""Which layers of an exported network are quantised, by how far each moves its outputs; graphs in QDQ and in float16."""

import copy
import logging
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from featherface_core import boxes
from featherface_core.detect.detector import OUTPUTS, Detector
from featherface_core.detect.onnx_session import open_graph, session_options
from featherface_core.int8.report import GroupChange
from featherface_core.results import Floats

LAYERS = ("Conv", "Gemm")  # what has weights that int8 kernels exist for; deformable sampling itself has none
ACTIVATION = "LeakyRelu"  # by table in int8; a ReLU is no more than the range of the layer before it

# by the name of a layer's weights; the first that fits. Of what a deformable layer has, the convolutions around its sampling.
PARTS = (
    (r"backbone\.stages\.(\d+)\.", r"backbone stage \1"),
    (r"backbone_attention\.", "backbone attention"),
    (r"neck_attention\.", "neck attention"),
    (r"neck\.project", "neck projections"),
    (r"neck\.cells\.(\d+)\.", r"BiFPN cell \1"),
    (r"context\..*\.(places|offset|mask)\.", "deformable offsets"),
    (r"context\..*\.maps\.", "deformable kernels"),
    (r"context\.", "SSH"),
    (r"shuffle\.", "channel mixing"),
    (r"heads\.", "heads"),
)
OTHER = "other"
PICTURES = 12  # of the calibration pictures, each of which every group runs on
ANCHORS = 100  # of a picture, those of the best scores; the others find nothing in either form
# a group that alone moves scores by so much, or boxes to an IoU of 1 less so much, stays in float32
LIMIT = 0.02
Outputs = tuple[Floats, Floats, Floats]


@dataclass(frozen=True)
class Group:
    """Layers of one part. nodes: their names and those of the activations behind them. weights: floats in all, each once."""

    name: str
    layers: int
    nodes: tuple[str, ...]
    weights: int


def find_groups(graph: onnx.ModelProto) -> tuple[Group, ...]:
    """Every layer with constant weights, in the order of the network."""
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in graph.graph.initializer}
    behind = {node.input[0]: node.name for node in graph.graph.node if node.op_type == ACTIVATION}
    found: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.graph.node:
        if node.op_type in LAYERS and node.input[1] in sizes:
            found.setdefault(part_of(node.input[1]), []).append(node)
    groups = []
    for name, layers in found.items():
        activations = [behind[node.output[0]] for node in layers if node.output[0] in behind]
        weights = sum(sizes[tensor] for tensor in {node.input[1] for node in layers})
        groups.append(Group(name, len(layers), (*(node.name for node in layers), *activations), weights))
    return tuple(groups)


def part_of(weight: str) -> str:
    """The part that a weight belongs to, by its name in the network.

    >>> part_of("neck.cells.1.p4_td.conv.pointwise.conv.weight")
    'BiFPN cell 1'
    """
    for pattern, name in PARTS:
        match = re.match(pattern, weight)
        if match:
            return match.expand(name)
    return OTHER


def quantised(graph: onnx.ModelProto, ranges: Any, nodes: Iterable[str]) -> onnx.ModelProto:
    """A copy whose ``nodes`` compute in int8: weights by channel, in seven bits, activations in eight.

    Seven bits, because the kernels of processors without VNNI add pairs of products up in 16 bits, which eight would overflow
    (https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html). ranges: from ``measure_ranges``.
    """
    from onnxruntime.quantization import QDQQuantizer, QuantType

    with quiet():
        inferred = onnx.shape_inference.infer_shapes(graph)
        quantizer = QDQQuantizer(
            inferred,
            per_channel=True,
            reduce_range=True,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=ranges,
            nodes_to_quantize=list(nodes),
            nodes_to_exclude=[],
            op_types_to_quantize=[*LAYERS, ACTIVATION],
            extra_options={},
        )
        quantizer.quantize_model()
        quantizer.model.topological_sort()
    made: onnx.ModelProto = quantizer.model.model
    _compact(made, {name for node in graph.graph.node for name in node.output})
    _say_the_same(made, graph)
    return made


def half(graph: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in float16 with float32 inputs and outputs; deformable sampling, which has no float16 kernel, stays as it is."""
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    with quiet():
        made: onnx.ModelProto = convert_float_to_float16(
            copy.deepcopy(graph), keep_io_types=True, op_block_list=[*DEFAULT_OP_BLOCK_LIST, "DeformConv"]
        )
    _say_the_same(made, graph)
    return made


def _say_the_same(made: onnx.ModelProto, graph: onnx.ModelProto) -> None:
    """What a graph says of itself, and no more."""
    del made.graph.value_info[:]
    made.producer_name, made.producer_version = graph.producer_name, graph.producer_version
    del made.metadata_props[:]
    made.metadata_props.extend(graph.metadata_props)


def _compact(graph: onnx.ModelProto, known: set[str]) -> None:
    """Equal constants once, and short names for what the quantiser named: names and zeros were a fifth of a small file.

    known: names that stay.
    """
    names = known | {value.name for value in graph.graph.input}
    new: dict[str, str] = {}
    first: dict[tuple[int, tuple[int, ...], bytes], str] = {}
    kept = []
    for tensor in graph.graph.initializer:
        content = (tensor.data_type, tuple(tensor.dims), numpy_helper.to_array(tensor).tobytes())
        if content in first:
            new[tensor.name] = first[content]
            continue
        short = tensor.name.removesuffix("_quantized")
        if short.endswith(("_scale", "_zero_point")):
            short = f"q{len(new)}"
        first[content] = new[tensor.name] = short
        tensor.name = short
        kept.append(tensor)
    del graph.graph.initializer[:]
    graph.graph.initializer.extend(kept)
    for name in (name for node in graph.graph.node for name in node.output):
        if name not in names:
            new.setdefault(name, f"q{len(new)}")
    for node in graph.graph.node:
        node.ClearField("doc_string")
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            node.ClearField("name")
        node.output[:] = [new.get(name, name) for name in node.output]
        node.input[:] = [new.get(name, name) for name in node.input]


def measure_groups(
    graph: onnx.ModelProto,
    ranges: Any,
    groups: Sequence[Group],
    detector: Detector,
    inputs: Sequence[Floats],
    on_group: Callable[[Group], None] = lambda group: None,
) -> Iterator[GroupChange]:
    """Quantise each group of ``graph`` alone and compare its outputs on ``inputs``, (1, 3, h, w) each, with float32's.

    detector: of the same graph. on_group: called before each.
    """
    reference = [detector.network.run(pixels) for pixels in inputs]
    for group in groups:
        on_group(group)
        outputs = _run(quantised(graph, ranges, group.nodes), inputs)
        pairs = zip(inputs, reference, outputs, strict=True)
        changes = [change(detector, pixels.shape[2:], before, after) for pixels, before, after in pairs]
        score, box = (float(value) for value in np.average([c[:2] for c in changes], 0, [c[2] for c in changes]))
        yield GroupChange(group.name, group.layers, group.weights, score, box, score <= LIMIT and box <= LIMIT)


def change(detector: Detector, shape: tuple[int, ...], before: Outputs, after: Outputs) -> tuple[float, float, float]:
    """Mean changes of scores, and of boxes as 1 - IoU, over the ANCHORS best anchors of a picture; and the sum of their weights.

    An anchor weighs as much as its score before. shape: (height, width) of the input.
    """
    anchors = boxes.make_anchors(shape[0], shape[1], detector.strides, detector.anchor_sizes)
    best = np.argsort(-before[1][0, :, 1])[:ANCHORS]
    weights = before[1][0, best, 1].astype(np.float64)
    scores = np.abs(after[1][0, best, 1] - before[1][0, best, 1])
    old, new = (boxes.decode_boxes(out[0][0, best], anchors[best], detector.variances) for out in (before, after))
    overlap = boxes.iou(old, new).diagonal()
    total = float(weights.sum())
    return float((weights * scores).sum() / total), float((weights * (1 - overlap)).sum() / total), total


def _run(graph: onnx.ModelProto, inputs: Sequence[Floats]) -> list[Outputs]:
    session = open_graph(graph.SerializeToString(), session_options())
    name = session.get_inputs()[0].name
    return [tuple(session.run(OUTPUTS, {name: pixels})) for pixels in inputs]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what onnxruntime's tools print and warn of off the user's screen."""
    root = logging.getLogger()
    level = root.level
    with warnings.catch_warnings(), redirect_stdout(StringIO()):
        warnings.simplefilter("ignore")
        root.setLevel(logging.ERROR)
        try:
            yield
        finally:
            root.setLevel(level)
