"""What a run ran on, for those who read its figures later."""

import os
import platform
from pathlib import Path
from typing import Any

from featherface_core.version import __version__


def machine_facts() -> dict[str, Any]:
    """Version, Python, platform, processor and number of CPUs."""
    return {
        "featherface": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor(),
        "cpus": os.cpu_count(),
    }


def processor() -> str:
    """The model of the processor, as far as the system says."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
