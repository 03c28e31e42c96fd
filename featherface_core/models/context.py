"""SSH context modules (Najibi et al. 2017, https://arxiv.org/abs/1708.03979): three receptive fields, one per branch."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from featherface_core.models.blocks import ConvBN, leaky
from featherface_core.models.deform import DeformConv2d


class DeformConvBN(nn.Module):
    """Deformable 3x3, BN and an optional activation: (N, C, H, W) to (N, O, H, W)."""

    def __init__(self, in_channels: int, out_channels: int, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.conv = DeformConv2d(in_channels, out_channels)
        self.bn = nn.BatchNorm2d(out_channels)
        self.activation = nn.Identity() if activation is None else activation

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, O, H, W)."""
        return self.activation(self.bn(self.conv(x)))  # type: ignore[no-any-return]


class SSH(nn.Module):
    """C/2 channels of 3x3, C/4 of "5x5" (two 3x3) and C/4 of "7x7" (three 3x3): (N, C, H, W) to the same shape.

    deformable: every 3x3 is a DeformConv2d; else an ordinary convolution.
    """

    def __init__(self, channels: int, deformable: bool) -> None:
        super().__init__()
        half, quarter = channels // 2, channels // 4

        def conv(inside: int, outside: int, activation: nn.Module | None = None) -> nn.Module:
            if deformable:
                return DeformConvBN(inside, outside, activation)
            return ConvBN(inside, outside, 3, activation=activation)

        self.conv3x3 = conv(channels, half)
        self.conv5x5_1 = conv(channels, quarter, leaky())
        self.conv5x5_2 = conv(quarter, quarter)
        self.conv7x7_2 = conv(quarter, quarter, leaky())
        self.conv7x7_3 = conv(quarter, quarter)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        stem = self.conv5x5_1(x)
        branches = (self.conv3x3(x), self.conv5x5_2(stem), self.conv7x7_3(self.conv7x7_2(stem)))
        return F.relu(torch.cat(branches, 1))


class GroupedSSH(nn.Module):
    """SSH with a 1x1 reduction and 3x3 convolutions in four groups: (N, C, H, W) to the same shape."""

    groups = 4

    def __init__(self, channels: int) -> None:
        super().__init__()
        half, quarter = channels // 2, channels // 4

        def grouped(width: int, activation: nn.Module | None = None) -> ConvBN:
            return ConvBN(width, width, 3, groups=self.groups, activation=activation)

        self.conv3x3 = nn.Sequential(ConvBN(channels, half, 1, activation=nn.ReLU()), grouped(half))
        self.conv5x5_1 = nn.Sequential(ConvBN(channels, quarter, 1, activation=nn.ReLU()), grouped(quarter))
        self.conv5x5_2 = grouped(quarter)
        self.conv7x7_2 = grouped(quarter, nn.ReLU())
        self.conv7x7_3 = grouped(quarter)

    forward = SSH.forward


def build_context(channels: int, kind: str) -> nn.Module:
    """The context module of one level; kind: see ModelConfig.context."""
    return GroupedSSH(channels) if kind == "grouped" else SSH(channels, deformable=kind == "deformable")
