"""The numbers that an ONNX file stores."""

from math import prod
from pathlib import Path

KINDS = ("FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE", "INT8", "UINT8")


def count_floats(path: Path) -> int | None:
    """Values of a file's floating-point and 8-bit initialisers: what it was trained to, and the constants stored beside.

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
