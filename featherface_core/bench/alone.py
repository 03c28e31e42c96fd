"""What a candidate takes in a process of its own: CPU time to its first result, and memory."""

from dataclasses import asdict
from pathlib import Path

from featherface_core.bench.candidate import Setting, Source
from featherface_core.bench.child import ChildFailedError, call
from featherface_core.bench.report import Alone
from featherface_core.errors import first_line


def measure_alone(source: Source, setting: Setting, picture: Path) -> Alone:
    """Open a candidate in a new Python, run a few batches of ``picture`` and tell what that took."""
    asked = {"source": asdict(source), "setting": asdict(setting), "picture": str(picture)}
    try:
        said = call("run_alone.py", asked)
    except ChildFailedError as problem:
        return Alone(problem=first_line(problem))
    return Alone(said["cpu_seconds"], said["peak_bytes"])
