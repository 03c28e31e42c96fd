"""A batch of labelled pictures as tensors, and which anchor learns which face: over the whole batch, no loop over pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from featherface_core.boxes import ANCHOR_SIZES, ANCHORS_PER_CELL, STRIDES, make_anchors
from featherface_core.data.annotation import Faces

COVERED = 0.5  # an anchor with this share of itself on an ignored face trains nothing


@dataclass(frozen=True)
class Targets:
    """The faces of a batch, one after another. F faces in ``pictures`` pictures.

    boxes (F, 4): x1, y1, x2, y2 in pixels of the network's input; landmarks (F, 5, 2), NaN where unknown; ignored (F,);
    weights (F,), 0 to 1; picture (F,): which picture of the batch each face is in, int64.
    """

    boxes: Tensor
    landmarks: Tensor
    ignored: Tensor
    weights: Tensor
    picture: Tensor
    pictures: int

    @classmethod
    def of(cls, faces: Sequence[Faces]) -> "Targets":
        """The targets of a batch from the faces of each of its pictures."""
        counts = torch.tensor([len(f) for f in faces], dtype=torch.int64)
        return cls(
            torch.cat([torch.from_numpy(f.boxes) for f in faces]),
            torch.cat([torch.from_numpy(f.landmarks) for f in faces]),
            torch.cat([torch.from_numpy(f.ignored) for f in faces]),
            torch.cat([torch.from_numpy(f.weights) for f in faces]),
            torch.repeat_interleave(torch.arange(len(faces)), counts),
            len(faces),
        )

    def to(self, device: torch.device | str) -> "Targets":
        """The same on another device."""
        return Targets(
            self.boxes.to(device),
            self.landmarks.to(device),
            self.ignored.to(device),
            self.weights.to(device),
            self.picture.to(device),
            self.pictures,
        )


@dataclass(frozen=True)
class Matches:
    """What each anchor of a batch learns; indices run over pictures, then anchors, as ``outputs.flatten(0, 1)`` does.

    positive (P,): anchors that learn a face, ascending; face (P,): which of ``Targets``; overlap (P,): their IoU. Anchors in
    ``ignored`` (K,) are neither positive nor negative.
    """

    positive: Tensor
    face: Tensor
    overlap: Tensor
    ignored: Tensor


@lru_cache(maxsize=64)
def anchors_of(height: int, width: int, device: str = "cpu") -> Tensor:
    """Anchors (A, 4), centre x, y, width, height, as a tensor; see boxes.make_anchors."""
    return torch.from_numpy(make_anchors(height, width)).to(device)


def match(targets: Targets, height: int, width: int, iou: float = 0.35, ignore_iou: float = 0.25) -> Matches:
    """Give each anchor the face it overlaps most, from an IoU of ``iou`` on; a face's best anchor always learns it.

    height, width: of the network's input in pixels. Where two faces share their best anchor the closer fit has it. Anchors that
    overlap an ignored face by ``ignore_iou``, or lie half on it, are ignored unless they are positive. SSD, Liu et al. 2016,
    section 2.2. Only anchors near a face are looked at, so the cost grows with the faces, not with faces x anchors.
    """
    real = ~targets.ignored & _has_area(targets.boxes)
    total = targets.pictures * len(anchors_of(height, width))
    device = targets.boxes.device
    index = torch.nonzero(real).flatten()
    near, face, overlap, _ = _near(targets, index, height, width, iou, covered=False)
    strong = overlap >= iou
    best, best_overlap = _best(targets, index, height, width)
    # the best anchor of a face outranks all ordinary overlaps, which end at 1
    keys = torch.cat((near[strong], best))
    owners = torch.cat((face[strong], index))
    ranks = torch.cat((overlap[strong], best_overlap + 2.0))
    highest = torch.zeros(total, device=device).scatter_reduce_(0, keys, ranks, "amax")
    first = torch.full((total,), len(real), dtype=torch.int64, device=device)
    winning = ranks == highest[keys]
    first.scatter_reduce_(0, keys[winning], owners[winning], "amin")
    positive = torch.nonzero(highest).flatten()
    won = highest[positive]
    ignored = torch.nonzero(targets.ignored).flatten()
    if len(ignored):
        near, _, overlap, inside = _near(targets, ignored, height, width, ignore_iou, covered=True)
        mask = torch.zeros(total, dtype=torch.bool, device=device)
        mask[near[(overlap >= ignore_iou) | (inside >= COVERED)]] = True
        mask[_best(targets, ignored, height, width)[0]] = True
        mask[positive] = False
        ignored = torch.nonzero(mask).flatten()
    return Matches(positive, first[positive], torch.where(won >= 2.0, won - 2.0, won), ignored)


def _has_area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] > boxes[:, :2]).all(1)


@lru_cache(maxsize=64)
def _layers(height: int, width: int, device: str) -> tuple[Tensor, ...]:
    """For each of the six (level, size) layers of anchors: stride, side, rows, columns, first index, each (6,)."""
    rows, start = [], 0
    for stride, sizes in zip(STRIDES, ANCHOR_SIZES, strict=True):
        down, across = -(-height // stride), -(-width // stride)
        rows += [(stride, side, down, across, start + i) for i, side in enumerate(sizes)]
        start += down * across * ANCHORS_PER_CELL
    return tuple(torch.tensor(column, device=device) for column in zip(*rows, strict=True))


def _best(targets: Targets, index: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """The best anchor (flat index) and its IoU for each of the faces ``index``; of equal ones the nearest centre.

    In each layer no anchor overlaps a face more than the one with the nearest centre, so six candidates are enough.
    """
    stride, side, rows, columns, start = _layers(height, width, str(targets.boxes.device))
    boxes = targets.boxes[index]
    centre, size = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    cells = [
        (centre[:, axis, None] / stride).floor().clamp(min=0).minimum(limit - 1)
        for axis, limit in ((0, columns), (1, rows))
    ]
    overlap = torch.ones(())
    for axis in range(2):
        middle = (cells[axis] + 0.5) * stride
        high = torch.minimum(boxes[:, 2 + axis, None], middle + side / 2)
        overlap = overlap * (high - torch.maximum(boxes[:, axis, None], middle - side / 2)).clamp(min=0)
    union = size.prod(1)[:, None] + side**2 - overlap
    shares, layer = (overlap / union).max(1)
    pick = layer[:, None]
    column, row = (cell.gather(1, pick).flatten().long() for cell in cells)
    anchor = start[layer] + (row * columns[layer] + column) * ANCHORS_PER_CELL
    return targets.picture[index] * len(anchors_of(height, width)) + anchor, shares


def _near(
    targets: Targets, index: Tensor, height: int, width: int, iou: float, covered: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pairs of anchors and faces that may overlap by ``iou`` (or, if ``covered``, lie half on the face).

    Returns, for C pairs: the anchor's flat index, the face, their IoU, and the share of the anchor that the face covers.
    """
    stride, side, rows, columns, start = _layers(height, width, str(targets.boxes.device))
    boxes = targets.boxes[index]
    centre, size = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]).clamp(min=1e-6)
    # IoU >= t needs an intersection of t / (1 + t) of both areas; along x it is at most (w + s) / 2 - |dx|, along y min(h, s)
    needed = iou / (1 + iou) * (size.prod(1)[:, None] + side**2)
    if covered:
        needed = torch.minimum(needed, (COVERED * side**2).expand_as(needed))
    low, count = [], []
    feasible = torch.minimum(size[:, 0, None], side) * torch.minimum(size[:, 1, None], side) >= needed * 0.999
    for axis, limit in ((0, columns), (1, rows)):
        other = torch.minimum(size[:, 1 - axis, None], side)
        reach = (size[:, axis, None] + side) / 2 - needed / other + 0.01
        first = ((centre[:, axis, None] - reach) / stride - 0.5).ceil().clamp(min=0).minimum(limit)
        last = ((centre[:, axis, None] + reach) / stride - 0.5).floor().clamp(min=-1).minimum(limit - 1)
        low.append(first.long())
        count.append(torch.where(feasible, (last - first + 1).clamp(min=0), 0).long())
    pairs = (count[0] * count[1]).flatten()
    which = torch.repeat_interleave(torch.arange(len(pairs), device=pairs.device), pairs)
    within = torch.arange(len(which), device=pairs.device) - (pairs.cumsum(0) - pairs)[which]
    face, layer = which // len(stride), which % len(stride)
    across = count[0].flatten()[which]
    column = low[0].flatten()[which] + within % across
    row = low[1].flatten()[which] + within // across
    half = side[layer] / 2
    boxes = boxes[face]
    overlap = torch.ones(())
    for axis, cell in ((0, column), (1, row)):
        middle = (cell + 0.5) * stride[layer]
        high = torch.minimum(boxes[:, 2 + axis], middle + half)
        overlap = overlap * (high - torch.maximum(boxes[:, axis], middle - half)).clamp(min=0)
    area = side[layer] ** 2
    union = size.prod(1)[face] + area - overlap
    anchor = start[layer] + (row * columns[layer] + column) * ANCHORS_PER_CELL
    flat = targets.picture[index[face]] * len(anchors_of(height, width)) + anchor
    return flat, index[face], overlap / union, overlap / area
