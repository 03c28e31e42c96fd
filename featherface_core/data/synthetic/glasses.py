"""Glasses."""

import math
from random import Random

import numpy as np

from featherface_core.data.synthetic.pen import Pen
from featherface_core.data.synthetic.person import Person
from featherface_core.data.synthetic.shapes import COS, SIN, curve, oval_outline


def draw_glasses(pen: Pen, r: Random, person: Person, tinted: bool) -> None:
    """Glasses, or dark ones."""
    frame = r.choice(((20, 20, 22), (34, 46, 70), (120, 126, 130), (60, 50, 110)))
    width = r.uniform(0.02, 0.045)
    rx, ry = r.uniform(0.22, 0.27), r.uniform(0.15, 0.22)
    round_ = r.random() < 0.5
    (ax, ay), (bx, by) = person.eyes.tolist()
    for x, y in ((ax, ay), (bx, by)):
        w = rx * max(0.5, min(1.0, math.sqrt(max(0.0, 1 - (x / person.half) ** 2)) / 0.88))
        lens = np.stack(
            [x + w * np.sign(COS) * np.abs(COS) ** 0.45, y + 0.03 + ry * np.sign(SIN) * np.abs(SIN) ** 0.45], 1
        )
        shape = oval_outline(x, y + 0.03, w, ry) if round_ else lens
        if tinted:
            pen.fill(shape, (30, 24, 22))
            pen.fill(shape[20:34] * 0.7 + shape[20:34].mean(0) * 0.3, (70, 62, 58))
        pen.stroke(shape, frame, width, closed=True)
    pen.stroke(curve((ax + rx * 0.9, ay), ((ax + bx) / 2, ay - 0.03), (bx - rx * 0.9, by)), frame, width)
    for sign, x, y in ((-1, ax, ay), (1, bx, by)):
        pen.stroke([(x + sign * rx * 0.9, y - 0.02), (sign * person.half * 0.98, y - 0.04)], frame, width)
