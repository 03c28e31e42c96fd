"""Deformable layers with fewer samples, and with one convolution for all offsets and masks that read the same map."""

import torch
from torch import Tensor, nn

from featherface_core.models.context import SSH, DeformConvBN
from featherface_core.models.deform import TAPS, DeformConv2d, deform_conv2d_node
from featherface_core.models.featherface import FeatherFace

# of the input's channels: below it nine maps of O channels are sampled sooner than nine taps of C, though they have to be made
FEWER = 0.75


def join_deformables(model: FeatherFace) -> None:
    """Every deformable SSH becomes a JoinedSSH."""
    for level, context in enumerate(model.context):
        if isinstance(context, SSH) and isinstance(context.conv3x3, DeformConvBN):
            model.context[level] = JoinedSSH(context)


class JoinedSSH(nn.Module):
    """What a deformable ``models.context.SSH`` gives: (N, C, H, W) to the same shape.

    Its two layers that read the same map share one convolution for their offsets and masks. The factor 2 of the masks is in
    the kernels.
    """

    def __init__(self, ssh: SSH) -> None:
        super().__init__()
        # layers that read the same map
        self.first = Sampled([ssh.conv3x3, ssh.conv5x5_1])
        self.second = Sampled([ssh.conv5x5_2, ssh.conv7x7_2])
        self.third = Sampled([ssh.conv7x7_3])

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        wide, stem = self.first(x)
        middle, deep = self.second(stem)
        (deepest,) = self.third(deep)
        return torch.cat((wide, middle, deepest), 1).relu()


class Sampled(nn.Module):
    """Deformable layers that read the same map: (N, C, H, W) to a list of (N, O_i, H, W)."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        convs: list[DeformConv2d] = [layer.conv for layer in layers]  # type: ignore[misc]
        self.ends = nn.ModuleList(nn.Sequential(layer.bn, layer.activation) for layer in layers)  # type: ignore[arg-type]
        self.kernels = nn.ModuleList(_kernel(conv) for conv in convs)
        self.places = _one_convolution([conv.offset for conv in convs] + [conv.mask for conv in convs])
        assert self.places.bias is not None
        for i, kernel in enumerate(self.kernels):
            if isinstance(kernel, SampleMaps):
                self.places.bias[2 * TAPS * i : 2 * TAPS * (i + 1)] += _taps()

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, C, H, W) to a list of (N, O_i, H, W)."""
        count = len(self.kernels)
        offsets, masks = self.places(x).split((2 * TAPS * count, TAPS * count), 1)
        pairs = zip(offsets.split(2 * TAPS, 1), masks.sigmoid().split(TAPS, 1), strict=True)
        return [
            end(kernel(x, offset, mask))
            for kernel, end, (offset, mask) in zip(self.kernels, self.ends, pairs, strict=True)
        ]


class SampleInput(nn.Module):
    """Sample the C channels of the input at nine taps: an ordinary deformable convolution."""

    def __init__(self, conv: DeformConv2d) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(2 * conv.weight, requires_grad=False), conv.bias

    def forward(self, x: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
        """(N, C, H, W), (N, 18, H, W), (N, 9, H, W) to (N, O, H, W)."""
        return deform_conv2d_node(x, offset, mask, self.weight, self.bias)  # type: ignore[no-any-return]


class SampleMaps(nn.Module):
    """Apply the weights of each tap first, and sample the nine maps of O channels, each at its own tap.

    Bilinear sampling and a tap's weights are both linear, so they may change places. A deformable 1x1 convolution with nine
    groups of offsets samples, and adds the maps up.
    """

    def __init__(self, conv: DeformConv2d) -> None:
        super().__init__()
        out, inside = conv.weight.shape[:2]
        self.maps = nn.Conv2d(inside, TAPS * out, 1, bias=False, dtype=conv.weight.dtype).requires_grad_(False)
        self.maps.weight.copy_(2 * conv.weight.permute(2, 3, 0, 1).reshape(TAPS * out, inside, 1, 1))
        total = torch.eye(out, dtype=conv.weight.dtype).repeat(1, TAPS)[..., None, None]
        self.total, self.bias = nn.Parameter(total, requires_grad=False), conv.bias

    def forward(self, x: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
        """(N, C, H, W), (N, 18, H, W) from the tap's own cell, (N, 9, H, W) to (N, O, H, W)."""
        return deform_conv2d_node(self.maps(x), offset, mask, self.total, self.bias, TAPS)  # type: ignore[no-any-return]


def _taps() -> Tensor:
    """(18,): dy, dx of each tap of a 3x3 kernel from its middle."""
    steps = torch.arange(3.0) - 1
    return torch.cartesian_prod(steps, steps).flatten()


def _kernel(conv: DeformConv2d) -> nn.Module:
    return SampleMaps(conv) if conv.out_channels <= FEWER * conv.in_channels else SampleInput(conv)


def _one_convolution(convs: list[nn.Conv2d]) -> nn.Conv2d:
    """Convolutions of the same input side by side."""
    weight = torch.cat([conv.weight for conv in convs])
    joined = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1, dtype=weight.dtype).requires_grad_(False)
    joined.weight.copy_(weight)
    assert joined.bias is not None
    joined.bias.copy_(torch.cat([conv.bias for conv in convs if conv.bias is not None]))
    return joined
