"""The tensor names of published FeatherFace checkpoints, and ours.

Published names are those of the RetinaFace and FeatherFace repositories, spelling included ("bacbkbone"). docs/architecture.md
has the same table.
"""

from collections.abc import Iterable, Mapping
from typing import TypeVar

from featherface_core.config import ModelConfig
from featherface_core.models.backbone import STAGES

Value = TypeVar("Value")

PROFILER_BUFFERS = ("total_ops", "total_params")  # left behind by the thop profiler
WRAPPERS = ("model_state_dict", "state_dict", "model")

_FUSIONS = {  # our fusion: its weights and its convolution upstream
    "p4_td": ("p4_w1", "conv4_up"),
    "p3_out": ("p3_w1", "conv3_up"),
    "p4_out": ("p4_w2", "conv4_down"),
    "p5_out": ("p5_w2", "conv5_down"),
}


def to_upstream(names: Iterable[str], config: ModelConfig) -> dict[str, str]:
    """Our tensor names to upstream's, for a network of this configuration. Raises KeyError for a name it does not know."""
    prefixes = _prefixes(config)

    def rename(name: str) -> str:
        stem, cut = name, ""
        while stem:
            if stem in prefixes:
                return prefixes[stem] + cut
            stem, _, last = stem.rpartition(".")
            cut = f".{last}{cut}"
        raise KeyError(name)

    return {name: rename(name) for name in names}


def clean(state: Mapping[str, Value]) -> dict[str, Value]:
    """A published state dict without ``module.`` prefixes and profiler buffers, and with one spelling of the shuffles."""
    cleaned = {}
    for full_name, value in state.items():
        name = full_name.removeprefix("module.")
        if name.rpartition(".")[2] in PROFILER_BUFFERS:
            continue
        for level in "123":
            if name.startswith(f"cs{level}."):
                name = f"ssh{level}_{name.replace(level, '', 1)}"
        cleaned[name] = value
    return cleaned


def _prefixes(config: ModelConfig) -> dict[str, str]:
    """Our module names to upstream's; what follows them (.weight, .bias, .running_mean) is the same in both."""
    light = config.neck == "bifpn-light"
    table: dict[str, str] = {}
    for s, blocks in enumerate(STAGES):
        stem = 1 if s == 0 else 0
        if stem:
            table |= {
                "backbone.stages.0.0.conv": "body.stage1.0.0",
                "backbone.stages.0.0.bn": "body.stage1.0.1",
            }
        for b in range(len(blocks)):
            ours, theirs = f"backbone.stages.{s}.{b + stem}", f"body.stage{s + 1}.{b + stem}"
            table |= _numbered(ours, theirs, ["depthwise.conv", "depthwise.bn", "", "pointwise.conv", "pointwise.bn"])
    table |= _attention(
        "backbone_attention", config.backbone_attention.kind, "bacbkbone_{}_cbam", "backbone", "stage{}", 1
    )
    table |= _attention("neck_attention", config.neck_attention.kind, "bif_cbam_{}", "bifpn", "p{}", 3)

    inner = "" if light else ".conv"
    for i in range(3):
        table[f"neck.project.{i}.conv"] = f"bifpn.0.p{i + 3}_down_channel.0{inner}"
        table[f"neck.project.{i}.bn"] = f"bifpn.0.p{i + 3}_down_channel.1"
    for i in range(2):
        table[f"neck.project_again.{i}.conv"] = f"bifpn.0.p{i + 4}_down_channel_2.0.conv"
        table[f"neck.project_again.{i}.bn"] = f"bifpn.0.p{i + 4}_down_channel_2.1"
    for n in range(config.cells):
        for fusion, (weights, conv) in _FUSIONS.items():
            ours, theirs = f"neck.cells.{n}.{fusion}", f"bifpn.{n}.{conv}"
            table[f"{ours}.weights"] = f"bifpn.{n}.{weights}"
            if light:
                halves = {
                    "depthwise.conv": "depthwise",
                    "depthwise.bn": "bn1",
                    "pointwise.conv": "pointwise",
                    "pointwise.bn": "bn2",
                }
            else:
                halves = {
                    "depthwise": "depthwise_conv.conv",
                    "pointwise.conv": "pointwise_conv.conv",
                    "pointwise.bn": "bn",
                }
            table |= {f"{ours}.conv.{a}": f"{theirs}.{b}" for a, b in halves.items()}

    for level in range(3):
        table |= _context(f"context.{level}", f"ssh{level + 1}", config.context)
        shuffle, theirs = f"shuffle.{level}.mix", f"ssh{level + 1}_cs"
        if config.shuffle == "bottleneck":
            table |= _numbered(shuffle, theirs, ["", *(f"{i}.{part}" for i in range(3) for part in ("conv", "bn"))])
        elif config.shuffle == "light":
            table |= _numbered(shuffle, f"{theirs}.conv", ["0.conv", "0.bn", "", "1.conv", "1.bn"])
        for ours, full, shared in (
            ("classes", "ClassHead", "cls_head"),
            ("boxes", "BboxHead", "bbox_head"),
            ("landmarks", "LandmarkHead", "ldm_head"),
        ):
            table[f"heads.{level}.{ours}"] = f"shared_heads.{level}.{shared}" if light else f"{full}.{level}.conv1x1"
    return table


def _attention(ours: str, kind: str, cbam: str, site: str, gate: str, first: int) -> dict[str, str]:
    table: dict[str, str] = {}
    for i in range(3):
        if kind == "cbam":
            theirs = cbam.format(i)
            table[f"{ours}.channel.{i}.squeeze"] = f"{theirs}.ChannelGate.mlp.1"
            table[f"{ours}.channel.{i}.expand"] = f"{theirs}.ChannelGate.mlp.3"
            table[f"{ours}.spatial.{i}.mix"] = f"{theirs}.SpatialGate.spatial"
        elif kind == "shared-cbam":
            theirs = f"{site}_cbam_manager.channel_gates.{gate.format(i + first)}.mlp"
            table |= {
                f"{ours}.channel.{i}.squeeze": f"{theirs}.0",
                f"{ours}.channel.{i}.expand": f"{theirs}.2",
            }
    if kind == "shared-cbam":
        table |= _numbered(f"{ours}.spatial.0.mix", f"{site}_cbam_manager.spatial_gate.spatial", ["conv", "bn"])
    return table


def _context(ours: str, theirs: str, kind: str) -> dict[str, str]:
    table: dict[str, str] = {}
    if kind == "grouped":
        for branch in ("conv3x3", "conv5x5_1"):
            table |= _numbered(f"{ours}.{branch}", f"{theirs}.{branch}", ["0.conv", "0.bn", "", "1.conv", "1.bn"])
        for branch in ("conv5x5_2", "conv7x7_2", "conv7x7_3"):
            table |= _numbered(f"{ours}.{branch}", f"{theirs}.{branch}", ["conv", "bn"])
        return table
    for branch in ("conv3x3", "conv5x5_1", "conv5x5_2", "conv7x7_2", "conv7x7_3"):
        full = f"{theirs}.{branch if branch == 'conv7x7_3' else branch.replace('x', 'X')}"
        table |= _numbered(f"{ours}.{branch}", full, ["conv", "bn"])
        if kind == "deformable":
            for part, name in (
                ("weight", "regular_conv.weight"),
                ("offset", "offset_conv"),
                ("mask", "modulator_conv"),
            ):
                table[f"{ours}.{branch}.conv.{part}"] = f"{full}.0.{name}"
    return table


def _numbered(ours: str, theirs: str, parts: list[str]) -> dict[str, str]:
    """Children of an upstream nn.Sequential by position; "" stands for an activation, which has no tensors."""
    return {f"{ours}.{part}": f"{theirs}.{i}" for i, part in enumerate(parts) if part}
