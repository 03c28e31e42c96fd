"""Measurements that need a process of their own, because what this one has loaded would count."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from featherface_core.bench.candidate import Setting, Source
from featherface_core.bench.report import Alone, Limit
from featherface_core.errors import first_line

ALONE, LIMIT = (Path(__file__).with_name(name) for name in ("run_alone.py", "run_limit.py"))
PATIENCE = 300.0  # seconds; torch from a cold network disk, and a network of seconds a run
# what the libraries behind NumPy read their number of threads from, when they are loaded
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


class _ChildFailedError(Exception):
    pass


def measure_alone(source: Source, setting: Setting, picture: Path) -> Alone:
    """Open a candidate in a new Python, run a few batches of ``picture`` and tell what that took."""
    asked = {"source": asdict(source), "setting": asdict(setting), "picture": str(picture)}
    try:
        said = _call(ALONE, asked, {})
    except _ChildFailedError as problem:
        return Alone(problem=first_line(problem))
    return Alone(said["cpu_seconds"], said["peak_bytes"])


def measure_limit(threads: int) -> Limit | None:
    """The matrix product and the copy of this machine with ``threads`` threads; None where they cannot be measured."""
    try:
        said = _call(LIMIT, {"threads": threads}, dict.fromkeys(THREADS, str(threads)))
    except _ChildFailedError:
        return None
    return Limit(threads, said["macs_per_second"], said["bytes_per_second"])


def _call(script: Path, asked: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """Run a script with this one's search path, and read the JSON object of its last line."""
    command = [sys.executable, "-P", str(script), json.dumps(sys.path), json.dumps(asked)]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
            text=True,
            errors="replace",
            env={**os.environ, **environment},
        )
    except subprocess.TimeoutExpired:
        raise _ChildFailedError(f"not done after {PATIENCE:g} s") from None
    if done.returncode:
        words = done.stderr.strip().splitlines()
        killed = f"ended by signal {-done.returncode}" if done.returncode < 0 else f"ended with {done.returncode}"
        raise _ChildFailedError(words[-1] if words else killed)
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said
