"""Pascal VOC's folders: ``Annotations/*.xml`` beside ``JPEGImages/`` (host.robots.ox.ac.uk/pascal/VOC, annotation format).

Each file has a ``filename`` and ``object``s with a ``name`` and a ``bndbox`` of xmin, ymin, xmax, ymax in pixels, read as they
stand: VOC itself counts from 1, most programs that write this form from 0. ``difficult`` objects train nothing. Where objects
are called face, only they are read; else all are. There are no landmarks.
"""

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np

from featherface_core.data.annotation import Annotation, AnnotationSet, Problem
from featherface_core.data.formats.lines import (
    FARTHEST,
    Entry,
    cannot_read,
    faces_of,
    is_number,
    pictures_folder,
    split,
    write_lines,
)
from featherface_core.errors import DataError

FORM = "voc"
CORNERS = ("xmin", "ymin", "xmax", "ymax")
HINT = "an object has a name and a bndbox of xmin, ymin, xmax, ymax in pixels"
Row = tuple[int, str, list[float], bool, str]  # picture, class, corners, difficult, place


def read(path: Path) -> AnnotationSet:
    """Read the XML files below a folder, or a single one. Raises DataError for a file that cannot be understood."""
    root = path if path.is_dir() else path.parent
    files = sorted(path.rglob("*.xml")) if path.is_dir() else [path]
    names: list[str] = []
    rows: list[Row] = []
    for index, file in enumerate(files):
        tree = _parse(file)
        filename = (tree.findtext("filename") or f"{file.stem}.jpg").strip().replace("\\", "/")
        names.append((file.parent.relative_to(root) / filename).as_posix())
        rows += [_row(index, file, i, item) for i, item in enumerate(tree.iter("object"), 1)]
    classes = sorted({row[1] for row in rows})
    face = {name for name in classes if name.lower() == "face"}
    problems: list[Problem] = []
    if face:
        rows = [row for row in rows if row[1] in face]
    elif len(classes) > 1:
        what = f"no object is called face, so all are read as faces: {', '.join(classes)}"
        problems.append(Problem("several-classes", "warning", str(path), what))
    corners = np.array([row[2] for row in rows], np.float64).reshape(-1, 4)
    faces, odd = faces_of(
        np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1),
        None,
        np.array([row[3] for row in rows], bool),
        [row[4] for row in rows],
    )
    ends = np.searchsorted([row[0] for row in rows], np.arange(len(files)), side="right").tolist()
    near = root.parent
    folder = pictures_folder((near / "JPEGImages", near / "images", root, near), names)
    made = tuple(Annotation(folder / n, n, f) for n, f in zip(names, split(faces, ends), strict=True))
    return AnnotationSet(path, FORM, made, tuple(problems + odd))


def _parse(file: Path) -> ElementTree.Element:
    try:
        tree = ElementTree.parse(file).getroot()
    except OSError as problem:
        raise cannot_read(file, problem) from None
    except ElementTree.ParseError as problem:
        raise DataError(f"{file} is no XML: {problem}", "copy or make it again") from None
    if tree.tag != "annotation":
        raise DataError(f"{file}: the outermost element is {tree.tag!r}, not 'annotation'", "move it elsewhere")
    return tree


def _row(index: int, file: Path, number: int, item: ElementTree.Element) -> Row:
    place = f"{file}: object {number}"
    corners = []
    for key in CORNERS:
        text = (item.findtext(f"bndbox/{key}") or "").strip()
        if not is_number(text) or not abs(float(text)) <= FARTHEST:
            raise DataError(f"{place}: {key} {text!r} is no usable number", HINT)
        corners.append(float(text))
    difficult = (item.findtext("difficult") or "0").strip().lower() not in ("0", "false", "unspecified", "")
    return index, (item.findtext("name") or "").strip(), corners, difficult, place


def write(out: Path, entries: Iterable[Entry]) -> None:
    """Write ``Annotations/``, an XML file a picture, pictures in ``JPEGImages/``. Ignored faces are difficult."""
    for entry in entries:
        name = Path(entry.name)
        path = out / "Annotations" / name.with_suffix(".xml")
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = (Path("JPEGImages") / name.parent).as_posix()
        lines = ["<annotation>", f"  <folder>{escape(folder)}</folder>", f"  <filename>{escape(name.name)}</filename>"]
        size = f"<width>{entry.width}</width><height>{entry.height}</height><depth>3</depth>"
        lines.append(f"  <size>{size}</size>")
        boxes = entry.faces.boxes.astype(np.float64).round(3).tolist()
        for box, ignored in zip(boxes, entry.faces.ignored.tolist(), strict=True):
            corners = "".join(f"<{key}>{value:.10g}</{key}>" for key, value in zip(CORNERS, box, strict=True))
            flags = f"<pose>Unspecified</pose><truncated>0</truncated><difficult>{int(ignored)}</difficult>"
            lines.append(f"  <object><name>face</name>{flags}<bndbox>{corners}</bndbox></object>")
        write_lines(path, [*lines, "</annotation>"])
