"""What the formats share: lines of numbers with their places, faces from rows of numbers, and names to write under."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from featherface_core.data.annotation import Annotation, Faces, Problem
from featherface_core.errors import DataError
from featherface_core.files import replacing

Doubles = NDArray[np.float64]
FARTHEST = 1e6  # pixels; float32 tells positions apart to 1/16 pixel there, and no picture is as wide


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file that are not blank, stripped, with their numbers from 1. Raises DataError.

    Bytes that are no UTF-8 survive in names, as the file system has them.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
            for number, line in enumerate(file, 1):
                if text := line.strip():
                    yield number, text
    except OSError as problem:
        raise cannot_read(path, problem) from None


def cannot_read(path: Path, problem: OSError) -> DataError:
    """The error for a label file that the system does not let us read."""
    return DataError(f"cannot read the label {path}: {problem.strerror or problem}", "check the path and its rights")


def is_number(text: str) -> bool:
    """Whether a field is a number, NaN and infinity among them.

    >>> is_number("1e-3"), is_number("1_000"), is_number("a.jpg")
    (True, False, False)
    """
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


class NumberLines:
    """Lines of numbers of one file, kept in one array: WIDER FACE's label has three million of them.

    path: for errors. columns: how many a line may have. hint: what a line looks like. lines: the numbers of the lines added.
    """

    def __init__(self, path: Path, columns: Sequence[int], hint: str) -> None:
        self.path = path
        self.columns = tuple(columns)
        self.hint = hint
        self.lines: list[int] = []
        self._values = array("d")
        self._ends = array("q")

    def __len__(self) -> int:
        return len(self.lines)

    def add(self, number: int, text: str) -> None:
        """Take a line. Raises DataError for a field that is no number, and for a wrong count of columns."""
        values, before = self._values, len(self._values)
        try:
            values.extend(map(float, text.split()))
        except ValueError:
            raise self._no_number(number, text) from None
        if "_" in text:  # which float() takes for a thousands separator
            raise self._no_number(number, text)
        if len(values) - before not in self.columns:
            wanted = " or ".join(map(str, self.columns))
            found = len(values) - before
            raise DataError(
                f"{self.path}:{number}: {found} column{'s' * (found != 1)}, not {wanted}: {text[:60]!r}", self.hint
            )
        self.lines.append(number)
        self._ends.append(len(values))

    def table(self, width: int, fill: float) -> Doubles:
        """(lines, width): a row a line, shorter ones padded with ``fill``. Raises DataError for NaN, infinity, far numbers."""
        flat = np.frombuffer(self._values, np.float64) if self._values else np.zeros(0)
        odd = ~(np.abs(flat) <= FARTHEST)
        ends = np.frombuffer(self._ends, np.int64) if self._ends else np.zeros(0, np.int64)
        if odd.any():
            first = int(odd.argmax())
            line = int(np.searchsorted(ends, first, side="right"))
            start = int(ends[line - 1]) if line else 0
            raise DataError(
                f"{self.path}:{self.lines[line]}: {flat[first]:g} in column {first - start + 1} is no usable number",
                f"numbers are finite and at most {FARTHEST:,.0f} in size; correct or remove the line",
            )
        widths = np.diff(ends, prepend=0)
        if len(widths) and (widths == widths[0]).all() and widths[0] <= width:
            full = flat.reshape(-1, int(widths[0]))
            return np.pad(full, ((0, 0), (0, width - full.shape[1])), constant_values=fill)
        rows = np.full((len(widths), width), fill)
        for count in np.unique(widths):
            which = np.flatnonzero(widths == count)
            kept = min(int(count), width)
            rows[which, :kept] = flat[(ends[which] - count)[:, None] + np.arange(kept)]
        return rows

    def _no_number(self, number: int, text: str) -> DataError:
        column, field = next((i, f) for i, f in enumerate(text.split(), 1) if not is_number(f))
        return DataError(f"{self.path}:{number}: {field!r} in column {column} is not a number", self.hint)


def faces_of(
    sizes: Doubles,
    landmarks: Doubles | None,
    ignored: NDArray[np.bool_] | None,
    places: Sequence[str],
) -> tuple[Faces, list[Problem]]:
    """Faces of a whole label, with a Problem for each odd one.

    sizes (n, 4): x, y, width, height in pixels. landmarks (n, 5, 2): in pixels, NaN where unknown. places (n,): for problems.
    A box without area is kept, as an ignored one; a face of which some landmarks are unknown has none.
    """
    n = len(sizes)
    problems = []
    flat = (sizes[:, 2:] <= 0).any((1,))
    skipped = flat.copy() if ignored is None else ignored | flat
    for i in np.flatnonzero(flat).tolist():
        width, height = sizes[i, 2:]
        what = f"the box is {width:g} x {height:g} px; the face is ignored"
        problems.append(Problem("zero-area", "warning", places[i], what))
    if landmarks is None:
        landmarks = np.full((n, 5, 2), np.nan)
    known = np.isfinite(landmarks).all((2,))
    counts = known.sum(1)
    partly = (counts > 0) & (counts < 5)
    for i in np.flatnonzero(partly).tolist():
        what = f"{counts[i]} of 5 landmarks are known; the face counts as one without"
        problems.append(Problem("landmarks-incomplete", "warning", places[i], what))
    points = np.where(partly[:, None, None], np.nan, landmarks)
    corners = np.concatenate([sizes[:, :2], sizes[:, :2] + np.maximum(sizes[:, 2:], 0)], 1)
    return Faces.of(corners, points, skipped), problems


def split(faces: Faces, ends: Iterable[int]) -> list[Faces]:
    """Cut the faces of a label into those of its pictures; ``ends``: of each picture, the index after its last face."""
    parts, start = [], 0
    for end in ends:
        part = slice(start, end)
        parts.append(Faces(faces.boxes[part], faces.landmarks[part], faces.ignored[part], faces.weights[part]))
        start = end
    return parts


def pictures_folder(folders: Sequence[Path], names: Sequence[str]) -> Path:
    """The first of ``folders`` that holds one of the pictures (some of them are looked for), or else the first."""
    few = names[:: max(1, len(names) // 40)]
    for folder in folders:
        if folder.is_dir() and any((folder / name).exists() for name in few):
            return folder
    return folders[0]


def safe_names(annotations: Sequence[Annotation], stems_apart: bool = False) -> list[str]:
    """A name for each picture that stays below its folder, fits on a line, and belongs to no other picture.

    stems_apart: the names differ without their suffixes too.
    """
    taken: dict[str, Path] = {}
    names = []
    for annotation in annotations:
        parts = [p for p in PurePosixPath(annotation.name).parts if p not in ("..", "/")]
        name = PurePosixPath("_".join("/".join(parts).splitlines()).strip().lstrip("#") or annotation.path.name)
        key, number, given = "", 1, name
        while not key or taken.get(key, annotation.path) != annotation.path:
            if number > 1:
                given = name.with_name(f"{name.stem}-{number}{name.suffix}")
            key = str(given.with_suffix("") if stems_apart else given)
            number += 1
        taken[key] = annotation.path
        names.append(str(given))
    return names


@dataclass(frozen=True)
class Entry:
    """A picture to be written into a label. name: below the folder of pictures, with ``/``. width, height: in pixels.

    Width and height are 0 where they are not known, which only forms that do not need them meet.
    """

    name: str
    faces: Faces
    width: int = 0
    height: int = 0
    attributes: dict[str, NDArray[np.int64]] = field(default_factory=dict)


def sizes_of(faces: Faces) -> Doubles:
    """(n, 4): x, y, width, height in pixels."""
    boxes = faces.boxes.astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    return boxes


def row_format(columns: int, digits: int = 10) -> str:
    """A %-format for a row of numbers, whole ones without a point."""
    return " ".join([f"%.{digits}g"] * columns)


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a text file, whole or not at all; names keep bytes that are no UTF-8. Raises DataError."""
    with replacing(path) as temporary:
        temporary.write_bytes("".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"))
