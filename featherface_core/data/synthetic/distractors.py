"""Things that resemble a face and are none."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import numpy as np

from featherface_core.data.annotation import Picture
from featherface_core.data.synthetic.colours import HAIRS, Colour, any_colour, any_skin, mix, scaled
from featherface_core.data.synthetic.hand import draw_hand
from featherface_core.data.synthetic.pen import Pen
from featherface_core.data.synthetic.shapes import curve, mirrored, oval_outline
from featherface_core.data.synthetic.skin import lay, skin_tile


@dataclass(frozen=True)
class _Paint:
    skin: Colour
    dark: Colour
    pale: Colour


def _draw_egg(pen: Pen, r: Random, paint: _Paint) -> None:
    lay(pen, skin_tile(r, paint.skin, None, None), oval_outline(0, 0, r.uniform(0.6, 0.95), 0.98))


def _draw_socket(pen: Pen, r: Random, paint: _Paint) -> None:
    edge = r.uniform(0.8, 1.1)
    plate = paint.pale if r.random() < 0.6 else paint.skin
    if r.random() < 0.6:
        pen.fill([(-edge, -edge), (edge, -edge), (edge, edge), (-edge, edge)], plate)
    pen.oval(0, 0, 0.78, 0.78, scaled(plate, 0.88))
    for sign in (-1, 1):
        pen.oval(sign * 0.33, 0.0, 0.11, 0.11, paint.dark)


def _draw_clock(pen: Pen, r: Random, paint: _Paint) -> None:
    pen.oval(0, 0, 1, 1, paint.dark)
    pen.oval(0, 0, 0.88, 0.88, paint.pale)
    hours = np.arange(12) * (math.pi / 6)
    marks = np.stack([np.cos(hours), np.sin(hours)], 1)
    pen.strokes(np.stack([marks * 0.7, marks * 0.82], 1), paint.dark, 0.06)
    for long in (0.45, 0.66):
        a = r.uniform(0, 6.28)
        pen.stroke(((0, 0), (long * math.cos(a), long * math.sin(a))), paint.dark, 0.07)


def _draw_jumble(pen: Pen, r: Random, paint: _Paint) -> None:
    """The parts of a face, in no order."""
    lay(pen, skin_tile(r, paint.skin, None, None), oval_outline(0, 0, r.uniform(0.7, 0.95), 0.95))
    line = scaled(paint.skin, 0.3)
    if r.random() < 0.5:  # a mouth above, one eye below
        pen.oval(r.uniform(-0.2, 0.2), -0.5, 0.3, 0.07, mix(paint.skin, (70, 60, 170), 0.5))
        pen.oval(r.uniform(-0.4, 0.4), 0.45, 0.15, 0.09, (222, 224, 226))
        pen.oval(r.uniform(-0.4, 0.4), 0.45, 0.07, 0.07, line)
    else:
        for _ in range(r.randint(1, 4)):
            a, away = r.uniform(0, 6.28), r.uniform(0.4, 0.75)
            pen.oval(
                away * math.cos(a) * 0.7,
                away * math.sin(a),
                r.uniform(0.06, 0.2),
                r.uniform(0.05, 0.1),
                line,
                r.uniform(40, 140),
            )


def _draw_hand(pen: Pen, r: Random, paint: _Paint) -> None:
    draw_hand(pen, r, 0, 0, r.uniform(0.4, 0.6), r.uniform(-180, 180), paint.skin)


def _draw_behind(pen: Pen, r: Random, paint: _Paint) -> None:
    """Somebody who looks away."""
    hair = scaled(r.choice(HAIRS), r.uniform(0.8, 1.3))
    clothes = any_colour(r)
    side = curve((0.3, 1.1), (1.2, 1.4), (1.7, 1.9), (1.75, 4.5))
    pen.fill(mirrored(side), clothes)
    pen.fill([(-0.42, 0.3), (0.42, 0.3), (0.46, 1.3), (-0.46, 1.3)], scaled(paint.skin, 0.8))
    for sign in (-1, 1):
        pen.oval(sign * 0.76, 0.0, 0.11, 0.22, scaled(paint.skin, 0.85))
    pen.fill(oval_outline(0, -0.3, 0.8, 0.95), hair)
    if r.random() < 0.5:
        pen.fill(curve((-0.8, -0.3), (-0.9, 0.8), (-0.6, 1.6), (0.6, 1.6), (0.9, 0.8), (0.8, -0.3)), hair)
    for _ in range(6):
        a = r.uniform(-0.6, 0.6)
        pen.stroke(curve((a * 0.5, -1.1), (a, -0.4), (a * 0.9, 0.4)), scaled(hair, r.choice((0.75, 1.3))), 0.03)


def _draw_ball(pen: Pen, r: Random, paint: _Paint) -> None:
    colour = any_colour(r)
    pen.oval(0, 0, 0.95, 0.95, colour)
    for _ in range(r.randint(1, 3)):
        bend = r.uniform(-0.7, 0.7)
        pen.stroke(curve((-0.9, bend * 0.3), (0, bend), (0.9, bend * 0.3)), scaled(colour, 0.55), 0.1)


def _draw_button(pen: Pen, r: Random, paint: _Paint) -> None:
    pen.oval(0, 0, 0.9, 0.9, paint.pale)
    pen.ring(0, 0, 0.7, 0.7, scaled(paint.pale, 0.75), 0.08)
    for px, py in ((-0.2, -0.2), (0.2, -0.2), (-0.2, 0.2), (0.2, 0.2)):
        pen.oval(px, py, 0.09, 0.09, paint.dark)


_KINDS: dict[Callable[[Pen, Random, _Paint], None], int] = {  # how often, in per cent
    _draw_egg: 18,
    _draw_socket: 12,
    _draw_clock: 11,
    _draw_jumble: 17,
    _draw_hand: 13,
    _draw_behind: 15,
    _draw_ball: 8,
    _draw_button: 6,
}


def draw_distractor(picture: Picture, r: Random, size: int) -> None:
    """One thing that shares colour or shape with a face and is none."""
    unit = math.exp(r.uniform(math.log(6 * size / 256), math.log(0.2 * size)))
    x, y = r.uniform(0, size), r.uniform(0, size)
    pen = Pen(picture, (x, y), unit, r.gauss(0, 0.25))
    draw = r.choices(list(_KINDS), list(_KINDS.values()))[0]
    skin = any_skin(r)
    dark, pale = scaled(any_colour(r), 0.35), mix(any_colour(r), (230, 230, 230), 0.5)
    draw(pen, r, _Paint(skin, dark, pale))
