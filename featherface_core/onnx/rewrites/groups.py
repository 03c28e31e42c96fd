"""Convolutions in small groups as ordinary ones: runtimes compute in blocks of channels, and a small group fills none."""

from torch import nn

from featherface_core.models.featherface import FeatherFace

BLOCK = 8  # channels that the narrowest blocked kernels take at once


def join_groups(model: FeatherFace) -> None:
    """Grouped convolutions of fewer than BLOCK channels a group become dense, with zeros between groups; depthwise ones stay."""
    for parent in list(model.modules()):
        for name, conv in list(parent.named_children()):
            if (
                isinstance(conv, nn.Conv2d)
                and 1 < conv.groups < conv.in_channels
                and min(conv.in_channels, conv.out_channels) // conv.groups < BLOCK
            ):
                setattr(parent, name, _dense(conv))


def _dense(conv: nn.Conv2d) -> nn.Conv2d:
    dense = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,  # type: ignore[arg-type]
        conv.stride,  # type: ignore[arg-type]
        conv.padding,  # type: ignore[arg-type]
        bias=conv.bias is not None,
        dtype=conv.weight.dtype,
    ).requires_grad_(False)
    dense.weight.zero_()
    out, inside = conv.out_channels // conv.groups, conv.in_channels // conv.groups
    for g in range(conv.groups):
        rows = slice(g * out, (g + 1) * out)
        dense.weight[rows, g * inside : (g + 1) * inside] = conv.weight[rows]
    if conv.bias is not None:
        assert dense.bias is not None
        dense.bias.copy_(conv.bias)
    return dense
