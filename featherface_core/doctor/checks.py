"""What a check is, and which modules import: each tried in a process of its own."""

import json
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from featherface_core.results import Finding

SCRIPT = Path(__file__).with_name("import_one.py")
PATIENCE = 90.0  # seconds; torch from a cold network disk takes a good half minute
AT_ONCE = 2


@dataclass(frozen=True)
class Imported:
    """What came of importing one module.

    problem: why it failed, or "". missing: True if there is no such module at all. seconds: that the import took.
    facts: what it tells of the machine (torch: threads, gpu_build, devices, mps; onnxruntime: providers).
    facts_problem: why it could not tell, or "".
    """

    module: str
    problem: str = ""
    missing: bool = False
    seconds: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)
    facts_problem: str = ""


class Imports:
    """Tries modules two at a time, each once."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(AT_ONCE)
        self._tried: dict[str, Future[Imported]] = {}

    def start(self, module: str) -> None:
        """Begin to try ``module``, without waiting."""
        if module not in self._tried:
            self._tried[module] = self._pool.submit(try_import, module)

    def of(self, module: str) -> Imported:
        """What came of ``module``; waits for it."""
        self.start(module)
        return self._tried[module].result()

    def close(self) -> None:
        """Forget what has not begun."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def try_import(module: str) -> Imported:
    """Import ``module`` in a new Python that has this one's search path."""
    command = [sys.executable, "-P", str(SCRIPT), module, json.dumps(sys.path)]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False, errors="replace"
        )
        said, ending = done.stdout, _ending(done.returncode, done.stderr)
    except subprocess.TimeoutExpired as late:
        said = late.stdout.decode(errors="replace") if isinstance(late.stdout, bytes) else late.stdout or ""
        ending = f"not done after {PATIENCE:g} s"
    values = _read(said)
    if "problem" not in values and "seconds" not in values:
        values["problem"] = ending or "the trial ended without a word"
    elif "seconds" in values and "facts" not in values and "facts_problem" not in values:
        values["facts_problem"] = ending
    for key in ("problem", "facts_problem"):
        if key in values:
            values[key] = textwrap.shorten(values[key], 300, placeholder=" ...")
    return Imported(module, **values)


def _read(said: str) -> dict[str, Any]:
    """Our lines among whatever the module itself printed."""
    values: dict[str, Any] = {}
    for line in said.splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue  # the module's own words
        if isinstance(value, dict):
            values |= {key: value[key] for key in Imported.__dataclass_fields__ if key in value}
    return values


def _ending(code: int, words: str) -> str:
    """Why a process stopped, from its exit code and the last line it wrote."""
    if code == 0:
        return ""
    last = next((line for line in reversed(words.splitlines()) if line.strip()), "")
    try:
        reason = f"killed by {signal.Signals(-code).name}"
    except ValueError:
        reason = f"ended with code {code}"
    return f"{reason}: {last}" if last else reason


@dataclass(frozen=True)
class DoctorOptions:
    """What the checks are told. weights: the file that the group ``weights`` looks into, None for no such look.

    data, run: the folders that the groups of these names look into.
    imports: which packages import; every check of a run shares it, so that each package is tried once.
    """

    weights: Path | None = None
    imports: Imports = field(default_factory=Imports)
    data: Path | None = None
    run: Path | None = None


@dataclass(frozen=True)
class Check:
    """One entry of CHECKS. run: the check itself; its findings carry ``group`` and ``name``.

    tries: modules whose import it reports on. needs: modules that it cannot run without; where one is broken the check
    is not run, and a ``skip`` finding names the package and its mending command.
    """

    group: str
    name: str
    run: Callable[[DoctorOptions], Finding | list[Finding]]
    tries: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
