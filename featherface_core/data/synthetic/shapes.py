"""Outlines and smooth lines, as points (n, 2)."""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
_TURN = np.linspace(0, 2 * math.pi, 40, endpoint=False)
COS, SIN = np.cos(_TURN), np.sin(_TURN)
_HALF_TURN = np.linspace(math.pi * 0.94, math.pi * 2.06, 17)
_ARC_COS, _ARC_SIN = np.cos(_HALF_TURN), np.sin(_HALF_TURN)


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
