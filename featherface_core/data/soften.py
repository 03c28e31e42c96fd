"""Loss of detail: pictures as they come out of a thumbnail, a far camera or a strong compression."""

import cv2
import numpy as np

from featherface_core.data.annotation import Picture

LARGEST_SHRINK = 3.0
STRETCH = 1.25  # between the axes: thumbnails are often made square
LOWEST_QUALITY, HIGHEST_QUALITY = 40, 95  # of JPEG
SMALLEST_SIDE = 8  # pixels, of the shrunken picture


def soften(picture: Picture, chance: float, rng: np.random.Generator) -> Picture:
    """With ``chance``, the picture (H, W, 3) shrunk by 1 to 3, compressed as JPEG, and enlarged to its size again.

    Faces stay where they are: only detail goes. The degradation of Real-ESRGAN (Wang et al. 2021), at its simplest.
    """
    if not chance or rng.random() >= chance:
        return picture
    shrink = rng.uniform(1.0, LARGEST_SHRINK) * rng.uniform(1 / STRETCH, STRETCH, 2)
    quality = int(rng.integers(LOWEST_QUALITY, HIGHEST_QUALITY + 1))
    height, width = picture.shape[:2]
    across = max(min(SMALLEST_SIDE, width), round(width / max(1.0, shrink[0])))
    down = max(min(SMALLEST_SIDE, height), round(height / max(1.0, shrink[1])))
    small = cv2.resize(picture, (across, down), interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, quality])
    seen = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert seen is not None  # it was written a line above
    way = cv2.INTER_LINEAR if rng.random() < 0.5 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(seen, (width, height), interpolation=way), np.uint8)
