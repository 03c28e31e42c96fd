"""Detection heads: 1x1 convolutions from one level's features to its anchors' scores, boxes and landmarks."""

import math

import torch
from torch import Tensor, nn

from featherface_core.boxes import ANCHORS_PER_CELL


class LevelHead(nn.Module):
    """(N, C, H, W) to box regressions (N, A, 4), class logits (N, A, 2), landmarks (N, A, 10); A = 2 H W.

    Anchors run over rows, then columns, then the anchors of a cell, as ``boxes.make_anchors`` lists them.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.boxes = nn.Conv2d(channels, ANCHORS_PER_CELL * 4, 1)
        self.classes = nn.Conv2d(channels, ANCHORS_PER_CELL * 2, 1)
        self.landmarks = nn.Conv2d(channels, ANCHORS_PER_CELL * 10, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, C, H, W) to (N, A, 4), (N, A, 2), (N, A, 10)."""
        boxes, classes, landmarks = (
            head(x).permute(0, 2, 3, 1).flatten(1, 2).reshape(x.shape[0], -1, values)
            for head, values in ((self.boxes, 4), (self.classes, 2), (self.landmarks, 10))
        )
        return boxes, classes, landmarks


class Heads(nn.ModuleList):
    """A LevelHead for each level, and their outputs as one list of anchors."""

    def __init__(self, channels: int, levels: int) -> None:
        super().__init__(LevelHead(channels) for _ in range(levels))

    def forward(self, levels: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """(N, C, H_i, W_i) to (N, A, 4), (N, A, 2), (N, A, 10); softmax scores in evaluation mode, logits in training mode."""
        outputs = [head(f) for f, head in zip(levels, self, strict=True)]
        boxes, classes, landmarks = (torch.cat([level[i] for level in outputs], 1) for i in range(3))
        return boxes, classes if self.training else classes.softmax(-1), landmarks


@torch.no_grad()
def set_prior(heads: Heads, prior: float) -> None:
    """Set the biases of untrained heads so that each anchor starts near a softmax face score of ``prior`` (0 to 1).

    Lin et al. 2017, "Focal loss", section 4.1: without it the negatives' loss, summed over all anchors, dominates the first
    steps.
    """
    odds = math.log(prior / (1 - prior))
    for head in heads:
        assert isinstance(head, LevelHead)
        assert head.classes.bias is not None
        # background, face, background, face
        head.classes.bias.copy_(torch.tensor([-odds / 2, odds / 2]).repeat(ANCHORS_PER_CELL))
