"""Measurements in separate Python processes, so that what this process has loaded does not count."""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from featherface_core.bench.config import Setting, Source
from featherface_core.bench.report import Alone, Limit
from featherface_core.bench.rounds import WARM_UP, Rounds
from featherface_core.errors import FeatherFaceError, first_line

PATIENCE = 300.0  # seconds: loading torch from a cold network disk, and a network of seconds a run
# what the libraries behind NumPy read their number of threads from, when they are loaded
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
STARTS = 3


class ChildFailedError(Exception):
    """A script that failed; the message is the script's last."""


def call(
    script: str,
    asked: Mapping[str, Any],
    environment: Mapping[str, str] | None = None,
    patience: float | None = PATIENCE,
    on_line: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Run a script beside this file with this process's search path, and return the JSON object of its last line.

    asked: what to do, as JSON. environment: variables besides this process's. on_line: told every line of the script when it is
    printed. Raises ChildFailedError, after ``patience`` seconds too.
    """
    path = Path(__file__).with_name(script)
    command = [sys.executable, "-P", str(path), json.dumps(sys.path), json.dumps(asked)]
    last = ""
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            errors="replace",
            env={**os.environ, **(environment or {})},
        ) as child,
    ):
        assert child.stdout is not None
        timer = threading.Timer(patience, child.kill) if patience is not None else None
        try:
            if timer is not None:
                timer.start()
            for last in child.stdout:
                on_line(last)
            child.wait()
        except BaseException:  # an interrupted benchmark leaves no process behind
            child.kill()
            raise
        finally:
            if timer is not None:
                timer.cancel()
        if child.returncode:
            errors.seek(0)
            raise ChildFailedError(_reason(errors.read(), child.returncode))
    said: dict[str, Any] = json.loads(last)
    return said


def _reason(words: str, code: int) -> str:
    """The end of a traceback without the module of its error, or how the process ended."""
    lines = words.strip().splitlines()
    if code < 0 or not lines:
        return f"ended by signal {-code}" if code < 0 else f"ended with {code}"
    error, colon, message = lines[-1].partition(": ")
    return message if colon and error.startswith("featherface_core.") else lines[-1]


def measure_alone(source: Source, setting: Setting, picture: Path) -> Alone:
    """Open a candidate in a new Python, run a few batches of ``picture`` and return the time and memory used."""
    asked = {"source": asdict(source), "setting": asdict(setting), "picture": str(picture)}
    try:
        said = call("run_alone.py", asked)
    except ChildFailedError as problem:
        return Alone(problem=first_line(problem))
    return Alone(said["cpu_seconds"], said["peak_bytes"])


def measure_limit(threads: int) -> Limit | None:
    """The matrix product and the copy of this machine with ``threads`` threads; None where they cannot be measured."""
    try:
        said = call("run_limit.py", {"threads": threads}, dict.fromkeys(THREADS, str(threads)))
    except ChildFailedError:
        return None
    return Limit(threads, said["macs_per_second"], said["bytes_per_second"])


def measure_rounds(
    sources: Sequence[Source],
    setting: Setting,
    picture: Path,
    runs: int,
    on_round: Callable[[int, int], None] = lambda done, total: None,
) -> Rounds:
    """``runs`` rounds in which the candidates take turns, shared evenly among STARTS new processes.

    on_round: told the rounds done and those in all, the warm-up of each process included. Raises FeatherFaceError where a
    process fails.
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
