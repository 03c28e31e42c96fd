"""Rewrites of a network before export: the same outputs, but for rounding, in fewer and faster operations."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from featherface_core.boxes import ANCHORS_PER_CELL
from featherface_core.config import ExportConfig
from featherface_core.models.attention import SiteAttention, SpatialGate
from featherface_core.models.blocks import ChannelShuffle, ConvBN
from featherface_core.models.context import SSH, DeformConvBN
from featherface_core.models.deform import TAPS, DeformConv2d, deform_conv2d_node
from featherface_core.models.featherface import FeatherFace
from featherface_core.models.heads import LevelHead

# of the input's channels: below this, sampling nine maps of O channels is faster than nine taps of C, computing them included
FEWER = 0.75
BLOCK = 8  # channels that the narrowest blocked kernels take at once
VALUES = (4, 2, 10)  # box, scores, landmarks of an anchor
Rewrite = Callable[[FeatherFace], None]


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


def decompose_deformables(model: FeatherFace) -> None:
    """Every deformable layer is exported as convolutions and a GridSample, in place of a DeformConv."""
    for module in model.modules():
        if isinstance(module, DeformConv2d):
            module.opaque = False


def join_deformables(model: FeatherFace) -> None:
    """Every deformable SSH becomes a JoinedSSH."""
    for level, context in enumerate(model.context):
        if isinstance(context, SSH) and isinstance(context.conv3x3, DeformConvBN):
            model.context[level] = JoinedSSH(context)


class JoinedSSH(nn.Module):
    """The same outputs as a deformable ``models.context.SSH``: (N, C, H, W) to the same shape.

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

    Bilinear sampling and a tap's weights are both linear, so their order does not matter. A deformable 1x1 convolution with nine
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


def join_heads(model: FeatherFace) -> None:
    """One 1x1 convolution, one transposition and one piece of a concatenation for each level, in place of three."""
    assert isinstance(model.heads, nn.ModuleList)
    model.heads = JoinedHeads([head for head in model.heads if isinstance(head, LevelHead)])


class JoinedHeads(nn.Module):
    """The same outputs as ``models.heads.Heads`` in evaluation mode.

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


def reduce_fast(model: FeatherFace) -> None:
    """The spatial gates of all attention take the mean by a matrix product, and the maximum in two steps."""
    for site in (model.backbone_attention, model.neck_attention):
        if isinstance(site, SiteAttention):
            site.spatial = nn.ModuleList(FastGate(gate) for gate in site.spatial if isinstance(gate, SpatialGate))


class FastGate(nn.Module):
    """The same outputs as ``models.attention.SpatialGate``: (N, C, H, W), C even, to (N, 1, H, W), 0 to 1."""

    def __init__(self, gate: SpatialGate) -> None:
        super().__init__()
        self.mean_first, self.mix = gate.mean_first, gate.mix

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, 1, H, W)."""
        _, channels, height, width = x.shape
        row = torch.full((1, 1, channels), 1 / channels, dtype=x.dtype, device=x.device)
        halves = x.reshape(-1, 2, channels // 2, height * width).amax(2).chunk(2, 1)
        maps = [torch.maximum(*halves), row @ x.flatten(2)]
        both = torch.cat(maps[::-1] if self.mean_first else maps, 1)
        return torch.sigmoid(self.mix(both.reshape(-1, 2, height, width)))


def absorb_shuffles(model: FeatherFace) -> None:
    """The permutation of each level is merged into the weights of the convolution, or the heads, after it."""
    assert isinstance(model.heads, nn.ModuleList)
    for shuffle, head in zip(model.shuffle, model.heads, strict=True):
        assert isinstance(shuffle, ChannelShuffle)
        assert isinstance(head, LevelHead)
        readers: list[nn.Module] = [head.boxes, head.classes, head.landmarks]
        if len(shuffle.mix):
            block = shuffle.mix[0]
            assert isinstance(block, ConvBN)
            readers = [block.conv]
        convs = [reader for reader in readers if isinstance(reader, nn.Conv2d) and reader.groups == 1]
        if shuffle.groups == 1 or len(convs) < len(readers):
            continue
        for conv in convs:
            order = torch.arange(conv.in_channels).view(shuffle.groups, -1).T.reshape(-1)
            weight = torch.empty_like(conv.weight)
            weight[:, order] = conv.weight
            conv.weight = nn.Parameter(weight, requires_grad=False)
        shuffle.groups = 1


# each changes a network in place; in this order, since shuffles go into convolutions without groups, or into single heads
REWRITES: dict[str, Rewrite] = {
    "batch norms": fold_batch_norms,
    "groups": join_groups,
    "shuffles": absorb_shuffles,
    "heads": join_heads,
    "deformables": join_deformables,
    "reductions": reduce_fast,
}


def chosen(config: ExportConfig) -> tuple[str, ...]:
    """The names of the rewrites of an export; a plain one only folds batch normalisations."""
    if not config.optimise:
        return ("batch norms",)
    # joined deformable layers have DeformConv nodes, and OpenVINO reduces channels fast as they are
    unfit = {"deformables": config.decompose, "reductions": config.form == "openvino"}
    return tuple(name for name in REWRITES if not unfit.get(name))


@torch.no_grad()
def rewritten(model: FeatherFace, names: tuple[str, ...] = tuple(REWRITES)) -> FeatherFace:
    """A copy in evaluation mode after the rewrites of these names: it has the outputs of ``model``, but for rounding."""
    made = copy.deepcopy(model).eval().requires_grad_(False)
    for name, rewrite in REWRITES.items():
        if name in names:
            rewrite(made)
    return made
