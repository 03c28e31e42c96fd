"""The network as it is exported: the same function in fewer and faster steps. docs/performance.md has what each gains."""

import copy
from collections.abc import Callable

import torch

from featherface_core.config import ExportConfig
from featherface_core.models.featherface import FeatherFace
from featherface_core.onnx.rewrites.batch_norms import fold_batch_norms
from featherface_core.onnx.rewrites.deformable import join_deformables
from featherface_core.onnx.rewrites.groups import join_groups
from featherface_core.onnx.rewrites.heads import join_heads
from featherface_core.onnx.rewrites.reductions import reduce_fast
from featherface_core.onnx.rewrites.shuffles import absorb_shuffles

Rewrite = Callable[[FeatherFace], None]

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
    """The names of the rewrites of an export; even a plain one has its normalisations folded."""
    if not config.optimise:
        return ("batch norms",)
    # joined deformable layers have DeformConv nodes, and OpenVINO reduces channels fast as they are
    unfit = {"deformables": config.decompose, "reductions": config.form == "openvino"}
    return tuple(name for name in REWRITES if not unfit.get(name))


@torch.no_grad()
def rewritten(model: FeatherFace, names: tuple[str, ...] = tuple(REWRITES)) -> FeatherFace:
    """A copy in evaluation mode after the rewrites of these names: it gives what ``model`` gives, but for rounding."""
    made = copy.deepcopy(model).eval().requires_grad_(False)
    for name, rewrite in REWRITES.items():
        if name in names:
            rewrite(made)
    return made
