"""Which square of a picture is cropped, and training pictures made of many, each at a size of its own."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featherface_core.data.annotation import Faces
from featherface_core.data.augment.plan import Part, Piece, joined, windowed, within
from featherface_core.recipe import AugmentConfig

OFFICIAL_SCALES = (0.3, 0.45, 0.6, 0.8, 1.0)  # of the short side; RetinaFace's training crops
TRIES = 50
LARGEST_ZOOM = 4.0  # of a crop around a face, in all but tiny pictures: blur teaches nothing
SMALLEST_PIECE = 48  # pixels: side of the narrowest strip that is filled, and short side of the smallest picture
# share of the windows that are anywhere in their picture, at the same scales: not all that is large and blurred is a face
ELSEWHERE = 0.4
ROOM = 0.9  # of the shorter side of its room: the largest size that a face is brought to


def choose_crop(
    shape: tuple[int, ...], faces: Faces, config: AugmentConfig, size: int, rng: np.random.Generator
) -> tuple[int, int, int]:
    """Left, top and side, in whole pixels, of a square crop of a picture of (height, width); it may reach beyond the picture.

    Crops hold at least one face, whole for ``official``, its centre for ``jitter``, if one in 50 tries does; otherwise, and
    for ``none``, it is the whole picture. Of pictures without faces any crop will do.
    """
    height, width = shape[:2]
    short, long = min(height, width), max(height, width)
    whole = (0, 0, long)
    boxes = faces.boxes[~faces.ignored]
    if config.crop == "none":
        return whole
    if config.crop in ("face-size", "collage", "mixture") and len(boxes):
        return _around_face(boxes[rng.integers(len(boxes))], config.face_sizes, size, long, rng)
    if config.crop == "official":
        sides = rng.choice(OFFICIAL_SCALES, TRIES) * short
    else:
        low, high = config.jitter
        sides = np.exp(rng.uniform(np.log(low), np.log(high), TRIES)) * short
    sides = np.maximum(sides.astype(np.int64), 8)
    # where the crop is larger than the picture, the picture lies anywhere within it
    spare = np.stack((width - sides, height - sides), 1)
    corners = np.floor(rng.random((TRIES, 2)) * (np.abs(spare) + 1)).astype(np.int64) * np.sign(spare)
    if not len(boxes):
        return int(corners[0, 0]), int(corners[0, 1]), int(sides[0])
    low_corner, high_corner = corners[:, None], (corners + sides[:, None])[:, None]
    if config.crop == "official":
        holds = ((boxes[None, :, :2] >= low_corner) & (boxes[None, :, 2:] <= high_corner)).all(2).any(1)
    else:
        centres = (boxes[:, :2] + boxes[:, 2:])[None] / 2
        holds = ((centres > low_corner) & (centres < high_corner)).all(2).any(1)
    if not holds.any():
        return whole
    pick = int(holds.argmax())
    return int(corners[pick, 0]), int(corners[pick, 1]), int(sides[pick])


def face_size(sizes: tuple[float, float], room: float, rng: np.random.Generator) -> float:
    """A log-uniform number of ``sizes``, at most ``room``: a face that reaches beyond what is shown teaches textures."""
    return float(np.exp(rng.uniform(*np.log(np.minimum(sizes, max(room, 1.0))))))


def _around_face(
    box: NDArray[np.float32], face_sizes: tuple[float, float], size: int, long: int, rng: np.random.Generator
) -> tuple[int, int, int]:
    """A crop that shows the face ``box`` at a log-uniform size, somewhere within it."""
    sides = np.maximum(box[2:] - box[:2], 1.0)
    face = float(np.sqrt(sides.prod()))
    wanted = face_size(face_sizes, size, rng)
    side = int(np.clip(size * face / wanted, size / LARGEST_ZOOM, 2.0 * long))
    room = side - sides
    corner = box[:2] - rng.random(2) * np.maximum(room, 0) - np.minimum(room, 0) / 2
    return round(float(corner[0])), round(float(corner[1])), max(side, 8)


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
