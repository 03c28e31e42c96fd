"""Modulated deformable convolution (DCNv2, Zhu et al. 2019, https://arxiv.org/abs/1811.11168) in PyTorch only."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TAPS = 9  # every deformable layer of this network is 3x3


def deform_conv2d(
    x: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
) -> Tensor:
    """Convolve with bilinear samples at shifted taps, each scaled by its mask; zero outside the picture.

    x (N, C, H, W); offset (N, 2K, H', W') holds (dy, dx) in pixels for each of the K = kh x kw taps in row order;
    mask (N, K, H', W'); weight (O, C, kh, kw); bias (O) or None. Returns (N, O, H', W'), where
    H' = floor((H + 2 padding - dilation (kh - 1) - 1) / stride) + 1, and W' likewise.

    Bilinear sampling and the kernel's 1x1 maps are both linear, so their order does not matter: with O <= C the tap's weights
    are applied first, and K x O instead of K x C channels are sampled.
    """
    batch, channels, height, width = x.shape
    out_channels, _, kernel_h, kernel_w = weight.shape
    taps = kernel_h * kernel_w
    out_h, out_w = offset.shape[-2:]
    moved = offset.reshape(batch, taps, 2, out_h, out_w)
    tap_y, tap_x = torch.meshgrid(
        torch.arange(kernel_h, dtype=x.dtype, device=x.device) * dilation - padding,
        torch.arange(kernel_w, dtype=x.dtype, device=x.device) * dilation - padding,
        indexing="ij",
    )
    rows = torch.arange(out_h, dtype=x.dtype, device=x.device).view(-1, 1) * stride
    columns = torch.arange(out_w, dtype=x.dtype, device=x.device) * stride
    y = moved[:, :, 0] + (tap_y.reshape(-1, 1, 1) + rows)
    x_ = moved[:, :, 1] + (tap_x.reshape(-1, 1, 1) + columns)
    # grid_sample's coordinates run from -1 to 1 over the pixels' outer edges (align_corners=False)
    grid = torch.stack(((2 * x_ + 1) / width - 1, (2 * y + 1) / height - 1), dim=-1)

    if out_channels <= channels:
        per_tap = weight.permute(2, 3, 0, 1).reshape(taps * out_channels, channels, 1, 1)
        maps = F.conv2d(x, per_tap).reshape(batch * taps, out_channels, height, width)
        samples = F.grid_sample(maps, grid.reshape(batch * taps, out_h, out_w, 2), align_corners=False)
        samples = samples.reshape(batch, taps, out_channels, out_h, out_w)
        out = (samples * mask.unsqueeze(2)).sum(1)
    else:
        samples = F.grid_sample(x, grid.reshape(batch, taps * out_h, out_w, 2), align_corners=False)
        samples = samples.reshape(batch, channels, taps, out_h * out_w) * mask.reshape(batch, 1, taps, -1)
        flat = weight.reshape(out_channels, -1) @ samples.reshape(batch, channels * taps, -1)
        out = flat.reshape(batch, out_channels, out_h, out_w)
    return out if bias is None else out + bias.view(1, -1, 1, 1)


@torch.library.custom_op("featherface::deform_conv2d", mutates_args=())
def deform_conv2d_node(
    x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None, offset_groups: int = 1
) -> Tensor:
    """``deform_conv2d`` with stride 1 and "same" padding as one opaque operator, so that an export holds one node.

    offset_groups: equal parts of the channels, each with offsets and masks of its own (one after the other in ``offset``
    and ``mask``).
    """
    parts = zip(*(t.chunk(offset_groups, 1) for t in (x, offset, mask, weight)), strict=True)
    padding = weight.shape[-1] // 2
    outputs = [deform_conv2d(some, moved, scaled, taps, None, 1, padding) for some, moved, scaled, taps in parts]
    out = torch.stack(outputs).sum(0) if offset_groups > 1 else outputs[0]
    return out if bias is None else out + bias.view(1, -1, 1, 1)


@deform_conv2d_node.register_fake
def _(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None, offset_groups: int = 1) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[0], x.shape[2], x.shape[3])


class DeformConv2d(nn.Module):
    """A 3x3 modulated deformable convolution, stride 1, "same" padding, no bias: (N, C, H, W) to (N, O, H, W).

    Offsets and mask (2 x sigmoid) come from ordinary 3x3 convolutions that start at zero, so a new layer equals an
    ordinary convolution with the same weight. opaque: whether an export holds it as one DeformConv node.
    """

    opaque = True

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, 3, 3))
        self.bias: nn.Parameter | None = None  # filled when a batch normalisation is folded in
        self.offset = nn.Conv2d(in_channels, 2 * TAPS, 3, padding=1)
        self.mask = nn.Conv2d(in_channels, TAPS, 3, padding=1)
        nn.init.kaiming_normal_(self.weight)
        self.reset_offsets()

    def reset_offsets(self) -> None:
        """Set offsets to zero and the mask to one, as in a new layer."""
        for layer in (self.offset, self.mask):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, O, H, W)."""
        offset, mask = self.offset(x), 2 * torch.sigmoid(self.mask(x))
        if (self.opaque and torch.compiler.is_exporting()) or x.is_meta:
            return deform_conv2d_node(x, offset, mask, self.weight, self.bias)  # type: ignore[no-any-return]
        if torch.is_autocast_enabled(x.device.type):
            # float16 is too coarse for positions: at 80 cells it is off by an eighth of a cell
            with torch.autocast(x.device.type, enabled=False):
                return deform_conv2d(x.float(), offset.float(), mask.float(), self.weight, self.bias, padding=1)
        return deform_conv2d(x, offset, mask, self.weight, self.bias, padding=1)

    def extra_repr(self) -> str:
        """What ``print(layer)`` shows."""
        return f"{self.in_channels}, {self.out_channels}, kernel_size=3, padding=1"
