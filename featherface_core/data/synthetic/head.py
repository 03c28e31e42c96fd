"""A head, from what is behind the face to what is in front of it."""

import math
from random import Random

import numpy as np

from featherface_core.data.synthetic.colours import Colour, any_colour, scaled
from featherface_core.data.synthetic.features import draw_features
from featherface_core.data.synthetic.glasses import draw_glasses
from featherface_core.data.synthetic.hair import draw_hair, draw_hat
from featherface_core.data.synthetic.occluders import draw_occluder
from featherface_core.data.synthetic.pen import Pen
from featherface_core.data.synthetic.person import Person
from featherface_core.data.synthetic.shapes import arc, curve, mirrored, oval_outline
from featherface_core.data.synthetic.skin import lay, skin_tile


def draw_head(pen: Pen, r: Random, person: Person, skin: Colour, hair: Colour, clothes: Colour) -> None:
    """Hair, neck, ears, face and what is worn or held in front of it."""
    half, turn = person.half, math.sin(person.yaw)
    style = r.choices(
        ("bald", "short", "parted", "fringe", "long", "bob", "curls", "bun", "scarf"), (8, 20, 16, 10, 16, 8, 9, 7, 6)
    )[0]
    hat = style != "scarf" and r.random() < 0.12
    cover = any_colour(r) if style == "scarf" else hair
    back = -0.28 * turn  # the skull behind the face
    top = r.uniform(1.2, 1.34)

    _draw_behind(pen, r, half, cover, style, top, back)
    if style != "scarf":
        _draw_neck(pen, r, half, turn, skin)
    if style in ("bald", "short", "parted", "bun") or (style == "curls" and r.random() < 0.5):
        _draw_ears(pen, person, skin, turn, back)
    _draw_skull(pen, r, half, skin, hair, style, top, back)

    bearded = style != "scarf" and r.random() < 0.17
    tile = skin_tile(r, skin, person, hair if bearded else None)
    lay(pen, tile, person.outline)
    draw_features(pen, r, person, skin, hair)
    glasses = r.random()
    if glasses < 0.22:
        draw_glasses(pen, r, person, glasses < 0.08)

    if style == "scarf":
        band = np.concatenate(
            [arc(back * 0.6, 0, half * 1.3, top), arc(0.1 * turn, 0.1, half * 0.98, r.uniform(0.9, 1.0))[::-1]]
        )
        pen.fill(band, cover)
        pen.stroke(arc(0.1 * turn, 0.1, half * 0.98, 0.95), scaled(cover, 0.72), 0.06)
    elif style != "bald":
        draw_hair(pen, r, person, hair, style, top, back)
    if hat:
        draw_hat(pen, r, person, top, back)
    if r.random() < 0.2:
        draw_occluder(pen, r, person, clothes)


def _draw_behind(pen: Pen, r: Random, half: float, cover: Colour, style: str, top: float, back: float) -> None:
    """Hair or a scarf behind the neck."""
    if style == "long":
        down = r.uniform(1.0, 1.8)
        out = half * r.uniform(1.2, 1.4)
        side = curve((0.0, -top), (out * 0.8, -1.0), (out, -0.2), (out * 1.04, 0.6), (out * 0.9, down), (0.25, down))
        pen.fill(mirrored(side, back), scaled(cover, 0.8))
    elif style == "bob":
        pen.fill(oval_outline(back, -0.15, half * 1.34, top - 0.2), scaled(cover, 0.8))
    elif style == "scarf":
        pen.fill(oval_outline(back * 0.6, 0.0, half * 1.3, top), cover)
        pen.fill([(-half, 0.5), (half, 0.5), (half * 1.5, 1.5), (-half * 1.5, 1.5)], scaled(cover, 0.9))
    elif style == "bun":
        pen.oval(back * 1.6, -top - 0.1, 0.33, 0.3, scaled(cover, 0.9))


def _draw_neck(pen: Pen, r: Random, half: float, turn: float, skin: Colour) -> None:
    neck = scaled(skin, 0.72)
    sway = -0.2 * turn
    wide = half * r.uniform(0.58, 0.72)
    pen.fill(
        [(sway - wide, 0.4), (sway + wide, 0.4), (sway + wide * 1.1, 1.3), (sway, 1.45), (sway - wide * 1.1, 1.3)],
        neck,
    )


def _draw_ears(pen: Pen, person: Person, skin: Colour, turn: float, back: float) -> None:
    half = person.half
    for side_sign in (-1, 1):
        if side_sign * turn < 0.3:  # the ear on the far side is not seen
            at = side_sign * half * 0.99 + back * 0.7
            pen.oval(at, 0.02 + 0.1 * person.pitch, 0.13, 0.24, scaled(skin, 0.86), -8 * side_sign)
            pen.oval(at, 0.02 + 0.1 * person.pitch, 0.06, 0.14, scaled(skin, 0.66), -8 * side_sign)


def _draw_skull(
    pen: Pen, r: Random, half: float, skin: Colour, hair: Colour, style: str, top: float, back: float
) -> None:
    """The head around the face: bald, or with hair."""
    if style == "bald":
        pen.fill(oval_outline(back, -0.32, half * 1.04, 0.92), scaled(skin, 0.93))
    elif style == "curls":
        knots = r.randint(11, 15)
        reach = r.uniform(1.05, 1.3)
        for i in range(knots):
            angle = math.pi * (0.95 + 1.1 * i / (knots - 1))
            spot = r.uniform(0.26, 0.36)
            pen.oval(
                back + half * reach * math.cos(angle),
                -0.2 + reach * 0.86 * math.sin(angle),
                spot,
                spot,
                scaled(hair, r.uniform(0.8, 1.2)),
            )
        pen.fill(oval_outline(back, -0.35, half * 1.1, 0.92), hair)
    elif style != "scarf":
        pen.fill(oval_outline(back, -0.32, half * 1.1, top - 0.32), scaled(hair, 0.85))
