"""From what a person names as ``--data`` to the pictures to train on and those for validation: found, read, joined, split."""

import os
import zlib
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path, PurePath

import numpy as np

from featherface_core.config import SYNTHETIC
from featherface_core.data.annotation import (
    Annotation,
    AnnotationSet,
    Faces,
    Picture,
    PictureSource,
    Problem,
    concatenate,
)
from featherface_core.data.formats import yolo
from featherface_core.data.formats.recognise import find_labels, read_labels
from featherface_core.data.picture_size import picture_size
from featherface_core.data.synthetic import SyntheticFaces
from featherface_core.errors import ConfigError, DataError
from featherface_core.events import Note, RunListener, ignore
from featherface_core.pictures import read_picture

VAL_NAMES = ("val", "valid", "validation")
SYNTHETIC_PICTURES = 4_000
SYNTHETIC_HELD_OUT = 300
SYNTHETIC_SIDE = 128  # pixels: small enough to learn from in minutes on two CPU cores
HELD_OUT_SEED = 1_000_003  # of the drawn pictures that are validated on; no training set has it
HELD_OUT_SHARE = 10  # one picture in so many is held out where nothing else is
DataNames = str | Sequence[str]  # one data set, or several that are joined


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


class JoinedPictures:
    """The pictures of several sets one after the other; a PictureSource.

    parts: (name, source) of each set, at least one, in the order of the indices. name: every set's, with its number of
    pictures, for people.
    """

    def __init__(self, parts: Sequence[tuple[str, PictureSource]]) -> None:
        self.parts = tuple(source for _, source in parts)
        self.sets = tuple((name, len(source)) for name, source in parts)
        self.name = " + ".join(f"{source.name} ({len(source):,})" for source in self.parts)
        self._ends = list(accumulate(count for _, count in self.sets))

    def __len__(self) -> int:
        return self._ends[-1]

    def place(self, index: int) -> tuple[int, int]:
        """(which set, index within it) of a picture. Raises IndexError for an index below 0 or beyond the last."""
        if not 0 <= index < len(self):
            raise IndexError(f"picture {index} of {len(self)}")
        number = bisect_right(self._ends, index)
        return number, index - self._ends[number] + self.sets[number][1]

    def faces(self, index: int) -> Faces:
        """The faces of a picture, as its set gives them."""
        number, within = self.place(index)
        return self.parts[number].faces(within)

    def shape(self, index: int) -> tuple[int, int]:
        """(height, width) of a picture, as its set gives it. Raises DataError."""
        number, within = self.place(index)
        return self.parts[number].shape(within)

    def read(self, index: int) -> tuple[Picture, Faces]:
        """Picture (H, W, 3), BGR uint8, and its faces, as its set gives them. Raises DataError."""
        number, within = self.place(index)
        return self.parts[number].read(within)


def set_names(places: Sequence[PurePath]) -> list[str]:
    """A name for each of different places: the shortest end of its path that no other has. Raises ConfigError for equal ones.

    >>> set_names([PurePath("/a/faces"), PurePath("/b/train"), PurePath("/c/train")])
    ['faces', 'b/train', 'c/train']
    """
    for number, place in enumerate(places):
        if place in places[:number]:
            raise ConfigError(f"the data set {place} is named twice", "name each once")
    names = []
    for mine in places:
        depth = 1
        while sum(other.parts[-depth:] == mine.parts[-depth:] for other in places) > 1 and depth < len(mine.parts):
            depth += 1
        names.append(str(PurePath(*mine.parts[-depth:])))
    return names


def open_data(
    data: DataNames, held_out: DataNames | None = None, on_event: RunListener = ignore
) -> tuple[PictureSource, PictureSource]:
    """Pictures to train on and to validate on.

    data: ``synthetic``, ``synthetic:N`` for N drawn pictures, or a label file or folder in any format that read_labels knows;
    or several of these, which are joined in their order. held_out: the same for validation; without it the ``val`` part of
    each set, else every tenth of its pictures, chosen by their names.
    Raises DataError for data without a picture that exists, and for pictures that are both trained and validated on;
    ConfigError for a name that cannot be read, and for a set that is named twice.
    """
    names = names_of(data)
    if held_out is None:
        parts = [_open_both(name, on_event) for name in names]
        train = _join(names, [kept for kept, _ in parts], "--data")
        validate = _join(names, [held for _, held in parts], "--data")
    else:
        names_held = names_of(held_out)
        train = _join(names, [_train_part(name, on_event) for name in names], "--data")
        opened = [open_one(name, on_event, held_out=True, option="--val") for name in names_held]
        validate = _join(names_held, opened, "--val")
    _refuse_shared(train, validate)
    _note_doubles(train, on_event)
    return train, validate


def open_training(data: DataNames, on_event: RunListener = ignore) -> PictureSource:
    """What ``open_data`` gives to train on where others are named to validate on. Raises as it does."""
    names = names_of(data)
    return _join(names, [_train_part(name, on_event) for name in names], "--data")


def names_of(data: DataNames) -> tuple[str, ...]:
    """The data sets that were named, however many. Raises ConfigError for none."""
    names = (data,) if isinstance(data, str) else tuple(data)
    if not names:
        raise ConfigError("no data set is named", "name a folder, or synthetic")
    return names


def is_synthetic(data: DataNames) -> bool:
    """Whether all that is named is drawn."""
    return all(name.partition(":")[0] == SYNTHETIC for name in names_of(data))


def _open_both(data: str, on_event: RunListener) -> tuple[PictureSource, PictureSource]:
    """The pictures of one set to train on, and those that it holds out itself."""
    if is_synthetic(data):
        return open_one(data, on_event), open_one(f"{SYNTHETIC}:{SYNTHETIC_HELD_OUT}", on_event, held_out=True)
    labels, validation = find_split(Path(data))
    if validation is not None:
        return _checked(labels, on_event), _checked(validation, on_event)
    kept, held = split_by_name(labels.annotations)
    counts = f"{len(held):,} of {len(labels.annotations):,}"
    on_event(Note(f"no validation pictures are named for {data}: {counts}, chosen by name, are held out"))
    if not kept or not held:
        raise DataError(
            f"{data} holds {len(labels.annotations)} pictures, too few to hold any out", "name others with --val"
        )
    train = _checked(replace(labels, annotations=kept), on_event)
    validate = _checked(replace(labels, annotations=held), on_event)
    validate.name = f"held out of {labels.source}"
    return train, validate


def _join(names: Sequence[str], sources: Sequence[PictureSource], option: str) -> PictureSource:
    """One source of several, the names of their pictures told apart by their set; of one, that one as it is.

    names: what they were named by. Raises ConfigError where two are the same.
    """
    known: dict[Path, str] = {}
    for name, source in zip(names, sources, strict=True):
        place = Path(source.name).resolve()  # of its label; equal for all that is drawn
        if place in known:
            twice = f"{name} is named twice" if known[place] == name else f"{known[place]} and {name} are the same set"
            raise ConfigError(f"{option}: {twice}", "name each once; the recipe's set_weights show a set more often")
        known[place] = name
    if len(sources) == 1:
        return sources[0]
    called = set_names([Path(SYNTHETIC) if is_synthetic(name) else Path(name).resolve() for name in names])
    return JoinedPictures([(name, _in_set(name, source)) for name, source in zip(called, sources, strict=True)])


def _in_set(name: str, source: PictureSource) -> PictureSource:
    """The same pictures, called by their set too; drawn ones have no names."""
    if not isinstance(source, FilePictures):
        return source
    return FilePictures([replace(a, name=f"{name}/{a.name}") for a in source.annotations], source.name)


def _refuse_shared(train: PictureSource, validate: PictureSource) -> None:
    """Raise DataError for a picture file that is both trained and validated on."""
    trained = {os.path.realpath(path) for path in _paths(train)}
    shared = [path for path in _paths(validate) if os.path.realpath(path) in trained]
    if shared:
        raise DataError(
            f"{len(shared):,} of {len(validate):,} validation pictures are trained on too, the first is {shared[0]}",
            "name other pictures with --val, or take these out of --data: a network remembers what it was trained on",
        )


def _note_doubles(train: PictureSource, on_event: RunListener) -> None:
    """Name pictures that several sets label: what is a face in one may be background in the other."""
    found: set[str] = set()
    doubles = []
    for path in _paths(train):
        place = os.path.realpath(path)
        if place in found:
            doubles.append(path)
        found.add(place)
    if doubles:
        text = (
            f"{len(doubles):,} pictures are in two of the sets, with labels of their own in each, such as {doubles[0]}"
        )
        on_event(Note(text, warning=True))


def _paths(source: PictureSource) -> list[Path]:
    parts = source.parts if isinstance(source, JoinedPictures) else (source,)
    return [a.path for part in parts if isinstance(part, FilePictures) for a in part.annotations]


def open_one(
    data: str, on_event: RunListener = ignore, held_out: bool = False, option: str = "--data"
) -> PictureSource:
    """All pictures of one data set, ``synthetic`` or labelled files. held_out: drawn pictures are none of those trained on.

    option: what ``data`` was named with, for errors.
    """
    if is_synthetic(data):
        count = _count(data, option)
        return SyntheticFaces(count, HELD_OUT_SEED if held_out else 0, SYNTHETIC_SIDE)
    labels = read_labels(Path(data))
    return _checked(labels, on_event)


def _train_part(data: str, on_event: RunListener) -> PictureSource:
    """The training pictures of one set, whether or not it has others to validate on."""
    if is_synthetic(data):
        return open_one(data, on_event)
    return _checked(find_split(Path(data))[0], on_event)


def split_by_name(annotations: tuple[Annotation, ...]) -> tuple[tuple[Annotation, ...], tuple[Annotation, ...]]:
    """(kept, held out): one in ten by a checksum of the name, so that a picture stays on its side when others come."""
    held = [zlib.crc32(a.name.encode("utf-8", "surrogateescape")) % HELD_OUT_SHARE == 0 for a in annotations]
    return (
        tuple(a for a, out in zip(annotations, held, strict=True) if not out),
        tuple(a for a, out in zip(annotations, held, strict=True) if out),
    )


def _checked(labels: AnnotationSet, on_event: RunListener) -> FilePictures:
    pictures, problems = FilePictures.checked(labels)
    if problems:
        on_event(
            Note(f"{len(problems):,} labelled pictures are missing, the first is {problems[0].where}", warning=True)
        )
    return pictures


def _count(data: str, option: str) -> int:
    text = data.partition(":")[2]
    if not text:
        return SYNTHETIC_PICTURES
    if not text.isdecimal() or len(text) > 9 or not int(text):
        raise ConfigError(
            f"{option} {data!r}: {text!r} is not a number of pictures", "write synthetic or synthetic:2000"
        )
    return int(text)
