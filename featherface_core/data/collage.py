"""A training picture made of many, each at a size of its own, so that no part of it is left grey."""

from collections.abc import Callable

import cv2
import numpy as np

from featherface_core.data.annotation import Faces, Picture, concatenate
from featherface_core.data.colour import distort
from featherface_core.data.soften import soften
from featherface_core.data.windows import INTERPOLATIONS, LARGEST_ZOOM, face_size, mirror, within
from featherface_core.recipe import AugmentConfig

SMALLEST_PIECE = 48  # pixels: side of the narrowest strip that is filled, and short side of the smallest picture
# share of the windows that are anywhere in their picture, at the same scales: not all that is large and blurred is a face
ELSEWHERE = 0.4
Read = Callable[[int], tuple[Picture, Faces]]


def collage(
    read: Read, index: int, count: int, config: AugmentConfig, size: int, rng: np.random.Generator
) -> tuple[Picture, Faces]:
    """A (size, size, 3) square filled with pictures, the first of them ``index``, each at a size of its own.

    A picture is scaled so that one of its faces has a size of ``config.face_sizes``, and what is left of the room beside and
    below it is filled in the same way. Where one picture would leave the rest of a crop grey, this leaves nothing grey.
    """
    canvas = np.empty((size, size, 3), np.uint8)
    parts: list[Faces] = []
    rooms = [(0, 0, size, size)]
    while rooms:
        x1, y1, x2, y2 = rooms.pop()
        tile, faces = _piece(*read(index), (y2 - y1, x2 - x1), config, rng)
        index = int(rng.integers(count))
        if rng.random() < config.mirror:
            tile, faces = mirror(tile, faces)
        tile = soften(distort(tile, config.colour, rng), config.soften, rng)
        height, width = tile.shape[:2]
        # the piece lies in a corner of its room; the strip beside it, and the one above or below both, are left
        right, bottom = rng.random(2) < 0.5
        left, top = (x2 - width if right else x1), (y2 - height if bottom else y1)
        canvas[top : top + height, left : left + width] = tile
        shift = np.array((left, top), np.float32)
        parts.append(Faces(faces.boxes + np.tile(shift, 2), faces.landmarks + shift, faces.ignored, faces.weights))
        if width < x2 - x1:
            rooms.append((x1, top, left, top + height) if right else (left + width, top, x2, top + height))
        if height < y2 - y1:
            rooms.append((x1, y1, x2, top) if bottom else (x1, top + height, x2, y2))
    return canvas, concatenate(parts)


def _piece(
    picture: Picture, faces: Faces, room: tuple[int, int], config: AugmentConfig, rng: np.random.Generator
) -> tuple[Picture, Faces]:
    """A picture, or a window of it, mostly around a face, scaled and no larger than ``room`` (height, width), and its faces.

    Faces larger than the room are ignored: what is shown of them is texture.
    """
    size = np.array(picture.shape[:2])
    space = np.array(room)
    boxes = faces.boxes[~faces.ignored]
    least = SMALLEST_PIECE / size.min()
    corner, sides = rng.random(2) * size, np.zeros(2)
    if len(boxes):
        box = boxes[rng.integers(len(boxes))]
        extent = np.maximum(box[2:] - box[:2], 1.0)[::-1]
        scale = face_size(config.face_sizes, 0.9 * space.min(), rng) / float(np.sqrt(extent.prod()))
        if rng.random() >= ELSEWHERE:
            corner, sides = box[1::-1], extent
    else:
        scale = float(np.exp(rng.uniform(np.log(least), np.log(max(least, LARGEST_ZOOM)))))
    scale = min(max(scale, least), max(LARGEST_ZOOM, least))
    for _ in range(2):  # a strip too narrow to be filled is covered; growing for one may leave another
        narrow = (size * scale < space) & (space - size * scale < SMALLEST_PIECE)
        scale = max(scale, *(space / size)[narrow]) if narrow.any() else scale
    shape = np.minimum(np.round(size * scale).astype(int), space)
    shape[space - shape < SMALLEST_PIECE] = space[space - shape < SMALLEST_PIECE]
    seen = np.minimum(shape / scale, size)
    # anywhere that has the whole face in view, or as much of it as there is room for
    low, high = np.maximum(corner + sides - seen, 0), np.minimum(corner, size - seen)
    y, x = np.clip(low + rng.random(2) * (high - low), 0, size - seen)
    return _window(picture, faces, (x, y), seen[::-1], shape, config, rng)


def _window(
    picture: Picture,
    faces: Faces,
    corner: tuple[float, float],
    seen: np.ndarray,
    shape: np.ndarray,
    config: AugmentConfig,
    rng: np.random.Generator,
) -> tuple[Picture, Faces]:
    """The window of ``seen`` (width, height) pixels at ``corner`` (x, y), resized to ``shape`` (height, width)."""
    x, y = (int(v) for v in corner)
    width, height = np.maximum(np.round(seen).astype(int), 1)
    part = picture[y : y + height, x : x + width]
    height, width = part.shape[:2]
    shrinks = height > shape[0]
    way = int(rng.choice(INTERPOLATIONS)) if config.interpolation else cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    tile = np.asarray(cv2.resize(part, (int(shape[1]), int(shape[0])), interpolation=way), np.uint8)
    scale = np.array((shape[1] / width, shape[0] / height), np.float32)
    start = np.array((x, y), np.float32)
    moved = Faces(
        (faces.boxes - np.tile(start, 2)) * np.tile(scale, 2),
        (faces.landmarks - start) * scale,
        faces.ignored,
        faces.weights,
    )
    beyond = (moved.boxes[:, 2:] - moved.boxes[:, :2]).prod(1) > float(shape.min()) ** 2
    moved = Faces(moved.boxes, moved.landmarks, moved.ignored | beyond, moved.weights)
    return tile, within(moved, 0, 0, int(shape[1]), int(shape[0]))
