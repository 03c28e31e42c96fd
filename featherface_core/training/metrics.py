"""The file metrics.jsonl of a run folder: one JSON object an epoch. Imports no torch."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featherface_core.errors import DataError
from featherface_core.files import write_text

METRICS = "metrics.jsonl"


@dataclass(frozen=True)
class MetricsFile:
    """Records in the order of the file, and the numbers (from 1) of lines that hold none: a half line, say."""

    records: tuple[dict[str, Any], ...]
    damaged: tuple[int, ...] = ()


def metrics_path(path: Path) -> Path:
    """``path`` itself if it is a file or is called ``*.jsonl``, else metrics.jsonl inside of it."""
    path = Path(path)
    return path if path.is_file() or (path.suffix == ".jsonl" and not path.is_dir()) else path / METRICS


def read_metrics(path: Path) -> MetricsFile:
    """The records of a file; an empty one where it does not exist. Raises DataError where it cannot be read."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return MetricsFile(())
    except OSError as problem:
        raise DataError(f"cannot read {path}: {problem.strerror or problem}", "may you read the file?") from None
    records, damaged = [], []
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        record = _record(line)
        if record is None:
            damaged.append(number)
        else:
            records.append(record)
    return MetricsFile(tuple(records), tuple(damaged))


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line.decode("utf-8"), parse_constant=lambda _: None)  # NaN is not JSON, but some write it
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    epoch = record.get("epoch")
    return record if isinstance(epoch, int) and not isinstance(epoch, bool) and epoch >= 1 else None


def append_record(path: Path, record: dict[str, Any]) -> None:
    """Add one line, handed to the system before this returns: a killed process loses nothing. Raises DataError."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(line_of(record))
    except OSError as problem:
        raise DataError(
            f"cannot write {path}: {problem.strerror or problem}", "check the folder and the free space"
        ) from problem


def write_records(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Replace the file by these records, whole or not at all. Raises DataError."""
    write_text(path, "".join(line_of(record) for record in records))


def line_of(record: dict[str, Any]) -> str:
    """One line of valid JSON."""
    return json.dumps(record, allow_nan=False) + "\n"
