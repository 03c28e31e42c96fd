"""Labelled pictures on disk: which of them exist, how they are read, and how a folder is split into train and val."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from featherface_core.data import yolo
from featherface_core.data.annotation import Annotation, AnnotationSet, Faces, Picture, Problem, concatenate
from featherface_core.data.labels import find_labels, read_labels
from featherface_core.data.picture_size import picture_size
from featherface_core.errors import DataError
from featherface_core.pictures import read_picture

VAL_NAMES = ("val", "valid", "validation")


class FilePictures:
    """Labelled picture files, by index; a PictureSource. name: for people."""

    def __init__(self, annotations: Sequence[Annotation], name: str) -> None:
        self.annotations = tuple(annotations)
        self.name = name
        self._shapes: dict[int, tuple[int, int]] = {}

    @classmethod
    def checked(cls, labels: AnnotationSet) -> tuple["FilePictures", list[Problem]]:
        """The pictures of a label that exist, each once, and a Problem for each that does not.

        The entries of a picture that is named more than once are joined: what is a face in one would be background in the
        other. Raises DataError where no picture exists.
        """
        missing = missing_pictures(labels.annotations)
        if len(missing) == len(labels.annotations):
            first = missing[0].path if missing else labels.source
            raise DataError(
                f"{labels.source} is a label without its pictures: none of {len(missing):,} exists, such as {first}",
                "put the pictures where the label expects them, or name the folder that holds both",
            )
        gone = {id(annotation) for annotation in missing}
        kept = [a for a in labels.annotations if id(a) not in gone]
        return cls(_joined(kept), str(labels.source)), [missing_problem(a) for a in missing]

    @property
    def sets(self) -> tuple[tuple[str, int], ...]:
        """This one set."""
        return ((self.name, len(self)),)

    def __len__(self) -> int:
        return len(self.annotations)

    def faces(self, index: int) -> Faces:
        """The faces of a picture, without reading it."""
        return self.annotations[index].faces

    def shape(self, index: int) -> tuple[int, int]:
        """(height, width) of a picture as ``read`` gives it, from its header where that tells; kept. Raises DataError."""
        if index not in self._shapes:
            width, height = picture_size(self.annotations[index].path)
            self._shapes[index] = (height, width)
        return self._shapes[index]

    def read(self, index: int) -> tuple[Picture, Faces]:
        """Picture (H, W, 3), BGR uint8, and its faces. Raises DataError for a picture that cannot be read."""
        annotation = self.annotations[index]
        return read_picture(annotation.path), annotation.faces


def _joined(annotations: Sequence[Annotation]) -> list[Annotation]:
    """One entry for each picture."""
    by_path: dict[Path, list[Annotation]] = {}
    for annotation in annotations:
        by_path.setdefault(annotation.path, []).append(annotation)
    joined = []
    for first, *more in by_path.values():
        if more:
            entries = (first, *more)
            shared = set.intersection(*(set(a.attributes) for a in entries))
            attributes = {name: np.concatenate([a.attributes[name] for a in entries]) for name in sorted(shared)}
            first = replace(first, faces=concatenate([a.faces for a in entries]), attributes=attributes)
        joined.append(first)
    return joined


def missing_problem(annotation: Annotation) -> Problem:
    """What is to be said of a picture that does not exist."""
    faces = len(annotation.faces)
    what = f"does not exist, {faces} face{'s' * (faces != 1)} lost"
    return Problem("missing-picture", "error", str(annotation.path), what)


def missing_pictures(annotations: Sequence[Annotation]) -> list[Annotation]:
    """The pictures that do not exist. Each folder is listed once, which is faster than to ask for each file."""
    listed: dict[str, set[str]] = {}
    missing = []
    for annotation in annotations:
        folder, name = os.path.split(annotation.path)
        if folder not in listed:
            listed[folder] = _files(folder)
        if name not in listed[folder]:
            missing.append(annotation)
    return missing


def _files(folder: str) -> set[str]:
    try:
        with os.scandir(folder or ".") as entries:
            return {entry.name for entry in entries if entry.is_file()}
    except OSError:
        return set()


def find_split(path: str | Path) -> tuple[AnnotationSet, AnnotationSet | None]:
    """The training labels at ``path`` and, where there are any, the validation labels that belong to them.

    A pair is: folders train and val (valid, validation) below ``path``; ``path`` itself, where it is called train, and val
    beside it; labels/train and labels/val of YOLO; two label files of one format, one with train and one with val in its
    name; or a label in ``path`` itself and val below. Otherwise what ``read_labels`` finds at ``path``. Raises DataError and
    ConfigError as that does.
    """
    path = Path(path)
    if not path.is_dir():
        return read_labels(path), None
    here = path.resolve().name.lower()
    for root, train in ((path, path / "train"), (path.resolve().parent, path if here == "train" else None)):
        if train is None or not _holds(train):
            continue
        for name in VAL_NAMES:
            if _holds(root / name):
                return read_labels(train), read_labels(root / name)
        if train != path:
            return read_labels(train), None
    for name in VAL_NAMES:
        if all(any((path / "labels" / part).glob("**/*.txt")) for part in ("train", name)):
            return _part(path, "train"), _part(path, name)
    if pair := _pair_of_files(path):
        return read_labels(pair[0]), read_labels(pair[1])
    labels = read_labels(path)
    inside = next((path / name for name in VAL_NAMES if _holds(path / name)), None)
    return labels, read_labels(inside) if inside else None


def _part(path: Path, name: str) -> AnnotationSet:
    return replace(yolo.read(path, name), source=path / "labels" / name)


def _holds(folder: Path) -> bool:
    return folder.is_dir() and bool(find_labels(folder))


def _pair_of_files(folder: Path) -> tuple[Path, Path] | None:
    """The two label files of a folder, if one of them is called train and the other val."""
    found = [place for place in find_labels(folder) if place.path.is_file()]
    train = [place for place in found if "train" in place.path.name.lower()]
    val = [place for place in found if "val" in place.path.name.lower()]
    if len(found) == 2 and len(train) == len(val) == 1 and train != val and train[0].form == val[0].form:
        return train[0].path, val[0].path
    return None


def sets_of(path: str | Path) -> dict[str, AnnotationSet]:
    """``find_split`` as named sets: train and val, or data where there is one set alone."""
    train, val = find_split(path)
    return {"data": train} if val is None else {"train": train, "val": val}
