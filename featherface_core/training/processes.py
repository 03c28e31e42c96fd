"""Data parallel training by torchrun, one process a device, and the signals that stop a run between two steps."""

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from featherface_core.errors import ConfigError, first_line


class StoppedError(KeyboardInterrupt):
    """The run was asked to stop (Ctrl-C, SIGTERM), and has saved itself."""


@contextmanager
def asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Yields a question: has Ctrl-C or SIGTERM come? The first is answered between two steps; a second Ctrl-C ends at once."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    asked = False

    def note(number: int, frame: object) -> None:
        nonlocal asked
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked = True

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(frozen=True)
class Processes:
    """The processes of a run, and which this one is. Alone, nothing is communicated."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0

    def share(self, count: Tensor) -> Tensor:
        """Counts of this process to their mean over all processes, of a total of at least 1: what a loss is divided by.

        Gradients averaged over the processes then equal those of one process with the whole batch.
        """
        if self.world > 1:
            count = count.detach().clone()
            dist.all_reduce(count)
        return count.clamp(min=1) / self.world

    def average_gradients(self, parameters: Iterable[nn.Parameter], more: Tensor) -> Tensor:
        """Replace all gradients by their mean over the processes; returns the mean of ``more`` (n,), sent along with them."""
        if self.world == 1:
            return more
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([g.flatten() for g in gradients] + [more.to(gradients[0])])
        dist.all_reduce(flat)
        flat /= self.world
        place = 0
        for gradient in gradients:
            gradient.copy_(flat[place : place + gradient.numel()].view_as(gradient))
            place += gradient.numel()
        return flat[place:]

    def tell(self, value: Any) -> Any:
        """The first process's ``value``, in all processes."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box)
        return box[0]


def find_processes(device: str) -> tuple[Processes, torch.device]:
    """The processes that torchrun started, by the environment, and the device of this one. Opens nothing.

    device: ``auto`` is a GPU where there is one. Under torchrun, process n on a machine has GPU n, or the CPU with gloo.
    Raises ConfigError for a device that cannot be used.
    """
    world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    name = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    if name.startswith("cuda:") and world > 1:
        raise ConfigError(f"--device {name} is one device, and there are {world} processes", "use --device cuda")
    if name == "cuda" and world > 1:
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    try:
        chosen = torch.device(name)
        torch.zeros(1, device=chosen)
    except (RuntimeError, AssertionError) as problem:
        raise ConfigError(f"--device {name!r} cannot be used: {first_line(problem)}", "use --device cpu") from None
    return Processes(rank, world), chosen


@contextmanager
def process_group(processes: Processes, device: torch.device) -> Iterator[None]:
    """The process group of a run, initialised for the block and destroyed at its end; one process alone has none.

    Waits for the other processes. A group that the caller has initialised is used, and stays.
    """
    if processes.world == 1 or dist.is_initialized():
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)  # what NCCL sends objects from
    # the others wait while the first validates, however long that takes
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timedelta(days=1))
    try:
        yield
    finally:
        dist.destroy_process_group()


def is_first() -> bool:
    """Whether this process writes and talks: it is alone, or the first that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


def synchronise_normalisations(model: nn.Module, processes: Processes, device: torch.device) -> nn.Module:
    """Batch normalisations that see the batch of all processes; the tensors' names stay."""
    if processes.world == 1:
        return model
    if device.type == "cuda":
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        return converted
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SyncedBatchNorm2d  # torch's own works on GPUs alone
    return model


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """nn.BatchNorm2d whose training statistics are those of all processes' batches together."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        if not self.training:
            return super().forward(x)
        kind, x = x.dtype, x.float()  # sums over a batch need float32
        total = torch.cat((x.sum((0, 2, 3)), x.new_tensor([x.numel() / x.shape[1]])))
        sums = _sum(total)
        count = sums[-1].detach()
        mean = sums[:-1] / count
        centred = x - mean[:, None, None]
        variance = _sum(centred.square().sum((0, 2, 3))) / count
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            momentum = self.momentum if self.momentum is not None else 1.0 / float(self.num_batches_tracked)
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(variance * count / (count - 1), momentum)
        scale: Tensor = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(kind)


def _sum(x: Tensor) -> Tensor:
    total: Tensor = _AllReduce.apply(x)  # type: ignore[no-untyped-call]
    return total


class _AllReduce(torch.autograd.Function):
    """A sum over processes; so is its gradient's."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Sum of x over the processes."""
        x = x.clone()
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """Sum of the gradient over the processes."""
        gradient = gradient.clone()
        dist.all_reduce(gradient)
        return gradient
