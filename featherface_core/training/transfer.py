"""Batches on their way to the device, and a step's numbers on their way back, without waiting for either."""

from dataclasses import replace

import torch
from torch import Tensor

from featherface_core.targets import Targets
from featherface_core.training.loader import Batch


def sent(batch: Batch, device: torch.device) -> Batch:
    """The batch on ``device``; from page-locked memory to a GPU, so that this process goes on while it is copied."""
    if device.type != "cuda":
        return replace(batch, targets=batch.targets.to(device))
    t = batch.targets
    targets = Targets(
        _sent(t.boxes, device),
        _sent(t.landmarks, device),
        _sent(t.ignored, device),
        _sent(t.weights, device),
        _sent(t.picture, device),
        t.pictures,
        t.on_host(),
    )
    return replace(batch, pixels=_sent(batch.pixels, device), targets=targets)


def _sent(tensor: Tensor, device: torch.device) -> Tensor:
    if tensor.device.type == "cpu":  # what was painted on a device is there already
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


class Reading:
    """Numbers that a device is still computing. values (n,), on any device."""

    def __init__(self, values: Tensor) -> None:
        # a GPU writes them into page-locked memory when it gets there
        self._values = values.to("cpu", non_blocking=values.is_cuda)
        self._done = torch.cuda.Event() if values.is_cuda else None  # type: ignore[no-untyped-call]
        if self._done is not None:
            self._done.record(torch.cuda.current_stream(values.device))

    def values(self) -> list[float]:
        """The numbers; waits until they are there."""
        if self._done is not None:
            self._done.synchronize()
        values: list[float] = self._values.tolist()
        return values
