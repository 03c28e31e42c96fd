"""A network of ours in PyTorch as a candidate."""

from featherface_core.bench.candidate import Setting, Source
from featherface_core.bench.config import SIZE
from featherface_core.bench.report import Cost, NodeTime
from featherface_core.checkpoint import load_model
from featherface_core.detect import Detector, TorchDetector
from featherface_core.models.featherface import FeatherFace
from featherface_core.models.variants import build_model, resolve_model
from featherface_core.pictures import Picture, fill
from featherface_core.results import Floats
from featherface_core.shipped import shipped_weights


class TorchCandidate:
    """A variant with the weights that ship or random ones, or the network of a weights file.

    The number of threads is PyTorch's, for the whole process.
    """

    def __init__(self, source: Source, setting: Setting) -> None:
        self.setting = setting
        model, self.note = network_of(source)
        self.config = model.config
        self.height, self.width = setting.size or (SIZE, SIZE)
        self._detector = TorchDetector(model, setting.device, setting.threads)
        self.pixels: Floats

    def load(self, picture: Picture) -> None:
        """As Candidate.load."""
        self.pixels = fill(picture, self.setting.batch, self.height, self.width)

    def run(self) -> object:
        """One forward pass of the batch."""
        return self._detector.network.run(self.pixels)

    def cost(self) -> Cost:
        """From shapes alone: no numbers are computed."""
        from featherface_core.bench.traffic import bytes_moved
        from featherface_core.params import count

        total = count(self.config, self.height, self.width)
        moved = bytes_moved(self.config, self.setting.batch, self.height, self.width)
        return Cost(total.parameters, total.macs + total.deformable_macs, moved)

    def detector(self) -> Detector | None:
        """Its own."""
        return self._detector

    def nodes(self) -> tuple[NodeTime, ...]:
        """None: --profile is for ONNX files."""
        return ()


def network_of(source: Source) -> tuple[FeatherFace, str]:
    """The network of a source, and what is to be said of it. Raises ConfigError, WeightsError."""
    if source.weights:
        return load_model(source.weights), ""
    config = resolve_model(source.model)
    weights = shipped_weights(config)
    if weights is not None:
        return load_model(weights), ""
    said = f"no weights ship for {config.name}: random ones take the same time, but find no faces"
    return build_model(config, seed=0), said
