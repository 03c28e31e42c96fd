"""Traces of networks made once a test session, whichever worker needs them: one takes 10 to 20 seconds."""

import hashlib
import io
import pickle
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import onnx
import torch
from filelock import FileLock  # torch needs it, too
from torch import nn

Trace = Callable[[nn.Module, int, tuple[int, int] | None, Sequence[str], str], onnx.ModelProto]


def shared(trace: Trace, folder: Path) -> Trace:
    """``trace``, which reads from ``folder`` what it made of the same module and arguments before, in any process."""

    @wraps(trace)
    def once(
        module: nn.Module, opset: int, size: tuple[int, int] | None, outputs: Sequence[str], named: str
    ) -> onnx.ModelProto:
        file = folder / f"{fingerprint((module, opset, size, tuple(outputs)))}.onnx"
        with FileLock(file.with_suffix(".lock")):  # another worker may be tracing the same: it is quicker to wait
            if not file.exists():
                made = trace(module, opset, size, outputs, named).SerializeToString()
                unfinished = file.with_suffix(".part")
                unfinished.write_bytes(made)
                unfinished.rename(file)
        return onnx.load(file)

    return once


def fingerprint(thing: object) -> str:
    """The same for equal modules and plain values in every process; the classes, attributes and tensors all count."""
    written = io.BytesIO()
    _TensorsByValue(written, protocol=5).dump(thing)
    return hashlib.sha256(written.getvalue()).hexdigest()


class _TensorsByValue(pickle.Pickler):
    """torch's own way to pickle a tensor writes down where its memory lies."""

    def reducer_override(self, obj: object) -> Any:
        if isinstance(obj, torch.Tensor):
            kind = str((type(obj), obj.dtype, obj.shape)).encode()
            return bytes, (kind + obj.detach().contiguous().numpy().tobytes(),)
        return NotImplemented
