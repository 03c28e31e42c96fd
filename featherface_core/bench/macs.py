"""Multiply-accumulates and memory traffic of an ONNX network, from the shapes its nodes had when it ran."""

from collections.abc import Sequence
from math import prod

from featherface_core.bench.trace import Node, Shape

# which input holds the kernel (output channels, input channels of a group, ...)
KERNELS = {"Conv": 1, "FusedConv": 1, "DeformConv": 1, "ConvInteger": 1, "QLinearConv": 3}
PRODUCTS = {"MatMul": (0, 1), "MatMulInteger": (0, 1), "FusedMatMul": (0, 1), "QLinearMatMul": (0, 3)}
LINEAR = ("Gemm", "FusedGemm", "QGemm")
UNKNOWN = ("Einsum", "LSTM", "GRU", "RNN", "Attention", "MultiHeadAttention", "MatMulNBits")  # multiply, not counted
# pass on the same memory, or look at a shape alone
FREE = ("Shape", "Size", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Constant")


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
