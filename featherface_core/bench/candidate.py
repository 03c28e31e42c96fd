"""What can be timed: a network of ours in PyTorch or OpenVINO, or any ONNX file of pictures. Imports no torch."""

from typing import Protocol

from featherface_core.bench.config import Setting, Source
from featherface_core.bench.report import Cost, NodeTime
from featherface_core.detect.detector import Detector
from featherface_core.pictures import Picture


class Candidate(Protocol):
    """A network that is ready to run. height, width: of its input in pixels. note: a remark for the report, or ""."""

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
        """Parameters, MACs and memory traffic of a run."""
        ...

    def detector(self) -> Detector | None:
        """The detector from a picture to faces, None for a network of another project."""
        ...

    def nodes(self) -> tuple[NodeTime, ...]:
        """Its nodes, slowest first; empty where the runtime has no nodes."""
        ...


def open_candidate(source: Source, setting: Setting) -> Candidate:
    """Open a source. Raises WeightsError, MissingPackageError, and ConfigError (DoesNotFit) for a setting it cannot run at."""
    if source.runtime == "onnxruntime":
        from featherface_core.bench.onnx_candidate import OnnxCandidate

        return OnnxCandidate(source.onnx, setting)
    if source.runtime == "openvino":
        from featherface_core.bench.torch_candidate import OpenVinoCandidate

        return OpenVinoCandidate(source.onnx, setting)
    from featherface_core.bench.torch_candidate import TorchCandidate

    return TorchCandidate(source, setting)
