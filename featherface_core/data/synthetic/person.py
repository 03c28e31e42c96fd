"""Where a face is and how it is held."""

import math
from dataclasses import dataclass

import numpy as np

from featherface_core.data.synthetic.drawing import Points

Box = tuple[float, float, float, float]  # x1, y1, x2, y2, pixels of the picture


@dataclass(frozen=True)
class Person:
    """Where a face is and how it is held. All lengths but the last three in units of half the face's height.

    half: half the width. yaw, pitch, roll: radians, as drawn. outline (40, 2): the face's. eyes, nose, mouth: x and y of the
    landmarks. seed: of everything else about the person. scale: pixels a unit has. origin: of the face's frame, pixels of the
    picture. box: x1, y1, x2, y2, pixels, not clipped.
    """

    half: float
    yaw: float
    pitch: float
    roll: float
    outline: Points
    eyes: Points
    nose: tuple[float, float]
    mouth: Points
    smile: float
    body: bool
    seed: float
    scale: float
    origin: tuple[float, float]
    box: Box

    def landmarks(self) -> Points:
        """(5, 2), pixels of the picture."""
        c, s = math.cos(self.roll), math.sin(self.roll)
        points = np.concatenate([self.eyes, [self.nose], self.mouth])
        placed: Points = points @ np.array([[c, s], [-s, c]]) * self.scale + self.origin
        return placed

    def covers(self, box: Box) -> float:
        """The share of a box, 0 to 1, that the head, with hair or hat, and the body may hide."""
        x, y = self.origin
        unit = self.scale
        x1, y1, x2, y2 = self.box
        head = (x1 - 0.7 * unit, y1 - 0.6 * unit, x2 + 0.7 * unit, y2 + 0.75 * unit)
        hidden = _overlap(head, box)
        if self.body:
            hidden = max(hidden, _overlap((x - 2.2 * unit, y + 0.9 * unit, x + 2.2 * unit, y + 9 * unit), box))
        return hidden


def _overlap(a: Box, box: Box) -> float:
    """The share of ``box`` that ``a`` covers."""
    width = min(a[2], box[2]) - max(a[0], box[0])
    height = min(a[3], box[3]) - max(a[1], box[1])
    return max(0.0, width) * max(0.0, height) / ((box[2] - box[0]) * (box[3] - box[1]))
