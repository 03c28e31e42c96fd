"""Anchors, box coding, IoU and NMS: pure functions of NumPy arrays, shared by every path from network to faces.

The anchors and the coding are RetinaFace's (Deng et al. 2020, https://arxiv.org/abs/1905.00641), from SSD (Liu et al. 2016).
The deployment package carries these functions as they stand here, so they use NumPy and each other alone.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

STRIDES = (8, 16, 32)
ANCHOR_SIZES = ((16, 32), (64, 128), (256, 512))
ANCHORS_PER_CELL = 2
VARIANCES = (0.1, 0.2)


def count_anchors(height: int, width: int) -> int:
    """Anchors of a picture of ``height`` x ``width`` pixels.

    >>> count_anchors(640, 640)
    16800
    """
    return sum(ANCHORS_PER_CELL * -(-height // s) * -(-width // s) for s in STRIDES)


def make_anchors(
    height: int,
    width: int,
    strides: tuple[int, ...] = STRIDES,
    sizes: tuple[tuple[int, ...], ...] = ANCHOR_SIZES,
) -> Floats:
    """Anchors (A, 4): centre x, centre y, width, height, in pixels of the network's input of ``height`` x ``width``.

    They run over levels, then rows, columns and sizes, as the network's outputs do.
    """
    levels = []
    for stride, level_sizes in zip(strides, sizes, strict=True):
        rows, columns = -(-height // stride), -(-width // stride)
        y, x, size = np.meshgrid(
            (np.arange(rows) + 0.5) * stride, (np.arange(columns) + 0.5) * stride, level_sizes, indexing="ij"
        )
        levels.append(np.stack((x, y, size, size), -1).reshape(-1, 4))
    return np.concatenate(levels).astype(np.float32)


def decode_boxes(regressions: Floats, anchors: Floats, variances: tuple[float, float] = VARIANCES) -> Floats:
    """Regressions (n, 4) and their anchors (n, 4) to boxes (n, 4): x1, y1, x2, y2 in pixels."""
    centres = anchors[:, :2] + regressions[:, :2] * variances[0] * anchors[:, 2:]
    # a float32 exponential overflows at 88: a diverged network then gives huge boxes, not infinite ones
    half = anchors[:, 2:] * np.exp(np.minimum(regressions[:, 2:] * variances[1], 60.0)) / 2
    return np.concatenate((centres - half, centres + half), 1)


def encode_boxes(boxes: Floats, anchors: Floats, variances: tuple[float, float] = VARIANCES) -> Floats:
    """The inverse of ``decode_boxes``; boxes of zero width or height give -inf."""
    centres, sizes = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    moved = (centres - anchors[:, :2]) / (variances[0] * anchors[:, 2:])
    with np.errstate(divide="ignore"):
        return np.concatenate((moved, np.log(sizes / anchors[:, 2:]) / variances[1]), 1)


def decode_landmarks(regressions: Floats, anchors: Floats, variances: tuple[float, float] = VARIANCES) -> Floats:
    """Regressions (n, 10) and their anchors (n, 4) to five points (n, 5, 2): x, y in pixels."""
    points = regressions.reshape(-1, 5, 2)
    return anchors[:, None, :2] + points * variances[0] * anchors[:, None, 2:]


def encode_landmarks(points: Floats, anchors: Floats, variances: tuple[float, float] = VARIANCES) -> Floats:
    """The inverse of ``decode_landmarks``: (n, 5, 2) to (n, 10)."""
    moved: Floats = (points - anchors[:, None, :2]) / (variances[0] * anchors[:, None, 2:])
    return moved.reshape(-1, 10)


def iou(a: Floats, b: Floats) -> Floats:
    """Intersection over union of boxes (n, 4) and (m, 4), x1 y1 x2 y2: (n, m), 0 to 1. A box without area gives 0."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    overlap = np.clip(high - low, 0, None).prod(2)
    area_a = np.clip(a[:, 2:] - a[:, :2], 0, None).prod(1)
    area_b = np.clip(b[:, 2:] - b[:, :2], 0, None).prod(1)
    union = area_a[:, None] + area_b[None, :] - overlap
    shares: Floats = np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)
    return shares


def nms(boxes: Floats, scores: Floats, threshold: float, top_k: int = 0) -> NDArray[np.intp]:
    """Greedy non-maximum suppression: indices of the boxes kept, best first; ties keep the earlier box.

    A box goes if its IoU with a better box that stays is above ``threshold``. Sides count one pixel more than x2 - x1, as in
    the evaluation code that published figures come from (Fast R-CNN's, Girshick 2015): it matters for faces of a few pixels.
    Each step rounds as onnxruntime's NonMaxSuppression does, so that files with post-processing keep the same boxes.
    top_k: how many to keep at most, 0 for all.
    """
    order = np.argsort(-scores, kind="stable")
    x1, y1, x2, y2 = np.ascontiguousarray(boxes[order].T)
    x2, y2 = x2 + 1, y2 + 1
    areas = (x2 - x1) * (y2 - y1)
    gone = np.zeros(len(order), bool)
    kept: list[int] = []
    for best in range(len(order)):
        if gone[best]:
            continue
        kept.append(best)
        if len(kept) == top_k:
            break
        # slices of all that follow, gone or not: to gather those that are left costs more than to compare them
        rest = slice(best + 1, None)
        width = np.minimum(x2[best], x2[rest]) - np.maximum(x1[best], x1[rest])
        height = np.minimum(y2[best], y2[rest]) - np.maximum(y1[best], y1[rest])
        overlap = np.maximum(width, 0, out=width) * height  # below zero where they lie apart
        gone[rest] |= overlap / (areas[best] + areas[rest] - overlap) > threshold
    return order[kept]


def postprocess(
    regressions: Floats,
    scores: Floats,
    landmarks: Floats,
    anchors: Floats,
    score: float,
    nms_iou: float,
    top_k: int = 0,
    variances: tuple[float, float] = VARIANCES,
) -> tuple[Floats, Floats, Floats]:
    """One picture's network outputs (A, 4), (A, 2), (A, 10) to boxes (n, 4), scores (n,), points (n, 5, 2), best first.

    In pixels of the network's input. Anchors with a score above ``score`` alone are decoded; what a diverged network gives
    as NaN or infinity is no face.
    """
    faces = np.flatnonzero(scores[:, 1] > score)
    faces = faces[np.isfinite(regressions[faces]).all(1) & np.isfinite(landmarks[faces]).all(1)]
    face_scores, face_anchors = scores[faces, 1], anchors[faces]
    boxes = decode_boxes(regressions[faces], face_anchors, variances)
    kept = nms(boxes, face_scores, nms_iou, top_k)
    points = decode_landmarks(landmarks[faces[kept]], face_anchors[kept], variances)
    return boxes[kept], face_scores[kept], points
