"""The rounds of a benchmark, in several processes.

Where a process happens to lie in memory moves the times of its networks by a percent or more, for as long as it lives. Rounds of
one process say nothing of that, and the next run would fall outside their spread.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from featherface_core.bench.candidate import Setting, Source
from featherface_core.bench.child import ChildFailedError, call
from featherface_core.bench.rounds import WARM_UP, Rounds
from featherface_core.errors import FeatherFaceError, first_line

STARTS = 3


def measure_rounds(
    sources: Sequence[Source],
    setting: Setting,
    picture: Path,
    runs: int,
    on_round: Callable[[int, int], None] = lambda done, total: None,
) -> Rounds:
    """``runs`` rounds in which the candidates take turns, shared evenly among STARTS new processes.

    on_round: told the rounds done and those in all, the warm-up of each process included. Raises FeatherFaceError where a process
    does not come to its end.
    """
    counts = [len(part) for part in np.array_split(range(runs), STARTS) if len(part)]
    total, done = sum(counts) + WARM_UP * len(counts), 0
    parts = []

    def told(line: str) -> None:
        if line.strip().isdecimal():
            on_round(done + int(line), total)

    for count in counts:
        asked = {
            "sources": [asdict(source) for source in sources],
            "setting": asdict(setting),
            "picture": str(picture),
            "runs": count,
        }
        try:
            parts.append(call("run_rounds.py", asked, patience=None, on_line=told))
        except ChildFailedError as problem:
            raise FeatherFaceError(
                f"the process that ran the networks failed: {first_line(problem)}",
                "is there memory enough for all of them together? name fewer",
            ) from None
        done += count + WARM_UP
    shares = [part["cpu_share"] for part in parts]
    return Rounds(np.concatenate([part["seconds"] for part in parts]), float(np.average(shares, weights=counts)))
