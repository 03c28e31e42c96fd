"""Average precision at one IoU, for any labelled pictures: what training is steered by. Not the WIDER FACE protocol."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featherface_core.boxes import iou
from featherface_core.data.annotation import Faces
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
    hits, scores = [], []
    for detections, truth in zip(found, faces, strict=True):
        verdicts = judge(detections.boxes, detections.scores, truth, overlap)
        hits.append(verdicts[verdicts >= 0])
        scores.append(detections.scores[verdicts >= 0])
    total = sum(int((~truth.ignored).sum()) for truth in faces)
    if not total:
        return Precision(float("nan"), float("nan"), 0, len(faces))
    order = np.argsort(-np.concatenate(scores), kind="stable") if scores else np.zeros(0, int)
    right = np.cumsum(np.concatenate(hits)[order]) if scores else np.zeros(0)
    recall = right / total
    precision = right / np.arange(1, len(right) + 1)
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.diff(recall, prepend=0.0)
    return Precision(
        float((steps * best_from_here).sum()), float(recall[-1]) if len(recall) else 0.0, total, len(faces)
    )


def judge(boxes: Floats, scores: Floats, truth: Faces, overlap: float) -> NDArray[np.int8]:
    """(n,) for each detection: 1 right, 0 wrong, -1 on an ignored face and not counted."""
    verdicts = np.zeros(len(boxes), np.int8)
    real = np.flatnonzero(~truth.ignored)
    shares = iou(boxes, truth.boxes[real])
    fits = np.zeros(len(boxes), bool)
    if len(real) and len(boxes):
        owner = shares.argmax(1)
        fits = shares.max(1) >= overlap
        order = np.argsort(-scores, kind="stable")
        order = order[fits[order]]
        _, first = np.unique(owner[order], return_index=True)
        verdicts[order[first]] = 1
    if truth.ignored.any() and len(boxes):
        on_ignored = iou(boxes, truth.boxes[truth.ignored]).max(1) >= overlap
        verdicts[on_ignored & ~fits] = -1
    return verdicts
