"""What the operations of a PyTorch network read and write, from shapes alone."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from featherface_core.config import ModelConfig
from featherface_core.models.variants import build_model


def bytes_moved(config: ModelConfig, batch: int, height: int, width: int) -> int:
    """Bytes of the tensors that go in and out of every operation of one forward pass, views of the same memory left out."""
    model = build_model(config, device="meta")
    traffic = _Traffic()  # type: ignore[no-untyped-call] # torch's own
    with torch.inference_mode(), traffic:
        model(torch.empty(batch, 3, height, width, device="meta"))
    return traffic.bytes


class _Traffic(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch's own
    bytes: int = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        returns = func._schema.returns
        if not any(r.alias_info is not None and not r.alias_info.is_write for r in returns):
            tensors = [t for t in tree_leaves((args, kwargs, result)) if isinstance(t, Tensor)]
            self.bytes += sum(t.numel() * t.element_size() for t in tensors)
        return result
