"""Running a script of this package in a Python of its own, where nothing that this process has loaded counts."""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

PATIENCE = 300.0  # seconds; torch from a cold network disk, and a network of seconds a run


class ChildFailedError(Exception):
    """A script that did not come to its end; its message is the last that the script said."""


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
        except BaseException:  # an interrupted benchmark leaves nothing behind that runs on
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
