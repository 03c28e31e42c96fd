"""From what a person names as ``--data`` to the pictures to train on and those held out."""

import zlib
from dataclasses import replace
from pathlib import Path

from featherface_core.data.annotation import Annotation, AnnotationSet, PictureSource
from featherface_core.data.files import FilePictures, find_split
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


def open_data(
    data: str, held_out: str | None = None, on_event: RunListener = ignore
) -> tuple[PictureSource, PictureSource]:
    """Pictures to train on and to validate on.

    data: ``synthetic``, ``synthetic:N`` for N drawn pictures, or a label file or folder in any format that read_labels knows.
    held_out: the same for validation; without it a ``val`` part of the data, else every tenth picture, chosen by its name.
    Raises DataError for data without a picture that exists, ConfigError for a name that cannot be read.
    """
    if data.partition(":")[0] == SYNTHETIC and held_out is None:
        held_out = f"{SYNTHETIC}:{SYNTHETIC_HELD_OUT}"
    if held_out is not None:
        train = open_one(data, on_event) if data.partition(":")[0] == SYNTHETIC else _train_part(data, on_event)
        return train, open_one(held_out, on_event, held_out=True, option="--val")
    labels, validation = find_split(Path(data))
    if validation is not None:
        return _checked(labels, on_event), _checked(validation, on_event)
    kept, held = split_by_name(labels.annotations)
    on_event(
        Note(
            f"no validation pictures are named: {len(held):,} of {len(labels.annotations):,}, chosen by name, are held out"
        )
    )
    if not kept or not held:
        raise DataError(
            f"{data} holds {len(labels.annotations)} pictures, too few to hold any out", "name others with --val"
        )
    train = _checked(replace(labels, annotations=kept), on_event)
    validate = _checked(replace(labels, annotations=held), on_event)
    validate.name = f"held out of {labels.source}"
    return train, validate


def open_one(
    data: str, on_event: RunListener = ignore, held_out: bool = False, option: str = "--data"
) -> PictureSource:
    """All pictures of one data set, ``synthetic`` or labelled files. held_out: drawn pictures are none of those trained on.

    option: what ``data`` was named with, for errors.
    """
    if data.partition(":")[0] == SYNTHETIC:
        count = _count(data, option)
        return SyntheticFaces(count, HELD_OUT_SEED if held_out else 0, SYNTHETIC_SIDE)
    labels = read_labels(Path(data))
    return _checked(labels, on_event)


def _train_part(data: str, on_event: RunListener) -> FilePictures:
    """The training pictures of a folder, whether or not it has others to validate on."""
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
