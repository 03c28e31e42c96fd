"""Which face each detection is on, for all pictures at once."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featherface_core.evaluation.truth import Doubles, Flags, Found, Indices, Truth

MOST_PAIRS = 1 << 19  # boxes against faces at a time: 4 MiB an array
RIGHT, WRONG, NEITHER = 1, 0, -1


@dataclass(frozen=True)
class Matches:
    """For each detection, best score first within its picture: the face that it overlaps most, and by how much.

    face (D,): index into the truth, -1 in a picture without faces. overlap (D,): IoU. order (D,): the detection's place in Found.
    scores (D,).
    """

    face: Indices
    overlap: Doubles
    order: Indices
    scores: Doubles


def match(found: Found, truth: Truth) -> Matches:
    """Match by the rule of the WIDER FACE evaluation: the face of the largest IoU, the first of equals.

    Sides count one pixel more than x2 - x1, as there. Equal scores keep the order in which they came.
    """
    if len(found.ends) != len(truth.names):
        raise ValueError(f"detections of {len(found.ends)} pictures, faces of {len(truth.names)}")
    order = np.lexsort((-found.scores, found.picture))
    boxes, picture = found.boxes[order], found.picture[order]
    starts = np.concatenate(([0], truth.ends[:-1])) if len(truth.ends) else np.zeros(0, np.int64)
    faces_of = np.diff(truth.ends, prepend=0)
    candidates = faces_of[picture]  # faces that each detection is held against
    face = np.full(len(order), -1, np.int64)
    overlap = np.zeros(len(order))
    with_faces = np.flatnonzero(candidates)
    # rows of unequal length laid end to end: (detection, face) pairs, some hundred thousand at a time
    ends = np.cumsum(candidates[with_faces])
    first = 0
    while first < len(with_faces):
        before = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(ends, before + MOST_PAIRS, "right")))
        rows = with_faces[first:last]
        counts = candidates[rows]
        begin = np.concatenate(([0], np.cumsum(counts)[:-1]))
        row = np.repeat(np.arange(len(rows)), counts)
        column = np.arange(len(row)) - begin[row]
        pair_face = starts[picture[rows]][row] + column
        shares = iou_with_extra_pixel(boxes[rows][row], truth.boxes[pair_face])
        best = np.maximum.reduceat(shares, begin)
        is_best = np.flatnonzero(shares == best[row])
        _, first_best = np.unique(row[is_best], return_index=True)
        face[rows] = pair_face[is_best[first_best]]
        overlap[rows] = best
        first = last
    return Matches(face, overlap, order, found.scores[order])


def iou_with_extra_pixel(a: Doubles, b: Doubles) -> Doubles:
    """IoU of boxes (n, 4) and (n, 4), x1 y1 x2 y2, pair by pair: (n,), with sides of x2 - x1 + 1 (Fast R-CNN's convention)."""
    width = np.minimum(a[:, 2], b[:, 2]) - np.maximum(a[:, 0], b[:, 0]) + 1
    height = np.minimum(a[:, 3], b[:, 3]) - np.maximum(a[:, 1], b[:, 1]) + 1
    overlap = np.clip(width, 0, None) * np.clip(height, 0, None)
    area_a = (a[:, 2] - a[:, 0] + 1) * (a[:, 3] - a[:, 1] + 1)
    area_b = (b[:, 2] - b[:, 0] + 1) * (b[:, 3] - b[:, 1] + 1)
    union = area_a + area_b - overlap
    shares: Doubles = np.divide(overlap, union, out=np.zeros_like(overlap), where=overlap > 0)
    return shares


def judge(matches: Matches, counted: Flags, iou: float) -> NDArray[np.int8]:
    """(D,) in the order of ``matches``: RIGHT, WRONG or NEITHER.

    RIGHT is the best detection of a face that counts; NEITHER is any on a face that does not count; a second detection of a
    face, and one that fits no face, are WRONG. counted (F,): which faces count.
    """
    verdicts = np.full(len(matches.face), WRONG, np.int8)
    fits = np.flatnonzero((matches.overlap >= iou) & (matches.face >= 0))
    counts = counted[matches.face[fits]]
    verdicts[fits[~counts]] = NEITHER
    real = fits[counts]
    _, first = np.unique(matches.face[real], return_index=True)  # the first of a face is its best
    verdicts[real[first]] = RIGHT
    return verdicts
