"""A training picture made of many, each at a size of its own, so that no part of it is left grey."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featherface_core.data.annotation import Faces
from featherface_core.data.augment.plan import Part, Piece, joined, windowed, within
from featherface_core.data.augment.windows import LARGEST_ZOOM, face_size
from featherface_core.recipe import AugmentConfig

SMALLEST_PIECE = 48  # pixels: side of the narrowest strip that is filled, and short side of the smallest picture
# share of the windows that are anywhere in their picture, at the same scales: not all that is large and blurred is a face
ELSEWHERE = 0.4
ROOM = 0.9  # of the shorter side of its room: the largest size that a face is brought to


@dataclass(frozen=True)
class Choice:
    """A picture for a room: its index, (height, width), faces, the scale it is shown at, and what is to be in view.

    corner, sides: (y, x) and (height, width) of that, in pixels of the picture; sides of 0 for a point.
    """

    picture: int
    shape: tuple[int, int]
    faces: Faces
    scale: float
    corner: NDArray[np.float64]
    sides: NDArray[np.float64]


# (height, width) of a room, and whether it is the first one: a choice for it
Choose = Callable[[tuple[int, int], bool], Choice]


def collage(size: int, choose: Choose, vary: Callable[[Part], Part], rng: np.random.Generator) -> Part:
    """Pieces that fill a canvas of ``size`` x ``size``, and their faces.

    The first picture fills as much of the canvas as its scale allows, and what is left of the room beside and below it is filled
    in the same way. Where one picture would leave the rest of a crop grey, this leaves nothing grey. vary: changes a piece on
    the way, at the place (0, 0).
    """
    parts: list[Part] = []
    rooms = [(0, 0, size, size)]
    while rooms:
        x1, y1, x2, y2 = rooms.pop()
        room = (y2 - y1, x2 - x1)
        part = vary(placed(choose(room, not parts), room, rng))
        width, height = part.pieces[0].place[2:]
        # the piece lies in a corner of its room; the strip beside it, and the one above or below both, are left
        right, bottom = rng.random(2) < 0.5
        left, top = (x2 - width if right else x1), (y2 - height if bottom else y1)
        parts.append(part.moved(left, top))
        if width < x2 - x1:
            rooms.append((x1, top, left, top + height) if right else (left + width, top, x2, top + height))
        if height < y2 - y1:
            rooms.append((x1, y1, x2, top) if bottom else (x1, top + height, x2, y2))
    return joined(parts)


def around_a_face(
    picture: int,
    shape: tuple[int, int],
    faces: Faces,
    room: tuple[int, int],
    config: AugmentConfig,
    rng: np.random.Generator,
) -> Choice:
    """A picture at a scale that shows one of its faces at a size of ``config.face_sizes``, mostly with that face in view."""
    size = np.array(shape)
    least = SMALLEST_PIECE / size.min()
    boxes = faces.boxes[~faces.ignored]
    corner, sides = rng.random(2) * size, np.zeros(2)
    if len(boxes):
        box = boxes[rng.integers(len(boxes))]
        extent = np.maximum(box[2:] - box[:2], 1.0)[::-1]
        scale = face_size(config.face_sizes, ROOM * min(room), rng) / float(np.sqrt(extent.prod()))
        if rng.random() >= ELSEWHERE:
            corner, sides = box[1::-1], extent
    else:
        scale = float(np.exp(rng.uniform(np.log(least), np.log(max(least, LARGEST_ZOOM)))))
    return Choice(picture, shape, faces, scale, corner, sides)


def placed(choice: Choice, room: tuple[int, int], rng: np.random.Generator) -> Part:
    """The window of a choice that its ``room`` (height, width) has place for, at the place (0, 0), and its faces.

    Faces larger than the piece are ignored: what is shown of them is texture.
    """
    size, space = np.array(choice.shape), np.array(room)
    least = SMALLEST_PIECE / size.min()
    scale = min(max(choice.scale, least), max(LARGEST_ZOOM, least))
    for _ in range(2):  # a strip too narrow to be filled is covered; growing for one may leave another
        narrow = (size * scale < space) & (space - size * scale < SMALLEST_PIECE)
        scale = max(scale, *(space / size)[narrow]) if narrow.any() else scale
    shape = np.minimum(np.round(size * scale).astype(int), space)
    shape[space - shape < SMALLEST_PIECE] = space[space - shape < SMALLEST_PIECE]
    seen = np.minimum(shape / scale, size)
    # anywhere that has all of it in view, or as much of it as there is room for
    low, high = np.maximum(choice.corner + choice.sides - seen, 0), np.minimum(choice.corner, size - seen)
    y, x = (int(v) for v in np.clip(low + rng.random(2) * (high - low), 0, size - seen))
    high_, wide = (int(v) for v in np.minimum(np.maximum(np.round(seen), 1), size - (y, x)))
    height, width = (int(v) for v in shape)
    window = (x, y, wide, high_)
    faces = windowed(choice.faces, window, width, height)
    beyond = (faces.boxes[:, 2:] - faces.boxes[:, :2]).prod(1) > float(min(width, height)) ** 2
    faces = Faces(faces.boxes, faces.landmarks, faces.ignored | beyond, faces.weights)
    piece = Piece(
        picture=choice.picture,
        window=window,
        place=(0, 0, width, height),
        shown=(0, 0, width, height),
        detail=(width, height),
    )
    return Part((piece,), within(faces, 0, 0, width, height))
