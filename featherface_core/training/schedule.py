"""The learning rate, a pure function of the step, so that a resumed run has the same one. Imports no torch."""

import math
from dataclasses import dataclass

from featherface_core.config import check_choice, check_range
from featherface_core.errors import ConfigError
from featherface_core.recipe import ScheduleKind

MOST_STEPS = 10**12
WARMUP_DIVISOR = 1000.0  # the first step learns a little: a rate of exactly 0 would waste it
ONE_CYCLE_DIVISOR = 25.0
ONE_CYCLE_RISE = 0.3


@dataclass(frozen=True)
class LearningRate:
    """The learning rate of each step.

    ``cosine``: linear from peak / 1000 to the peak over the warm-up, then half a cosine down (Loshchilov & Hutter 2017, without
    restarts). ``one-cycle`` (Smith & Topin 2019, https://arxiv.org/abs/1708.07120, in the form with cosines): up from
    peak / 25 over the warm-up, 30 % of all steps where none is given, and down. ``constant``: linear warm-up, then the peak.

    peak: above 0. total_steps: of the whole run, 1 or more. warmup_steps: 0 or more, fewer than total_steps; the peak is
    reached at this step. final: share of the peak at the last step, 0 to 1; ``constant`` does not use it.
    Raises ConfigError for values out of range.

    >>> rate = LearningRate(peak=1.0, total_steps=9, warmup_steps=4, final=0.1)
    >>> [round(rate.at(step), 4) for step in range(9)]
    [0.001, 0.2507, 0.5005, 0.7502, 1.0, 0.8682, 0.55, 0.2318, 0.1]
    """

    peak: float
    total_steps: int
    warmup_steps: int = 0
    final: float = 0.01
    kind: ScheduleKind = "cosine"

    def __post_init__(self) -> None:
        check_choice("schedule", self.kind, ScheduleKind)
        check_range("--lr", self.peak, 0.0, 1e6)
        if self.peak == 0:
            raise ConfigError("--lr 0 learns nothing", "use for example 1e-3")
        check_range("total_steps", self.total_steps, 1, MOST_STEPS)
        check_range("warmup_steps", self.warmup_steps, 0, MOST_STEPS)
        check_range("final", self.final, 0.0, 1.0)
        if self.warmup_steps >= self.total_steps:
            raise ConfigError(
                f"a warm-up of {self.warmup_steps} steps leaves none of {self.total_steps} to train at the full rate",
                "lower --warmup-epochs or raise --epochs",
            )

    def at(self, step: int) -> float:
        """The learning rate of ``step``, from 0; after the last one it stays as it was there. Raises ConfigError below 0."""
        check_range("step", step, 0, MOST_STEPS)
        last = self.total_steps - 1
        step = min(step, last)
        rise = self.warmup_steps
        if self.kind == "one-cycle" and rise == 0:
            rise = min(max(1, round(ONE_CYCLE_RISE * self.total_steps)), last)
        if step < rise:
            share = step / rise
            if self.kind == "one-cycle":
                return _cosine(self.peak / ONE_CYCLE_DIVISOR, self.peak, share)
            low = self.peak / WARMUP_DIVISOR
            return min(low + (self.peak - low) * share, self.peak)
        if self.kind == "constant" or step == rise:
            return self.peak
        return _cosine(self.peak, self.peak * self.final, (step - rise) / (last - rise))


def _cosine(start: float, end: float, share: float) -> float:
    """Half a cosine from ``start`` (share 0) to ``end`` (share 1), never outside of them by a rounding."""
    if share >= 1:
        return end
    value = end + (start - end) * (1 + math.cos(math.pi * share)) / 2
    return min(max(value, min(start, end)), max(start, end))
