"""Hair and hats in front of a head."""

import math
from random import Random

import numpy as np

from featherface_core.data.synthetic.colours import Colour, any_colour, scaled
from featherface_core.data.synthetic.pen import Pen
from featherface_core.data.synthetic.person import Person
from featherface_core.data.synthetic.shapes import arc, curve

_STRANDS = np.linspace(0.1, 0.9, 10)  # where along the hairline


def draw_hair(pen: Pen, r: Random, person: Person, hair: Colour, style: str, top: float, back: float) -> None:
    """The hair in front: between the outline of the head and the hairline."""
    half, look = person.half, 0.3 * math.sin(person.yaw)
    outer = arc(back, -0.3, half * 1.12, top - 0.3)
    line = r.uniform(-0.92, -0.8)
    if style == "fringe" or (style == "bob" and r.random() < 0.6):
        low = r.uniform(-0.58, -0.46)
        inner = curve(
            (-half * 1.02, -0.12), (-half * 0.86, low), (look, low - 0.04), (half * 0.86, low), (half * 1.02, -0.12)
        )
    elif style in ("parted", "long", "bun"):
        part = look + r.choice((-1, 1)) * r.uniform(0.0, 0.4)
        inner = curve(
            (-half * 1.02, 0.0),
            (-half * 0.93, -0.4),
            ((part - half) * 0.55, -0.72),
            (part, line - 0.1),
            ((part + half) * 0.55, -0.72),
            (half * 0.93, -0.4),
            (half * 1.02, 0.0),
        )
    else:
        inner = curve(
            (-half * 1.03, -0.15),
            (-half * 0.92 + look * 0.3, -0.5),
            (-half * 0.62 + look, line + 0.04),
            (look, line - 0.05 * r.random()),
            (half * 0.62 + look, line + 0.04),
            (half * 0.92 + look * 0.3, -0.5),
            (half * 1.03, -0.15),
        )
    pen.fill(np.concatenate([outer, inner[::-1]]), hair)
    if person.scale > 10:  # strands: from the hairline towards the crown
        start = inner[(_STRANDS * (len(inner) - 1)).astype(int)]
        full = outer[(_STRANDS * (len(outer) - 1)).astype(int)] - start
        strands = np.stack([start, start + full * 0.42 + (r.uniform(-0.05, 0.05), -0.03), start + full * 0.85], 1)
        pen.strokes(strands[::2], scaled(hair, r.uniform(0.7, 0.85)), 0.025)
        pen.strokes(strands[1::2], scaled(hair, r.uniform(1.15, 1.35)), 0.025)


def draw_hat(pen: Pen, r: Random, person: Person, top: float, back: float) -> None:
    """A knitted hat, a cap or one with a brim."""
    half, look = person.half, 0.3 * math.sin(person.yaw)
    colour = any_colour(r)
    shade = scaled(colour, 0.72)
    kind = r.random()
    brow = r.uniform(-0.72, -0.6)
    crown = curve(
        (-half * 1.14 + back, brow),
        (-half * 1.08 + back, -1.0),
        (back, -top - 0.14),
        (half * 1.08 + back, -1.0),
        (half * 1.14 + back, brow),
    )
    pen.fill(crown, colour)
    if kind < 0.4:  # knitted
        pen.fill(
            [
                (-half * 1.16 + back, brow - 0.16),
                (half * 1.16 + back, brow - 0.16),
                (half * 1.16 + back, brow + 0.08),
                (-half * 1.16 + back, brow + 0.08),
            ],
            shade,
        )
    elif kind < 0.75:  # a cap with a peak
        pen.oval(look * 1.6, brow, half * 0.95, 0.13, shade)
    else:  # a brim all around
        pen.oval(back * 0.5, brow, half * 1.85, 0.16, shade)
        pen.stroke([(-half * 1.1 + back, brow - 0.15), (half * 1.1 + back, brow - 0.15)], scaled(colour, 0.45), 0.12)
