"""The parts of a network that stay as they start, while the rest learns."""

from torch import nn

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
