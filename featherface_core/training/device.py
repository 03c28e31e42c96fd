"""How a device computes: in which number format, compiled or not, with memory that is kept, and never waiting."""

import ctypes
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from featherface_core.config import ModelConfig
from featherface_core.errors import FeatherFaceError, first_line
from featherface_core.models.featherface import FeatherFace
from featherface_core.models.variants import build_model
from featherface_core.recipe import AmpKind, Recipe
from featherface_core.training.loader import Batch
from featherface_core.training.parameters import freeze, set_modes
from featherface_core.training.targets import Targets

NAMES = {"off": "float32", "bf16": "bfloat16", "fp16": "float16"}
WORTH = 20_000 * 320**2  # pixels that a run shows: with fewer a measurement is not worth its seconds
PIXELS = 8 * 320**2  # that a measured step shows
ROUNDS = 3  # steps in each format, in turns, after one to warm up
FASTER = 0.95  # share of float32's time from which on bfloat16 is taken
# of glibc's malloc.h
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
MOST = 2**31 - 1
PAD = 64 * 2**20  # bytes by which the heap grows


@dataclass(frozen=True)
class Format:
    """amp: of MachineConfig, and not auto. words: the format's name, and why it was chosen where that was asked for."""

    amp: AmpKind
    words: str


def autocast_type(kind: AmpKind, device: torch.device) -> torch.dtype | None:
    """What autocast computes in for MachineConfig.amp ``kind``; None for float32 throughout, as ``auto`` is without a GPU."""
    if kind == "auto":
        if device.type != "cuda":
            return None
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}[kind]


def has_bfloat16() -> bool:
    """Whether this processor has what oneDNN's bfloat16 kernels need."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def multiplies_bfloat16() -> bool:
    """Whether this processor has instructions for bfloat16 (AVX512_BF16 or AMX), so that it may be faster than float32."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def choose_format(
    recipe: Recipe,
    config: ModelConfig,
    device: torch.device,
    pixels: int,
    measure: Callable[[Recipe, ModelConfig], float] | None = None,
) -> Format:
    """The number format of a run that shows so many ``pixels`` to a network of ``config``; 0 pixels for no measurement.

    Where ``recipe.machine.amp`` leaves it open: bfloat16 on a GPU that has it, else float16; on a processor with instructions
    for it bfloat16 if ``measure`` finds it faster. measure: gives its share of float32's time; measured_share by default.
    """
    amp = recipe.machine.amp
    if amp != "auto":
        return Format(amp, NAMES[amp])
    if device.type != "cpu":
        kind = autocast_type("auto", device)
        found: AmpKind = "off" if kind is None else "bf16" if kind == torch.bfloat16 else "fp16"
        return Format(found, NAMES[found])
    if not pixels:
        return Format("off", NAMES["off"])
    if not multiplies_bfloat16():
        return Format("off", "float32 (this processor has no instructions for bfloat16)")
    if pixels < WORTH:
        return Format("off", "float32 (bfloat16 is measured for longer runs)")
    share = (measure or measured_share)(recipe, config)
    found = "bf16" if share <= FASTER else "off"
    return Format(found, f"{NAMES[found]} (a step in bfloat16 took {share:.2f} of the time in float32)")


def measured_share(recipe: Recipe, config: ModelConfig) -> float:
    """The time of a training step of the network in bfloat16 by that in float32, on this CPU at this moment."""
    model = build_model(config, seed=0)
    if recipe.machine.channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    freeze(model, recipe.optimiser)
    set_modes(model, recipe.optimiser)
    pictures = max(1, min(recipe.batch_size, PIXELS // recipe.size**2))
    layout = torch.channels_last if recipe.machine.channels_last else torch.contiguous_format
    x = torch.zeros(pictures, 3, recipe.size, recipe.size).contiguous(memory_format=layout)

    def step(bfloat16: bool) -> float:
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            outputs = model(x)
        sum(output.float().square().mean() for output in outputs).backward()
        model.zero_grad(set_to_none=True)
        return time.perf_counter() - start

    taken = [(step(True), step(False)) for _ in range(ROUNDS + 1)][1:]
    # the shortest of each: a machine with other work to do can only make a step longer
    return min(half for half, _ in taken) / min(whole for _, whole in taken)


def use_tensor_cores(device: torch.device) -> None:
    """On an NVIDIA GPU: products that stay in float32 are taken in TF32."""
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True


def keep_memory() -> None:
    """Let glibc keep what is freed. By default it maps each large tensor anew, and the system clears its pages each time.

    Does nothing where the C library is another.
    """
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl has none
        return
    for option, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, MOST), (M_TOP_PAD, PAD)):
        mallopt(option, value)


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


class CompilationError(FeatherFaceError):
    """The compiler failed."""


class Compiled:
    """A network that can run compiled or as it is written; its tensors are the same.

    Validation has many shapes, each of which would be compiled anew, so it runs the network as it is written.
    """

    def __init__(self, model: FeatherFace) -> None:
        self.model = model
        self._halves = torch.compile(model.pyramid), torch.compile(model.predict)

    def use(self, on: bool) -> None:
        """Compiled from now on, or not."""
        if on:
            self.model.pyramid, self.model.predict = self._halves  # type: ignore[method-assign]
        elif "pyramid" in vars(self.model):
            del self.model.pyramid, self.model.predict

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Raise CompilationError where the compiler fails, which it does in a first step, forward or backward."""
        from torch._dynamo.exc import TorchDynamoException

        try:
            yield
        except TorchDynamoException as problem:
            raise CompilationError(
                f"torch.compile cannot compile {self.model.config.name}: {first_line(problem)}",
                "it needs a C++ compiler; train without it: --set machine.compile=false",
            ) from problem
