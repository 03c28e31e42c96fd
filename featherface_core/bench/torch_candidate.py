"""A network of ours as a candidate: in PyTorch, or as an OpenVINO file."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from featherface_core.bench.config import SIZE, Setting, Source, fit
from featherface_core.bench.report import Cost, NodeTime
from featherface_core.config import ModelConfig, PostprocessConfig, with_values
from featherface_core.detect.detector import Detector, TorchDetector
from featherface_core.detect.openvino import OpenVinoDetector
from featherface_core.models.checkpoint import load_model
from featherface_core.models.featherface import FeatherFace
from featherface_core.models.variants import build_model, resolve_model, shipped_weights
from featherface_core.pictures import Picture, fill
from featherface_core.results import Floats


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
        """From shapes only: no values are computed."""
        from featherface_core.models.params import count

        total = count(self.config, self.height, self.width)
        moved = bytes_moved(self.config, self.setting.batch, self.height, self.width)
        return Cost(total.parameters, total.macs + total.deformable_macs, moved)

    def detector(self) -> Detector | None:
        """As ``Candidate.detector``."""
        return self._detector

    def nodes(self) -> tuple[NodeTime, ...]:
        """None: --profile is for ONNX files."""
        return ()


def network_of(source: Source) -> tuple[FeatherFace, str]:
    """The network of a source, and a remark for the report. Raises ConfigError, WeightsError."""
    if source.weights:
        return load_model(source.weights), ""
    config = resolve_model(source.model)
    weights = shipped_weights(config)
    if weights is not None:
        return load_model(weights), ""
    said = f"no weights ship for {config.name}: random ones take the same time, but find no faces"
    return build_model(config, seed=0), said


class OpenVinoCandidate:
    """Opens ``path`` at a setting. Raises as ``open_candidate`` does."""

    note = ""

    def __init__(self, path: str, setting: Setting) -> None:
        self.path, self.setting = path, setting
        self._detector = OpenVinoDetector(path, setting.threads, setting.device)
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
        """Of the network as trained, from shapes only; OpenVINO's memory traffic is not known."""
        from featherface_core.models.params import count

        config = with_values(ModelConfig(), self._detector.description["model"], self.path)
        total = count(config, self.height, self.width)
        return Cost(total.parameters, total.macs + total.deformable_macs, None)

    def detector(self) -> Detector | None:
        """As ``Candidate.detector``."""
        return self._detector

    def nodes(self) -> tuple[NodeTime, ...]:
        """None: --profile is for ONNX files."""
        return ()
