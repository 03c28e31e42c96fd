"""Running candidates in turns, so that other load on the machine slows all of them alike, and the figures of the rounds."""

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featherface_core.bench.report import Latency, Ratio

Doubles = NDArray[np.float64]
WARM_UP = 3
BUSY = 0.9  # processor seconds in a second of the rounds: below this, other programs used the core too
Clock = Callable[[], float]


def latency(seconds: Doubles) -> Latency:
    """Percentiles, in milliseconds, of one candidate's rounds (n,)."""
    ms = seconds * 1000
    p5, median, p95 = _percentiles(ms)
    return Latency(median, p5, p95, tuple(round(float(each), 4) for each in ms))


def ratio(seconds: Doubles, first: Doubles) -> Ratio:
    """One candidate's rounds (n,) over the first's, each divided within its round, so that a slow drift cancels.

    The spread is that of single rounds, and not a confidence interval of their median. On a busy machine rounds are not
    independent: in a test, a bootstrap interval over them missed the next measurement in four of ten cases.
    """
    p5, median, p95 = _percentiles(seconds / first)
    return Ratio(median, p5, p95)


def _percentiles(values: Doubles) -> tuple[float, float, float]:
    p5, median, p95 = (float(each) for each in np.percentile(values, (5, 50, 95)))
    return p5, median, p95


@dataclass(frozen=True)
class Rounds:
    """seconds (runs, candidates). cpu_share: processor seconds of this process in a second of the rounds."""

    seconds: Doubles
    cpu_share: float


def interleave(
    candidates: Sequence[Callable[[], object]],
    runs: int,
    warm_up: int = WARM_UP,
    on_round: Callable[[int], None] = lambda _: None,
    clock: Clock = time.perf_counter,
    cpu_clock: Clock = time.process_time,
) -> Rounds:
    """Call every candidate once a round, ``warm_up`` rounds that do not count and then ``runs`` that do.

    on_round: told the number of rounds done, the warm-up included.
    """
    taken = np.zeros((warm_up + runs, len(candidates)))
    cpu, wall = np.zeros(warm_up + runs), np.zeros(warm_up + runs)
    with _no_garbage_collection():
        for turn in range(warm_up + runs):
            cpu_began, turn_began = cpu_clock(), clock()
            for i, run in enumerate(candidates):
                began = clock()
                run()
                taken[turn, i] = clock() - began
            cpu[turn], wall[turn] = cpu_clock() - cpu_began, clock() - turn_began
            on_round(turn + 1)
    return Rounds(taken[warm_up:], float(cpu[warm_up:].sum() / max(wall[warm_up:].sum(), 1e-9)))


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
