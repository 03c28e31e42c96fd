"""Read labelled faces, whatever their format: it is recognised by what a file or a folder holds, not by its name."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from featherface_core.data.annotation import AnnotationSet
from featherface_core.data.formats import coco, retinaface, voc, wider, yolo
from featherface_core.data.formats.lines import cannot_read, is_number
from featherface_core.errors import ConfigError, DataError
from featherface_core.pictures import PICTURE_SUFFIXES

READERS: dict[str, Callable[[Path], AnnotationSet]] = {
    module.FORM: module.read for module in (retinaface, wider, coco, yolo, voc)
}
FORMS = tuple(READERS)
EXPECTED = (
    "expected: label.txt (RetinaFace), *_bbx_gt.txt (WIDER FACE), a COCO .json, "
    "labels/ with images/ (YOLO), or Annotations/*.xml (Pascal VOC)"
)
_HEAD = 1 << 16  # bytes that tell a format
_COCO = re.compile(r'"(images|annotations|categories|info|licenses)"\s*:')


@dataclass(frozen=True)
class LabelPlace:
    """A label that was recognised. path: a file for retinaface, wider, coco; a folder for yolo and voc."""

    form: str
    path: Path

    def read(self) -> AnnotationSet:
        """Read it. Raises DataError."""
        return READERS[self.form](self.path)


def read_labels(path: str | Path) -> AnnotationSet:
    """Read a label file, or the one label that a folder holds.

    Raises DataError for what cannot be understood, with file, line and value; ConfigError where a folder holds several labels.
    Odd entries that do no harm are in the ``problems`` of the result.

    >>> read_labels("train").form                                                                     # doctest: +SKIP
    'retinaface'
    """
    path = Path(path)
    if path.is_dir():
        found = find_labels(path)
        if len(found) > 1:
            raise ConfigError(
                f"{path} holds {len(found)} labels: {', '.join(_short(place, path) for place in found)}",
                "name one of them",
            )
        if not found:
            raise _no_labels(path)
        labels = found[0].read()
    else:
        form = recognise(path)
        if form is None:
            if not path.stat().st_size:
                raise DataError(f"the label {path} is empty (0 bytes)", EXPECTED)
            raise DataError(f"{path} is no label that is known here", EXPECTED)
        labels = READERS[form](path)
    if not labels.annotations:
        raise DataError(f"{path} names no pictures", "copy or make it again")
    return labels


def find_labels(folder: Path) -> list[LabelPlace]:
    """The labels that a folder holds, those in its subfolders of other data sets left aside. Raises DataError."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as problem:
        raise cannot_read(folder, problem) from None
    found = []
    folders = {entry.name.lower(): entry for entry in entries if entry.is_dir()}
    annotations = folders.get("annotations")
    files = [e for e in entries if e.suffix.lower() in (".txt", ".json") and e.name != "ignore.txt" and e.is_file()]
    if annotations is not None:
        if any(annotations.rglob("*.xml")):
            found.append(LabelPlace(voc.FORM, annotations))
        files += sorted(annotations.glob("*.json"))
    elif any(e.suffix.lower() == ".xml" and recognise(e) == voc.FORM for e in entries):
        found.append(LabelPlace(voc.FORM, folder))
    if "labels" in folders and "images" in folders and any((folder / "labels").rglob("*.txt")):
        found.append(LabelPlace(yolo.FORM, folder))
    return found + [LabelPlace(form, file) for file in files if (form := recognise(file))]


def recognise(path: Path) -> str | None:
    """The format of a label file by its first 64 KiB, or None. Raises DataError for a file that cannot be read."""
    try:
        with path.open("rb") as file:
            data = file.read(_HEAD)
    except OSError as problem:
        raise cannot_read(path, problem) from None
    text = data.decode("utf-8-sig", "surrogateescape").lstrip()
    if text.startswith("{"):
        return coco.FORM if _COCO.search(text) else None
    if text.startswith("<"):
        return voc.FORM if "<annotation" in text else None
    lines = [line for raw in text.splitlines() if (line := raw.strip())]
    return None if "\0" in text else _of_lines(path.name, lines)


def _of_lines(name: str, lines: list[str]) -> str | None:
    heads = [line for line in lines if line.startswith("#")]
    if name == "label.txt" or (heads and heads[0].lower().endswith(PICTURE_SUFFIXES)):
        return retinaface.FORM
    if len(lines) > 1 and lines[1].isdecimal() and not is_number(lines[0].split()[0]):
        return wider.FORM
    # a face where the first picture should be: the reader says so, with its line
    named = any(a.lower().endswith(PICTURE_SUFFIXES) and b.isdecimal() for a, b in pairwise(lines))
    return wider.FORM if named else None


def _short(place: LabelPlace, folder: Path) -> str:
    inside = place.path.relative_to(folder).as_posix()
    return f"{place.form} ({'images/ and labels/' if inside == '.' else inside})"


def _no_labels(folder: Path) -> DataError:
    entries = sorted(folder.iterdir())
    if not entries:
        return DataError(f"the folder {folder} is empty", EXPECTED)
    inside = [entry for entry in entries if entry.is_dir() and find_labels(entry)]
    if inside:
        names = ", ".join(entry.name for entry in inside)
        return DataError(f"{folder} holds no labels itself; its folders {names} do", f"name one: {inside[0]}")
    return DataError(f"{folder} holds no labels", EXPECTED)
