"""An ONNX file as a candidate, of this project or another: only its network, in onnxruntime. Imports no torch."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featherface_core.bench.config import Setting, fit
from featherface_core.bench.report import Cost, NodeTime
from featherface_core.detect.detector import METADATA_KEY, Detector, OnnxDetector, read_description
from featherface_core.detect.session import open_session, session_options
from featherface_core.errors import ConfigError, WeightsError, first_line
from featherface_core.pictures import Picture, fill

NUMBERS = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}
PROFILED_RUNS = 10


class OnnxCandidate:
    """Opens ``path`` at a setting. Raises as ``open_candidate`` does."""

    note = ""

    def __init__(self, path: str, setting: Setting) -> None:
        self.path, self.setting = path, setting
        options = session_options(setting.threads)
        # the threads of one candidate would otherwise spin on into the turn of the next
        options.add_session_config_entry("session.force_spinning_stop", "1")
        self.session = open_session(path, options, setting.device)
        self.input = _Input(path, self.session)
        self.height, self.width = fit(path, self.input.shape, setting)
        self.pixels: NDArray[Any] = np.zeros(0)

    def load(self, picture: Picture) -> None:
        """As Candidate.load; pixels in the layout and the type that the file wants."""
        self.pixels = self.input.of(fill(picture, self.setting.batch, self.height, self.width))

    def run(self) -> object:
        """One forward pass of the batch. Raises ConfigError where the file rejects the shape."""
        try:
            return self.session.run(None, {self.input.name: self.pixels})
        except Exception as problem:  # onnxruntime has no common base class for its errors
            raise ConfigError(
                f"{self.path} does not run at {self.height}x{self.width}, batch {self.setting.batch}: {first_line(problem)}",
                "give a --size that this network takes, a multiple of 32 for most, and --batch 1",
            ) from None

    def cost(self) -> Cost:
        """Parameters from the file; MACs and bytes from one traced run each."""
        from featherface_core.bench.trace import bytes_moved, macs, trace

        feeds = {self.input.name: self.pixels}
        # fused operators hide MACs, so those come from a run without fusion; memory traffic comes from the run as it is
        plain = trace(self.path, feeds, self.setting, fused=False, packed=False)
        fused = trace(self.path, feeds, self.setting, packed=False)
        products = macs(plain) if plain else None
        return Cost(
            self._parameters(),
            None if products is None else products // self.setting.batch,
            bytes_moved(fused) if fused else None,
        )

    def _parameters(self) -> int | None:
        said = self.session.get_modelmeta().custom_metadata_map
        if METADATA_KEY in said:
            from featherface_core.config import ModelConfig, with_values
            from featherface_core.models.budget import count_parameters

            # as trained: in the file batch normalisations are folded away
            model = read_description(Path(self.path), said)["model"]
            return sum(count_parameters(with_values(ModelConfig(), model, self.path)).values())
        from featherface_core.bench.trace import count_floats

        return count_floats(Path(self.path))

    def detector(self) -> Detector | None:
        """From a picture to faces, for files that this project exported."""
        if METADATA_KEY not in self.session.get_modelmeta().custom_metadata_map:
            return None
        return OnnxDetector(self.path, self.setting.threads, self.setting.device)

    def nodes(self) -> tuple[NodeTime, ...]:
        """By onnxruntime's own profiler, over several runs."""
        from featherface_core.bench.trace import node_times, trace

        return node_times(trace(self.path, {self.input.name: self.pixels}, self.setting, PROFILED_RUNS), PROFILED_RUNS)


class _Input:
    """The one input of a file: a picture of three channels, channels first or last."""

    def __init__(self, path: str, session: Any) -> None:
        inputs = session.get_inputs()
        given = inputs[0]
        shape = tuple(n if isinstance(n, int) else None for n in given.shape)
        if len(inputs) > 1 or len(shape) != 4 or given.type not in NUMBERS:
            listed = ", ".join(f"{i.name} {i.type} {i.shape}" for i in inputs)
            raise WeightsError(
                f"{path} does not take one batch of pictures as its input: {listed}",
                "bench times networks from pixels (N, 3, H, W) or (N, H, W, 3): float32, float16 or uint8",
            )
        self.path, self.name, self.type = path, given.name, NUMBERS[given.type]
        self.last = shape[3] == 3 and shape[1] != 3
        batch, channels, height, width = (shape[0], shape[3], *shape[1:3]) if self.last else shape
        self.shape = batch, height, width
        if channels not in (3, None):
            raise WeightsError(
                f"{path} takes pictures of {channels} channels: {given.shape}",
                "bench times networks that see three channels",
            )

    def of(self, pixels: NDArray[np.float32]) -> NDArray[Any]:
        """Prepared pixels (N, 3, H, W) in this input's layout and type."""
        laid = pixels.transpose(0, 2, 3, 1) if self.last else pixels
        if self.type is np.uint8:
            laid = np.clip(laid + 128, 0, 255)
        return np.ascontiguousarray(laid, self.type)
