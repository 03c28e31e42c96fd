"""MobileNetV1 x0.25 (Howard et al. 2017, https://arxiv.org/abs/1704.04861), 213,072 parameters in every variant."""

from torch import Tensor, nn

from featherface_core.models.blocks import ConvBN, leaky

TAP_CHANNELS = (64, 128, 256)

# (in, out, stride) of each depthwise-separable block after the 3x3 stem
STAGES = (
    ((8, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1)),
    ((64, 128, 2), *((128, 128, 1),) * 5),
    ((128, 256, 2), (256, 256, 1)),
)


class SeparableBlock(nn.Module):
    """Depthwise 3x3 and pointwise 1x1, each with BN and LeakyReLU: (N, C, H, W) to (N, O, ceil(H/s), ceil(W/s))."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.depthwise = ConvBN(in_channels, in_channels, 3, stride=stride, groups=in_channels, activation=leaky())
        self.pointwise = ConvBN(in_channels, out_channels, 1, activation=leaky())

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, O, ceil(H/s), ceil(W/s))."""
        return self.pointwise(self.depthwise(x))  # type: ignore[no-any-return]


class MobileNetV1Quarter(nn.Module):
    """BGR pixels minus mean, (N, 3, H, W), to feature maps of 64, 128 and 256 channels at strides 8, 16 and 32."""

    def __init__(self) -> None:
        super().__init__()
        stem = ConvBN(3, STAGES[0][0][0], 3, stride=2, activation=leaky())
        blocks = [[SeparableBlock(*shape) for shape in stage] for stage in STAGES]
        self.stages = nn.ModuleList(
            [nn.Sequential(stem, *blocks[0]), nn.Sequential(*blocks[1]), nn.Sequential(*blocks[2])]
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, 3, H, W) to three feature maps, finest first."""
        taps = []
        for stage in self.stages:
            x = stage(x)
            taps.append(x)
        return taps
