"""The faces that detections are matched with, in flat arrays; and the official ground truth of WIDER FACE."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featherface_core.data.annotation import Faces
from featherface_core.data.formats.wider import ATTRIBUTES
from featherface_core.errors import DataError, first_line
from featherface_core.evaluation.report import WIDER_SETTINGS

Doubles = NDArray[np.float64]
Flags = NDArray[np.bool_]
Indices = NDArray[np.int64]
FACES = "wider_face_val.mat"
WHERE_FROM = (
    "use the four files of the official evaluation tools, wider_face_val.mat and wider_{easy,medium,hard}_val.mat"
)


@dataclass(frozen=True)
class Truth:
    """The faces of P pictures, F in all, those of a picture together.

    names (P): ``folder/picture`` without the suffix, each once. boxes (F, 4): x1, y1, x2, y2 in pixels. ends (P,): where the
    faces of each picture end. counted: (F,) by setting, the faces that are to be found; a detection on another is neither right
    nor wrong. attributes: (F,) whole numbers by name.
    """

    names: tuple[str, ...]
    boxes: Doubles
    ends: Indices
    counted: Mapping[str, Flags]
    attributes: Mapping[str, Indices] = field(default_factory=dict)

    @cached_property
    def picture(self) -> Indices:
        """(F,): the picture of each face."""
        return owners(self.ends)

    @property
    def events(self) -> tuple[str, ...]:
        """(P): the folder of each picture, "" without."""
        return tuple(name.rpartition("/")[0] for name in self.names)

    def select(self, pictures: Sequence[int]) -> "Truth":
        """The truth of some of the pictures, in that order."""
        spans = list(pairwise([0, *self.ends.tolist()]))
        faces = np.concatenate([np.arange(*spans[p]) for p in pictures] or [np.zeros(0, int)]).astype(np.int64)
        sizes = [spans[p][1] - spans[p][0] for p in pictures]
        return Truth(
            tuple(self.names[p] for p in pictures),
            self.boxes[faces],
            np.cumsum(sizes, dtype=np.int64),
            {name: flags[faces] for name, flags in self.counted.items()},
            {name: values[faces] for name, values in self.attributes.items()},
        )

    def fingerprint(self) -> str:
        """SHA-256 of the names and the faces, independent of the order of the pictures: identifies what was evaluated."""
        digest = hashlib.sha256()
        starts = [0, *self.ends.tolist()]
        flags = np.stack([self.counted[name] for name in sorted(self.counted)], 1)
        for p in sorted(range(len(self.names)), key=self.names.__getitem__):
            faces = slice(starts[p], starts[p + 1])
            digest.update(self.names[p].encode("utf-8", "surrogateescape") + b"\0")
            digest.update(np.ascontiguousarray(self.boxes[faces], "<f8").tobytes() + flags[faces].tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Found:
    """The detections of P pictures, D in all, those of a picture together.

    boxes (D, 4): x1, y1, x2, y2 in pixels. scores (D,). ends (P,): where the detections of each picture end.
    """

    boxes: Doubles
    scores: Doubles
    ends: Indices

    @classmethod
    def of(cls, parts: Sequence[tuple[NDArray[Any], NDArray[Any]]]) -> "Found":
        """From (boxes (n, 4), scores (n,)) of each picture."""
        return cls(
            np.concatenate([np.zeros((0, 4)), *(boxes for boxes, _ in parts)]).astype(np.float64),
            np.concatenate([np.zeros(0), *(scores for _, scores in parts)]).astype(np.float64),
            np.cumsum([len(scores) for _, scores in parts], dtype=np.int64),
        )

    def __len__(self) -> int:
        return len(self.scores)

    def parts(self) -> list[tuple[Doubles, Doubles]]:
        """(boxes (n, 4), scores (n,)) of each picture."""
        spans = pairwise([0, *self.ends.tolist()])
        return [(self.boxes[start:end], self.scores[start:end]) for start, end in spans]

    @cached_property
    def picture(self) -> Indices:
        """(D,): the picture of each detection."""
        return owners(self.ends)


def owners(ends: Indices) -> Indices:
    """For each of the items that end at ``ends``, the index of the group that it is in."""
    return np.repeat(np.arange(len(ends), dtype=np.int64), np.diff(ends, prepend=0))


def truth_of(names: Sequence[str], faces: Sequence[Faces], attributes: Sequence[Mapping[str, Indices]] = ()) -> Truth:
    """The truth of labelled pictures; the one setting is ``all``: every face that is not ignored.

    attributes: of each picture, where there are any; a name counts only if every picture has it.
    """
    boxes = np.concatenate([np.zeros((0, 4)), *(f.boxes for f in faces)]).astype(np.float64)
    ignored = np.concatenate([np.zeros(0, bool), *(f.ignored for f in faces)])
    shared = set.intersection(*(set(a) for a in attributes)) if attributes else set()
    return Truth(
        tuple(names),
        boxes,
        np.cumsum([len(f) for f in faces], dtype=np.int64),
        {"all": ~ignored},
        {name: np.concatenate([a[name] for a in attributes]).astype(np.int64) for name in sorted(shared)},
    )


def find_ground_truth(folder: Path) -> Path | None:
    """The folder with the official files: ``folder`` itself or its ``ground_truth``, or None."""
    return next((place for place in (folder, folder / "ground_truth") if (place / FACES).is_file()), None)


def read_ground_truth(folder: str | Path) -> Truth:
    """The official ground truth, all pictures of it: settings easy, medium, hard.

    Raises DataError for a file that is missing, no .mat, of another data set, or that does not belong to the others.
    """
    folder = Path(folder)
    place = find_ground_truth(folder) if folder.is_dir() else None
    if place is None:
        what = "holds no " + FACES if folder.is_dir() else "is no folder"
        raise DataError(f"--ground-truth {folder} {what}", WHERE_FROM)
    path = place / FACES
    everything = _load(path, ("event_list", "file_list", "face_bbx_list"))
    names, counts = _pictures(path, everything)
    boxes = _numbers(path, everything["face_bbx_list"], 4)
    attributes = {}
    for attribute in ATTRIBUTES:
        key = f"{attribute}_label_list"
        if key in everything:
            attributes[attribute] = _numbers(path, everything[key], 1)[:, 0].astype(np.int64)
    wrong = [name for name, values in attributes.items() if len(values) != len(boxes)]
    if counts.sum() != len(boxes) or wrong:
        raise DataError(f"{path}: faces and {wrong[0] if wrong else 'pictures'} are not of one length", WHERE_FROM)
    ends = np.cumsum(counts)
    counted = {setting: _counted(place, setting, names, ends) for setting in WIDER_SETTINGS}
    corners = np.concatenate((boxes[:, :2], boxes[:, :2] + boxes[:, 2:]), 1)
    return Truth(names, corners, ends, counted, attributes)


def _counted(place: Path, setting: str, names: tuple[str, ...], ends: Indices) -> np.ndarray:
    """Which faces count in a setting."""
    path = place / f"wider_{setting}_val.mat"
    content = _load(path, ("event_list", "file_list", "face_bbx_list", "gt_list"))
    if _pictures(path, content)[0] != names:
        raise DataError(f"{path} names other pictures than {place / FACES}", WHERE_FROM)
    numbers = _numbers(path, content["gt_list"], 1)[:, 0]
    lengths = [len(cell[0].reshape(-1)) for cell in _cells(path, content["gt_list"])]
    if len(lengths) != len(names):
        raise DataError(f"{path}: gt_list has {len(lengths):,} pictures where there are {len(names):,}", WHERE_FROM)
    picture = np.repeat(np.arange(len(names)), lengths)
    starts, sizes = np.concatenate(([0], ends[:-1])), np.diff(ends, prepend=0)
    wrong = np.flatnonzero(~((numbers >= 1) & (numbers <= sizes[picture]) & (numbers % 1 == 0)))
    if len(wrong):
        p = picture[wrong[0]]
        raise DataError(
            f"{path}: {names[p]} counts face {numbers[wrong[0]]:g} of {sizes[p]}, so it does not belong to {FACES}",
            WHERE_FROM,
        )
    flags = np.zeros(int(ends[-1]), bool)
    flags[starts[picture] + numbers.astype(np.int64) - 1] = True
    return flags


def _load(path: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    from scipy.io import loadmat

    if not path.is_file():
        raise DataError(f"the ground truth {path} does not exist", WHERE_FROM)
    try:
        content: dict[str, Any] = loadmat(str(path))
    except Exception as problem:  # scipy raises various exceptions for a damaged file
        raise DataError(f"{path} is not a MATLAB file that can be read: {first_line(problem)}", WHERE_FROM) from None
    missing = [key for key in keys if key not in content]
    if missing:
        held = ", ".join(key for key in content if not key.startswith("__")) or "nothing"
        raise DataError(f"{path} has no {missing[0]!r}: it holds {held}", WHERE_FROM)
    return content


def _pictures(path: Path, content: dict[str, Any]) -> tuple[tuple[str, ...], Indices]:
    """The names, event/picture, and how many faces each has."""
    try:
        events = [str(cell[0][0]) for cell in content["event_list"]]
        names = tuple(
            f"{event}/{cell[0][0]}"
            for event, files in zip(events, content["file_list"], strict=True)
            for cell in files[0]
        )
        counts = [len(cell[0]) for cell in _cells(path, content["face_bbx_list"])]
    except (IndexError, TypeError, ValueError):
        raise DataError(f"{path} is not laid out as the official ground truth is", WHERE_FROM) from None
    if len(counts) != len(names) or not names:
        raise DataError(f"{path} has faces of {len(counts):,} pictures and names of {len(names):,}", WHERE_FROM)
    return names, np.array(counts, np.int64)


def _cells(path: Path, field: Any) -> list[Any]:
    """MATLAB's cells of cells, as one list over all events."""
    try:
        return list(chain.from_iterable(event[0] for event in field))
    except (IndexError, TypeError):
        raise DataError(f"{path} is not laid out as the official ground truth is", WHERE_FROM) from None


def _numbers(path: Path, field: Any, columns: int) -> np.ndarray:
    try:
        table = np.concatenate([cell[0].reshape(-1, columns) for cell in _cells(path, field)])
        numbers = table.astype(np.float64)
    except (ValueError, AttributeError, TypeError, IndexError):
        raise DataError(f"{path}: a list of faces does not have {columns} columns", WHERE_FROM) from None
    if not np.isfinite(numbers).all():
        raise DataError(f"{path}: a face has a number that is not finite", WHERE_FROM)
    return numbers
