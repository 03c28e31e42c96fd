"""What the writers of label formats share."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featherface_core.data.annotation import Faces
from featherface_core.data.label_lines import Doubles
from featherface_core.files import replacing


@dataclass(frozen=True)
class Entry:
    """A picture to be written into a label. name: below the folder of pictures, with ``/``. width, height: in pixels.

    Width and height are 0 where they are not known, which only forms that do not need them meet.
    """

    name: str
    faces: Faces
    width: int = 0
    height: int = 0
    attributes: dict[str, NDArray[np.int64]] = field(default_factory=dict)


def sizes_of(faces: Faces) -> Doubles:
    """(n, 4): x, y, width, height in pixels."""
    boxes = faces.boxes.astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    return boxes


def row_format(columns: int, digits: int = 10) -> str:
    """A %-format for a row of numbers, whole ones without a point."""
    return " ".join([f"%.{digits}g"] * columns)


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a text file, whole or not at all; names keep bytes that are no UTF-8. Raises DataError."""
    with replacing(path) as temporary:
        temporary.write_bytes("".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"))
