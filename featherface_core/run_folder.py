"""The folder that a run keeps its files in: made new, found again, or numbered. Training and evaluation have one each."""

import shutil
from pathlib import Path

from featherface_core.config import load_yaml
from featherface_core.errors import ConfigError
from featherface_core.files import make_folder

RUNS = Path("runs")
CONFIG = "config.yaml"


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
