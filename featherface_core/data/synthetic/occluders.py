"""Things in front of a face."""

import math
from random import Random

import numpy as np

from featherface_core.data.synthetic.colours import Colour, any_colour, any_skin, scaled
from featherface_core.data.synthetic.hand import draw_hand
from featherface_core.data.synthetic.pen import Pen
from featherface_core.data.synthetic.person import Person
from featherface_core.data.synthetic.shapes import curve


def draw_occluder(pen: Pen, r: Random, person: Person, clothes: Colour) -> None:
    """Something in front of at most about 40 % of the face: it reaches in from one side, no deeper than that."""
    half = person.half
    kind = r.random()
    sign = r.choice((-1, 1))
    if kind < 0.3:  # a mask
        high = r.uniform(0.2, 0.32)
        colour = r.choice(((214, 190, 150), (236, 236, 236), (40, 38, 38), clothes))
        x = person.nose[0] * 0.9
        upper = curve(
            (-half * 0.97, high),
            (-half * 0.5 + x * 0.5, high - 0.03),
            (x, high - 0.1),
            (half * 0.5 + x * 0.5, high - 0.03),
            (half * 0.97, high),
        )
        chin = 0.14 * math.sin(person.yaw)
        lower = curve(
            (half * 0.93, 0.55),
            (half * 0.5 + chin, 0.95),
            (chin, 1.04),
            (-half * 0.5 + chin, 0.95),
            (-half * 0.93, 0.55),
        )
        pen.fill(np.concatenate([upper, lower]), colour)
        for row in (0.5, 0.7):
            pen.stroke(curve((-half * 0.8, row - 0.04), (x, row), (half * 0.8, row - 0.04)), scaled(colour, 0.86), 0.02)
    elif kind < 0.6:  # a hand, somebody's
        angle = r.uniform(-40, 40)
        draw_hand(
            pen, r, sign * half * r.uniform(0.75, 1.1), r.uniform(0.35, 0.9), r.uniform(0.28, 0.36), angle, any_skin(r)
        )
    elif kind < 0.8:  # a board, a post, a book
        colour = any_colour(r)
        if r.random() < 0.5:
            edge = r.uniform(0.35, 0.75)
            shape = [(-1.4, edge), (1.4, edge + r.uniform(-0.12, 0.12)), (1.4, 1.7), (-1.4, 1.7)]
        else:
            edge = half * r.uniform(0.42, 0.85) * sign
            tilt = r.uniform(-0.1, 0.1)
            shape = [(edge + tilt, -1.5), (edge - tilt, 1.6), (sign * 1.5, 1.6), (sign * 1.5, -1.5)]
        pen.fill(shape, colour)
        pen.stroke(shape, scaled(colour, 0.7), 0.05, closed=True)
    elif kind < 0.9:  # a cup or a microphone
        colour = any_colour(r)
        x, y = person.mouth.mean(0).tolist()
        pen.fill([(x - 0.14, y + 0.2), (x + 0.14, y + 0.2), (x + 0.12, 1.6), (x - 0.12, 1.6)], scaled(colour, 0.6))
        pen.oval(x, y + 0.2, 0.22, 0.22, colour)
    else:  # leaves
        green = (r.uniform(20, 70), r.uniform(90, 160), r.uniform(30, 110))
        for _ in range(5):
            pen.oval(
                sign * r.uniform(0.6, 1.2) * half,
                r.uniform(-0.6, 1.0),
                0.34,
                0.13,
                scaled(green, r.uniform(0.6, 1.2)),
                r.uniform(0, 180),
            )
