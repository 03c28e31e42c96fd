"""Average precision at one IoU, for labelled pictures of any kind: what training is steered by. Not the WIDER FACE protocol."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featherface_core.boxes import iou
from featherface_core.data.annotation import Faces
from featherface_core.evaluation.matching import NEITHER, RIGHT, WRONG
from featherface_core.evaluation.outcome import Outcome
from featherface_core.evaluation.truth import Found
from featherface_core.evaluation.wider_face import Curve, area_under
from featherface_core.results import Detections, Floats


@dataclass(frozen=True)
class Precision:
    """ap: area under the precision-recall curve, 0 to 1, NaN where there is no face. recall: share of faces found at all.

    faces: how many counted. pictures: how many they are in.
    """

    ap: float
    recall: float
    faces: int
    pictures: int


def average_precision(found: Sequence[Detections], faces: Sequence[Faces], overlap: float = 0.5) -> Precision:
    """AP of detections in pictures against their faces, at an IoU of ``overlap``, area under the interpolated curve (VOC 2010).

    A detection is right if the face it overlaps most has no better-scored detection; detections on ignored faces do not count,
    either way.
    """
    curve = plain_curve(outcome_of(found, faces, overlap), Found.of([(d.boxes, d.scores) for d in found]), faces)
    recall = (float(curve.recall[-1]) if len(curve.recall) else 0.0) if curve.faces else float("nan")
    return Precision(curve.ap, recall, curve.faces, len(faces))


def outcome_of(found: Sequence[Detections], faces: Sequence[Faces], overlap: float = 0.5) -> Outcome:
    """What became of each detection, those of all pictures in their order."""
    verdicts, owners = [np.zeros(0, np.int8)], [np.zeros(0, np.int64)]
    before = 0
    for detections, truth in zip(found, faces, strict=True):
        verdict, owner = judge_picture(detections.boxes, detections.scores, truth, overlap)
        verdicts.append(verdict)
        owners.append(np.where(owner >= 0, owner + before, -1))
        before += len(truth)
    return Outcome(np.concatenate(verdicts), np.concatenate(owners))


def plain_curve(outcome: Outcome, found: Found, faces: Sequence[Faces]) -> Curve:
    """The precision-recall curve over all scores, from the best down, and the area under it."""
    total = sum(int((~truth.ignored).sum()) for truth in faces)
    counts = outcome.verdicts != NEITHER
    order = np.argsort(-found.scores[counts], kind="stable")
    right = np.cumsum(outcome.verdicts[counts][order] == RIGHT)
    precision = right / np.arange(1, len(right) + 1)
    if not total:
        return Curve(float("nan"), np.full(len(right), np.nan), precision, 0)
    recall = right / total
    return Curve(area_under(recall, precision), recall, precision, total)


def judge_picture(boxes: Floats, scores: Floats, truth: Faces, overlap: float) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    """Of each detection (n,): RIGHT, WRONG, or NEITHER on an ignored face; and the face that it fits, -1 for none."""
    verdicts, owners = np.full(len(boxes), WRONG, np.int8), np.full(len(boxes), -1, np.int64)
    real = np.flatnonzero(~truth.ignored)
    shares = iou(boxes, truth.boxes[real])
    fits = np.zeros(len(boxes), bool)
    if len(real) and len(boxes):
        best = shares.argmax(1)
        fits = shares.max(1) >= overlap
        owners[fits] = real[best[fits]]
        order = np.argsort(-scores, kind="stable")
        order = order[fits[order]]
        _, first = np.unique(best[order], return_index=True)
        verdicts[order[first]] = RIGHT
    if truth.ignored.any() and len(boxes):
        on_ignored = iou(boxes, truth.boxes[truth.ignored]).max(1) >= overlap
        verdicts[on_ignored & ~fits] = NEITHER
    return verdicts, owners
