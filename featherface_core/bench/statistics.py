"""From the rounds of a benchmark to its figures."""

import numpy as np
from numpy.typing import NDArray

from featherface_core.bench.report import Latency, Ratio

Doubles = NDArray[np.float64]


def latency(seconds: Doubles) -> Latency:
    """Percentiles, in milliseconds, of one candidate's rounds (n,)."""
    ms = seconds * 1000
    p5, median, p95 = _percentiles(ms)
    return Latency(median, p5, p95, tuple(round(float(each), 4) for each in ms))


def ratio(seconds: Doubles, first: Doubles) -> Ratio:
    """One candidate's rounds (n,) over the first's, each divided within its round, so that a slow drift cancels.

    The spread is that of single rounds, and not a confidence interval of their median. On a busy machine rounds are not
    independent: an interval from a bootstrap over them was missed by the next run four times in ten, when it was tried.
    """
    p5, median, p95 = _percentiles(seconds / first)
    return Ratio(median, p5, p95)


def _percentiles(values: Doubles) -> tuple[float, float, float]:
    p5, median, p95 = (float(each) for each in np.percentile(values, (5, 50, 95)))
    return p5, median, p95
