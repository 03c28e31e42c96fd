"""Things of no meaning."""

import math
from random import Random

from featherface_core.data.synthetic.colours import Colour, any_colour, scaled
from featherface_core.data.synthetic.pen import Pen


def draw_clutter(pen: Pen, r: Random, colour: Colour) -> None:
    """One thing of no meaning, on a frame of 256 x 256."""
    x, y = r.uniform(-20, 276), r.uniform(-20, 276)
    long = math.exp(r.uniform(math.log(6), math.log(130)))
    kind = r.random()
    if kind < 0.3:
        w, h = long, long * math.exp(r.uniform(-1.4, 1.4))
        box = ((x, y), (x + w, y), (x + w, y + h), (x, y + h))
        pen.fill(box, colour)
        if r.random() < 0.5:  # windows, screens, frames
            line = scaled(any_colour(r), 0.8)
            pen.stroke(box, line, r.uniform(1, 4), closed=True)
            if r.random() < 0.5:
                pen.stroke(((x + w / 2, y), (x + w / 2, y + h)), line, 1.5)
                pen.stroke(((x, y + h / 2), (x + w, y + h / 2)), line, 1.5)
    elif kind < 0.45:
        count = r.randint(3, 6)
        start = r.uniform(0, 6)
        corners = [
            (
                x + long * r.uniform(0.4, 1) * math.cos(start + 6.28 * i / count),
                y + long * r.uniform(0.4, 1) * math.sin(start + 6.28 * i / count),
            )
            for i in range(count)
        ]
        pen.fill(corners, colour)
    elif kind < 0.58:
        pen.oval(x, y, long * 0.5, long * r.uniform(0.15, 0.6), colour, r.uniform(0, 180))
    elif kind < 0.75:
        angle = r.uniform(0, 3.15)
        reach = long * r.uniform(1, 3)
        a, b = (math.cos(angle) * reach, math.sin(angle) * reach)
        pen.stroke(((x - a, y - b), (x + a, y + b)), colour, math.exp(r.uniform(0, 2.3)))
    elif kind < 0.87:  # leaves, fruit, stones
        for _ in range(r.randint(4, 9)):
            small = r.uniform(2, 7)
            pen.oval(
                x + r.gauss(0, long * 0.4),
                y + r.gauss(0, long * 0.4),
                small,
                small * r.uniform(0.4, 1),
                scaled(colour, r.uniform(0.6, 1.4)),
                r.uniform(0, 180),
            )
    else:  # writing
        step = r.uniform(4, 9)
        for row in range(r.randint(1, 3)):
            for i in range(r.randint(3, 9)):
                left, base = x + i * step, y + row * step * 1.8
                pen.stroke(
                    [(left + r.uniform(0, step * 0.7), base + r.uniform(0, step)) for _ in range(4)], colour, 1.2
                )
