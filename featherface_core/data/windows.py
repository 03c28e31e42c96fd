"""Windows of a picture and the faces in them: cut out, resized, mirrored."""

import cv2
import numpy as np

from featherface_core.data.annotation import FLIP_ORDER, Faces, Picture
from featherface_core.pictures import MEAN

INTERPOLATIONS = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_AREA, cv2.INTER_NEAREST, cv2.INTER_LANCZOS4)
VISIBLE = 0.2  # a face cut off with at least this share in view is ignored: it is neither a face nor background
LARGEST_ZOOM = 4.0  # of a crop around a face, in all but tiny pictures: blur teaches nothing


def face_size(sizes: tuple[float, float], room: float, rng: np.random.Generator) -> float:
    """A log-uniform number of ``sizes``, at most ``room``: a face that reaches beyond what is shown teaches textures."""
    return float(np.exp(rng.uniform(*np.log(np.minimum(sizes, max(room, 1.0))))))


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
