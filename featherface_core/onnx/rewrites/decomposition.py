"""Deformable layers in operators that every runtime has."""

from featherface_core.models.deform import DeformConv2d
from featherface_core.models.featherface import FeatherFace


def decompose_deformables(model: FeatherFace) -> None:
    """Every deformable layer is exported as convolutions and a GridSample, in place of a DeformConv."""
    for module in model.modules():
        if isinstance(module, DeformConv2d):
            module.opaque = False
