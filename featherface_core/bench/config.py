"""The settings of ``featherface bench``, and what it times. Imports no torch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Literal

from featherface_core.config import check_range, check_size
from featherface_core.errors import ConfigError

SIZE = 640  # pixels, where neither the user nor the file gives a size
Runtime = Literal["torch", "onnxruntime", "openvino"]


@dataclass(frozen=True)
class BenchConfig:
    """How candidates are measured.

    size: (height, width) in pixels; None for a fixed file's own, else 640x640. batches, threads: everything is measured at the
    first of each; the throughput table has all of them. device: cpu, cuda, cuda:1, mps. runs: rounds, each of which runs every
    candidate once. profile: also list the slowest nodes of ONNX files.
    """

    size: tuple[int, int] | None = None
    batches: tuple[int, ...] = (1,)
    threads: tuple[int, ...] = (1,)
    device: str = "cpu"
    runs: int = 30
    profile: bool = False

    def __post_init__(self) -> None:
        for side in self.size or ():
            check_size("--size", side)
        if 0 in self.threads:
            raise ConfigError(
                "--threads 0 leaves the number to each runtime, and says of none which it took", "name it: 1"
            )
        for name, numbers in (("--batch", self.batches), ("--threads", self.threads)):
            for number in numbers:
                check_range(name, number, 1, 1024)
            if len(set(numbers)) < len(numbers) or not numbers:
                raise ConfigError(f"{name} {','.join(map(str, numbers))} names a number twice", "name each once")
        check_range("--runs", self.runs, 3, 100_000)


def parse_counts(name: str, text: str) -> tuple[int, ...]:
    """Whole numbers from "1,2,4"; ``name`` is the option they come from.

    >>> parse_counts("--batch", "1, 2,4")
    (1, 2, 4)
    """
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"{name} {text!r} is not a number or a list of them", "write 1 or 1,2,4") from None


class DoesNotFit(ConfigError):  # noqa: N818 (it is a ConfigError, and reads as what it says)
    """A file with a fixed input that does not take the size or the batch."""


@dataclass(frozen=True)
class Source:
    """What to time, in plain text, so that another process can open it too: one of model, weights and onnx.

    model: a variant or a YAML file, with the weights that ship or random ones. weights, onnx: files; an .xml of OpenVINO
    counts as onnx. name: in the report; "" for one made of the others. A source that is not an exported file is exported first
    if it is to run in onnxruntime.
    """

    runtime: Runtime
    model: str = ""
    weights: str = ""
    onnx: str = ""
    name: str = ""

    @property
    def subject(self) -> str:
        """Whichever of the three it is."""
        return self.onnx or self.weights or self.model


@dataclass(frozen=True)
class Setting:
    """How a candidate is opened. size: (height, width), None for the file's own or 640x640."""

    size: tuple[int, int] | None
    batch: int
    threads: int
    device: str


def fit(path: str, own: tuple[int | None, int | None, int | None], setting: Setting) -> tuple[int, int]:
    """The (height, width) to run a file at whose own batch, height and width are ``own``, None for any. Raises DoesNotFit."""
    batch, height, width = own
    wanted = setting.size or (height or SIZE, width or SIZE)
    if height not in (None, wanted[0]) or width not in (None, wanted[1]):
        raise DoesNotFit(
            f"--size {wanted[0]}x{wanted[1]} does not fit {path}, which takes {height}x{width} alone",
            "leave --size out: each file then runs at its own; or export ours with --dynamic",
        )
    if batch not in (None, setting.batch):
        raise DoesNotFit(
            f"--batch {setting.batch} does not fit {path}, which takes {batch} at a time",
            f"use --batch {batch}, or export ours with --dynamic",
        )
    return wanted


def with_names(sources: Sequence[Source]) -> tuple[Source, ...]:
    """The same sources, each with a name of its own within its runtime.

    >>> [s.name for s in with_names([Source("onnxruntime", onnx="a/m.onnx"), Source("onnxruntime", onnx="b/m.onnx")])]
    ['a/m', 'b/m']
    """
    named: list[Source] = []
    paths = [(s.runtime, PurePath(s.subject)) for s in sources]
    for source, (runtime, path) in zip(sources, paths, strict=True):
        alike = {other for its, other in paths if its == runtime and other.stem == path.stem}
        name = source.name or (f"{path.parent.name}/{path.stem}" if len(alike) > 1 and path.parent.name else path.stem)
        taken = {s.name for s in named if s.runtime == runtime}
        unique, number = name, 2
        while unique in taken:
            unique, number = f"{name} ({number})", number + 1
        named.append(replace(source, name=unique))
    return tuple(named)
