"""RetinaFace's ``label.txt``, as its authors published it for WIDER FACE (github.com/deepinsight/insightface, RetinaFace).

    # 0--Parade/0_Parade_marchingband_1_849.jpg
    449 330 122 149 488.906 373.643 0.0 542.089 376.442 0.0 ... 0.82

A line of ``#`` names a picture below ``images/``; a line a face follows: x y w h, five times x y flag, and a quality figure
that nothing here reads; or x y w h alone. Landmarks of -1 are unknown. A picture without lines shows no faces.
An ``ignore.txt`` beside ``label.txt``, of the same format, holds faces that are to train nothing.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from featherface_core.data.annotation import Annotation, AnnotationSet, Faces, Problem, concatenate
from featherface_core.data.formats.lines import (
    Entry,
    NumberLines,
    faces_of,
    numbered_lines,
    pictures_folder,
    row_format,
    sizes_of,
    split,
    write_lines,
)
from featherface_core.errors import DataError

FORM = "retinaface"
COLUMNS = (4, 20)
HINT = "a face is x y w h, or those, x y flag of five landmarks, and one more number: 4 or 20 columns"


def read(path: Path) -> AnnotationSet:
    """Read a ``label.txt``, and the ``ignore.txt`` beside it. Raises DataError for a line that cannot be understood."""
    names, parts, problems = _read_file(path, ignored=False)
    beside = path.with_name("ignore.txt")
    if path.name == "label.txt" and beside.is_file():
        first = {name: i for i, name in reversed(list(enumerate(names)))}
        more_names, more, more_problems = _read_file(beside, ignored=True)
        problems += more_problems
        for name, faces in zip(more_names, more, strict=True):
            if name in first:
                parts[first[name]] = concatenate([parts[first[name]], faces])
            else:
                what = f"{path.name} does not name this picture; its {len(faces)} ignored faces are left out"
                problems.append(Problem("ignored-elsewhere", "warning", f"{beside}: {name}", what))
    images = pictures_folder((path.parent / "images", path.parent), names)
    annotations = tuple(Annotation(images / n, n, f) for n, f in zip(names, parts, strict=True))
    return AnnotationSet(path, FORM, annotations, tuple(problems))


def _read_file(path: Path, ignored: bool) -> tuple[list[str], list[Faces], list[Problem]]:
    names: list[str] = []
    starts: list[int] = []
    rows = NumberLines(path, COLUMNS, HINT)
    for number, text in numbered_lines(path):
        if text[0] == "#":
            names.append(text[1:].strip())
            starts.append(len(rows))
            if not names[-1]:
                raise DataError(f"{path}:{number}: '#' without the name of a picture", "write: # folder/picture.jpg")
        elif names:
            rows.add(number, text)
        else:
            raise DataError(
                f"{path}:{number}: a face before any picture: {text[:60]!r}",
                "a line '# folder/picture.jpg' comes before its faces",
            )
    table = rows.table(20, -1.0)
    landmarks = table[:, 4:19].reshape(-1, 5, 3)[:, :, :2]
    landmarks = np.where((landmarks == -1).all(2, keepdims=True), np.nan, landmarks)
    places = [f"{path}:{number}" for number in rows.lines]
    faces, problems = faces_of(table[:, :4], landmarks, np.full(len(table), ignored), places)
    return names, split(faces, [*starts[1:], len(rows)]) if names else [], problems


def write(out: Path, entries: Iterable[Entry]) -> None:
    """Write ``label.txt``, and ``ignore.txt`` where faces are ignored. Flags are 0.0, the quality figure is 1.0."""
    labels, ignores = [], []
    for entry in entries:
        labels.append(f"# {entry.name}")
        labels += _lines(entry.faces.select(~entry.faces.ignored))
        if entry.faces.ignored.any():
            ignores.append(f"# {entry.name}")
            ignores += _lines(entry.faces.select(entry.faces.ignored))
    if ignores:
        write_lines(out / "ignore.txt", ignores)
    write_lines(out / "label.txt", labels)


def _lines(faces: Faces) -> list[str]:
    known = faces.has_landmarks
    rows = np.full((len(faces), 20), -1.0)
    rows[:, :4] = sizes_of(faces)
    flags = np.zeros((len(faces), 5, 1))
    rows[known, 4:19] = np.concatenate([faces.landmarks, flags], 2).reshape(-1, 15)[known]
    rows[:, 19] = 1
    line = row_format(20)
    return [line % tuple(row) for row in rows.round(3).tolist()]
