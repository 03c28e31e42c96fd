"""Which square of a picture is cropped."""

import numpy as np
from numpy.typing import NDArray

from featherface_core.data.annotation import Faces
from featherface_core.recipe import AugmentConfig

OFFICIAL_SCALES = (0.3, 0.45, 0.6, 0.8, 1.0)  # of the short side; RetinaFace's training crops
TRIES = 50
LARGEST_ZOOM = 4.0  # of a crop around a face, in all but tiny pictures: blur teaches nothing


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
