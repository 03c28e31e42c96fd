"""Contact sheets: pictures with their labels drawn in, for a person to look at."""

from collections.abc import Sequence

import cv2
import numpy as np

from featherface_core.data.annotation import Faces, Picture
from featherface_core.pictures import resized

COLOURS = ((60, 60, 255), (60, 255, 255), (255, 60, 255), (60, 255, 60), (255, 160, 60))  # of the five landmarks
FACE, IGNORED = (80, 220, 40), (160, 160, 160)
GAP = 6


def contact_sheet(pictures: Sequence[tuple[Picture, Faces]], columns: int = 4, side: int = 240) -> Picture:
    """Pictures in rows of ``columns``, each scaled to fit ``side`` pixels, with boxes and landmarks.

    Green boxes are faces, thinner where they weigh less than 1; grey ones are ignored.
    """
    rows = -(-len(pictures) // columns)
    sheet = np.full((rows * (side + GAP) + GAP, columns * (side + GAP) + GAP, 3), 245, np.uint8)
    for place, (picture, faces) in enumerate(pictures):
        scale = side / max(picture.shape[:2])
        height, width = (max(1, round(n * scale)) for n in picture.shape[:2])
        tile = resized(picture, width, height).copy()
        draw_labels(tile, faces, scale)
        top, left = (GAP + (side + GAP) * n for n in divmod(place, columns))
        sheet[top : top + height, left : left + width] = tile
    return sheet


def draw_labels(picture: Picture, faces: Faces, scale: float = 1.0) -> None:
    """Draw boxes and landmarks, multiplied by ``scale``, into the picture itself."""
    points = faces.landmarks * scale
    for box, five, ignored, weight in zip(faces.boxes * scale, points, faces.ignored, faces.weights, strict=True):
        x1, y1, x2, y2 = (round(float(v)) for v in box)
        colour = IGNORED if ignored else FACE
        height, width = picture.shape[:2]
        # a frame at the very edge shows too
        x2, y2 = (side - 1 if v == side else v for v, side in ((x2, width), (y2, height)))
        cv2.rectangle(picture, (x1, y1), (x2, y2), colour, 1 if ignored or weight < 0.99 else 2, cv2.LINE_AA)
        for (x, y), dot in zip(five, COLOURS, strict=True):
            if np.isfinite(x) and np.isfinite(y):
                cv2.circle(picture, (round(float(x)), round(float(y))), 2 if x2 - x1 > 30 else 1, dot, -1, cv2.LINE_AA)
