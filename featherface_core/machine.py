"""What a run ran on, for those who read its figures later, and packages that are imported only where they are used."""

import os
import platform
from importlib import import_module
from pathlib import Path
from typing import Any

from featherface_core.errors import MissingPackageError
from featherface_core.version import __version__

CPU_INFO = Path("/proc/cpuinfo")
DOT_PRODUCTS = {"avx_vnni", "avx512_vnni", "asimddp"}  # of int8 values, as Linux names them


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
        lines = CPU_INFO.read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def flags() -> frozenset[str]:
    """The processor's instruction sets, as Linux names them; empty if unknown."""
    try:
        lines = CPU_INFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    return frozenset(flag for line in lines if line.startswith(("flags", "Features")) for flag in line.split())


def adds_up_int8() -> bool | None:
    """Whether the processor has instructions for dot products of int8 (VNNI on x86, dot product on ARM); None if unknown."""
    known = flags()
    return bool(known & DOT_PRODUCTS) if known else None


def import_package(name: str, fix: str) -> Any:
    """The module ``name``. Raises MissingPackageError, with ``fix`` as its hint, where it is not installed or broken."""
    try:
        return import_module(name)
    except Exception as problem:  # a broken wheel fails with whatever its loader meets
        raise MissingPackageError(f"{name} cannot be imported: {problem}", fix) from None


def how_to_install(package: str = "", options: str = "") -> str:
    """The command that installs a package by its name; without a name this project, from its own folder.

    A registry may have another project of this project's name, so no hint installs it, or an extra of it, by name.

    >>> how_to_install("openvino")
    'pip install openvino'
    >>> how_to_install(options="--no-deps")
    "in the project's folder: pip install --no-deps ."
    """
    command = " ".join(word for word in ("pip install", options, package or ".") if word)
    return command if package else f"in the project's folder: {command}"
