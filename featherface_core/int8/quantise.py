"""Float32 graphs with some layers quantised (QDQ, by onnxruntime), or all in float16."""

import copy
from collections.abc import Iterable
from typing import Any

import onnx
from onnx import numpy_helper

from featherface_core.int8.calibration import quiet
from featherface_core.int8.groups import ACTIVATION, LAYERS


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
