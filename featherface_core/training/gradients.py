"""The norms of a run's gradients, in a few numbers. Imports no torch."""

import math
import statistics
from typing import Any

MOST_KEPT = 1024


class GradientHistory:
    """Collects the norm of all gradients together, before clipping, at each step; its memory does not grow with the run.

    Minimum, mean, maximum and the share of clipped steps are exact. The median is that of at most 1024 norms, evenly spread:
    when there are more, every second one is dropped, and from then on half as many are kept.
    """

    _kept: list[float]
    _stride: int
    _count: int
    _clipped: int
    _current: float
    _mean: float
    _low: float
    _high: float

    def __init__(self) -> None:
        self.reset()

    def __len__(self) -> int:
        return self._count

    def add(self, norm: float, clipped: bool = False) -> None:
        """Take note of one step. norm: 0 or more; NaN and infinity are left out, for such a step is skipped."""
        norm = float(norm)
        if not math.isfinite(norm):
            return
        if self._count % self._stride == 0:
            self._kept.append(norm)
            if len(self._kept) > MOST_KEPT:
                self._kept = self._kept[::2]
                self._stride *= 2
        self._count += 1
        self._clipped += bool(clipped)
        self._current = norm
        self._mean += (norm - self._mean) / self._count  # a sum of huge norms would overflow
        self._low = min(self._low, norm) if self._count > 1 else norm
        self._high = max(self._high, norm)

    def stats(self) -> dict[str, float]:
        """``grad_norm_current`` (the last), ``_min``, ``_median``, ``_mean``, ``_max``; ``grad_clipped_share``, 0 to 1.

        Empty before the first step.
        """
        if not self._count:
            return {}
        return {
            "grad_norm_current": self._current,
            "grad_norm_min": self._low,
            "grad_norm_median": statistics.median(self._kept),
            "grad_norm_mean": self._mean,
            "grad_norm_max": self._high,
            "grad_clipped_share": self._clipped / self._count,
        }

    def reset(self) -> None:
        """Forget all, for the next epoch."""
        self._kept = []
        self._stride = 1
        self._count = 0
        self._clipped = 0
        self._current = self._mean = self._low = self._high = 0.0

    def state_dict(self) -> dict[str, Any]:
        """All of it, as plain values."""
        return {
            "kept": list(self._kept),
            "stride": self._stride,
            "count": self._count,
            "clipped": self._clipped,
            "current": self._current,
            "mean": self._mean,
            "low": self._low,
            "high": self._high,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what ``state_dict`` gave."""
        self._kept = list(state["kept"])
        self._stride = state["stride"]
        self._count = state["count"]
        self._clipped = state["clipped"]
        self._current = state["current"]
        self._mean = state["mean"]
        self._low = state["low"]
        self._high = state["high"]
