"""Parameters and multiply-accumulates by component, and the figures that the thop profiler would print."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from featherface_core.config import ModelConfig, check_size
from featherface_core.models.budget import BUDGETS, FUSION_SCALARS, count_parameters, deformable_weights
from featherface_core.models.deform import TAPS, DeformConv2d
from featherface_core.models.variants import VARIANTS, build_model
from featherface_core.results import Budget, Component, ParamsReport

# their outputs have their inputs' shapes, and computing those takes most of the time
SAME_SHAPE = (nn.BatchNorm2d, nn.LeakyReLU, nn.ReLU, nn.SiLU)


@dataclass
class _Cost:
    macs: int = 0
    deformable: int = 0
    interpolation: int = 0


def measure(config: ModelConfig, size: int = 640, budget: Budget | None = None) -> ParamsReport:
    """Count a network's parameters and its multiply-accumulates for one square picture of ``size`` pixels.

    MACs are counted on shapes only (no values are computed): every output value of a convolution or
    linear layer times its fan-in. budget: target for the total; by default that of the named variant.
    Raises ConfigError for a size below 32.
    """
    check_size("--size", size)
    total = count(config, size, size)
    unseen_deformable, unseen_fusion = deformable_weights(config), FUSION_SCALARS * config.cells
    original = sum(count_parameters(VARIANTS["v1-original"]).values())
    return ParamsReport(
        config.name,
        asdict(config),
        size,
        total,
        total.parameters - unseen_deformable - unseen_fusion,
        unseen_deformable,
        unseen_fusion,
        1 - total.parameters / original,
        budget or BUDGETS.get(config.name.removesuffix("*")),
    )


@lru_cache(maxsize=64)
def count(config: ModelConfig, height: int, width: int) -> Component:
    """A network's parameters and multiply-accumulates for one picture of ``height`` x ``width`` pixels, by component."""
    model = build_model(config, device="meta").eval()
    for module in model.modules():
        if isinstance(module, SAME_SHAPE):
            module.forward = _unchanged  # type: ignore[assignment, method-assign]
    costs: dict[nn.Module, _Cost] = {}
    hooks = [
        module.register_forward_hook(_counter(costs.setdefault(module, _Cost())))
        for module in model.modules()
        if isinstance(module, nn.Conv2d | nn.Linear | DeformConv2d)
    ]
    model(torch.empty(1, 3, height, width, device="meta"))
    for hook in hooks:
        hook.remove()
    return _component(config.name, model, costs)


def _unchanged(x: Tensor) -> Tensor:
    return x


def _counter(cost: _Cost) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    """A forward hook that adds the layer's products to ``cost``."""

    def count(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            fan_in = module.in_channels // module.groups * module.kernel_size[0] * module.kernel_size[1]
            cost.macs += output.numel() * fan_in
        elif isinstance(module, nn.Linear):
            cost.macs += output.numel() * module.in_features
        elif isinstance(module, DeformConv2d):
            places = output.numel() // module.out_channels
            cost.deformable += output.numel() * module.in_channels * TAPS
            # four neighbours and the mask for each sampled value, in the textbook order (all input channels sampled)
            cost.interpolation += places * TAPS * module.in_channels * 5

    return count


def _component(name: str, module: nn.Module, costs: dict[nn.Module, _Cost]) -> Component:
    mine = [costs[m] for m in module.modules() if m in costs]
    parts = [_component(child_name, child, costs) for child_name, child in module.named_children()]
    return Component(
        name,
        sum(p.numel() for p in module.parameters()),
        sum(c.macs for c in mine),
        sum(c.deformable for c in mine),
        sum(c.interpolation for c in mine),
        type(module).__name__,
        tuple(part for part in parts if part.parameters),
    )
