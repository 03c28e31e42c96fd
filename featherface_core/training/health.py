"""What is wrong with a training step, and the option that mends it. Imports no torch."""

import math
from dataclasses import dataclass
from typing import Literal

HIGH_NORM = 10.0
LOW_NORM = 1e-6
HIGH_LOSS = 100.0

HealthKind = Literal[
    "non-finite-loss",
    "non-finite-gradient",
    "exploding-gradient",
    "vanishing-gradient",
    "high-loss",
    "non-finite-metric",
]

FIXES: dict[HealthKind, str] = {
    "non-finite-loss": "lower --lr or lengthen --warmup-epochs, and look for bad boxes: featherface data check DIR",
    "non-finite-gradient": "set --gradient-clip-norm 1.0 and lower --lr",
    "exploding-gradient": "set --gradient-clip-norm 1.0; where it is set, lower --lr or raise --batch-size",
    "vanishing-gradient": "raise --lr, or start from trained weights with --init; with a teacher, lower --alpha",
    "high-loss": "lower --lr or lengthen --warmup-epochs",
    "non-finite-metric": "lower --lr; a NaN in one validation metric alone may mean that its pictures show no face",
}


@dataclass(frozen=True)
class Health:
    """A finding about a step or an epoch. found: what and where. fix: the options that mend it.

    verdict: ``fail`` for what cannot be learnt from, NaN and infinity; ``warn`` for the rest.
    """

    kind: HealthKind
    verdict: Literal["warn", "fail"]
    found: str
    fix: str


def finding(kind: HealthKind, found: str) -> Health:
    """A Health with the verdict and the fix of its kind."""
    return Health(kind, "fail" if kind in ("non-finite-loss", "non-finite-gradient") else "warn", found, FIXES[kind])


def look(loss: float, grad_norm: float | None, where: str) -> tuple[Health, ...]:
    """What is wrong with a loss and the norm of its gradients before clipping; empty where nothing is.

    grad_norm: None where there are no gradients yet. where: for people, such as "step 12".
    """
    found: list[Health] = []
    if not math.isfinite(loss):
        found.append(finding("non-finite-loss", f"the loss is {loss} at {where}"))
    elif loss > HIGH_LOSS:
        found.append(finding("high-loss", f"the loss is {loss:.4g}, over {HIGH_LOSS:g}, at {where}"))
    if grad_norm is None:
        return tuple(found)
    if not math.isfinite(grad_norm):
        found.append(finding("non-finite-gradient", f"the gradient norm is {grad_norm} at {where}"))
    elif grad_norm > HIGH_NORM:
        found.append(
            finding("exploding-gradient", f"the gradient norm is {grad_norm:.4g}, over {HIGH_NORM:g}, at {where}")
        )
    elif grad_norm < LOW_NORM:
        found.append(
            finding("vanishing-gradient", f"the gradient norm is {grad_norm:.4g}, under {LOW_NORM:g}, at {where}")
        )
    return tuple(found)
