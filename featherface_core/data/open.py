"""From what a person names as ``--data`` to the pictures to train on and those held out."""

import os
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from featherface_core.data.annotation import Annotation, AnnotationSet, PictureSource
from featherface_core.data.files import FilePictures, find_split
from featherface_core.data.joined import JoinedPictures, set_names
from featherface_core.data.labels import read_labels
from featherface_core.data.synthetic import SyntheticFaces
from featherface_core.errors import ConfigError, DataError
from featherface_core.events import Note, RunListener, ignore

SYNTHETIC = "synthetic"
SYNTHETIC_PICTURES = 4_000
SYNTHETIC_HELD_OUT = 300
SYNTHETIC_SIDE = 128  # pixels: small enough to learn from in minutes on two CPU cores
HELD_OUT_SEED = 1_000_003  # of the drawn pictures that are validated on; no training set has it
HELD_OUT_SHARE = 10  # one picture in so many is held out where nothing else is
DataNames = str | Sequence[str]  # one data set, or several that are joined


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
