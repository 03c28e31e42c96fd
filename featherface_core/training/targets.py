"""A batch's faces as tensors, and boxes and landmarks coded against anchors; ``boxes`` has the same for arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from featherface_core.boxes import VARIANCES, make_anchors
from featherface_core.data.annotation import Faces

SMALLEST = 1e-3  # pixels: keeps the logarithm of a side finite


@dataclass(frozen=True)
class Targets:
    """The faces of a batch, one after another. F faces in ``pictures`` pictures.

    boxes (F, 4): x1, y1, x2, y2 in pixels of the network's input; landmarks (F, 5, 2), NaN where unknown; ignored (F,);
    weights (F,), 0 to 1; picture (F,): which picture of the batch each face is in, int64. host: the same on the CPU, for
    tensors on another device: sizes are counted there, so that the device need not be waited for.
    """

    boxes: Tensor
    landmarks: Tensor
    ignored: Tensor
    weights: Tensor
    picture: Tensor
    pictures: int
    host: "Targets | None" = None

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
        if torch.device(device) == self.boxes.device:
            return self
        return Targets(
            self.boxes.to(device),
            self.landmarks.to(device),
            self.ignored.to(device),
            self.weights.to(device),
            self.picture.to(device),
            self.pictures,
            self.on_host(),
        )

    def on_host(self) -> "Targets":
        """The same on the CPU; a copy that is there already is not made again."""
        if self.boxes.device.type == "cpu":
            return self
        return self.host or self.to("cpu")


@lru_cache(maxsize=64)
def anchors_of(height: int, width: int, device: str = "cpu") -> Tensor:
    """Anchors (A, 4), centre x, y, width, height, as a tensor; see boxes.make_anchors."""
    return torch.from_numpy(make_anchors(height, width)).to(device)


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
