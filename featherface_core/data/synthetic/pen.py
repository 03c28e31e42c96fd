"""Drawing in a frame that is moved, scaled and turned."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from featherface_core.data.annotation import Picture
from featherface_core.data.synthetic.colours import Colour
from featherface_core.data.synthetic.shapes import Points

FIXED = 4  # binary places of OpenCV's fixed-point coordinates


class Pen:
    """Draws on a canvas in a frame of its own. origin: of the frame, canvas pixels. scale: canvas pixels a unit has."""

    def __init__(self, canvas: Picture, origin: tuple[float, float], scale: float, roll: float = 0.0) -> None:
        self.canvas = canvas
        self.scale = scale
        self.degrees = math.degrees(roll)
        self.origin = (origin[0] - 0.5, origin[1] - 0.5)  # OpenCV counts from the middle of the first pixel
        c, s = math.cos(roll) * scale, math.sin(roll) * scale
        self.matrix = ((c, s), (-s, c))  # for points as rows
        fine = 1 << FIXED
        self._cos, self._sin = c * fine, s * fine
        self._x, self._y = self.origin[0] * fine + 0.5, self.origin[1] * fine + 0.5
        self._matrix = np.array([(self._cos, self._sin), (-self._sin, self._cos)])
        self._origin = np.array((self._x, self._y))

    def fixed(self, points: object) -> NDArray[np.int32]:
        """Points (n, 2) of the frame in OpenCV's fixed-point canvas coordinates."""
        placed: Points = np.asarray(points).dot(self._matrix)
        placed += self._origin
        return placed.astype(np.int32)

    def fill(self, points: object, colour: Colour) -> None:
        """A polygon (n, 2)."""
        cv2.fillPoly(self.canvas, [self.fixed(points)], colour, cv2.LINE_AA, FIXED)

    def stroke(self, points: object, colour: Colour, width: float, closed: bool = False) -> None:
        """A line through points (n, 2), width in units."""
        thick = max(1, round(width * self.scale))
        cv2.polylines(self.canvas, [self.fixed(points)], closed, colour, thick, cv2.LINE_AA, FIXED)

    def strokes(self, lines: Points, colour: Colour, width: float) -> None:
        """As ``stroke``, several lines (m, n, 2) at once."""
        thick = max(1, round(width * self.scale))
        cv2.polylines(self.canvas, list(self.fixed(lines)), False, colour, thick, cv2.LINE_AA, FIXED)

    def oval(self, x: float, y: float, rx: float, ry: float, colour: Colour, tilt: float = 0.0) -> None:
        """A filled ellipse; tilt in degrees."""
        self._ellipse(x, y, rx, ry, colour, tilt, -1)

    def ring(self, x: float, y: float, rx: float, ry: float, colour: Colour, width: float) -> None:
        """The line of an ellipse, width in units."""
        self._ellipse(x, y, rx, ry, colour, 0.0, max(1, round(width * self.scale)))

    def _ellipse(self, x: float, y: float, rx: float, ry: float, colour: Colour, tilt: float, thick: int) -> None:
        centre = (int(self._x + self._cos * x - self._sin * y), int(self._y + self._sin * x + self._cos * y))
        unit = self.scale * (1 << FIXED)
        axes = (max(1, round(rx * unit)), max(1, round(ry * unit)))
        cv2.ellipse(
            self.canvas,
            centre,
            axes,
            self.degrees + tilt,
            0,
            360,
            colour,
            thick,
            cv2.LINE_AA,
            FIXED,
        )
