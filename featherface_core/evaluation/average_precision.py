"""Average precision at one IoU, as the WIDER FACE evaluation computes it, and as COCO does."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featherface_core.boxes import iou
from featherface_core.data.annotation import Faces
from featherface_core.evaluation.matching import MOST_PAIRS, NEITHER, RIGHT, WRONG, Matches, Outcome, judge
from featherface_core.evaluation.truth import Doubles, Flags, Found, Indices
from featherface_core.results import Detections, Floats

THRESHOLDS = 1_000
IOU = 0.5
IOUS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
LARGEST = 1e5**2  # square pixels: where COCO's "all sizes" end
EVERY_IOU = (1 << len(IOUS)) - 1  # a set of IoUs is a number: bit k stands for IOUS[k]


@dataclass(frozen=True)
class Curve:
    """AP of one setting, 0 to 1, NaN where no face counts; and its curve (1,000,), from the highest threshold down.

    precision is NaN where there is no detection yet. faces: how many count.
    """

    ap: float
    recall: Doubles
    precision: Doubles
    faces: int


def normalised(scores: Doubles) -> Doubles:
    """Scores scaled linearly so that the lowest of the whole set is 0 and the highest 1; all 1 where all are equal, from 0 to 1.

    As in the official code the range starts from 1 and 0, so scores outside 0-1 extend it.
    """
    if not len(scores):
        return scores
    low, high = min(1.0, float(scores.min())), max(0.0, float(scores.max()))
    return (scores - low) / (high - low) if high > low else np.ones_like(scores)


def curve_of(matches: Matches, counted: Flags, iou: float = IOU) -> Curve:
    """AP and curve of one setting. counted (F,): which faces of the truth are to be found."""
    faces = int(counted.sum())
    verdicts = judge(matches, counted, iou)
    thresholds = 1 - np.arange(1, THRESHOLDS + 1) / THRESHOLDS
    scores = normalised(matches.scores)
    right = _at_least(scores[verdicts == RIGHT], thresholds)
    shown = _at_least(scores[verdicts != NEITHER], thresholds)
    precision = np.divide(right, shown, out=np.full(THRESHOLDS, np.nan), where=shown > 0)
    if not faces:
        return Curve(float("nan"), np.full(THRESHOLDS, np.nan), precision, 0)
    recall = right / faces
    return Curve(area_under(recall, precision), recall, precision, faces)


def area_under(recall: Doubles, precision: Doubles) -> float:
    """Area under a curve (n,), recall rising, with each precision replaced by the best one at that recall or a higher one."""
    best_from_here = np.maximum.accumulate(np.nan_to_num(precision)[::-1])[::-1]
    steps = np.diff(recall, prepend=0.0)
    return float((steps * best_from_here).sum())


def _at_least(scores: Doubles, thresholds: Doubles) -> Doubles:
    """(T,): how many scores are at or above each threshold."""
    ordered = np.sort(scores)
    return (len(ordered) - np.searchsorted(ordered, thresholds, "left")).astype(np.float64)


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

    A detection is right if the face it overlaps most has no better-scored detection; detections on ignored faces are neither
    right nor wrong.
    """
    curve = plain_curve(outcome_of(found, faces, overlap), Found.of([(d.boxes, d.scores) for d in found]), faces)
    recall = (float(curve.recall[-1]) if len(curve.recall) else 0.0) if curve.faces else float("nan")
    return Precision(curve.ap, recall, curve.faces, len(faces))


def outcome_of(found: Sequence[Detections], faces: Sequence[Faces], overlap: float = 0.5) -> Outcome:
    """The outcome of each detection, those of all pictures in order."""
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


def judge_picture(
    boxes: Floats, scores: Floats, truth: Faces, overlap: float
) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    """Of each detection (n,): RIGHT, WRONG, or NEITHER on an ignored face; and the face that it matches, -1 for none."""
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


@dataclass(frozen=True)
class CocoPrecision:
    """COCO's AP, 0 to 1, NaN where no face counts. ap: mean of by_iou. ap50, ap75: at an IoU of 0.5 and 0.75.

    by_iou (10,): at IoU 0.5, 0.55 to 0.95. faces: how many count.
    """

    ap: float
    ap50: float
    ap75: float
    by_iou: Doubles
    faces: int


def coco_average_precision(found: Sequence[Detections], faces: Sequence[Faces], most: int = 100) -> CocoPrecision:
    """COCO's AP of detections against faces, one entry a picture, boxes finite and in pixels.

    At each IoU, detections by falling score are matched to the face that they overlap most among those not yet matched. Ignored
    faces are COCO's crowds: an unmatched detection is neither right nor wrong if that share of its own area is on one of them.
    Equal scores keep their order. most: how many detections of a picture count, the best-scored; 0 for all. Raises ValueError
    if ``found`` and ``faces`` differ in length or ``most`` is negative.
    """
    if len(found) != len(faces):
        raise ValueError(f"detections of {len(found)} pictures, faces of {len(faces)}")
    if most < 0:
        raise ValueError(f"most is {most}, and has to be 0 (for all) or more")
    total = sum(int((~truth.ignored).sum()) for truth in faces)
    if not total:
        return CocoPrecision(np.nan, np.nan, np.nan, np.full(len(IOUS), np.nan), 0)
    all_scores, all_right, all_counted = [], [], []
    for detections, truth in zip(found, faces, strict=True):
        best = np.argsort(-detections.scores, kind="stable")[: most or None]
        right, counted = _judge(detections.boxes[best].astype(np.float64), truth)
        all_scores.append(detections.scores[best])
        all_right.append(right)
        all_counted.append(counted)
    order = np.argsort(-np.concatenate(all_scores), kind="stable")
    right, counted = np.concatenate(all_right)[order], np.concatenate(all_counted)[order]
    by_iou = np.array([_area_under((right & bit != 0)[counted & bit != 0], total) for bit in 1 << np.arange(len(IOUS))])
    return CocoPrecision(float(by_iou.mean()), float(by_iou[0]), float(by_iou[5]), by_iou, total)


def _judge(boxes: Doubles, truth: Faces) -> tuple[Indices, Indices]:
    """At which IoUs each detection (n, 4), best first, is right, and at which it counts: two arrays (n,) of sets.

    All IoUs are matched in one pass, over the few pairs that overlap enough for any of them.
    """
    row, face, overlap = _pairs(boxes, truth)
    met = (1 << np.searchsorted(IOUS, overlap, "right")) - 1
    met_on_ignored = np.zeros(len(boxes), np.int64)
    on_ignored = truth.ignored[face]
    np.bitwise_or.at(met_on_ignored, row[on_ignored], met[on_ignored])
    # COCO ignores unmatched detections outside its range of areas
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    met_on_ignored[(width * height < 0) | (width * height > LARGEST)] = EVERY_IOU

    # each detection's faces by falling overlap, of equals the later one first
    order = np.lexsort((-face, -overlap, row))
    order = order[~on_ignored[order]]
    right = [0] * len(boxes)
    free = [EVERY_IOU] * len(truth)
    for i, j, fits in zip(row[order].tolist(), face[order].tolist(), met[order].tolist(), strict=True):
        taken = fits & free[j] & ~right[i]
        right[i] |= taken
        free[j] &= ~taken
    at = np.array(right, np.int64)
    return at, EVERY_IOU & (at | ~met_on_ignored)


def _pairs(boxes: Doubles, truth: Faces) -> tuple[Indices, Indices, Doubles]:
    """Detection, face and overlap, (p,) each, of the pairs that overlap by the lowest IoU or more.

    The overlap is the IoU; with an ignored face, the share of the detection's area.
    """
    low, high = truth.boxes[:, :2].astype(np.float64), truth.boxes[:, 2:].astype(np.float64)
    face_areas = (high - low).prod(1)
    rows, columns, overlaps = [], [], []
    step = max(1, MOST_PAIRS // max(1, len(truth)))
    for start in range(0, len(boxes), step):
        x1, y1, x2, y2 = boxes[start : start + step].T[:, :, None]
        width = np.minimum(x2, high[:, 0]) - np.maximum(x1, low[:, 0])
        height = np.minimum(y2, high[:, 1]) - np.maximum(y1, low[:, 1])
        row, column = np.nonzero((width > 0) & (height > 0))
        shared = width[row, column] * height[row, column]
        areas = ((x2 - x1) * (y2 - y1))[row, 0]
        overlap = shared / np.where(truth.ignored[column], areas, areas + face_areas[column] - shared)
        enough = overlap >= IOUS[0]
        rows.append(row[enough] + start)
        columns.append(column[enough])
        overlaps.append(overlap[enough])
    if not rows:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    return np.concatenate(rows), np.concatenate(columns), np.concatenate(overlaps)


def _area_under(right: Flags, faces: int) -> float:
    """Mean precision at COCO's 101 recalls. right: of the detections that count, best first. faces: how many count."""
    hits = np.cumsum(right)
    precision = hits / np.arange(1, len(hits) + 1)
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    reached = np.searchsorted(hits / faces, RECALLS, "left")
    return float(np.append(best_from_here, 0.0)[reached].mean())
