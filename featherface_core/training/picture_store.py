"""All pictures of a source decoded into one tensor on a device, each with its halved copies (a mip map)."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from featherface_core.data.annotation import Faces, Picture, PictureSource
from featherface_core.errors import DataError, FeatherFaceError
from featherface_core.events import Listener, Progress, ignore
from featherface_core.pictures import MEAN

BORDER = 1  # pixels of the mean colour around each copy: what painters read beyond the picture
SLACK = 4096  # pixels at the end: painters read some past the one they need
# no halved copy of a picture whose longer side is below this is needed: a window is halved while it is at least four times what
# it becomes, which is at least 8
SMALLEST_HALVED = 32
READERS = 16  # threads, at most
PAINTERS = ("cpu", "cuda")  # types of devices that can paint
BLOCK = 64  # pictures decoded between two events


class StoreError(FeatherFaceError):
    """There is no room for the pictures, or the device cannot paint."""


@dataclass(frozen=True)
class Levels:
    """Where the copies of all pictures lie, by picture and level; level 0 is the picture, each next one half of it.

    widths, heights (n, levels): in pixels, 0 where there is no such copy. offsets (n, levels): of the copy's left upper pixel
    in the flat tensor; its rows are width + 2 pixels apart. last (n,): the smallest copy of each. total: pixels in all.
    """

    widths: NDArray[np.int64]
    heights: NDArray[np.int64]
    offsets: NDArray[np.int64]
    last: NDArray[np.int64]
    total: int

    @classmethod
    def of(cls, shapes: NDArray[np.int64]) -> "Levels":
        """Of pictures of (n, 2) height, width; 0, 0 for one that is left out."""
        sizes = [shapes]
        while (halved := sizes[-1].max(1) >= SMALLEST_HALVED).any():
            sizes.append(np.where(halved[:, None], np.maximum(sizes[-1] // 2, np.minimum(shapes, 1)), 0))
        heights, widths = (np.stack([size[:, axis] for size in sizes], 1) for axis in (0, 1))
        pitch = widths + 2 * BORDER
        areas = np.where(widths > 0, pitch * (heights + 2 * BORDER), 0)
        ends = np.cumsum(areas).reshape(areas.shape)
        offsets = ends - areas + BORDER * pitch + BORDER
        return cls(widths, heights, offsets, np.maximum((widths > 0).sum(1) - 1, 0), int(areas.sum()) + SLACK)


class PictureStore:
    """A source whose decoded pictures and their halved copies all lie in one flat tensor on a device.

    pixels (total,): int32, of bytes blue, green, red, 0. levels: where each copy lies. A picture that cannot be read takes no
    room and is remembered: ``problems`` has its error by index. Raises StoreError where the pictures need more than ``gigabytes``
    or than the device has, before any is decoded, and for a device that cannot paint.
    """

    def __init__(
        self, source: PictureSource, gigabytes: float, device: torch.device, on_event: Listener = ignore
    ) -> None:
        if device.type not in PAINTERS:
            raise StoreError(f"{device} has no numbers of 64 bits", "--set machine.paint=opencv")
        self.source, self.name = source, source.name
        self.problems: dict[int, DataError] = {}  # of decoding
        self._shapeless: dict[int, DataError] = {}
        shapes = np.zeros((len(source), 2), np.int64)
        for index in range(len(source)):
            try:
                shapes[index] = source.shape(index)
            except DataError as problem:
                self._shapeless[index] = self.problems[index] = problem
        self.shapes = shapes
        self.levels = Levels.of(shapes)
        needed = 4 * self.levels.total / 1e9
        if needed > gigabytes:
            raise StoreError(
                f"all {len(source):,} pictures with their halved copies need {_rounded_up(needed)} GB, "
                f"and machine.cache_gb is {gigabytes:g}",
                f"--set machine.cache_gb={_rounded_up(needed)}",
            )
        try:
            self.pixels = torch.zeros(self.levels.total, dtype=torch.int32, device=device)
        except RuntimeError as problem:  # torch's word for memory that the machine does not have
            raise StoreError(
                f"all {len(source):,} pictures with their halved copies need {_rounded_up(needed)} GB, "
                f"and {device} has no room for them",
                "--set machine.paint=opencv",
            ) from problem
        self._fill(on_event)

    def _fill(self, on_event: Listener) -> None:
        count = len(self.source)
        with ThreadPoolExecutor(min(READERS, os.cpu_count() or 1)) as pool:
            for first in range(0, count, BLOCK):
                block = range(first, min(first + BLOCK, count))
                for index, copies in zip(block, pool.map(self._decoded, block), strict=True):
                    if copies is not None:
                        at = int(self.levels.offsets[index, 0] - self.levels.widths[index, 0] - 3 * BORDER)
                        self.pixels[at : at + len(copies)] = torch.from_numpy(copies)
                on_event(Progress(block.stop, count, "pictures into memory"))

    def _decoded(self, index: int) -> NDArray[np.int32] | None:
        """A picture and its halved copies as they lie in the store; None for one that cannot be read."""
        if index in self.problems:
            return None
        try:
            picture = self.source.read(index)[0]
            if picture.shape[:2] != tuple(self.shapes[index]):
                height, width = self.shapes[index]
                raise DataError(
                    f"picture {index} of {self.name} has {picture.shape[1]}x{picture.shape[0]} pixels, "
                    f"and its file says {width}x{height}",
                    "open and save it again as JPEG or PNG",
                )
        except DataError as problem:
            self.problems[index] = problem
            return None
        copies = [_packed(picture)]
        for level in range(1, int(self.levels.last[index]) + 1):
            size = (int(self.levels.widths[index, level]), int(self.levels.heights[index, level]))
            picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR), np.uint8)
            copies.append(_packed(picture))
        return np.concatenate(copies)

    def __getstate__(self) -> dict[str, Any]:
        """Workers plan, and need no pixels for that."""
        return {**self.__dict__, "pixels": None}

    @property
    def sets(self) -> tuple[tuple[str, int], ...]:
        """As the source's."""
        return self.source.sets

    def __len__(self) -> int:
        return len(self.source)

    def shape(self, index: int) -> tuple[int, int]:
        """As the source's."""
        if index in self._shapeless:
            raise self._shapeless[index]
        height, width = self.shapes[index]
        return int(height), int(width)

    def faces(self, index: int) -> Faces:
        """As the source's."""
        return self.source.faces(index)

    def read(self, index: int) -> tuple[Picture, Faces]:
        """As the source's, from the store. Raises DataError for a picture that could not be read."""
        if index in self.problems:
            raise self.problems[index]
        height, width = self.shape(index)
        at = int(self.levels.offsets[index, 0])
        rows = self.pixels.as_strided((height, width), (width + 2 * BORDER, 1), at)
        packed = np.ascontiguousarray(rows.cpu().numpy())
        return np.ascontiguousarray(packed.view(np.uint8).reshape(height, width, 4)[..., :3]), self.faces(index)


def _packed(picture: Picture) -> NDArray[np.int32]:
    """(H, W, 3) with its border as (pixels,) of bytes blue, green, red, 0."""
    framed = cv2.copyMakeBorder(picture, BORDER, BORDER, BORDER, BORDER, cv2.BORDER_CONSTANT, value=MEAN)
    four = np.zeros((*framed.shape[:2], 4), np.uint8)
    cv2.mixChannels([framed], [four], [0, 0, 1, 1, 2, 2])
    packed: NDArray[np.int32] = four.reshape(-1).view(np.int32)
    return packed


def _rounded_up(gigabytes: float) -> str:
    digits = 1
    while round(gigabytes, digits) < gigabytes and digits < 9:
        up = np.ceil(gigabytes * 10**digits) / 10**digits
        if up < 1.1 * gigabytes:
            return f"{up:g}"
        digits += 1
    return f"{gigabytes:g}"
