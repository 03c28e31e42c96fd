"""Varying a training picture: crops, mirror, colours, mosaic, MixUp, CutMix. NumPy and OpenCV; no torch.

Everything random comes from the generator that is passed in, so a picture is a function of (seed, epoch, position). Colours and
mixing work at the network's input size, where there are the fewest pixels.
"""

from collections.abc import Callable

import cv2
import numpy as np

from featherface_core.data.annotation import FLIP_ORDER, Faces, Picture, concatenate
from featherface_core.pictures import MEAN
from featherface_core.recipe import AugmentConfig

OFFICIAL_SCALES = (0.3, 0.45, 0.6, 0.8, 1.0)  # of the short side; RetinaFace's training crops
INTERPOLATIONS = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_AREA, cv2.INTER_NEAREST, cv2.INTER_LANCZOS4)
TRIES = 50
VISIBLE = 0.2  # a face cut off with at least this share in view is ignored: it is neither a face nor background
LARGEST_ZOOM = 4.0  # of a crop around a face, in all but tiny pictures: blur teaches nothing
MIX_BETA = 1.5  # of the Beta distribution that MixUp and CutMix draw their share from
Read = Callable[[int], tuple[Picture, Faces]]


def augment(
    read: Read, index: int, count: int, config: AugmentConfig, size: int, rng: np.random.Generator
) -> tuple[Picture, Faces]:
    """Picture ``index`` of ``count``, varied, as (size, size, 3) BGR uint8, and its faces in pixels of that.

    read: gives picture and faces of an index; mosaic, MixUp and CutMix read others beside ``index``. Only one of those three is
    applied to a picture.
    """

    def one(which: int, side: int) -> tuple[Picture, Faces]:
        # faces are cut to what is seen of them at the very end, or a cut one would pass for a whole one
        picture, faces = read(which)
        picture, faces = crop(picture, faces, config, side, rng, clip=False)
        if rng.random() < config.mirror:
            picture, faces = mirror(picture, faces)
        return distort(picture, config.colour, rng), faces

    draw = rng.random()
    if draw < config.mosaic:
        picture, faces = _mosaic([index, *rng.integers(count, size=3)], one, size, rng)
    elif draw < config.mosaic + config.mixup:
        picture, faces = mixup(one(index, size), one(int(rng.integers(count)), size), rng)
    elif draw < config.mosaic + config.mixup + config.cutmix:
        picture, faces = cutmix(one(index, size), one(int(rng.integers(count)), size), rng)
    else:
        picture, faces = one(index, size)
    return picture, ignore_small(within(faces, 0, 0, size, size), config.min_face)


def crop(
    picture: Picture,
    faces: Faces,
    config: AugmentConfig,
    size: int,
    rng: np.random.Generator,
    clip: bool = True,
) -> tuple[Picture, Faces]:
    """A square of the picture as ``config.crop`` has it, resized to (size, size, 3). clip: see ``cut``."""
    x, y, side = choose_crop(picture.shape[:2], faces, config, size, rng)
    shrinks = side > size
    way = int(rng.choice(INTERPOLATIONS)) if config.interpolation else cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cut(picture, faces, x, y, side, size, way, clip)


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
    if config.crop == "face-size" and len(boxes):
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


def _around_face(
    box: np.ndarray, face_sizes: tuple[float, float], size: int, long: int, rng: np.random.Generator
) -> tuple[int, int, int]:
    """A crop that shows the face ``box`` at a log-uniform size, somewhere within it."""
    sides = np.maximum(box[2:] - box[:2], 1.0)
    face = float(np.sqrt(sides.prod()))
    wanted = np.exp(rng.uniform(*np.log(face_sizes)))
    side = int(np.clip(size * face / wanted, size / LARGEST_ZOOM, 2.0 * long))
    room = side - sides
    corner = box[:2] - rng.random(2) * np.maximum(room, 0) - np.minimum(room, 0) / 2
    return round(float(corner[0])), round(float(corner[1])), max(side, 8)


def cut(
    picture: Picture,
    faces: Faces,
    x: int,
    y: int,
    side: int,
    size: int,
    interpolation: int = cv2.INTER_LINEAR,
    clip: bool = True,
) -> tuple[Picture, Faces]:
    """The square at ``x``, ``y`` of ``side`` pixels, the mean colour where it leaves the picture, resized to ``size``.

    Faces whose centre is in the square stay, cut to it; others of which a fifth or more is in view become ignored; the
    rest go. Landmarks stay where they are, in or out of the square. Without ``clip`` all faces stay, whole.
    """
    height, width = picture.shape[:2]
    left, top = max(0, -x), max(0, -y)
    right, bottom = max(0, x + side - width), max(0, y + side - height)
    part = picture[max(0, y) : max(0, min(height, y + side)), max(0, x) : max(0, min(width, x + side))]
    if left or top or right or bottom:
        canvas = np.empty((side, side, 3), np.uint8)
        canvas[:] = np.array(MEAN, np.uint8)
        canvas[top : top + part.shape[0], left : left + part.shape[1]] = part
        part = canvas
    if side != size:
        part = np.asarray(cv2.resize(part, (size, size), interpolation=interpolation), np.uint8)
    scale = size / side
    corner = np.array((x, y), np.float32)
    moved = Faces(
        (faces.boxes - np.tile(corner, 2)) * np.float32(scale),
        (faces.landmarks - corner) * np.float32(scale),
        faces.ignored,
        faces.weights,
    )
    return np.ascontiguousarray(part), within(moved, 0, 0, size, size) if clip else moved


def within(faces: Faces, x1: float, y1: float, x2: float, y2: float) -> Faces:
    """The faces as a window shows them: see ``cut``. The window in the faces' own pixels, which stay."""
    low, high = np.array((x1, y1), np.float32), np.array((x2, y2), np.float32)
    centres = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2
    inside = ((centres >= low) & (centres <= high)).all(1)
    boxes = np.clip(faces.boxes, np.tile(low, 2), np.tile(high, 2))
    area = np.maximum((faces.boxes[:, 2:] - faces.boxes[:, :2]).prod(1), 1e-6)
    shown = (boxes[:, 2:] - boxes[:, :2]).prod(1) / area
    kept = inside | (shown >= VISIBLE)
    return Faces(boxes, faces.landmarks, faces.ignored | ~inside, faces.weights).select(kept)


def mirror(picture: Picture, faces: Faces) -> tuple[Picture, Faces]:
    """Left and right exchanged, the landmarks' names with them. Twice gives the same again."""
    width = picture.shape[1]
    boxes = faces.boxes.copy()
    boxes[:, 0], boxes[:, 2] = width - faces.boxes[:, 2], width - faces.boxes[:, 0]
    points = faces.landmarks[:, FLIP_ORDER].copy()
    points[..., 0] = width - points[..., 0]
    return np.asarray(cv2.flip(picture, 1), np.uint8), Faces(boxes, points, faces.ignored, faces.weights)


def distort(picture: Picture, chance: float, rng: np.random.Generator) -> Picture:
    """Brightness (32 levels), contrast and saturation (0.5 to 1.5), hue (18 of 180), each with ``chance``; SSD, section 3.6."""
    on = rng.random(4) < chance
    change = rng.uniform((-32, 0.5, 0.5, -18), (32, 1.5, 1.5, 18))
    levels = np.arange(256, dtype=np.float32)
    if on[0] or on[1]:
        table = (levels + (change[0] if on[0] else 0)) * (change[1] if on[1] else 1)
        picture = np.asarray(cv2.LUT(picture, np.clip(table, 0, 255).astype(np.uint8)), np.uint8)
    if on[2] or on[3]:
        hsv = cv2.cvtColor(picture, cv2.COLOR_BGR2HSV)
        hue = (levels + (change[3] if on[3] else 0)) % 180
        saturation = np.clip(levels * (change[2] if on[2] else 1), 0, 255)
        tables = np.stack((hue, saturation, levels), 1).astype(np.uint8)[None]
        picture = np.asarray(cv2.cvtColor(cv2.LUT(hsv, tables), cv2.COLOR_HSV2BGR), np.uint8)
    return picture


def mixup(a: tuple[Picture, Faces], b: tuple[Picture, Faces], rng: np.random.Generator) -> tuple[Picture, Faces]:
    """Both pictures, one shining through the other, and the faces of both, weighing as much as can be seen of them."""
    share = float(rng.beta(MIX_BETA, MIX_BETA))
    blended = cv2.addWeighted(a[0], share, b[0], 1 - share, 0)
    return np.asarray(blended, np.uint8), concatenate([_weighted(a[1], share), _weighted(b[1], 1 - share)])


def cutmix(a: tuple[Picture, Faces], b: tuple[Picture, Faces], rng: np.random.Generator) -> tuple[Picture, Faces]:
    """A rectangle of ``b`` in ``a``. Faces weigh the share of their area still in view; mostly hidden ones are ignored."""
    height, width = a[0].shape[:2]
    part = np.sqrt(1 - float(rng.beta(MIX_BETA, MIX_BETA)))
    w, h = max(1, int(width * part)), max(1, int(height * part))
    x, y = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
    picture = a[0].copy()
    picture[y : y + h, x : x + w] = b[0][y : y + h, x : x + w]
    behind, infront = within(a[1], 0, 0, width, height), b[1]
    window = np.array((x, y, x + w, y + h), np.float32)
    hidden = _share_inside(behind.boxes, window)
    behind = Faces(
        behind.boxes,
        behind.landmarks,
        behind.ignored | (hidden >= 0.5),
        (behind.weights * (1 - hidden)).astype(np.float32),
    ).select(hidden < 1 - VISIBLE)
    shown = _share_inside(infront.boxes, window)
    infront = _weighted(infront, shown).select(shown >= VISIBLE)  # a narrow window may hold little but a centre
    return picture, concatenate([behind, within(infront, *window.tolist())])


def _mosaic(
    indices: list[int], one: Callable[[int, int], tuple[Picture, Faces]], size: int, rng: np.random.Generator
) -> tuple[Picture, Faces]:
    """Four pictures around a random point (Bochkovskiy et al. 2020, section 3.3), each cropped for its own tile."""
    across, down = (int(size * v) for v in rng.uniform(0.3, 0.7, 2))
    picture = np.empty((size, size, 3), np.uint8)
    parts = []
    tiles = ((0, 0, across, down), (across, 0, size, down), (0, down, across, size), (across, down, size, size))
    for index, (x1, y1, x2, y2) in zip(indices, tiles, strict=True):
        tile, faces = one(int(index), max(x2 - x1, y2 - y1))
        picture[y1:y2, x1:x2] = tile[: y2 - y1, : x2 - x1]
        shown = within(faces, 0, 0, x2 - x1, y2 - y1)
        shift = np.array((x1, y1), np.float32)
        parts.append(Faces(shown.boxes + np.tile(shift, 2), shown.landmarks + shift, shown.ignored, shown.weights))
    return picture, concatenate(parts)


def ignore_small(faces: Faces, smallest: float) -> Faces:
    """The same faces, those whose longer side is below ``smallest`` pixels ignored."""
    if not smallest or not len(faces):
        return faces
    small = (faces.boxes[:, 2:] - faces.boxes[:, :2]).max(1) < smallest
    return Faces(faces.boxes, faces.landmarks, faces.ignored | small, faces.weights)


def _weighted(faces: Faces, share: float | np.ndarray) -> Faces:
    return Faces(faces.boxes, faces.landmarks, faces.ignored, (faces.weights * share).astype(np.float32))


def _share_inside(boxes: np.ndarray, window: np.ndarray) -> np.ndarray:
    low, high = np.maximum(boxes[:, :2], window[:2]), np.minimum(boxes[:, 2:], window[2:])
    area = np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(1), 1e-6)
    share: np.ndarray = np.clip(np.clip(high - low, 0, None).prod(1) / area, 0, 1)
    return share
