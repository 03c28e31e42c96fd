"""AP and loss on labelled pictures during a run, by the evaluation's own code: the same faces, the same AP, a fast protocol."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from featherface_core.config import PostprocessConfig
from featherface_core.data.annotation import Faces, Picture, PictureSource
from featherface_core.detect import TorchDetector
from featherface_core.evaluation.inference import View, find_faces
from featherface_core.evaluation.plain import Precision, average_precision
from featherface_core.evaluation.protocol import Protocol
from featherface_core.evaluation.task import spread
from featherface_core.events import Listener, Progress, ignore
from featherface_core.losses import MultiBoxLoss
from featherface_core.models.featherface import FeatherFace
from featherface_core.recipe import LossConfig, ValidationConfig
from featherface_core.targets import Targets

TOP_K = 750
BATCH = 16  # pictures of one shape that go through the network together


@dataclass(frozen=True)
class Validation:
    """loss: MultiBoxLoss, mean over the pictures. precision: AP at the configured IoU. protocol: in words."""

    loss: float
    precision: Precision
    protocol: str


def protocol_of(config: ValidationConfig) -> Protocol:
    """How a run's recipe shows pictures when it validates."""
    resize = f"size={config.size}" if config.size else "original"
    return Protocol(resize, post=PostprocessConfig(config.score, config.nms, TOP_K))


def describe(config: ValidationConfig, source: PictureSource) -> str:
    """The protocol in words, to stand beside every AP."""
    count = len(spread(len(source), config.pictures))
    return f"AP at IoU {config.iou:g}, {count:,} pictures of {source.name}, {protocol_of(config).words()}"


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

    def read(index: int) -> Picture:
        truths[index] = source.faces(index)
        return source.read(index)[0]

    found = []
    detector = TorchDetector(model, str(device))
    for result in find_faces(detector, read, indices, protocol_of(config), BATCH, losses.add):
        found.append(result.faces)
        on_event(Progress(len(found), len(indices), "validation"))
    precision = average_precision(found, [truths[index] for index in indices], config.iou)
    return Validation(losses.mean, precision, describe(config, source))


class _Losses:
    """The loss of each batch that goes through the network, summed."""

    def __init__(self, criterion: MultiBoxLoss, device: torch.device, truths: dict[int, Faces]) -> None:
        self.criterion, self.device, self.truths = criterion, device, truths
        self.total, self.pictures = 0.0, 0

    def add(self, view: View) -> None:
        faces = [_scaled(self.truths[i], scale) for i, scale in zip(view.indices, view.scales, strict=True)]
        boxes, scores, landmarks = (torch.from_numpy(output).to(self.device) for output in view.outputs)
        # the logarithm of a softmax is a logit, but for a constant that cancels
        logits = scores.clamp(min=1e-30).log()
        with torch.no_grad():
            terms = self.criterion((boxes, logits, landmarks), Targets.of(faces).to(self.device), *view.shape).terms
        self.total += float(torch.stack(list(terms.values())).sum()) * len(faces)
        self.pictures += len(faces)

    @property
    def mean(self) -> float:
        return self.total / self.pictures if self.pictures else math.nan


def _scaled(faces: Faces, scale: tuple[float, float]) -> Faces:
    both = np.array(scale, np.float32)
    return Faces(faces.boxes * np.tile(both, 2), faces.landmarks * both, faces.ignored, faces.weights)
