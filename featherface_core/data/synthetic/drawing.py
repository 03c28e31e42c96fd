"""Drawing in a frame that is moved, scaled and turned: outlines, colours, and a pen."""

import math
from functools import lru_cache
from random import Random

import cv2
import numpy as np
from numpy.typing import NDArray

from featherface_core.data.annotation import Picture

Points = NDArray[np.float64]
_TURN = np.linspace(0, 2 * math.pi, 40, endpoint=False)
COS, SIN = np.cos(_TURN), np.sin(_TURN)
_HALF_TURN = np.linspace(math.pi * 0.94, math.pi * 2.06, 17)
_ARC_COS, _ARC_SIN = np.cos(_HALF_TURN), np.sin(_HALF_TURN)
Colour = tuple[float, float, float]  # blue, green, red, 0 to 255
# light to dark, red, green, blue: from the lightest to the darkest human skin, with a little more red than the Monk scale
_SKINS = np.array(
    [
        (250, 226, 208),
        (244, 212, 188),
        (236, 198, 168),
        (224, 180, 146),
        (205, 156, 118),
        (178, 128, 92),
        (146, 100, 70),
        (112, 76, 54),
        (82, 56, 42),
        (58, 40, 32),
    ],
    np.float64,
)
HAIRS = ((28, 24, 22), (40, 32, 30), (24, 36, 56), (38, 58, 92), (60, 96, 140), (110, 165, 205), (34, 66, 140))
GREY_HAIRS = ((150, 150, 150), (205, 205, 208))
IRISES = ((34, 52, 80), (24, 36, 56), (150, 120, 84), (96, 120, 88), (40, 74, 110))
FIXED = 4  # binary places of OpenCV's fixed-point coordinates


@lru_cache
def _spline(count: int) -> Points:
    """The weights (4 count - 3, count) of some points in the smooth line through them: Catmull-Rom, four steps each."""
    p = np.eye(count)[[0, *range(count), count - 1]]
    a, b, c, d = p[:-3, None], p[1:-2, None], p[2:-1, None], p[3:, None]
    t = np.array([0.0, 0.25, 0.5, 0.75])[:, None]
    line = b + t * (0.5 * (c - a) + t * (a - 2.5 * b + 2 * c - 0.5 * d + t * (1.5 * (b - c) + 0.5 * (d - a))))
    return np.concatenate([line.reshape(-1, count), p[-1:]])


def curve(*points: tuple[float, float]) -> Points:
    """A smooth line (4 n - 3, 2) through n points."""
    line: Points = _spline(len(points)).dot(np.array(points))
    return line


def mirrored(side: Points, x: float = 0.0) -> Points:
    """The outline (2 n, 2) of something with two equal sides, from its right one; then moved by x."""
    both = np.concatenate([side, side[::-1] * (-1, 1)])
    moved: Points = np.add(both, (x, 0))
    return moved


def oval_outline(x: float, y: float, rx: float, ry: float) -> Points:
    """The outline of an ellipse, (40, 2)."""
    return _paired(x + rx * COS, y + ry * SIN)


def arc(x: float, y: float, rx: float, ry: float) -> Points:
    """The upper half of an ellipse from left to right, and a little more."""
    return _paired(x + rx * _ARC_COS, y + ry * _ARC_SIN)


def _paired(x: Points, y: Points) -> Points:
    """As ``np.stack([x, y], 1)``, in half the time."""
    points = np.empty((len(x), 2))
    points[:, 0] = x
    points[:, 1] = y
    return points


def any_colour(r: Random) -> Colour:
    """Any colour, mostly not very saturated."""
    light = 20 + 225 * r.random()
    strength = 0.85 * r.random() ** 1.6
    return (
        light * (1 - strength * r.random()),
        light * (1 - strength * r.random()),
        light * (1 - strength * r.random()),
    )


def scaled(colour: Colour, by: float) -> Colour:
    """The colour, lighter or darker."""
    return (min(255.0, colour[0] * by), min(255.0, colour[1] * by), min(255.0, colour[2] * by))


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """Between a, share 0, and b, share 1."""
    return (a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share, a[2] + (b[2] - a[2]) * share)


def any_skin(r: Random) -> Colour:
    """Any human skin, with small differences of red and brightness."""
    place = r.uniform(0, len(_SKINS) - 1.001)
    at = int(place)
    red, green, blue = (_SKINS[at] + (_SKINS[at + 1] - _SKINS[at]) * (place - at)).tolist()
    light = r.uniform(0.92, 1.05)
    return (
        min(250.0, blue * light * r.uniform(0.95, 1.1)),
        min(250.0, green * light * r.uniform(0.96, 1.04)),
        min(250.0, red * light),
    )


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
