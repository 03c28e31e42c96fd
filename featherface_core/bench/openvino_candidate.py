"""An OpenVINO file of ours as a candidate."""

import numpy as np

from featherface_core.bench.candidate import Setting, fit
from featherface_core.bench.report import Cost, NodeTime
from featherface_core.config import ModelConfig, PostprocessConfig, with_values
from featherface_core.detect import Detector
from featherface_core.errors import ConfigError
from featherface_core.openvino import OpenVinoDetector
from featherface_core.pictures import Picture, fill
from featherface_core.results import Floats


class OpenVinoCandidate:
    """Opens ``path`` at a setting. Raises as ``open_candidate`` does."""

    note = ""

    def __init__(self, path: str, setting: Setting) -> None:
        if setting.device != "cpu":
            raise ConfigError(f"--device {setting.device}: OpenVINO files run on the CPU here", "use --device cpu")
        self.path, self.setting = path, setting
        self._detector = OpenVinoDetector(path, setting.threads)
        self.height, self.width = fit(path, self._detector.network.fixed or (None, None, None), setting)
        self.pixels: Floats

    def load(self, picture: Picture) -> None:
        """As Candidate.load; laid out in memory as the file wants it, as Detector.prepare does."""
        pixels = fill(picture, self.setting.batch, self.height, self.width)
        self.pixels = np.ascontiguousarray(np.moveaxis(pixels, 1, 3)).transpose(0, 3, 1, 2)

    def run(self) -> object:
        """One forward pass of the batch."""
        return self._detector.forward(self.pixels, PostprocessConfig())

    def cost(self) -> Cost:
        """Of the network as trained, from shapes alone; what OpenVINO moves in memory is its own business."""
        from featherface_core.params import count

        config = with_values(ModelConfig(), self._detector.description["model"], self.path)
        total = count(config, self.height, self.width)
        return Cost(total.parameters, total.macs + total.deformable_macs, None)

    def detector(self) -> Detector | None:
        """Its own."""
        return self._detector

    def nodes(self) -> tuple[NodeTime, ...]:
        """None: --profile is for ONNX files."""
        return ()
