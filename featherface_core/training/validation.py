"""AP and loss on labelled pictures during a run, by the evaluation's own code: the same faces, the same AP, a fast protocol."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from featherface_core.config import MIN_SIZE, PostprocessConfig
from featherface_core.data.annotation import Faces, Picture, PictureSource
from featherface_core.detect.detector import TorchDetector
from featherface_core.errors import DataError
from featherface_core.evaluation.average_precision import Precision, average_precision
from featherface_core.evaluation.config import Protocol
from featherface_core.evaluation.dataset import spread
from featherface_core.evaluation.inference import View, find_faces
from featherface_core.events import Listener, Progress, ignore
from featherface_core.models.featherface import FeatherFace
from featherface_core.recipe import LossConfig, ValidationConfig
from featherface_core.results import Detections
from featherface_core.training.losses import MultiBoxLoss
from featherface_core.training.targets import Targets

TOP_K = 750
BATCH = 16  # pictures in memory at a time; those of one shape go through the network together
SMALLEST = 4.0  # pixels: a face whose long side is shorter where pictures are shown small cannot be found


@dataclass(frozen=True)
class Validation:
    """losses: MultiBoxLoss's terms, means over the pictures as shown at full size, NaN where none could be read; ``landmark``
    is NaN where no face has landmarks. whole, small: AP at the configured IoU of the pictures at full size, and shown small,
    None where they are not. protocol: in words.
    """

    losses: Mapping[str, float]
    whole: Precision
    small: Precision | None
    protocol: str

    @property
    def loss(self) -> float:
        """The sum of the terms; a term that no picture has is left out."""
        terms = [term for term in self.losses.values() if not math.isnan(term)]
        return sum(terms) if terms else math.nan

    @property
    def ap(self) -> float:
        """What chooses the best epoch: the mean of both APs; one of them where the other has no face to count."""
        return _mean([view.ap for view in (self.whole, self.small) if view is not None])

    @property
    def recall(self) -> float:
        """The mean of the recalls behind ``ap``."""
        return _mean([view.recall for view in (self.whole, self.small) if view is not None])

    def notes(self) -> dict[str, str]:
        """For the metadata of a weights file."""
        notes = {"ap": f"{self.ap:.6f}", "protocol": self.protocol}
        if self.small is not None:
            notes |= {"ap_whole": f"{self.whole.ap:.6f}", "ap_small": f"{self.small.ap:.6f}"}
        return notes


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def protocol_of(config: ValidationConfig) -> Protocol:
    """How a run's recipe shows pictures at full size when it validates."""
    resize = f"size={config.size}" if config.size else "original"
    return Protocol(resize, post=PostprocessConfig(config.score, config.nms, TOP_K))


def small_protocol_of(config: ValidationConfig) -> Protocol | None:
    """How it shows them small, None where it does not."""
    if not config.small:
        return None
    if not config.size:
        return replace(protocol_of(config), share=config.small)
    return replace(protocol_of(config), resize=f"size={max(MIN_SIZE, round(config.small * config.size))}")


def describe(config: ValidationConfig, source: PictureSource) -> str:
    """The protocol in words."""
    count = len(spread(len(source), config.pictures))
    words = f"AP at IoU {config.iou:g}, {count:,} pictures of {source.name}, {protocol_of(config).words()}"
    small = small_protocol_of(config)
    if small is not None:
        words += f"; mean of this AP and that at {small.view()}, faces below {SMALLEST:g} px there ignored"
    return words


@dataclass(frozen=True, kw_only=True)
class Best:
    """The validation whose weights are kept. epoch 0: none gave an AP. ap, recall, whole, small: see Validation.

    loss: of the validation, or its landmark term where that alone chooses.
    """

    epoch: int = 0
    ap: float = -1.0
    recall: float = 0.0
    loss: float = math.inf
    whole: float | None = None
    small: float | None = None

    @classmethod
    def of(cls, epoch: int, validation: Validation, loss: float) -> "Best":
        """Of the validation after ``epoch``."""
        v, small = validation, validation.small
        return cls(
            epoch=epoch,
            ap=v.ap,
            recall=v.recall,
            loss=loss,
            whole=v.whole.ap,
            small=None if small is None else small.ap,
        )

    @classmethod
    def read(cls, state: Mapping[str, Any]) -> "Best":
        """From a checkpoint; the first ones hold [epoch, AP, recall], and the loss beside it."""
        best = state["best"]
        if isinstance(best, dict):
            return cls(**best)
        epoch, ap, recall = best
        return cls(epoch=epoch, ap=ap, recall=recall, loss=state["best_loss"])


def validate(
    model: FeatherFace,
    source: PictureSource,
    config: ValidationConfig,
    loss: LossConfig,
    device: torch.device,
    on_event: Listener = ignore,
) -> Validation:
    """Loss and AP of ``model`` on the configured pictures of ``source``; the model is left in evaluation mode.

    A picture that cannot be read counts as one in which nothing was found, and is left out of the loss.
    """
    indices = spread(len(source), config.pictures)
    truths: dict[int, Faces] = {}
    losses = _Losses(MultiBoxLoss(loss), device, truths)
    detector = TorchDetector(model, str(device))
    views: list[tuple[Protocol, Callable[[View], None]]] = [(protocol_of(config), losses.add)]
    small = small_protocol_of(config)
    if small is not None:
        views.append((small, lambda view: None))
    found: list[dict[int, Detections]] = [{} for _ in views]
    shown: dict[int, Faces] = {}  # the truth of the pictures that are shown small
    for first in range(0, len(indices), BATCH):
        block = _Block(source, indices[first : first + BATCH])
        truths |= block.faces
        shown |= {i: _findable(faces, block.long_side(i), small) for i, faces in block.faces.items() if small}
        for (protocol, add), seen in zip(views, found, strict=True):
            for result in find_faces(detector, block.read, block.order, protocol, BATCH, add):
                seen[result.index] = result.faces
        on_event(Progress(min(first + BATCH, len(indices)), len(indices), "validation"))
    precisions = [
        average_precision([seen[i] for i in indices], [truth[i] for i in indices], config.iou)
        for seen, truth in zip(found, (truths, shown), strict=False)
    ]
    return Validation(
        losses.means, precisions[0], precisions[1] if small is not None else None, describe(config, source)
    )


class _Block:
    """A few pictures, read once for all views. order: those of one shape beside each other, so that they go in batches."""

    def __init__(self, source: PictureSource, indices: Sequence[int]) -> None:
        self.faces = {index: source.faces(index) for index in indices}
        self._pictures: dict[int, Picture | DataError] = {}
        for index in indices:
            try:
                self._pictures[index] = source.read(index)[0]
            except DataError as problem:
                self._pictures[index] = problem
        self.order = sorted(indices, key=lambda index: (self._shape(index), index))

    def read(self, index: int) -> Picture:
        """One of them. Raises DataError where it could not be read."""
        picture = self._pictures[index]
        if isinstance(picture, DataError):
            raise picture
        return picture

    def long_side(self, index: int) -> int:
        """In pixels; 0 of a picture that could not be read."""
        return max(self._shape(index))

    def _shape(self, index: int) -> tuple[int, int]:
        picture = self._pictures[index]
        return (0, 0) if isinstance(picture, DataError) else (picture.shape[0], picture.shape[1])


def _findable(faces: Faces, long_side: int, protocol: Protocol) -> Faces:
    """The faces of a picture of ``long_side`` pixels; those too small to be found at the protocol's size are ignored."""
    side = protocol.sides(long_side, long_side)[0]
    if side is None or not long_side:
        return faces
    longer = (faces.boxes[:, 2:] - faces.boxes[:, :2]).max(1, initial=0.0)
    return replace(faces, ignored=faces.ignored | (longer * side / long_side < SMALLEST))


class _Losses:
    """The loss of each batch that goes through the network, summed by term."""

    def __init__(self, criterion: MultiBoxLoss, device: torch.device, truths: dict[int, Faces]) -> None:
        self.criterion, self.device, self.truths = criterion, device, truths
        self.totals: dict[str, float] = {}
        self.pictures, self.landmarks = 0, 0

    def add(self, view: View) -> None:
        faces = [_scaled(self.truths[i], scale) for i, scale in zip(view.indices, view.scales, strict=True)]
        boxes, scores, landmarks = (torch.from_numpy(output).to(self.device) for output in view.outputs)
        # the logarithm of a softmax is a logit, but for a constant that cancels
        logits = scores.clamp(min=1e-30).log()
        with torch.no_grad():
            terms = self.criterion((boxes, logits, landmarks), Targets.of(faces).to(self.device), *view.shape).terms
        for name, term in terms.items():
            self.totals[name] = self.totals.get(name, 0.0) + float(term) * len(faces)
        self.pictures += len(faces)
        self.landmarks += sum(int(np.isfinite(one.landmarks[~one.ignored]).all((1, 2)).sum()) for one in faces)

    @property
    def means(self) -> dict[str, float]:
        if not self.pictures:
            return dict.fromkeys(("box", "cls", "landmark"), math.nan)
        means = {name: total / self.pictures for name, total in self.totals.items()}
        return means if self.landmarks else means | {"landmark": math.nan}


def _scaled(faces: Faces, scale: tuple[float, float]) -> Faces:
    both = np.array(scale, np.float32)
    return Faces(faces.boxes * np.tile(both, 2), faces.landmarks * both, faces.ignored, faces.weights)
