"""Writing files so that a reader never meets half of one."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from featherface_core.errors import DataError, FeatherFaceError


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
