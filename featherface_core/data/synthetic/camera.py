"""What a camera does to a picture."""

import math
from functools import lru_cache
from random import Random

import cv2
import numpy as np

from featherface_core.data.annotation import Picture


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
