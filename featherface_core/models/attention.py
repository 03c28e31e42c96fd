"""Convolutional block attention (CBAM, Woo et al. 2018, https://arxiv.org/abs/1807.06521) over pyramid levels."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from featherface_core.config import AttentionConfig
from featherface_core.models.blocks import ConvBN


class ChannelGate(nn.Module):
    """sigmoid(MLP(mean) + MLP(max)) of each channel: (N, C, H, W) to (N, C, 1, 1), 0 to 1."""

    def __init__(self, channels: int, hidden: int, bias: bool) -> None:
        super().__init__()
        # two implementations of the mean, each as published: they round differently
        self.pool_window = bias
        self.squeeze = nn.Linear(channels, hidden, bias=bias)
        self.expand = nn.Linear(hidden, channels, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, 1, 1)."""
        return torch.sigmoid(self._mlp(self._mean(x)) + self._mlp(x.amax((2, 3))))[..., None, None]

    def _mean(self, x: Tensor) -> Tensor:
        if self.pool_window and not torch.compiler.is_exporting():
            return F.avg_pool2d(x, x.shape[2:]).flatten(1)
        return F.adaptive_avg_pool2d(x, 1).flatten(1)

    def _mlp(self, pooled: Tensor) -> Tensor:
        return self.expand(F.relu(self.squeeze(pooled)))  # type: ignore[no-any-return]


class SpatialGate(nn.Module):
    """sigmoid(BN(7x7 over the channels' maximum and mean)): (N, C, H, W) to (N, 1, H, W), 0 to 1.

    mean_first: the order of the two maps that the 7x7 convolution was trained with.
    """

    def __init__(self, mean_first: bool) -> None:
        super().__init__()
        self.mean_first = mean_first
        self.mix = ConvBN(2, 1, 7)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, 1, H, W)."""
        highest, mean = x.amax(1, keepdim=True), x.mean(1, keepdim=True)
        return torch.sigmoid(self.mix(torch.cat((mean, highest) if self.mean_first else (highest, mean), 1)))


class SiteAttention(nn.Module):
    """Attention on the pyramid levels of one site: each level becomes relu(spatial(channel(x)) + x).

    ``shared-cbam`` has one spatial gate for all levels, no biases, and takes [mean, max] where ``cbam`` takes [max, mean].
    """

    def __init__(self, channels: tuple[int, ...], config: AttentionConfig) -> None:
        super().__init__()
        shared = config.kind == "shared-cbam"
        smallest = 4 if shared else 1
        self.channel = nn.ModuleList(
            ChannelGate(c, max(c // config.reduction, smallest), bias=not shared) for c in channels
        )
        self.spatial = nn.ModuleList(SpatialGate(shared) for _ in range(1 if shared else len(channels)))

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        """A list of (N, C_i, H_i, W_i) to the same shapes."""
        out = []
        for i, (x, channel) in enumerate(zip(levels, self.channel, strict=True)):
            gated = x * channel(x)
            gated = gated * self.spatial[i % len(self.spatial)](gated)
            out.append(F.relu(gated + x))
        return out
