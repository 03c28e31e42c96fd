"""What a check is: a plain function of the options, and what must import before it can run."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from featherface_core.doctor.imports import Imports
from featherface_core.results import Finding


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
