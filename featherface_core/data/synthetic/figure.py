"""A person: body and head, drawn at any size."""

import math
from random import Random

import cv2
import numpy as np

from featherface_core.data.annotation import Picture
from featherface_core.data.synthetic.body import draw_body
from featherface_core.data.synthetic.colours import GREY_HAIRS, HAIRS, Colour, any_colour, any_skin, scaled
from featherface_core.data.synthetic.head import draw_head
from featherface_core.data.synthetic.pen import Pen
from featherface_core.data.synthetic.person import Person

_DETAIL = 32.0  # pixels a unit has at least while a face is drawn; smaller faces are drawn larger and averaged down


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
