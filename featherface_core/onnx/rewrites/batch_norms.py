"""Folding batch normalisations into the convolutions before them, deformable ones included."""

import torch
from torch import nn

from featherface_core.models.blocks import ConvBN
from featherface_core.models.context import DeformConvBN
from featherface_core.models.deform import DeformConv2d
from featherface_core.models.featherface import FeatherFace


def fold_batch_norms(model: FeatherFace) -> None:
    """No BatchNorm is left: each is multiplied into its convolution, in float64."""
    for block in model.modules():
        if isinstance(block, ConvBN | DeformConvBN) and isinstance(block.bn, nn.BatchNorm2d):
            conv: nn.Conv2d | DeformConv2d = block.conv
            scale, shift = _scale_and_shift(block.bn)
            weight = conv.weight.double() * scale.view(-1, 1, 1, 1)
            bias = shift if conv.bias is None else conv.bias.double() * scale + shift
            conv.weight = nn.Parameter(weight.to(conv.weight.dtype), requires_grad=False)
            conv.bias = nn.Parameter(bias.to(conv.weight.dtype), requires_grad=False)
            block.bn = nn.Identity()  # type: ignore[assignment]


def _scale_and_shift(bn: nn.BatchNorm2d) -> tuple[torch.Tensor, torch.Tensor]:
    mean, variance = bn.running_mean, bn.running_var
    assert mean is not None
    assert variance is not None
    scale = bn.weight.double() / torch.sqrt(variance.double() + bn.eps)
    return scale, bn.bias.double() - mean.double() * scale
