"""What a label says about a picture, in one type for every format. Imports no torch and no OpenCV."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from featherface_core.results import Floats

Picture = NDArray[np.uint8]
FLIP_ORDER = (1, 0, 2, 4, 3)  # of the five landmarks after a mirror: left and right change places
Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Faces:
    """The faces of one picture, in pixels, the picture's left upper corner at 0, 0.

    boxes (n, 4): x1, y1, x2, y2. landmarks (n, 5, 2): left eye, right eye, nose, left and right corner of the mouth, left and
    right of the picture; NaN for a face without. ignored (n,): trains nothing, neither as a face nor as background.
    weights (n,): 0 to 1, how much each counts (below 1 after mixing pictures).
    """

    boxes: Floats
    landmarks: Floats
    ignored: NDArray[np.bool_]
    weights: Floats

    def __len__(self) -> int:
        return len(self.boxes)

    @classmethod
    def of(
        cls,
        boxes: object,
        landmarks: object = None,
        ignored: object = None,
        weights: object = None,
    ) -> "Faces":
        """Faces from anything that NumPy reads; what is left out: no landmarks, nothing ignored, weight 1."""
        b = np.asarray(boxes, np.float32).reshape(-1, 4)
        n = len(b)
        return cls(
            b,
            np.full((n, 5, 2), np.nan, np.float32)
            if landmarks is None
            else np.asarray(landmarks, np.float32).reshape(n, 5, 2),
            np.zeros(n, bool) if ignored is None else np.asarray(ignored, bool).reshape(n),
            np.ones(n, np.float32) if weights is None else np.asarray(weights, np.float32).reshape(n),
        )

    @classmethod
    def none(cls) -> "Faces":
        """The faces of a picture without any."""
        return cls.of(np.zeros((0, 4)))

    def select(self, which: NDArray[np.bool_] | NDArray[np.intp]) -> "Faces":
        """The faces that a mask or indices pick."""
        return Faces(self.boxes[which], self.landmarks[which], self.ignored[which], self.weights[which])

    @property
    def has_landmarks(self) -> NDArray[np.bool_]:
        """(n,): whether all five landmarks are known."""
        return np.asarray(np.isfinite(self.landmarks).all((1, 2)), bool)


def concatenate(parts: "list[Faces]") -> Faces:
    """All faces of several groups, in their order."""
    return Faces(
        np.concatenate([p.boxes for p in parts]),
        np.concatenate([p.landmarks for p in parts]),
        np.concatenate([p.ignored for p in parts]),
        np.concatenate([p.weights for p in parts]),
    )


@dataclass(frozen=True)
class Annotation:
    """One labelled picture. path: the file. name: as its label calls it, ``folder/picture.jpg``.

    attributes: per-face values by name, each (n,), such as WIDER FACE's ``blur``, ``occlusion``, ``pose``.
    """

    path: Path
    name: str
    faces: Faces
    attributes: dict[str, NDArray[np.int64]] = field(default_factory=dict)


@dataclass(frozen=True)
class Problem:
    """Something odd in a label or a picture. kind: a short name, the same for all of its kind. where: file, line, face."""

    kind: str
    severity: Severity
    where: str
    what: str


@dataclass(frozen=True)
class AnnotationSet:
    """A label file or folder as read. source: what was read. form: its format. problems: odd entries, none of them fatal."""

    source: Path
    form: str
    annotations: tuple[Annotation, ...]
    problems: tuple[Problem, ...] = ()


class PictureSource(Protocol):
    """Pictures with their faces, by index: files on disk, the embedded drawn ones, or several such sets joined.

    name: for people.
    """

    name: str

    @property
    def sets(self) -> tuple[tuple[str, int], ...]:
        """(name, number of pictures) of each joined set, in the order of the indices; one entry for a plain source."""
        ...

    def __len__(self) -> int:
        """How many pictures."""
        ...

    def faces(self, index: int) -> Faces:
        """The faces of a picture, without reading it where that is possible."""
        ...

    def shape(self, index: int) -> tuple[int, int]:
        """(height, width) in pixels of a picture as ``read`` gives it, without decoding it where that is possible.

        Raises DataError for a picture that cannot be read; where the header is sound and the rest is not, ``read`` alone does.
        """
        ...

    def read(self, index: int) -> tuple[Picture, Faces]:
        """Picture (H, W, 3), BGR uint8, and its faces. Raises DataError for a picture that cannot be read."""
        ...


def set_sizes(source: PictureSource) -> tuple[int, ...]:
    """The number of pictures of each set that a source joins."""
    return tuple(count for _, count in source.sets)
