"""A hand."""

import math
from random import Random

import numpy as np

from featherface_core.data.synthetic.colours import Colour, scaled
from featherface_core.data.synthetic.pen import Pen
from featherface_core.data.synthetic.shapes import Points


def draw_hand(pen: Pen, r: Random, x: float, y: float, size: float, angle: float, skin: Colour) -> None:
    """A hand, palm at x, y, fingers up, turned by ``angle`` degrees. size: of the palm, units."""
    shade = scaled(skin, 0.7)
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    turn = np.array([[c, s], [-s, c]]) * size

    def at(*points: tuple[float, float]) -> Points:
        placed: Points = np.array(points) @ turn + (x, y)
        return placed

    pen.fill(at((-0.6, 0.2), (0.6, 0.2), (0.7, 4.2), (-0.7, 4.2)), shade)
    spread = r.uniform(0.2, 0.34)
    for i, long in enumerate((1.35, 1.7, 1.8, 1.55)):
        lean = (i - 1.5) * spread
        tip = ((i - 1.5) * 0.46 + lean * 1.2, -long)
        pen.stroke(at(((i - 1.5) * 0.46, -0.2), tip), shade, size * 0.5)
        pen.stroke(at(((i - 1.5) * 0.46, -0.2), tip), skin, size * 0.38)
    pen.stroke(at((0.5, 0.5), (1.35, -0.4)), skin, size * 0.45)
    pen.oval(x, y, size, size, skin, angle)
