"""The smallest parts that backbone, neck and context are made of."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEAKY_SLOPE = 0.1


class ConvBN(nn.Module):
    """Convolution, batch normalisation and an optional activation: (N, C, H, W) to (N, O, ceil(H/s), ceil(W/s))."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        stride: int = 1,
        groups: int = 1,
        bias: bool = False,
        eps: float = 1e-5,
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, groups=groups, bias=bias)
        self.bn = nn.BatchNorm2d(out_channels, eps=eps)
        self.activation = nn.Identity() if activation is None else activation

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, O, ceil(H/s), ceil(W/s))."""
        return self.activation(self.bn(self.conv(x)))  # type: ignore[no-any-return]


def leaky() -> nn.LeakyReLU:
    """The LeakyReLU that all of the network uses."""
    return nn.LeakyReLU(LEAKY_SLOPE)


class SameMaxPool(nn.Module):
    """3x3 stride-2 max pool after "same" padding with zeros: (N, C, H, W) to (N, C, ceil(H/2), ceil(W/2)).

    TensorFlow's alignment, as EfficientDet's BiFPN has it: an even side pads 0 before and 1 after, an odd side 1 and 1.
    The zeros take part in the maximum, as published.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, ceil(H/2), ceil(W/2))."""
        if torch.compiler.is_exporting() or x.is_meta:
            return same_max_pool_node(x)  # type: ignore[no-any-return]
        return same_max_pool(x)


def same_max_pool(x: Tensor) -> Tensor:
    """See SameMaxPool."""
    height, width = x.shape[-2:]
    return F.max_pool2d(F.pad(x, (width % 2, 1, height % 2, 1)), 3, 2)


@torch.library.custom_op("featherface::same_max_pool", mutates_args=())
def same_max_pool_node(x: Tensor) -> Tensor:
    """``same_max_pool`` as one operator: its parity-dependent padding would take an exporter minutes to analyse."""
    return same_max_pool(x)


@same_max_pool_node.register_fake
def _(x: Tensor) -> Tensor:
    # the same expression as a stride-2 convolution's size, so that both compare equal as symbols
    return x.new_empty(x.shape[0], x.shape[1], (x.shape[2] - 1) // 2 + 1, (x.shape[3] - 1) // 2 + 1)


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """View the C channels as (groups, C / groups) and transpose (ShuffleNet, Zhang et al. 2018): (N, C, H, W) to same."""
    batch, channels, height, width = x.shape
    return x.view(batch, groups, channels // groups, height, width).transpose(1, 2).reshape(x.shape)


class ChannelShuffle(nn.Module):
    """Mix the context module's branches, by a permutation only, or one followed by small convolutions.

    kind: see ModelConfig.shuffle. (N, C, H, W) to the same shape.
    """

    def __init__(self, channels: int, kind: str) -> None:
        super().__init__()
        half = channels // 2
        self.groups = {"none": 1, "groups-2": 2, "groups-half": half, "bottleneck": half, "light": 4}[kind]
        self.mix = nn.Sequential()
        if kind == "bottleneck":
            self.mix.extend(
                [
                    ConvBN(channels, half, 1),
                    ConvBN(half, half, 3, groups=half),
                    ConvBN(half, channels, 1, activation=nn.ReLU()),
                ]
            )
        elif kind == "light":
            self.mix.extend(
                [
                    ConvBN(channels, half, 1, groups=4, activation=nn.ReLU()),
                    ConvBN(half, channels, 1, groups=4, activation=nn.ReLU()),
                ]
            )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        return self.mix(channel_shuffle(x, self.groups) if self.groups > 1 else x)  # type: ignore[no-any-return]


class DropBlock(nn.Module):
    """Zeroes squares of ``side`` cells so that about ``share`` (0 to 1) of a map is zero, and scales up the rest.

    The same cells are zeroed in all channels. In evaluation mode it is the identity. It has no parameters or buffers.
    """

    def __init__(self, share: float, side: int = 3) -> None:
        super().__init__()
        self.share, self.side = share, side

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        if not self.training or not self.share:
            return x
        # a seed zeroes side x side cells, fewer at the border: the paper's gamma, without its correction for the border
        seeds = torch.rand(x.shape[0], 1, *x.shape[2:], device=x.device) < self.share / self.side**2
        gone = F.max_pool2d(seeds.to(x.dtype), self.side, stride=1, padding=self.side // 2)
        kept = 1 - gone
        # counted in float32: a large batch has more cells than float16 can count
        return x * kept * (kept.numel() / kept.sum(dtype=torch.float32).clamp(min=1)).to(x.dtype)
