"""Which parameters learn, which decay, and by which share of the learning rate they move."""

from collections.abc import Iterable
from typing import Any

from torch import nn

from featherface_core.models.backbone import MobileNetV1Quarter
from featherface_core.models.deform import DeformConv2d
from featherface_core.models.featherface import FeatherFace
from featherface_core.models.heads import LevelHead
from featherface_core.recipe import OptimiserConfig


def frozen_parts(model: FeatherFace, config: OptimiserConfig) -> list[nn.Module]:
    """The parts that no step changes: the first stages of the backbone, or all but the landmark heads."""
    if config.learn == "all":
        return list(model.backbone.stages)[: config.frozen_stages]
    features = [
        model.backbone,
        model.backbone_attention,
        model.neck,
        model.neck_attention,
        model.context,
        model.shuffle,
    ]
    levels = [head for head in model.heads.modules() if isinstance(head, LevelHead)]
    return [*features, *(part for head in levels for part in (head.boxes, head.classes))]


def freeze(model: FeatherFace, config: OptimiserConfig) -> None:
    """Take the frozen parts out of the training: autograd keeps nothing of them, so they cost a forward pass alone."""
    for part in frozen_parts(model, config):
        part.requires_grad_(False)


def set_modes(model: FeatherFace, config: OptimiserConfig) -> None:
    """Training mode, but for batch normalisations whose statistics are to stay."""
    model.train()
    for part in frozen_parts(model, config):
        part.eval()
    if config.frozen_statistics:
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()


def parameter_groups(modules: Iterable[nn.Module], config: OptimiserConfig) -> list[dict[str, Any]]:
    """Weight decay for kernels and matrices, none for biases, normalisations and fusion weights; shares of the rate.

    The groups of an optimiser of torch, with a ``share`` each, by which the schedule's rate is to be multiplied.
    """
    shares: dict[int, float] = {}
    for module in modules:
        for part in module.modules():
            if isinstance(part, MobileNetV1Quarter):
                shares |= {id(p): config.backbone_lr for p in part.parameters()}
            elif isinstance(part, DeformConv2d):
                layers = (part.offset, part.mask)
                shares |= {id(p): config.offset_lr for layer in layers for p in layer.parameters()}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for p in (p for module in modules for p in module.parameters() if p.requires_grad):
        key = (shares.get(id(p), 1.0), config.weight_decay if p.ndim > 1 else 0.0)
        groups.setdefault(key, []).append(p)
    return [{"params": chosen, "weight_decay": decay, "share": share} for (share, decay), chosen in groups.items()]
