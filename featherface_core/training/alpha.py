"""The weight of the teacher during distillation: how it is written, and how it moves. Imports no torch."""

import math
from typing import Any

from featherface_core.config import check_choice, check_range
from featherface_core.errors import ConfigError, counted
from featherface_core.recipe import MOST_EPOCHS, AlphaStrategy

EXAMPLE = "write a start and an end from 0 to 1, for example --alpha 0.8:0.5, or one number to stay at"
BOUNDS, LATE_CAP = (0.1, 0.9), 0.4  # see AlphaSchedule; DistillConfig switches them on and off


def parse_alpha(text: str) -> tuple[float, float]:
    """Start and end of alpha, each 0 to 1, from "0.8:0.5", or from "0.5" for a constant. Raises ConfigError.

    >>> parse_alpha("0.8:0.5")
    (0.8, 0.5)
    """
    parts = str(text).split(":")
    if len(parts) > 2:
        raise ConfigError(f"--alpha {text!r} has {len(parts)} values where a start and an end should be", EXAMPLE)
    values = [_alpha(part, text) for part in parts]
    return values[0], values[-1]


def _alpha(part: str, text: str) -> float:
    try:
        value = float(part)
    except ValueError:
        what = f": {part!r} is not a number" if part.strip() else ": a number is missing"
        raise ConfigError(f"--alpha {text!r}{what}", EXAMPLE) from None
    if not 0 <= value <= 1:  # NaN lands here too
        raise ConfigError(f"--alpha {text!r}: {part.strip()} is not within 0 to 1", EXAMPLE)
    return abs(value)  # -0.0


class AlphaSchedule:
    """Alpha by epoch: from ``start`` at the first epoch to ``end`` at the last, and the rules that then change it.

    strategy, with p from 0 at the first epoch to 1 at the last one asked for: ``linear``, start + (end - start) p; ``cosine``,
    end + (start - end) (1 + cos(pi p)) / 2; ``exponential``, start (end / start)^p, which no 0 can be part of unless both are.

    The rules, in this order; each can be switched off:
    1. adapt: alpha is multiplied by ``shrink`` (above 0 to 1) after each ``shrink_after`` validations in a row without a better
       AP. The factors multiply up; the count begins anew at each improvement and at each shrinking.
    2. late_cap (0 to 1, None for off): at most this in the last ``late_share`` (0 to 1) of the epochs, rounded down.
    3. bounds (two values 0 to 1, None for off): never outside of these.
    A schedule of constant 0 is training without a teacher: it stays exactly 0, and no rule applies.

    epochs: as asked for, 1 or more. Raises ConfigError for values out of range or that contradict each other.

    >>> AlphaSchedule(0.8, 0.5, "linear", epochs=11, late_cap=None).table(3)
    [(1, 0.8), (6, 0.65), (11, 0.5)]
    """

    def __init__(
        self,
        start: float,
        end: float,
        strategy: AlphaStrategy,
        epochs: int,
        adapt: bool = True,
        shrink: float = 0.9,
        shrink_after: int = 10,
        late_cap: float | None = LATE_CAP,
        late_share: float = 0.2,
        bounds: tuple[float, float] | None = BOUNDS,
    ) -> None:
        check_choice("--strategy", strategy, AlphaStrategy)
        for value in (start, end):
            check_range("--alpha", value, 0.0, 1.0)
        check_range("--epochs", epochs, 1, MOST_EPOCHS)
        check_range("alpha shrink", shrink, 0.0, 1.0)
        if shrink == 0:
            raise ConfigError("alpha shrink 0 would switch the teacher off", "use for example 0.9")
        check_range("alpha shrink_after", shrink_after, 1, MOST_EPOCHS)
        check_range("alpha late_share", late_share, 0.0, 1.0)
        if strategy == "exponential" and (start == 0) != (end == 0):
            raise ConfigError(
                f"--alpha {start:g}:{end:g} cannot be exponential: no factor leads from or to 0",
                "use 0.01 instead of 0, or --strategy cosine",
            )
        low, high = bounds or (0.0, 1.0)
        for value in (low, high):
            check_range("alpha bounds", value, 0.0, 1.0)
        if low > high:
            raise ConfigError(f"alpha bounds {low:g} to {high:g} are reversed", f"use {BOUNDS}")
        if late_cap is not None:
            check_range("alpha late_cap", late_cap, 0.0, 1.0)
            if late_cap < low:
                raise ConfigError(
                    f"alpha late_cap {late_cap:g} is below the lower bound {low:g}", "raise the one or lower the other"
                )
        self.start = float(start)
        self.end = float(end)
        self.strategy = strategy
        self.epochs = epochs
        self.adapt = adapt
        self.shrink = shrink
        self.shrink_after = shrink_after
        self.late_cap = late_cap
        self.bounds = bounds
        # a hair more than the product, so that 0.2 of 15 epochs is 3 and not 2.9999
        self._late_from = epochs - math.floor(late_share * epochs + 1e-9) + 1
        self._best: float | None = None
        self._stale = 0  # validations without a better AP since the last improvement or shrinking
        self._shrinks = 0

    @property
    def distils(self) -> bool:
        """False for a schedule of constant 0: no teacher is needed."""
        return self.start > 0 or self.end > 0

    def base(self, epoch: int) -> float:
        """Alpha by the strategy alone, without the rules. epoch: from 1; after the last one alpha stays at the end."""
        check_range("epoch", epoch, 1, MOST_EPOCHS)
        if epoch == 1 or self.start == self.end:
            return self.start
        if epoch >= self.epochs:
            return self.end
        p = (epoch - 1) / (self.epochs - 1)
        if self.strategy == "linear":
            return self.start + (self.end - self.start) * p
        if self.strategy == "cosine":
            return self.end + (self.start - self.end) * (1 + math.cos(math.pi * p)) / 2
        return float(self.start * (self.end / self.start) ** p)

    def value(self, epoch: int) -> float:
        """Alpha in this epoch (from 1), 0 to 1, after the rules and the validations seen so far."""
        alpha = self.base(epoch)
        if not self.distils:
            return 0.0
        alpha *= self.shrink**self._shrinks
        if self.late_cap is not None and epoch >= self._late_from:
            alpha = min(alpha, self.late_cap)
        if self.bounds is not None:
            alpha = min(max(alpha, self.bounds[0]), self.bounds[1])
        return alpha

    def observe(self, val_map: float | None) -> None:
        """Take note of a validation; it shows in the next ``value``. val_map: AP, 0 to 1. None: not measured, no validation.

        NaN is a validation without a better AP.
        """
        if val_map is None or not self.adapt:
            return
        if math.isfinite(val_map) and (self._best is None or val_map > self._best):
            self._best = float(val_map)
            self._stale = 0
            return
        self._stale += 1
        if self._stale >= self.shrink_after:
            self._shrinks += 1
            self._stale = 0

    def table(self, points: int = 6) -> list[tuple[int, float]]:
        """Alpha at up to ``points`` epochs (2 or more), evenly spread from the first to the last, with what is known by now.

        Before a run that is the schedule without any shrinking.
        """
        check_range("points", points, 2, MOST_EPOCHS)
        last = self.epochs - 1
        epochs = sorted({1 + round(i * last / (points - 1)) for i in range(points)})
        return [(epoch, self.value(epoch)) for epoch in epochs]

    def describe(self) -> str:
        """The schedule and its rules in one line."""
        if not self.distils:
            return "alpha 0: no teacher"
        epochs = counted(self.epochs, "epoch")
        if self.start == self.end:
            parts = [f"alpha {self.start:g} throughout {epochs}"]
        else:
            parts = [f"alpha {self.start:g} to {self.end:g}, {self.strategy} over {epochs}"]
        if self.adapt:
            parts.append(f"x{self.shrink:g} after each {self.shrink_after} validations without better AP")
        if self.late_cap is not None and self._late_from <= self.epochs:
            parts.append(f"at most {self.late_cap:g} from epoch {self._late_from}")
        if self.bounds is not None:
            parts.append(f"always within {self.bounds[0]:g} to {self.bounds[1]:g}")
        return "; ".join(parts)

    def state_dict(self) -> dict[str, Any]:
        """All that changes during a run, as plain values."""
        return {"best": self._best, "stale": self._stale, "shrinks": self._shrinks}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what ``state_dict`` gave."""
        self._best = state["best"]
        self._stale = state["stale"]
        self._shrinks = state["shrinks"]
