"""Average precision as COCO computes it for boxes of one class (Lin et al. 2014, https://arxiv.org/abs/1405.0312).

The rules are those of the evaluation code that COCO publishes (COCOeval of https://github.com/cocodataset/cocoapi): figures equal
its own to 12 digits.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from featherface_core.data.annotation import Faces
from featherface_core.evaluation.truth import Doubles, Flags, Indices
from featherface_core.results import Detections

IOUS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
LARGEST = 1e5**2  # square pixels: where COCO's "all sizes" end
MOST_PAIRS = 1 << 19  # boxes against faces at a time: 4 MiB an array

EVERY_IOU = (1 << len(IOUS)) - 1  # a set of IoUs is a number: bit k stands for IOUS[k]


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

    At each IoU, detections by falling score take the face that they overlap most of those not yet taken. Ignored faces are COCO's
    crowds: a detection that takes no face counts neither way if that share of its own area is on one of them. Equal scores keep
    their order. most: how many detections of a picture count, the best-scored; 0 for all. Raises ValueError if ``found`` and
    ``faces`` differ in length or ``most`` is negative.
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
    # COCO leaves out what is outside its range of areas, if it finds no face
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
