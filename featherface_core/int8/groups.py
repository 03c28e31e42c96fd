"""The layers of an exported network by the part that they belong to: what is quantised, or left, together."""

import re
from dataclasses import dataclass

import numpy as np
import onnx

LAYERS = ("Conv", "Gemm")  # what has weights that int8 kernels exist for; deformable sampling itself has none
ACTIVATION = "LeakyRelu"  # by table in int8; a ReLU is no more than the range of the layer before it

# by the name of a layer's weights; the first that fits. Of what a deformable layer has, the convolutions around its sampling.
PARTS = (
    (r"backbone\.stages\.(\d+)\.", r"backbone stage \1"),
    (r"backbone_attention\.", "backbone attention"),
    (r"neck_attention\.", "neck attention"),
    (r"neck\.project", "neck projections"),
    (r"neck\.cells\.(\d+)\.", r"BiFPN cell \1"),
    (r"context\..*\.(places|offset|mask)\.", "deformable offsets"),
    (r"context\..*\.maps\.", "deformable kernels"),
    (r"context\.", "SSH"),
    (r"shuffle\.", "channel mixing"),
    (r"heads\.", "heads"),
)
OTHER = "other"


@dataclass(frozen=True)
class Group:
    """Layers of one part. nodes: their names and those of the activations behind them. weights: floats in all, each once."""

    name: str
    layers: int
    nodes: tuple[str, ...]
    weights: int


def find_groups(graph: onnx.ModelProto) -> tuple[Group, ...]:
    """Every layer with constant weights, in the order of the network."""
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in graph.graph.initializer}
    behind = {node.input[0]: node.name for node in graph.graph.node if node.op_type == ACTIVATION}
    found: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.graph.node:
        if node.op_type in LAYERS and node.input[1] in sizes:
            found.setdefault(part_of(node.input[1]), []).append(node)
    groups = []
    for name, layers in found.items():
        activations = [behind[node.output[0]] for node in layers if node.output[0] in behind]
        weights = sum(sizes[tensor] for tensor in {node.input[1] for node in layers})
        groups.append(Group(name, len(layers), (*(node.name for node in layers), *activations), weights))
    return tuple(groups)


def part_of(weight: str) -> str:
    """The part that a weight belongs to, by its name in the network.

    >>> part_of("neck.cells.1.p4_td.conv.pointwise.conv.weight")
    'BiFPN cell 1'
    """
    for pattern, name in PARTS:
        match = re.match(pattern, weight)
        if match:
            return match.expand(name)
    return OTHER
