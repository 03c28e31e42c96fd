"""The faces that detections are held against, of all pictures in flat arrays: what makes the evaluation vectorised."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featherface_core.data.annotation import Faces

Doubles = NDArray[np.float64]
Flags = NDArray[np.bool_]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Truth:
    """The faces of P pictures, F in all, those of a picture together.

    names (P): ``folder/picture`` without the suffix, each once. boxes (F, 4): x1, y1, x2, y2 in pixels. ends (P,): where the
    faces of each picture end. counted: (F,) by setting, the faces that are to be found; a detection on another counts
    neither way. attributes: (F,) whole numbers by name.
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
        """The same of some of the pictures, in that order."""
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
        """SHA-256 of the names and the faces, whatever the order of the pictures: what was evaluated, for comparisons."""
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
