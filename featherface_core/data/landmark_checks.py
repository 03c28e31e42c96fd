"""Tests of landmarks that hold for every pose: pure functions of arrays."""

import numpy as np
from numpy.typing import NDArray

from featherface_core.data.annotation import Faces

MIRRORED = (
    -0.25
)  # of a frontal face in the right order the value is about 1, of a profile about 0, of a mirrored one -1
FAR = 0.5  # of the box's side


def mirrored(faces: Faces) -> NDArray[np.bool_]:
    """(n,): whether the left and right eye, or the corners of the mouth, have changed places.

    From the eyes to the mouth leads the axis of a face; the right eye lies anticlockwise of it, as the picture shows it, however
    the face is rolled. So the cross product of the axis and the line from left to right tells the order, in units of the axis
    squared. In a profile both are nearly parallel and the sign means nothing: only a clear one counts.
    """
    points = faces.landmarks.astype(np.float64)
    axis = points[:, 3:].mean(1) - points[:, :2].mean(1)
    length = np.maximum((axis**2).sum(1), 1e-6)
    sides = []
    for left, right in ((0, 1), (3, 4)):
        line = points[:, right] - points[:, left]
        sides.append((line[:, 0] * axis[:, 1] - line[:, 1] * axis[:, 0]) / length)
    known = faces.has_landmarks & (length > 4)  # below two pixels, rounding decides
    swapped: NDArray[np.bool_] = known & (np.min(sides, 0) < MIRRORED)
    return swapped


def outside_box(faces: Faces) -> NDArray[np.bool_]:
    """(n,): whether a landmark lies farther outside the box than half of the box's longer side."""
    sides = faces.boxes[:, 2:] - faces.boxes[:, :2]
    reach = FAR * sides.max(1, keepdims=True)[:, :, None] if len(faces) else np.zeros((0, 1, 1))
    low = (faces.landmarks < faces.boxes[:, None, :2] - reach).any((1, 2))
    high = (faces.landmarks > faces.boxes[:, None, 2:] + reach).any((1, 2))
    far: NDArray[np.bool_] = faces.has_landmarks & (sides > 0).all(1) & (low | high)
    return far
