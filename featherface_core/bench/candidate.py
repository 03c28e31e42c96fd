"""What can be timed: a network of ours in PyTorch or OpenVINO, or any ONNX file of pictures. Imports no torch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Literal, Protocol

from featherface_core.bench.config import SIZE
from featherface_core.bench.report import Cost, NodeTime
from featherface_core.detect import Detector
from featherface_core.errors import ConfigError
from featherface_core.pictures import Picture

Runtime = Literal["torch", "onnxruntime", "openvino"]


class DoesNotFit(ConfigError):  # noqa: N818 (it is a ConfigError, and reads as what it says)
    """A file with a fixed input that does not take the size or the batch."""


@dataclass(frozen=True)
class Source:
    """What to time, in plain text, so that another process can open it too: one of model, weights and onnx.

    model: a variant or a YAML file, with the weights that ship or random ones. weights, onnx: files; an .xml of OpenVINO
    counts as onnx. name: in the report; "" for one made of the others. What is no exported file and is to run in onnxruntime
    has to be exported first.
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


class Candidate(Protocol):
    """A network that is ready to run. height, width: of its input in pixels. note: what is to be said of it, or ""."""

    height: int
    width: int
    note: str

    def load(self, picture: Picture) -> None:
        """Take a picture for the runs to come, in as many views as the batch has, filled to the input's size."""
        ...

    def run(self) -> object:
        """One forward pass of the whole batch, from host memory to host memory. Raises ConfigError if it cannot."""
        ...

    def cost(self) -> Cost:
        """What a run has to do."""
        ...

    def detector(self) -> Detector | None:
        """The way from a picture to faces, None for a network that is not ours."""
        ...

    def nodes(self) -> tuple[NodeTime, ...]:
        """Its nodes, slowest first; none where the runtime has no nodes."""
        ...


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


def open_candidate(source: Source, setting: Setting) -> Candidate:
    """Open a source. Raises WeightsError, MissingPackageError, and ConfigError (DoesNotFit) for a setting it cannot run at."""
    if source.runtime == "onnxruntime":
        from featherface_core.bench.onnx_candidate import OnnxCandidate

        return OnnxCandidate(source.onnx, setting)
    if source.runtime == "openvino":
        from featherface_core.bench.openvino_candidate import OpenVinoCandidate

        return OpenVinoCandidate(source.onnx, setting)
    from featherface_core.bench.torch_candidate import TorchCandidate

    return TorchCandidate(source, setting)


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
