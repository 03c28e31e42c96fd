"""BiFPN (EfficientDet, Tan et al. 2020, https://arxiv.org/abs/1911.09070) on three levels, and its light form."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from featherface_core.models.blocks import ConvBN, SameMaxPool

BIFPN_EPS = 1e-3  # of the batch normalisations, as in EfficientDet
FUSION_EPS = 1e-4


class SeparableConv(nn.Module):
    """Depthwise 3x3 then 1x1 with BN and no activation at the end: (N, C, H, W) to the same shape.

    light: BN and ReLU after the depthwise half as well, no bias, and the ordinary BN eps.
    """

    def __init__(self, channels: int, light: bool) -> None:
        super().__init__()
        if light:
            self.depthwise: nn.Module = ConvBN(channels, channels, 3, groups=channels, activation=nn.ReLU())
            self.pointwise = ConvBN(channels, channels, 1)
        else:
            self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
            self.pointwise = ConvBN(channels, channels, 1, bias=True, eps=BIFPN_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        return self.pointwise(self.depthwise(x))  # type: ignore[no-any-return]


class Fusion(nn.Module):
    """Fast normalised fusion: conv(swish(sum of w_i x_i)), w = relu(weights) / (their sum + 1e-4).

    A weight without an input (the third of the last fusion of the full BiFPN, kept as published) counts only in the sum.
    """

    def __init__(self, channels: int, inputs: int, light: bool) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.ones(inputs))
        self.conv = SeparableConv(channels, light)
        self.light = light

    def forward(self, *xs: Tensor) -> Tensor:
        """Tensors (N, C, H, W) of one shape to the same shape."""
        positive = F.relu(self.weights)
        share = positive / (positive.sum() + FUSION_EPS)
        fused = share[0] * xs[0]
        for i, x in enumerate(xs[1:], 1):
            fused = fused + share[i] * x
        # two implementations of swish, each as published: they round differently
        swish = F.silu(fused) if self.light else fused * torch.sigmoid(fused)
        return self.conv(swish)  # type: ignore[no-any-return]


class BiFPNCell(nn.Module):
    """One top-down and one bottom-up pass over P3, P4, P5."""

    def __init__(self, channels: int, light: bool) -> None:
        super().__init__()
        self.p4_td = Fusion(channels, 2, light)
        self.p3_out = Fusion(channels, 2, light)
        self.p4_out = Fusion(channels, 3, light)
        self.p5_out = Fusion(channels, 3, light)
        self.light = light
        self.pool: nn.Module = nn.MaxPool2d(3, 2, padding=1) if light else SameMaxPool()

    def forward(self, down: list[Tensor], up: list[Tensor]) -> list[Tensor]:
        """``down`` and ``up``: the levels that the top-down and the bottom-up pass read, (N, C, H_i, W_i), finest first.

        They differ only in the first cell of the full form. Returns P3, P4, P5 of the same shapes.
        """
        p3, p4, p5 = down
        p4_td = self.p4_td(p4, _resize(p5, p4))
        p3_out = self.p3_out(p3, _resize(p4_td, p3))
        p4_out = self.p4_out(up[1], p4_td, self.pool(p3_out))
        last = (self.pool(p4_td),) if self.light else ()
        return [p3_out, p4_out, self.p5_out(up[2], self.pool(p4_out), *last)]


class BiFPN(nn.Module):
    """Feature maps of 64, 128 and 256 channels to three levels of ``width`` channels, through ``cells`` BiFPN cells.

    The full form projects P4 and P5 a second time for the first cell's bottom-up pass.
    """

    def __init__(self, tap_channels: tuple[int, ...], width: int, cells: int, light: bool) -> None:
        super().__init__()

        def project(channels: int) -> ConvBN:
            return ConvBN(channels, width, 1, bias=not light, eps=BIFPN_EPS)

        self.project = nn.ModuleList(project(c) for c in tap_channels)
        self.project_again = nn.ModuleList(project(c) for c in (() if light else tap_channels[1:]))
        self.cells = nn.ModuleList(BiFPNCell(width, light) for _ in range(cells))

    def forward(self, taps: list[Tensor]) -> list[Tensor]:
        """Three feature maps to P3, P4, P5, (N, width, H_i, W_i)."""
        down = [project(x) for project, x in zip(self.project, taps, strict=True)]
        up = down
        if len(self.project_again):
            up = [down[0], *(project(x) for project, x in zip(self.project_again, taps[1:], strict=True))]
        for cell in self.cells:
            down = up = cell(down, up)
        return down


def _resize(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="nearest")
