"""Start a network from a wider trained one of its family, with its strongest channels.

Channels are ranked by the magnitude of their normalised output times the magnitude of the kernels that read it, the criterion
of Li et al. 2017 (https://arxiv.org/abs/1608.08710) applied to both. Cells that the source lacks start close to identities and
attention that it lacks starts near zero, as in Net2Net (Chen et al. 2016).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from featherface_core.config import ModelConfig
from featherface_core.models.blocks import channel_shuffle
from featherface_core.models.budget import FREE_SHUFFLES
from featherface_core.models.featherface import LEVELS, FeatherFace
from featherface_core.models.neck import BIFPN_EPS

HEADS = ("boxes", "classes", "landmarks")
FUSIONS = ("p4_td", "p3_out", "p4_out", "p5_out")
LAST = {"p3_out": 0, "p4_out": 1, "p5_out": 2}  # the fusions that are a cell's outputs, and their level
FAINT = 0.3  # share of a new cell's own input in its fusions, where swish is nearly linear, x / 2
ALIVE = 1e-3  # fusion weight of inputs that a new cell does not use yet; at 0 the gradient of its ReLU would stay 0
CLOSED = -1.5  # bias of a new channel gate's last layer, which counts twice: sigmoid(-3) is 0.05


def can_narrow(source: ModelConfig, target: ModelConfig) -> bool:
    """Whether ``narrow`` can convert one into the other: the full BiFPN and one kind of context in both."""
    family = ("bifpn", source.context)
    return source.neck == "bifpn" and (target.neck, target.context) == family and source.width >= target.width


def narrow(state: Mapping[str, Tensor], source: ModelConfig, model: FeatherFace) -> list[str]:
    """Fill ``model`` from a wider network's tensors; returns the parts that the source lacks, which are not changed.

    state: tensors under our names of a network of ``source``, for which ``can_narrow`` holds.
    """
    target = model.config
    taken = {name: t for name, t in state.items() if name.startswith("backbone.")}
    fresh = []
    if source.backbone_attention == target.backbone_attention:
        taken |= {name: t for name, t in state.items() if name.startswith("backbone_attention.")}
    elif target.backbone_attention.kind != "none":
        fresh.append("backbone attention")
        taken |= {
            name: torch.full_like(t, CLOSED)
            for name, t in model.state_dict().items()
            if name.startswith("backbone_attention.channel") and name.endswith("expand.bias")
        }
    if target.neck_attention.kind != "none":
        fresh.append("neck attention")
    kept = _kept(state, source, target.width)
    taken |= _neck(state, kept.neck, min(source.cells, target.cells))
    if target.cells > source.cells:
        fresh.append(f"neck cells from {source.cells + 1} on")
        for n in range(source.cells, target.cells):
            taken |= _identity(taken, model.state_dict(), n)
    heads = source.shuffle in FREE_SHUFFLES and target.shuffle in FREE_SHUFFLES
    for level in range(LEVELS):
        taken |= _context(state, kept, level)
        if heads:
            taken |= _heads(state, kept.outputs[level], level, model.shuffle[level].groups, source)  # type: ignore[arg-type]
    if not heads:
        fresh.append("heads" if target.shuffle in FREE_SHUFFLES else "shuffle and heads")
    model.load_state_dict(taken, strict=False)
    return fresh


@dataclass(frozen=True)
class _Kept:
    """Indices of the channels that stay: of the neck, and for each level of the context's two inner and four joined maps."""

    neck: Tensor
    stems: list[Tensor]
    middles: list[Tensor]
    branches: list[tuple[Tensor, Tensor, Tensor]]
    outputs: list[Tensor]


def _kept(state: Mapping[str, Tensor], source: ModelConfig, width: int) -> _Kept:
    half, quarter = width // 2, width // 4
    scores = torch.zeros(source.width)
    for fusion, level in LAST.items():
        read = [state[f"context.{level}.{branch}.conv.weight"] for branch in ("conv3x3", "conv5x5_1")]
        scores += _strength(state, f"neck.cells.{source.cells - 1}.{fusion}.conv.pointwise.bn", read)
    kept = _Kept(_strongest(scores, width), [], [], [], [])
    for level in range(LEVELS):
        at = f"context.{level}"

        def inner(name: str, readers: tuple[str, ...], at: str = at) -> Tensor:
            read = [state[f"{at}.{reader}.conv.weight"] for reader in readers]
            return _strongest(_strength(state, f"{at}.{name}.bn", read), quarter)

        kept.stems.append(inner("conv5x5_1", ("conv5x5_2", "conv7x7_2")))
        kept.middles.append(inner("conv7x7_2", ("conv7x7_3",)))
        columns = torch.cat([_columns(state, level, head, source) for head in HEADS])
        branches, begin = [], 0
        for name, size in (("conv3x3", half), ("conv5x5_2", quarter), ("conv7x7_3", quarter)):
            end = begin + len(state[f"{at}.{name}.bn.weight"])
            strength = _strength(state, f"{at}.{name}.bn", [columns[:, begin:end]])
            branches.append((_strongest(strength, size), begin))
            begin = end
        kept.branches.append((branches[0][0], branches[1][0], branches[2][0]))
        kept.outputs.append(torch.cat([index + offset for index, offset in branches]))
    return kept


def _strength(state: Mapping[str, Tensor], normalisation: str, readers: list[Tensor]) -> Tensor:
    """(C,): root mean square of the normalised channels times the norm of the kernels (O, C, ...) that read them."""
    size = (state[f"{normalisation}.weight"].square() + state[f"{normalisation}.bias"].square()).sqrt()
    read = sum(kernel.transpose(0, 1).flatten(1).square().sum(1) for kernel in readers)
    assert isinstance(read, Tensor)
    return size * read.sqrt()


def _strongest(scores: Tensor, count: int) -> Tensor:
    return scores.topk(count).indices.sort().values


def _neck(state: Mapping[str, Tensor], kept: Tensor, cells: int) -> dict[str, Tensor]:
    out = {}
    for name, t in state.items():
        part = name.split(".")
        if part[0] != "neck" or (part[1] == "cells" and int(part[2]) >= cells):
            continue
        if t.ndim and not name.endswith(".weights"):
            t = t[kept]
            if name.endswith("pointwise.conv.weight"):
                t = t[:, kept]
        out[name] = t
    return out


def _identity(taken: Mapping[str, Tensor], shapes: Mapping[str, Tensor], n: int) -> dict[str, Tensor]:
    """Tensors for cell ``n`` after those of ``taken``: close to the identity.

    Its top-down map is zero and has most of the weight in the fusions, and so has P5's unused weight.
    """
    out: dict[str, Tensor] = {}
    for fusion in FUSIONS:
        at = f"neck.cells.{n}.{fusion}"
        before = f"neck.cells.{n - 1}.{fusion if fusion in LAST else 'p4_out'}.conv.pointwise.bn"
        weights = torch.full_like(shapes[f"{at}.weights"], ALIVE)
        weights[0], weights[2 if fusion == "p5_out" else 1] = FAINT, 1 - FAINT
        scale, shift = taken[f"{before}.weight"], taken[f"{before}.bias"]
        depthwise = torch.zeros_like(shapes[f"{at}.conv.depthwise.weight"])
        depthwise[:, :, 1, 1] = 1.0
        pointwise = 2 / FAINT * torch.eye(len(scale))[:, :, None, None]
        shown = float(fusion in LAST)
        out |= {
            f"{at}.weights": weights,
            f"{at}.conv.depthwise.weight": depthwise,
            f"{at}.conv.pointwise.conv.weight": pointwise,
            f"{at}.conv.pointwise.conv.bias": torch.zeros_like(scale),
            f"{at}.conv.pointwise.bn.running_mean": shift,
            f"{at}.conv.pointwise.bn.running_var": scale.square(),
            f"{at}.conv.pointwise.bn.weight": shown * (scale.square() + BIFPN_EPS).sqrt(),
            f"{at}.conv.pointwise.bn.bias": shown * shift,
        }
    return out


def _context(state: Mapping[str, Tensor], kept: _Kept, level: int) -> dict[str, Tensor]:
    a, c, d = kept.branches[level]
    stem, middle = kept.stems[level], kept.middles[level]
    ends = {
        "conv3x3": (kept.neck, a),
        "conv5x5_1": (kept.neck, stem),
        "conv5x5_2": (stem, c),
        "conv7x7_2": (stem, middle),
        "conv7x7_3": (middle, d),
    }
    out = {}
    for branch, (inside, outside) in ends.items():
        at = f"context.{level}.{branch}"
        for name, t in state.items():
            if not name.startswith(f"{at}."):
                continue
            part = name.removeprefix(f"{at}.")
            if part == "conv.weight":
                t = t[outside][:, inside]
            elif part in ("conv.offset.weight", "conv.mask.weight"):
                t = t[:, inside]
            elif part.startswith("bn.") and t.ndim:
                t = t[outside]
            out[name] = t
    return out


def _heads(
    state: Mapping[str, Tensor], kept: Tensor, level: int, groups: int, source: ModelConfig
) -> dict[str, Tensor]:
    order = _order(len(kept), groups)
    out = {}
    for head in HEADS:
        at = f"heads.{level}.{head}"
        out[f"{at}.weight"] = _columns(state, level, head, source)[:, kept[order]]
        out[f"{at}.bias"] = state[f"{at}.bias"]
    return out


def _columns(state: Mapping[str, Tensor], level: int, head: str, source: ModelConfig) -> Tensor:
    """A head's kernel (O, C, 1, 1) in the order of the context's channels, from before the shuffle."""
    kernel = state[f"heads.{level}.{head}.weight"]
    if source.shuffle not in FREE_SHUFFLES:
        return kernel
    groups = {"none": 1, "groups-2": 2, "groups-half": source.width // 2}[source.shuffle]
    columns = torch.empty_like(kernel)
    columns[:, _order(source.width, groups)] = kernel
    return columns


def _order(channels: int, groups: int) -> Tensor:
    """Which channel the shuffle puts at each position."""
    return channel_shuffle(torch.arange(channels).view(1, -1, 1, 1), groups).flatten()
