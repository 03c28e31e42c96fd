"""A person: body and head, drawn at any size."""

import math
from random import Random

import cv2
import numpy as np

from featherface_core.data.annotation import Picture
from featherface_core.data.synthetic.drawing import (
    GREY_HAIRS,
    HAIRS,
    Colour,
    Pen,
    any_colour,
    any_skin,
    curve,
    mirrored,
    scaled,
)
from featherface_core.data.synthetic.head import draw_head
from featherface_core.data.synthetic.person import Person

_DETAIL = 32.0  # pixels a unit has at least while a face is drawn; smaller faces are drawn larger and averaged down


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


def draw_person(picture: Picture, person: Person) -> None:
    """Somebody on a picture: always the same for the same seed of the person."""
    r = Random(person.seed)
    skin = any_skin(r)
    dark = sum(skin) < 330
    hair: Colour = r.choice(HAIRS[:3] if dark else HAIRS) if r.random() < 0.85 else r.choice(GREY_HAIRS)
    hair = scaled(hair, r.uniform(0.8, 1.25))
    clothes = any_colour(r)
    if person.body:
        draw_body(Pen(picture, person.origin, person.scale, person.roll * 0.25), r, person, clothes)

    # the head: cut out, enlarged where it is small, drawn, and averaged down again, which leaves what was behind it as it was
    size = picture.shape[0]
    x, y = person.origin
    reach = 2.3 * person.scale
    x1, y1 = max(0, math.floor(x - reach)), max(0, math.floor(y - reach))
    x2, y2 = min(size, math.ceil(x + reach)), min(size, math.ceil(y + reach))
    times = math.ceil(_DETAIL / person.scale)
    part = picture[y1:y2, x1:x2]
    canvas = part
    if times > 1:
        enlarged = ((x2 - x1) * times, (y2 - y1) * times)
        canvas = np.asarray(cv2.resize(part, enlarged, interpolation=cv2.INTER_NEAREST), np.uint8)
    else:
        canvas = np.ascontiguousarray(part)
    pen = Pen(canvas, ((x - x1) * times, (y - y1) * times), person.scale * times, person.roll)
    draw_head(pen, r, person, skin, hair, clothes)
    if times > 1:
        canvas = np.asarray(cv2.resize(canvas, (x2 - x1, y2 - y1), interpolation=cv2.INTER_AREA), np.uint8)
    part[:] = canvas
