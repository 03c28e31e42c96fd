"""Boxes and landmarks as tensors: coded against their anchors, decoded, and compared. ``boxes`` has the same in NumPy."""

import torch
from torch import Tensor

from featherface_core.boxes import VARIANCES

SMALLEST = 1e-3  # pixels: keeps the logarithm of a side finite


def encode(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Boxes (n, 4) x1 y1 x2 y2 and their anchors (n, 4) to regressions (n, 4); the inverse of boxes.decode_boxes."""
    centre, size = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]).clamp(min=SMALLEST)
    moved = (centre - anchors[:, :2]) / (VARIANCES[0] * anchors[:, 2:])
    return torch.cat((moved, torch.log(size / anchors[:, 2:]) / VARIANCES[1]), 1)


def decode(regressions: Tensor, anchors: Tensor) -> Tensor:
    """Regressions (n, 4) and anchors (n, 4) to boxes (n, 4), differentiable; see boxes.decode_boxes."""
    centre = anchors[:, :2] + regressions[:, :2] * VARIANCES[0] * anchors[:, 2:]
    # e^8 times an anchor is larger than any picture; beyond it a young network's boxes would overflow
    half = anchors[:, 2:] * (regressions[:, 2:] * VARIANCES[1]).clamp(-8, 8).exp() / 2
    return torch.cat((centre - half, centre + half), 1)


def encode_points(points: Tensor, anchors: Tensor) -> Tensor:
    """Landmarks (n, 5, 2) and anchors (n, 4) to regressions (n, 10); see boxes.encode_landmarks."""
    return ((points - anchors[:, None, :2]) / (VARIANCES[0] * anchors[:, None, 2:])).flatten(1)


def iou_of(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """IoU (n,) of boxes paired row by row, and the sides (n, 2) of the smallest box around each pair."""
    inside = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0).prod(1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1) for boxes in (a, b)]
    hull = torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])
    return inside / (areas[0] + areas[1] - inside).clamp(min=SMALLEST**2), hull


def corners(anchors: Tensor) -> Tensor:
    """Anchors (n, 4), centre x, y, width, height, to boxes (n, 4), x1, y1, x2, y2."""
    half = anchors[:, 2:] / 2
    return torch.cat((anchors[:, :2] - half, anchors[:, :2] + half), 1)
