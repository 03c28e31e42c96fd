"""The nodes of a run by onnxruntime's profiler: times, shapes, and the MACs and memory traffic that follow from them."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from statistics import median
from typing import Any

from featherface_core.bench.config import Setting
from featherface_core.bench.report import NodeTime
from featherface_core.detect.onnx_session import import_onnxruntime, open_session, session_options

KINDS = ("FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE", "INT8", "UINT8")
CONTAINERS = ("If", "Loop", "Scan")  # their bodies' nodes are recorded too
_END = "_kernel_time"
Shape = tuple[int, ...]
# which input holds the kernel (output channels, input channels of a group, ...)
KERNELS = {"Conv": 1, "FusedConv": 1, "DeformConv": 1, "ConvInteger": 1, "QLinearConv": 3}
PRODUCTS = {"MatMul": (0, 1), "MatMulInteger": (0, 1), "FusedMatMul": (0, 1), "QLinearMatMul": (0, 3)}
LINEAR = ("Gemm", "FusedGemm", "QGemm")
UNKNOWN = ("Einsum", "LSTM", "GRU", "RNN", "Attention", "MultiHeadAttention", "MatMulNBits")  # multiply, not counted
# pass on the same memory, or read only a shape
FREE = ("Shape", "Size", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Constant")


def count_floats(path: Path) -> int | None:
    """Values of a file's floating-point and 8-bit initialisers: the trained parameters and other stored constants.

    None where the file cannot be read by the onnx package.
    """
    import onnx

    kinds = {onnx.TensorProto.DataType.Value(name) for name in KINDS}
    try:
        graph = onnx.load(str(path), load_external_data=False).graph
    except Exception:  # protobuf's own errors
        return None
    total: int = sum(prod(tensor.dims) for tensor in graph.initializer if tensor.data_type in kinds)
    return total


@dataclass(frozen=True)
class Node:
    """One execution. inputs, outputs: shapes, weights among the inputs. bytes_read, bytes_written: sizes of those tensors."""

    name: str
    operator: str
    microseconds: float
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    bytes_read: int
    bytes_written: int


def trace(
    path: str, feeds: Mapping[str, Any], setting: Setting, runs: int = 1, *, fused: bool = True, packed: bool = True
) -> tuple[Node, ...] | None:
    """All executions of all nodes in ``runs`` runs of a session of its own.

    fused: with all of onnxruntime's graph optimisations, else with none. packed: with packed weights, as it runs fastest; the
    weights of some operators are then missing from the trace. None where the file does not run in this way.
    """
    ort = import_onnxruntime()
    options = session_options(setting.threads)
    options.enable_profiling = True
    if not fused:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if not packed:
        options.add_session_config_entry("session.disable_prepacking", "1")
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "trace")
        session = open_session(path, options, setting.device)
        try:
            for _ in range(runs):
                session.run(None, dict(feeds))
        except Exception:  # onnxruntime has no common base class for its errors
            return None
        finally:
            written = Path(session.end_profiling())
        return read_trace(json.loads(written.read_text(encoding="utf-8")))


def read_trace(events: Sequence[Mapping[str, Any]]) -> tuple[Node, ...]:
    """The nodes among the events of a trace file."""
    nodes = []
    for event in events:
        args = event.get("args", {})
        if event.get("cat") != "Node" or not event["name"].endswith(_END) or args.get("op_name") in CONTAINERS:
            continue
        nodes.append(
            Node(
                event["name"].removesuffix(_END),
                args["op_name"],
                float(event["dur"]),
                _shapes(args.get("input_type_shape", ())),
                _shapes(args.get("output_type_shape", ())),
                int(args.get("activation_size", 0)) + int(args.get("parameter_size", 0)),
                int(args.get("output_size", 0)),
            )
        )
    return tuple(nodes)


def node_times(nodes: Sequence[Node] | None, runs: int) -> tuple[NodeTime, ...]:
    """Milliseconds a run of each node, slowest first: the median of its executions, as often as a run has them."""
    found: dict[tuple[str, str], list[Node]] = {}
    for node in nodes or ():
        found.setdefault((node.name, node.operator), []).append(node)
    times = {key: median(n.microseconds for n in all_) * len(all_) / runs / 1000 for key, all_ in found.items()}
    total = sum(times.values()) or 1.0
    return tuple(
        NodeTime(*key, ms, ms / total, found[key][0].outputs[0] if found[key][0].outputs else ())
        for key, ms in sorted(times.items(), key=lambda item: -item[1])
    )


def _shapes(listed: Sequence[Mapping[str, Sequence[int]]]) -> tuple[Shape, ...]:
    """From [{"float": [1, 3, 640, 640]}, ...]."""
    return tuple(tuple(shape) for entry in listed for shape in entry.values())


def macs(nodes: Sequence[Node]) -> int | None:
    """Multiply-accumulates of convolutions and matrix products; deformable ones without their sampling.

    None where a node multiplies in a way that is not counted here.
    """
    if any(node.operator in UNKNOWN for node in nodes):
        return None
    return sum(_macs(node) for node in nodes)


def bytes_moved(nodes: Sequence[Node]) -> int:
    """What the nodes read and write in all, each its own tensors once, weights included."""
    return sum(node.bytes_read + node.bytes_written for node in nodes if node.operator not in FREE)


def _macs(node: Node) -> int:
    """Every output value times its fan-in; of a transposed convolution, every input value times its fan-out."""
    operator, inputs = node.operator, node.inputs
    if operator in KERNELS:
        return prod(node.outputs[0]) * _fan(inputs[KERNELS[operator]])
    if operator == "ConvTranspose":
        return prod(inputs[0]) * _fan(inputs[1])
    if operator in PRODUCTS:
        left, right = (inputs[i] for i in PRODUCTS[operator])
        if not node.outputs[0]:  # two vectors
            return prod(left)
        # the shared side is the last of the left and, where it is no vector, the last but one of the right
        return prod(node.outputs[0]) * (left[-1] if len(left) > 1 else right[0])
    if operator in LINEAR:
        rows = node.outputs[0][0]
        return prod(node.outputs[0]) * (prod(inputs[0]) // max(rows, 1))  # whichever way A lies
    return 0


def _fan(kernel: Shape) -> int:
    return prod(kernel[1:])
