"""Scores that mean the same at every anchor size: the class heads' biases, corrected on held-out pictures.

Training shows faces of all sizes equally often, pictures do not: a network so trained is too sure of large faces. What a
score of an anchor is worth is measured on whole pictures, and its log odds are shifted by the difference (the correction of
prior probabilities, Saerens et al. 2002).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit

from featherface_core import boxes
from featherface_core.data.annotation import Faces, PictureSource
from featherface_core.detect.detector import TorchDetector
from featherface_core.errors import DataError
from featherface_core.evaluation.config import AS_PUBLISHED
from featherface_core.events import Listener, Progress, ignore
from featherface_core.models.checkpoint import load_model, read_notes, save_weights
from featherface_core.models.featherface import FeatherFace
from featherface_core.models.heads import Heads, LevelHead
from featherface_core.pictures import Picture, resized
from featherface_core.recipe import Recipe
from featherface_core.results import Floats

SCORE, NMS = AS_PUBLISHED.score, AS_PUBLISHED.nms
RIGHT = 0.5  # IoU with a labelled face
UNCLEAR = 0.35  # from here to RIGHT a box may be right by another convention, and counts as neither
IGNORED = 0.2  # IoU with an ignored face
FEWEST = 10  # faces, and false alarms, below which an anchor size stays as it is
MOST = 100.0  # log odds: no float32 score is further from one half


@dataclass(frozen=True)
class AnchorShift:
    """What was added to the log odds of one anchor size (pixels).

    faces, alarms: detections on a face and on none that it was fitted to.
    """

    size: int
    faces: int
    alarms: int
    shift: float


def calibrate(
    model: FeatherFace,
    source: PictureSource,
    sizes: Sequence[int],
    on_event: Listener = ignore,
) -> tuple[AnchorShift, ...]:
    """Shift the scores of ``model``, in place, so that of each anchor size as many detections are right as their scores say.

    source: labelled pictures that it was not trained on, each shown at long sides of ``sizes`` pixels. A picture that cannot
    be read is left out.
    """
    detector = TorchDetector(model)
    # by anchor size: log odds, and whether on a face
    samples: dict[int, list[tuple[float, bool]]] = {size: [] for level in boxes.ANCHOR_SIZES for size in level}
    done, total = 0, len(sizes) * len(source)
    for size in sizes:
        for index in range(len(source)):
            done += 1
            on_event(Progress(done, total, "calibration"))
            try:
                picture, faces = source.read(index)
            except DataError:
                continue
            for anchor, odds, right in _judged(detector, picture, faces, size):
                samples[anchor].append((odds, right))
    shifts = tuple(_fit(anchor, rows) for anchor, rows in samples.items())
    heads = model.heads
    assert isinstance(heads, Heads)
    each = iter(shifts)
    for head, anchors in zip(heads, boxes.ANCHOR_SIZES, strict=True):
        assert isinstance(head, LevelHead)
        for place in range(len(anchors)):
            _shift(head, place, next(each).shift)
    return shifts


def calibrate_file(path: Path, source: PictureSource, recipe: Recipe, on_event: Listener = ignore) -> str:
    """Calibrate the weights in ``path`` as ``recipe`` says and write them back; returns the shifts in words.

    The notes gain ``calibration``; the APs among them are of before.
    """
    model, notes = load_model(path), read_notes(path)
    shifts = calibrate(model, source, recipe.calibration.sizes, on_event)
    said = ", ".join(f"{anchor.size} px {anchor.shift:+.2f}" for anchor in shifts)
    save_weights(path, model.state_dict(), model.config, notes | {"calibration": said})
    return said


def _judged(detector: TorchDetector, picture: Picture, faces: Faces, size: int) -> list[tuple[int, float, bool]]:
    """Of each detection that is clear: the size of its anchor, its log odds, and whether it is the first on a face."""
    height, width = picture.shape[:2]
    scale = size / max(height, width)
    shape = max(1, round(width * scale)), max(1, round(height * scale))
    pixels, _ = detector.prepare(resized(picture, *shape))
    regressions, scores, _ = (output[0] for output in detector.network.run(pixels[None]))
    anchors = boxes.make_anchors(*pixels.shape[1:])
    likely = np.flatnonzero(scores[:, 1] > SCORE)
    found = boxes.decode_boxes(regressions[likely], anchors[likely])
    kept = boxes.nms(found, scores[likely, 1], NMS)
    found, likely = found[kept], likely[kept]
    odds = np.log(np.maximum(scores[likely, 1], 1e-12)) - np.log(np.maximum(scores[likely, 0], 1e-12))
    overlaps = boxes.iou(found, faces.boxes * np.float32(scale))
    rows = zip(anchors[likely, 2], odds, _verdicts(overlaps, faces.ignored), strict=True)
    return [(int(anchor), float(value), right) for anchor, value, right in rows if right is not None]


def _verdicts(overlaps: Floats, ignored: NDArray[np.bool_]) -> list[bool | None]:
    """Of each detection, best first: whether it is the first on a face, None where it counts as neither.

    overlaps (D, F): IoU of detections and faces; ignored (F,).
    """
    taken: set[int] = set()
    verdicts: list[bool | None] = []
    for row in overlaps:
        face = int(row.argmax()) if len(row) else -1
        best = float(row[face]) if len(row) else 0.0
        if UNCLEAR <= best < RIGHT or (ignored.any() and row[ignored].max() > IGNORED):
            verdicts.append(None)
            continue
        verdicts.append(best >= RIGHT and face not in taken)
        if best >= RIGHT:
            taken.add(face)
    return verdicts


def _fit(size: int, rows: list[tuple[float, bool]]) -> AnchorShift:
    """The shift at which the scores add up to the number of faces."""
    odds = np.array([row[0] for row in rows])
    faces = sum(row[1] for row in rows)
    alarms = len(rows) - faces
    if min(faces, alarms) < FEWEST:
        return AnchorShift(size, faces, alarms, 0.0)
    shift = brentq(lambda by: expit(odds + by).sum() - faces, -MOST, MOST)
    return AnchorShift(size, faces, alarms, float(shift))


@torch.no_grad()
def _shift(head: LevelHead, place: int, by: float) -> None:
    """Background and face logits move by half each."""
    bias = head.classes.bias
    assert bias is not None
    bias[2 * place] -= by / 2
    bias[2 * place + 1] += by / 2
