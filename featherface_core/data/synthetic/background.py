"""What is behind everything."""

from random import Random

import cv2
import numpy as np

from featherface_core.data.annotation import Picture
from featherface_core.data.synthetic.clutter import draw_clutter
from featherface_core.data.synthetic.colours import any_colour, mix
from featherface_core.data.synthetic.pen import Pen


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
