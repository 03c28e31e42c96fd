"""The heads of a level as one convolution, and softmax of two classes as a sigmoid."""

import torch
from torch import Tensor, nn

from featherface_core.boxes import ANCHORS_PER_CELL
from featherface_core.models.featherface import FeatherFace
from featherface_core.models.heads import LevelHead

VALUES = (4, 2, 10)  # box, scores, landmarks of an anchor


def join_heads(model: FeatherFace) -> None:
    """One 1x1 convolution, one transposition and one piece of a concatenation for each level, in place of three."""
    assert isinstance(model.heads, nn.ModuleList)
    model.heads = JoinedHeads([head for head in model.heads if isinstance(head, LevelHead)])


class JoinedHeads(nn.Module):
    """What ``models.heads.Heads`` gives in evaluation mode.

    The softmax of two logits is the sigmoid of their difference, and of its negative; the convolution computes both.
    """

    def __init__(self, heads: list[LevelHead]) -> None:
        super().__init__()
        self.levels = nn.ModuleList(_one_head(head) for head in heads)

    def forward(self, levels: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """(N, C, H_i, W_i) to (N, A, 4), (N, A, 2), (N, A, 10)."""
        width = sum(VALUES)
        outputs = [
            conv(f).permute(0, 2, 3, 1).reshape(f.shape[0], -1, width)
            for conv, f in zip(self.levels, levels, strict=True)
        ]
        boxes, margins, landmarks = torch.cat(outputs, 1).split(VALUES, 2)  # type: ignore[no-untyped-call]
        return boxes, margins.sigmoid(), landmarks


def _one_head(head: LevelHead) -> nn.Conv2d:
    parts = []
    for conv, values in zip((head.boxes, head.classes, head.landmarks), VALUES, strict=True):
        assert conv.bias is not None
        weight = conv.weight.double().view(ANCHORS_PER_CELL, values, -1)
        bias = conv.bias.double().view(ANCHORS_PER_CELL, values, 1)
        part = torch.cat((weight, bias), 2)
        parts.append(part - part.flip(1) if values == 2 else part)
    joined = torch.cat(parts, 1).flatten(0, 1)
    conv = nn.Conv2d(joined.shape[1] - 1, joined.shape[0], 1, dtype=head.boxes.weight.dtype).requires_grad_(False)
    conv.weight.copy_(joined[:, :-1, None, None])
    conv.bias.copy_(joined[:, -1])  # type: ignore[union-attr]
    return conv
