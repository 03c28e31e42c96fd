"""Who stands where in a picture."""

import math
from collections.abc import Sequence
from dataclasses import replace
from random import Random

import numpy as np

from featherface_core.data.annotation import Faces
from featherface_core.data.synthetic.person import Box, Person
from featherface_core.data.synthetic.shapes import COS, SIN

SMALLEST_FACE = 16.0  # pixels, longer side
LARGEST_FACE = 0.6  # of the picture's side
MOST_COVERED = 0.12  # of a face's box, by a larger face in front of it
FACES_PER_PICTURE = (8, 30, 22, 16, 11, 8, 5)  # how often 0, 1, ... 6, in per cent


def place_people(r: Random, size: int) -> list[Person]:
    """The people of one picture, the largest first, none hidden behind another."""
    smallest = max(SMALLEST_FACE, SMALLEST_FACE * size / 256)
    wanted = r.choices(range(7), FACES_PER_PICTURE)[0]
    sides = sorted(
        (math.exp(r.uniform(math.log(smallest), math.log(LARGEST_FACE * size))) for _ in range(wanted)), reverse=True
    )
    people: list[Person] = []
    for side in sides:
        person = _any_person(r, side)
        origin, box = person.origin, person.box
        for _ in range(20):
            origin, box = _moved(r, origin, box, size)
            if all(other.covers(box) <= MOST_COVERED for other in people):
                people.append(replace(person, origin=origin, box=box))
                break
    return people


def _any_person(r: Random, side: float) -> Person:
    """Somebody with a box, its corner at 0, 0, whose longer side is ``side`` pixels."""
    half = r.uniform(0.69, 0.8)
    # the far eye is hidden by a real nose at 45 degrees; on a flat face three quarters of the angle look like it
    yaw = 0.75 * math.radians(max(-45.0, min(45.0, r.gauss(0, 19))))
    pitch = max(-1.0, min(1.0, r.gauss(0, 0.4)))
    roll = math.radians(max(-30.0, min(30.0, r.gauss(0, 10))))
    y = np.where(SIN > 0, SIN, np.sign(SIN) * np.abs(SIN) ** r.uniform(0.85, 1.0))
    x = np.sign(COS) * np.abs(COS) ** r.uniform(0.8, 1.0) * half
    low = np.maximum(y, 0)
    x = x * (1 - r.uniform(0.08, 0.24) * low**1.5) + 0.14 * math.sin(yaw) * low  # the chin goes where the face looks
    outline = np.stack([x, y], 1)

    drop = 0.13 * pitch
    apart = math.radians(r.uniform(25, 29))
    eye_y = r.uniform(-0.2, -0.1) + drop
    eyes = np.array([(half * math.sin(yaw + a), eye_y) for a in (-apart, apart)])
    nose = (half * 1.18 * math.sin(yaw), r.uniform(0.2, 0.3) + 1.35 * drop)
    smile = r.uniform(-0.2, 1.0)
    wide = math.radians(r.uniform(20, 25) + 3 * smile)
    mouth_y = r.uniform(0.53, 0.6) + 0.9 * drop
    corner_y = mouth_y - 0.06 * smile
    mouth = np.array([(half * 0.98 * math.sin(yaw * 1.04 + a), corner_y) for a in (-wide, wide)])

    c, s = math.cos(roll), math.sin(roll)
    turned = outline @ np.array([[c, s], [-s, c]])
    least, most = turned.min(0), turned.max(0)
    scale = side / float((most - least).max())
    left, top = (-scale * least).tolist()
    width, height = (scale * (most - least)).tolist()
    return Person(
        half=half,
        yaw=yaw,
        pitch=pitch,
        roll=roll,
        outline=outline,
        eyes=eyes,
        nose=nose,
        mouth=mouth,
        smile=smile,
        body=r.random() < 0.88,
        seed=r.random(),
        scale=scale,
        origin=(left, top),
        box=(0.0, 0.0, width, height),
    )


def _moved(r: Random, origin: tuple[float, float], box: Box, size: int) -> tuple[tuple[float, float], Box]:
    """The origin and the box of the same person anywhere in the picture."""
    x1, y1, x2, y2 = box
    width, height = x2 - x1, y2 - y1
    if max(width, height) >= 24 and r.random() < 0.12:  # perhaps cut by the border: about half of either side stays
        x, y = r.uniform(0, size) - width / 2, r.uniform(0, size) - height / 2
    else:
        x = r.uniform(0, size - width)
        y = r.uniform(min(height * 0.15, size - height), size - height)  # mostly with room for hair
    return (origin[0] + x - x1, origin[1] + y - y1), (x, y, x + width, y + height)


def faces_of(people: Sequence[Person], size: int) -> Faces:
    """What a label says about these people; boxes are clipped to the picture."""
    if not people:
        return Faces.none()
    boxes = np.clip(np.array([p.box for p in people]), 0, size)
    return Faces.of(boxes, np.stack([p.landmarks() for p in people]))
