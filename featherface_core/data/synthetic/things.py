"""Things in front of a face, and things that resemble a face and are none."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import numpy as np

from featherface_core.data.annotation import Picture
from featherface_core.data.synthetic.drawing import (
    HAIRS,
    Colour,
    Pen,
    Points,
    any_colour,
    any_skin,
    curve,
    mirrored,
    mix,
    oval_outline,
    scaled,
)
from featherface_core.data.synthetic.person import Person
from featherface_core.data.synthetic.skin import lay, skin_tile


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
