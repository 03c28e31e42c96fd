"""YOLO's folders: ``images/a/b.jpg`` has its faces in ``labels/a/b.txt`` (docs.ultralytics.com/datasets/pose).

A line a face, all as shares of the picture's width and height: class, centre x, centre y, width, height; then nothing, or five
landmarks x y (YOLOv5-face, -1 where one is unknown), or five x y v (pose models, v = 0 where one is unknown).
A picture without a text file shows no faces.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from featherface_core.data.annotation import Annotation, AnnotationSet, Faces, Problem
from featherface_core.data.formats.lines import (
    Doubles,
    Entry,
    NumberLines,
    faces_of,
    numbered_lines,
    row_format,
    sizes_of,
    write_lines,
)
from featherface_core.data.picture_size import picture_size
from featherface_core.errors import DataError
from featherface_core.pictures import PICTURE_SUFFIXES
from featherface_core.results import LANDMARK_NAMES

FORM = "yolo"
COLUMNS = (5, 15, 20)
MOST_SHARE = 20.0  # of the picture; larger numbers are pixels
HINT = "a face is class x y width height, and five landmarks x y or x y v: 5, 15 or 20 columns, shares of the picture"
DATA_YAML = f"""# for Ultralytics; the folders are relative to this file
train: {{train}}
val: {{val}}
names: {{{{0: face}}}}
kpt_shape: [5, 3]  # {", ".join(LANDMARK_NAMES)}: x, y, visible
flip_idx: [1, 0, 2, 4, 3]
"""


def read(folder: Path, part: str = "") -> AnnotationSet:
    """Read ``folder``/labels and ``folder``/images, or of both only the subfolder ``part``.

    Positions need the sizes of the pictures, so a label without its picture, or with one whose size cannot be read, is left
    out with a Problem. Raises DataError for a line that cannot be understood, and where no label has its picture.
    """
    labels, images = folder / "labels" / part, folder / "images" / part
    pictures = {p.relative_to(images).with_suffix("").as_posix(): p for p in _pictures(images)}
    texts = {p.relative_to(labels).with_suffix("").as_posix(): p for p in sorted(labels.rglob("*.txt"))}
    texts.pop("classes", None)  # the list of class names that labelling programs leave there
    annotations: list[Annotation] = []
    problems: list[Problem] = []
    classes: set[int] = set()
    for stem, path in sorted(pictures.items()):
        name = path.relative_to(images).as_posix()
        if stem not in texts:
            annotations.append(Annotation(path, name, Faces.none()))
            continue
        try:
            width, height = picture_size(path)
        except DataError as problem:
            problems.append(Problem("unreadable-picture", "error", str(path), problem.message))
            continue
        faces, odd, found = _read_file(texts[stem], width, height)
        problems += odd
        classes |= found
        annotations.append(Annotation(path, name, faces))
    for stem in sorted(texts.keys() - pictures.keys()):
        what = f"no picture {images / stem} with a known ending; its label is left out"
        problems.append(Problem("missing-picture", "error", str(texts[stem]), what))
    if not pictures.keys() & texts.keys():
        raise DataError(
            f"none of the {len(texts)} labels in {labels} has a picture in {images}",
            "YOLO labels need the sizes of their pictures: images/a.jpg for labels/a.txt",
        )
    if len(classes) > 1:
        what = f"classes {', '.join(map(str, sorted(classes)))} are all read as faces"
        problems.append(Problem("several-classes", "warning", str(labels), what))
    return AnnotationSet(folder, FORM, tuple(annotations), tuple(problems))


def _pictures(images: Path) -> list[Path]:
    return sorted(p for p in images.rglob("*") if p.suffix.lower() in PICTURE_SUFFIXES)


def _read_file(path: Path, width: int, height: int) -> tuple[Faces, list[Problem], set[int]]:
    rows = NumberLines(path, COLUMNS, HINT)
    for number, text in numbered_lines(path):
        rows.add(number, text)
    table = rows.table(20, np.nan)
    boxes = table[:, 1:5]
    _refuse_pixels(path, rows.lines, boxes)
    scale = np.array((width, height), np.float64)
    sizes = np.concatenate([(boxes[:, :2] - boxes[:, 2:] / 2) * scale, boxes[:, 2:] * scale], 1)
    flagged = np.isfinite(table[:, 19])
    three, two = table[:, 5:20].reshape(-1, 5, 3), table[:, 5:15].reshape(-1, 5, 2)
    with_flags = np.where(three[:, :, 2:] > 0, three[:, :, :2], np.nan)
    without = np.where((two == -1).all(2, keepdims=True), np.nan, two)
    landmarks = np.where(flagged[:, None, None], with_flags, without) * scale
    faces, problems = faces_of(sizes, landmarks, None, [f"{path}:{number}" for number in rows.lines])
    return faces, problems, set(table[:, 0].astype(int).tolist())


def _refuse_pixels(path: Path, lines: Sequence[int], boxes: Doubles) -> None:
    """Labels in pixels would give boxes hundreds of times too large. Faces that reach outside the picture may pass 1."""
    far = (np.abs(boxes) > MOST_SHARE).any(1)
    if far.any():
        first = int(far.argmax())
        raise DataError(
            f"{path}:{lines[first]}: box {boxes[first].round(3).tolist()} is not in shares of the picture",
            "YOLO labels are divided by the picture's width and height, so they lie between 0 and 1",
        )


def write(out: Path, entries: Iterable[Entry]) -> None:
    """Write ``labels/``, a text file a picture, pictures in ``images/``. Ignored faces are left out: YOLO has no mark."""
    for entry in entries:
        faces = entry.faces.select(~entry.faces.ignored)
        scale = np.array((entry.width, entry.height), np.float64)
        sizes = sizes_of(faces)
        rows = np.zeros((len(faces), 20))
        rows[:, 1:3] = (sizes[:, :2] + sizes[:, 2:] / 2) / scale
        rows[:, 3:5] = sizes[:, 2:] / scale
        known = faces.has_landmarks
        points = np.concatenate([faces.landmarks / scale, np.full((len(faces), 5, 1), 2)], 2)
        rows[known, 5:] = points.reshape(-1, 15)[known]
        line = row_format(20, 9)
        path = out / "labels" / Path(entry.name).with_suffix(".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_lines(path, (line % tuple(row) for row in rows.tolist()))
