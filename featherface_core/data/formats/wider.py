"""The official annotation of WIDER FACE, ``wider_face_train_bbx_gt.txt`` (shuoyang1213.me/WIDERFACE, its readme.txt).

    0--Parade/0_Parade_marchingband_1_849.jpg
    1
    449 330 122 149 0 0 0 0 0 0

The name of a picture, its count of faces, and a line a face: x y w h blur expression illumination invalid occlusion pose.
A count of 0 is followed by one line of zeros. Faces marked invalid train nothing. There are no landmarks.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from featherface_core.data.annotation import Annotation, AnnotationSet
from featherface_core.data.formats.lines import (
    Entry,
    NumberLines,
    faces_of,
    is_number,
    numbered_lines,
    pictures_folder,
    row_format,
    sizes_of,
    split,
    write_lines,
)
from featherface_core.errors import DataError

FORM = "wider"
ATTRIBUTES = ("blur", "expression", "illumination", "invalid", "occlusion", "pose")
COLUMNS = (4, 10)
HINT = f"a face is x y w h {' '.join(ATTRIBUTES)}: 10 columns, or the first 4 alone"


def read(path: Path) -> AnnotationSet:
    """Read a ``*_bbx_gt.txt``. Raises DataError for a line that cannot be understood, and for a count that is wrong."""
    names: list[str] = []
    ends: list[int] = []
    rows = NumberLines(path, COLUMNS, HINT)
    lines = list(numbered_lines(path))
    at = 0
    while at < len(lines):
        number, name = lines[at]
        if _is_row(name):
            before = f"more faces than the count of {names[-1]!r}" if names else "a face before any picture"
            raise DataError(f"{path}:{number}: {before}: {name[:60]!r}", "a picture's name and its count come first")
        count = _count(path, lines, at)
        at += 2
        if count == 0:
            at += at < len(lines) and _is_row(lines[at][1])  # the line of zeros
        for number, text in lines[at : at + count]:
            if not is_number(text.split()[0]):
                raise DataError(
                    f"{path}:{number}: {name!r} announces {count} faces, and {text[:60]!r} is not one of them",
                    "correct the count, or add the lines that are missing",
                )
            rows.add(number, text)
        if at + count > len(lines):
            raise DataError(
                f"{path}:{lines[-1][0]}: the file ends before the {count} faces of {name!r}",
                "copy or download it again",
            )
        at += count
        names.append(name)
        ends.append(len(rows))
    table = rows.table(10, 0.0)
    places = [f"{path}:{number}" for number in rows.lines]
    faces, problems = faces_of(table[:, :4], None, table[:, 7] != 0, places)
    attributes = table[:, 4:].astype(np.int64)
    folders = [path.parent / "images"]
    for near in (path.parent, path.parent.parent):
        folders += [near / "WIDER_train" / "images", near / "WIDER_val" / "images"]
    images = pictures_folder([*folders, path.parent], names)
    annotations = tuple(
        Annotation(images / n, n, f, dict(zip(ATTRIBUTES, a.T, strict=True)))
        for n, f, a in zip(names, split(faces, ends), np.split(attributes, ends[:-1]), strict=True)
    )
    return AnnotationSet(path, FORM, annotations, tuple(problems))


def _is_row(text: str) -> bool:
    """Whether a line holds a face, where a name was due."""
    fields = text.split()
    return len(fields) > 3 and all(map(is_number, fields))


def _count(path: Path, lines: list[tuple[int, str]], at: int) -> int:
    number, name = lines[at]
    if at + 1 == len(lines):
        raise DataError(f"{path}:{number}: the file ends after the name {name[:60]!r}", "copy or download it again")
    number, text = lines[at + 1]
    if not text.isdecimal() or len(text) > 9:  # int() refuses thousands of digits
        raise DataError(
            f"{path}:{number}: {text[:60]!r} is not the count of faces of {name[:60]!r}",
            "a line with the count follows the name of each picture",
        )
    return int(text)


def write(out: Path, entries: Iterable[Entry]) -> None:
    """Write ``wider_face_bbx_gt.txt``. Attributes that are not known are 0; ignored faces are marked invalid."""
    line = row_format(10)
    lines = []
    for entry in entries:
        count = len(entry.faces)
        rows = np.zeros((max(1, count), 10))
        rows[:count, :4] = sizes_of(entry.faces)
        for column, attribute in enumerate(ATTRIBUTES, 4):
            rows[:count, column] = entry.attributes.get(attribute, 0)
        rows[:count, 7] = entry.faces.ignored
        lines += [entry.name, str(count), *(line % tuple(row) for row in rows.round(3).tolist())]
    write_lines(out / "wider_face_bbx_gt.txt", lines)
