"""Files that are whole or not there, and the folders of runs: made new, found again, or numbered."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from featherface_core.config import load_yaml
from featherface_core.errors import ConfigError, DataError, FeatherFaceError

RUNS = Path("runs")
CONFIG = "config.yaml"


@contextmanager
def replacing(path: Path, error: type[FeatherFaceError] = DataError) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success rename it to ``path``, on failure remove it.

    The folder is made if need be. Raises ``error`` where it cannot be written to.
    """
    if path.is_symlink():
        path = path.resolve()  # the link stays, and what it points to is replaced
    make_folder(path.parent, error)
    if path.exists() and not path.is_file():
        kind = "folder" if path.is_dir() else "device or pipe"
        raise error(f"{path} is a {kind}, not a file", "give the name of a file")
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())  # before the name: a power cut must not leave an empty file under it
        temporary.replace(path)
    except BrokenPipeError:  # of the caller's own output, not of this file
        raise
    except OSError as problem:
        raise error(
            f"cannot write {path}: {problem.strerror or problem}", "check the folder and the free space"
        ) from problem
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str, error: type[FeatherFaceError] = DataError) -> None:
    """Write ``text`` as UTF-8, whole or not at all."""
    with replacing(path, error) as temporary:
        temporary.write_text(text, encoding="utf-8")


def make_folder(path: Path, error: type[FeatherFaceError] = DataError) -> Path:
    """Make ``path`` and its parents, and prove that a file can be written there."""
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as problem:
        raise error(
            f"cannot write into the folder {path}: {problem.strerror or problem}",
            "choose a folder that you may write to",
        ) from problem
    return path


def fresh_folder(path: Path, force: bool, keys: set[str]) -> Path:
    """A new, empty folder. Raises ConfigError if it holds anything, unless ``force`` says that it may go.

    keys: what a run's config.yaml holds; a folder without such a file is not emptied.
    """
    if path.exists() and not path.is_dir():
        raise ConfigError(f"--out {path} is a file", "name a folder for the run")
    if path.is_dir() and any(path.iterdir()):
        if not force:
            raise ConfigError(
                f"run folder {path} exists and is not empty",
                f"go on with --resume {path}, begin anew with --force, or name another with --out",
            )
        if not _is_run(path, keys):
            raise ConfigError(
                f"{path} is not a run folder (no config.yaml of a run is in it); --force will not empty it",
                "name another with --out",
            )
        shutil.rmtree(path)
    return make_folder(path, ConfigError)


def existing_folder(path: Path) -> Path:
    """The folder of an earlier run, without what a killed run left half written. Raises ConfigError if it is none."""
    if not (path / CONFIG).is_file():
        reason = f"has no {CONFIG}" if path.is_dir() else "does not exist"
        raise ConfigError(f"--resume {path}: that run folder {reason}", "name the folder that the run printed")
    for half_written in path.glob(".*.part*"):
        half_written.unlink()
    return path


def next_folder(parent: Path, name: str) -> Path:
    """``parent/name-1``, or the first number that is free."""
    number = 1
    while (parent / f"{name}-{number}").exists():
        number += 1
    return parent / f"{name}-{number}"


def comment(command: str) -> str:
    """A command as the first line of a YAML file, whatever it holds."""
    return "# " + " ".join(command.split()) + "\n"


def _is_run(path: Path, keys: set[str]) -> bool:
    """Whether a folder is a run's, by the keys of its config.yaml: other programs call files so too."""
    config = path / CONFIG
    if not config.is_file():
        return False
    try:
        return keys <= load_yaml(config).keys()
    except ConfigError:
        return False
