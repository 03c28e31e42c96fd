"""Varying a training picture: crops, mirror, colours, mosaic, MixUp, CutMix. NumPy and OpenCV; no torch.

Everything random comes from the generator that is passed in, so a picture is a function of (seed, epoch, position). Colours and
mixing work at the network's input size, where there are the fewest pixels.
"""

from collections.abc import Callable

import cv2
import numpy as np

from featherface_core.data.annotation import Faces, Picture, concatenate
from featherface_core.data.collage import Read, collage
from featherface_core.data.colour import distort
from featherface_core.data.soften import soften
from featherface_core.data.windows import INTERPOLATIONS, LARGEST_ZOOM, VISIBLE, cut, face_size, mirror, within
from featherface_core.recipe import AugmentConfig

OFFICIAL_SCALES = (0.3, 0.45, 0.6, 0.8, 1.0)  # of the short side; RetinaFace's training crops
TRIES = 50
MIX_BETA = 1.5  # of the Beta distribution that MixUp and CutMix draw their share from


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
        return soften(distort(picture, config.colour, rng), config.soften, rng), faces

    draw = rng.random()
    if draw < config.mosaic:
        picture, faces = _mosaic([index, *rng.integers(count, size=3)], one, size, rng)
    elif draw < config.mosaic + config.mixup:
        picture, faces = mixup(one(index, size), one(int(rng.integers(count)), size), rng)
    elif draw < config.mosaic + config.mixup + config.cutmix:
        picture, faces = cutmix(one(index, size), one(int(rng.integers(count)), size), rng)
    elif config.crop == "collage":
        picture, faces = collage(read, index, count, config, size, rng)
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
    if config.crop in ("face-size", "collage") and len(boxes):
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
    wanted = face_size(face_sizes, size, rng)
    side = int(np.clip(size * face / wanted, size / LARGEST_ZOOM, 2.0 * long))
    room = side - sides
    corner = box[:2] - rng.random(2) * np.maximum(room, 0) - np.minimum(room, 0) / 2
    return round(float(corner[0])), round(float(corner[1])), max(side, 8)


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
