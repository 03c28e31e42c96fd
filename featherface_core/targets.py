"""A batch of labelled pictures as tensors: the faces of all pictures in one list."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from featherface_core.boxes import make_anchors
from featherface_core.data.annotation import Faces


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
