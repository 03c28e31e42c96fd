"""Shoulders, chest and legs."""

import math
from random import Random

import numpy as np

from featherface_core.data.synthetic.colours import Colour, any_colour, scaled
from featherface_core.data.synthetic.pen import Pen
from featherface_core.data.synthetic.person import Person
from featherface_core.data.synthetic.shapes import curve, mirrored


def draw_body(pen: Pen, r: Random, person: Person, clothes: Colour) -> None:
    """Shoulders, chest, and what else fits below; a little shade so that it is not one flat spot."""
    wide = r.uniform(1.55, 1.95)
    end = r.uniform(4.6, 5.4)
    slope = r.uniform(1.35, 1.6)
    lean = -0.25 * math.sin(person.yaw)
    if pen.scale < 24:  # the legs of a small figure
        legs = scaled(any_colour(r), 0.7)
        pen.fill([(-wide * 0.72, end - 0.2), (wide * 0.72, end - 0.2), (wide * 0.6, 9), (-wide * 0.6, 9)], legs)
        pen.stroke([(0, end + 0.9), (0, 9)], scaled(legs, 0.6), 0.12)
    right = curve((0.5, 1.08), (wide * 0.7, slope - 0.1), (wide, slope + 0.35), (wide * 1.02, slope + 1.6), (wide, end))
    pen.fill(mirrored(right, lean), clothes)
    lit = r.choice((-1, 1))
    inner = np.concatenate([right * (0.55, 1) + (0.2 * wide, 0), right[::-1]]) * (lit, 1) + (lean, 0)
    pen.fill(inner, scaled(clothes, r.uniform(0.78, 0.92)))
    kind = r.random()
    if kind < 0.2:  # stripes
        other = scaled(any_colour(r), 0.9)
        for row in np.arange(slope + 0.5, end, 0.42).tolist():
            pen.stroke([(lean - wide * 0.97, row), (lean + wide * 0.97, row)], other, 0.14)
    elif kind < 0.45:  # a jacket and what is under it
        pen.fill([(-0.42 + lean, 1.05), (0.42 + lean, 1.05), (lean + 0.1, 2.9), (lean - 0.1, 2.9)], any_colour(r))
    for side in (-1, 1):  # the line of the arm
        pen.stroke(
            [(lean + side * wide * 0.72, slope + 0.9), (lean + side * wide * 0.74, end)], scaled(clothes, 0.7), 0.05
        )
