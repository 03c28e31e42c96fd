"""AP and loss on labelled pictures during a run, by the same pre- and post-processing as detection."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from featherface_core import boxes
from featherface_core.average_precision import Precision, average_precision
from featherface_core.data.annotation import Faces, PictureSource
from featherface_core.errors import DataError
from featherface_core.events import Listener, Progress, ignore
from featherface_core.losses import MultiBoxLoss
from featherface_core.models.featherface import FeatherFace
from featherface_core.pictures import prepare
from featherface_core.recipe import LossConfig, ValidationConfig
from featherface_core.results import Detections
from featherface_core.targets import Targets

TOP_K = 750
BATCH = 16  # pictures of one shape that go through the network together


@dataclass(frozen=True)
class Validation:
    """loss: MultiBoxLoss, mean over the pictures. precision: AP at the configured IoU. protocol: in words."""

    loss: float
    precision: Precision
    protocol: str


def chosen_pictures(count: int, at_most: int) -> list[int]:
    """Which pictures of a set are validated on: all, or ``at_most`` evenly spread over it."""
    if not at_most or at_most >= count:
        return list(range(count))
    return [int(i) for i in np.linspace(0, count - 1, at_most).round()]


def describe(config: ValidationConfig, source: PictureSource) -> str:
    """The protocol in words, to stand beside every AP."""
    count = len(chosen_pictures(len(source), config.pictures))
    size = f"long side {config.size} px" if config.size else "original size"
    return (
        f"AP at IoU {config.iou:g}, {count:,} pictures of {source.name}, {size}, "
        f"score above {config.score:g}, NMS {config.nms:g}, at most {TOP_K} faces a picture"
    )


@torch.no_grad()
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
    model.eval()
    criterion = MultiBoxLoss(loss)
    indices = chosen_pictures(len(source), config.pictures)
    found: list[Detections] = []
    truths: list[Faces] = []
    total, counted = 0.0, 0
    for group in _groups(source, indices, config.size):
        pixels = torch.from_numpy(np.stack([pixels for pixels, _, _ in group if pixels is not None] or [np.zeros(0)]))
        readable = [(faces, scale) for pixels_, faces, scale in group if pixels_ is not None]
        if readable:
            outputs = model(pixels.to(device))
            height, width = pixels.shape[2:]
            targets = Targets.of([_scaled(faces, scale) for faces, scale in readable]).to(device)
            # the logarithm of a softmax is a logit, but for a constant that cancels
            logits = outputs[1].clamp(min=1e-30).log()
            terms = criterion((outputs[0], logits, outputs[2]), targets, height, width).terms
            total += float(torch.stack(list(terms.values())).sum()) * len(readable)
            counted += len(readable)
            arrays = [output.float().cpu().numpy() for output in outputs]
            anchors = boxes.make_anchors(height, width)
            for (faces, scale), one, two, three in zip(readable, *arrays, strict=True):
                b, s, p = boxes.postprocess(one, two, three, anchors, config.score, config.nms, TOP_K)
                back = np.array((*scale, *scale), np.float32)
                found.append(Detections(b / back, s, p / back[:2]))
                truths.append(faces)
        for pixels_, faces, _ in group:
            if pixels_ is None:
                found.append(
                    Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32))
                )
                truths.append(faces)
        on_event(Progress(len(found), len(indices), "validation"))
    precision = average_precision(found, truths, config.iou)
    return Validation(total / counted if counted else math.nan, precision, describe(config, source))


Prepared = tuple[np.ndarray | None, Faces, tuple[float, float]]


def _groups(source: PictureSource, indices: list[int], size: int) -> Iterator[list[Prepared]]:
    """Prepared pictures in their order, neighbours of one shape together."""
    group: list[Prepared] = []
    for index in indices:
        try:
            picture, faces = source.read(index)
            pixels, scale = prepare(picture, size or None)
            item: Prepared = (pixels, faces, scale)
        except DataError:
            item = (None, source.faces(index), (1.0, 1.0))
        full = len(group) == BATCH
        if group and (full or _shape(item) != _shape(group[0])):
            yield group
            group = []
        group.append(item)
    if group:
        yield group


def _shape(item: Prepared) -> tuple[int, ...]:
    return () if item[0] is None else item[0].shape


def _scaled(faces: Faces, scale: tuple[float, float]) -> Faces:
    both = np.array(scale, np.float32)
    return Faces(faces.boxes * np.tile(both, 2), faces.landmarks * both, faces.ignored, faces.weights)
