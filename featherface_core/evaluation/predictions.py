"""Detections in the official layout of WIDER FACE: EVENT/PICTURE.txt with a name, a count, and a line x y w h score a face."""

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from featherface_core.errors import DataError, first_line
from featherface_core.evaluation.truth import Doubles, Found
from featherface_core.files import make_folder, write_text

LAYOUT = "one EVENT/PICTURE.txt for each picture: its name, the number of faces, then x y w h score on a line for each"
MOST = 1e9  # pixels, or score: no picture is larger


@dataclass(frozen=True)
class Predictions:
    """Detections by the file's path without suffix, ``event/picture``: boxes (n, 4) as x1, y1, x2, y2, and scores (n,)."""

    source: Path
    pictures: Mapping[str, tuple[Doubles, Doubles]]

    def called(self, names: Sequence[str]) -> "Predictions":
        """The same under the names of pictures: folders around all files are removed where necessary.

        Raises DataError for predictions of pictures that are none of ``names``.
        """
        known, pictures = set(names), self.pictures
        while not known & pictures.keys():
            heads = {name.partition("/")[0] if "/" in name else "" for name in pictures}
            if len(heads) != 1 or "" in heads:
                pictures = self.pictures
                break
            pictures = {name.partition("/")[2]: found for name, found in pictures.items()}
        unknown = sorted(pictures.keys() - known)
        if unknown:
            raise DataError(
                f"{self.source} has predictions for {len(unknown):,} unknown pictures, such as {unknown[0]}",
                f"the pictures have names such as {names[0]}: give predictions and ground truth of one data set",
            )
        return Predictions(self.source, pictures)

    def of(self, names: Sequence[str]) -> Found:
        """The detections of these pictures, in this order; one without predictions has none."""
        nothing = (np.zeros((0, 4)), np.zeros(0))
        return Found.of([self.pictures.get(name, nothing) for name in names])


def read_predictions(source: str | Path) -> Predictions:
    """Read a folder or a .zip.

    Raises DataError, with file and line, for what is not in the official layout, and for numbers that are not finite.
    """
    source = Path(source)
    if not source.exists():
        raise DataError(f"--predictions {source} does not exist", f"give a folder or a .zip with {LAYOUT}")
    texts = dict(_of_zip(source) if source.is_file() else _of_folder(source))
    if not texts:
        raise DataError(f"--predictions {source} holds no .txt", f"expected: {LAYOUT}")
    pictures = {}
    for path, data in texts.items():
        place = f"{source}:{path}" if source.is_file() else str(source / path)
        pictures[path.removesuffix(".txt")] = _parse(place, data)
    return Predictions(source, pictures)


def write_predictions(folder: Path, names: Sequence[str], found: Found) -> None:
    """Write the official layout, each number with enough digits to read the same float32 again."""
    make_folder(folder)
    for (boxes, scores), name in zip(found.parts(), names, strict=True):
        rows = np.concatenate((boxes[:, :2], boxes[:, 2:] - boxes[:, :2], scores[:, None]), 1)
        title = name.rpartition("/")[2].encode("utf-8", "replace").decode()  # a file name may not be UTF-8
        lines = [title, str(len(rows)), *(" ".join(map(repr, row)) for row in rows.tolist())]
        write_text(folder / f"{name}.txt", "\n".join(lines) + "\n")


def _of_zip(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if entry.filename.endswith(".txt") and not _hidden(entry.filename):
                    yield entry.filename, archive.read(entry)
    except Exception as problem:  # for a damaged archive decompressors raise various exceptions
        raise DataError(f"--predictions {path} is not a .zip that can be read: {first_line(problem)}", LAYOUT) from None


def _of_folder(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*.txt")):
        name = path.relative_to(folder).as_posix()
        if _hidden(name):
            continue
        try:
            yield name, path.read_bytes()
        except OSError as problem:
            raise DataError(f"cannot read {path}: {problem.strerror or problem}", "check the folder") from None


def _hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts)


def _parse(place: str, data: bytes) -> tuple[Doubles, Doubles]:
    lines = data.decode("utf-8", "replace").splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    if len(lines) < 2:
        raise DataError(f"{place} has {len(lines)} lines where a name and a count belong", f"expected: {LAYOUT}")
    count = lines[1].strip()
    if not count.isdecimal() or len(count) > 9:
        raise DataError(f"{place}:2: {count[:60]!r} is not a number of faces", f"expected: {LAYOUT}")
    if int(count) != len(lines) - 2:
        raise DataError(
            f"{place}:2: {count} faces are announced, and {len(lines) - 2} lines follow", "write the file again"
        )
    if len(lines) == 2:
        return np.zeros((0, 4)), np.zeros(0)
    words = [line.split() for line in lines[2:]]
    try:
        table = np.array(words, np.float64)
    except ValueError:
        table = None
    if table is None or table.ndim != 2 or table.shape[1] != 5 or not (np.abs(table) < MOST).all():
        raise _first_fault(place, words)
    return np.concatenate((table[:, :2], table[:, :2] + table[:, 2:4]), 1), table[:, 4]


def _first_fault(place: str, words: list[list[str]]) -> DataError:
    for number, row in enumerate(words, 3):
        where, text = f"{place}:{number}", " ".join(row)[:60]
        if len(row) != 5:
            return DataError(f"{where}: {text!r} has {len(row)} numbers where 5 belong", "a line is x y w h score")
        for word in row:
            try:
                usable = abs(float(word)) < MOST
            except ValueError:
                return DataError(f"{where}: {word[:60]!r} is not a number", "a line is x y w h score")
            if not usable:
                return DataError(f"{where}: {text!r} holds {word[:60]}", "every number has to be finite, and below 1e9")
    raise AssertionError(f"{place} has no fault")
