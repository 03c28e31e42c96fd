"""A whole picture: background, clutter, who stands where, and what the camera does to it."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from random import Random

import cv2
import numpy as np

from featherface_core.data.annotation import Faces, Picture
from featherface_core.data.synthetic.drawing import COS, SIN, Colour, Pen, any_colour, mix, scaled
from featherface_core.data.synthetic.person import Box, Person

SMALLEST_FACE = 16.0  # pixels, longer side
LARGEST_FACE = 0.6  # of the picture's side
MOST_COVERED = 0.12  # of a face's box, by a larger face in front of it
FACES_PER_PICTURE = (8, 30, 22, 16, 11, 8, 5)  # how often 0, 1, ... 6, in per cent


def _blocks(r: Random, height: int, width: int, channels: int = 3) -> Picture:
    """Random bytes (height, width, channels)."""
    return np.frombuffer(r.randbytes(height * width * channels), np.uint8).reshape(height, width, channels)


def draw_background(r: Random, size: int) -> Picture:
    """Walls, sky, floors, textures and clutter, (size, size, 3); some of it out of focus."""
    kind = r.random()
    unit = size / 256
    base, other = any_colour(r), any_colour(r)
    # a few colours between two, blended: walls, sky, out-of-focus things
    rows, columns = r.randint(2, 7), r.randint(2, 7)
    share = _blocks(r, rows, columns, 1 if r.random() < 0.88 else 3).astype(np.float32) * np.float32(1 / 255)
    small = np.array(base, np.float32) + (np.array(other, np.float32) - np.array(base, np.float32)) * share
    smooth = cv2.INTER_CUBIC if kind < 0.7 else cv2.INTER_LINEAR if kind < 0.93 else cv2.INTER_NEAREST
    small = np.clip(small, 0, 255).astype(np.uint8)
    picture = np.asarray(cv2.resize(small, (size, size), interpolation=smooth), np.uint8)
    if r.random() < 0.6:  # a coarse texture: foliage, stone, cloth
        cells = r.randint(12, 56)
        grey = r.random() < 0.85
        stretch = r.choice((1, 1, 1, 4))
        texture = _blocks(r, cells, max(2, cells // stretch), 1 if grey else 3)
        if grey:
            texture = np.repeat(texture, 3, 2)
        if r.random() < 0.5:
            texture = texture.transpose(1, 0, 2)
        big = cv2.resize(np.ascontiguousarray(texture), (size, size), interpolation=cv2.INTER_LINEAR)
        amount = r.uniform(0.08, 0.4) if grey else r.uniform(0.05, 0.2)
        picture = np.asarray(cv2.addWeighted(picture, 1, big, amount, -128 * amount), np.uint8)
    if r.random() < 0.45:  # a floor
        _floor(picture, r, size)
    if r.random() < 0.3:
        _pattern(picture, r, size)
    pen = Pen(picture, (0.0, 0.0), unit)
    near = mix(base, other, 0.5)
    for _ in range(r.randint(2, 14)):
        draw_clutter(pen, r, mix(any_colour(r), near, r.uniform(0, 0.7)))
    if r.random() < 0.4:  # out of focus
        radius = 2 * round(r.uniform(1, 4) * unit) + 1
        picture = np.asarray(cv2.blur(cv2.blur(picture, (radius, radius)), (radius, radius)), np.uint8)
        pen = Pen(picture, (0.0, 0.0), unit)
        for _ in range(r.randint(0, 4)):
            draw_clutter(pen, r, any_colour(r))
    return picture


def _floor(picture: Picture, r: Random, size: int) -> None:
    line = int(size * r.uniform(0.45, 0.9))
    colour = np.array(any_colour(r))
    part = picture[line:]
    flat = np.broadcast_to(np.rint(colour).astype(np.uint8), part.shape)
    part[:] = cv2.addWeighted(part, 0.35, np.ascontiguousarray(flat), 0.65, 0)


def _pattern(picture: Picture, r: Random, size: int) -> None:
    """Stripes, tiles or bricks over a part of the picture."""
    colour = any_colour(r)
    step = max(3, int(size * r.uniform(0.03, 0.16)))
    thick = max(1, int(step * r.uniform(0.05, 0.5)))
    x1, y1 = (int(size * r.uniform(-0.3, 0.5)) for _ in range(2))
    part = picture[max(0, y1) : y1 + size, max(0, x1) : x1 + size]
    kind = r.random()
    if kind < 0.7:
        for i in range(0, size, step):
            part[i : i + thick] = colour
    if kind > 0.35:
        for i in range(0, size, step * (2 if kind < 0.7 else 1)):
            part[:, i : i + thick] = colour


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


@lru_cache(maxsize=2)
def _noise(size: int) -> Picture:
    """Fine noise about 128, (size + 64, size + 64, 3): drawn once, since only its place changes from picture to picture."""
    r = Random("noise")
    side = size + 64
    total = np.zeros(side * side * 3, np.uint16)
    for _ in range(4):
        total += np.frombuffer(r.randbytes(total.size), np.uint8)
    return (total // 4).astype(np.uint8).reshape(side, side, 3)


def finish(picture: Picture, r: Random, size: int) -> Picture:
    """What a camera does: exposure, colour cast, blur, noise, compression."""
    unit = size / 256
    gain = max(0.55, min(1.15, math.exp(r.gauss(-0.06, 0.2))))
    gamma = math.exp(max(-0.35, min(0.35, r.gauss(0, 0.18))))
    lift = r.uniform(0, 24)
    casts = np.array([r.gauss(1, 0.04) for _ in range(3)])
    steps = (np.arange(256)[:, None] / 255.0) ** gamma
    table = np.clip(lift + (255 - lift) * gain * casts * steps, 0, 255).astype(np.uint8)
    if r.random() < 0.07:
        grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
        picture = np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), np.uint8)
        table = table[:, :1].repeat(3, 1)
    picture = np.asarray(cv2.LUT(picture, table[None]), np.uint8)
    if r.random() < 0.5:
        sigma = r.uniform(0.35, 0.95) * unit
        width = 2 * math.ceil(2 * sigma) + 1
        picture = np.asarray(cv2.GaussianBlur(picture, (width, width), sigma), np.uint8)
    amount = r.uniform(0, 0.18)
    x, y = r.randrange(64), r.randrange(64)
    picture = np.asarray(
        cv2.addWeighted(picture, 1, _noise(size)[y : y + size, x : x + size], amount, -127.5 * amount), np.uint8
    )
    if r.random() < 0.25:
        packed = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, r.randint(25, 85)])[1]
        picture = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)
    return picture


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
