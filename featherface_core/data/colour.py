"""Colour distortion of training pictures."""

import cv2
import numpy as np

from featherface_core.data.annotation import Picture


def distort(picture: Picture, chance: float, rng: np.random.Generator) -> Picture:
    """Brightness (32 levels), contrast and saturation (0.5 to 1.5), hue (18 of 180), each with ``chance``; SSD, section 3.6."""
    on = rng.random(4) < chance
    change = rng.uniform((-32, 0.5, 0.5, -18), (32, 1.5, 1.5, 18))
    levels = np.arange(256, dtype=np.float32)
    if on[0] or on[1]:
        table = (levels + (change[0] if on[0] else 0)) * (change[1] if on[1] else 1)
        picture = np.asarray(cv2.LUT(picture, np.clip(table, 0, 255).astype(np.uint8)), np.uint8)
    if on[2] or on[3]:
        hsv = cv2.cvtColor(picture, cv2.COLOR_BGR2HSV)
        hue = (levels + (change[3] if on[3] else 0)) % 180
        saturation = np.clip(levels * (change[2] if on[2] else 1), 0, 255)
        tables = np.stack((hue, saturation, levels), 1).astype(np.uint8)[None]
        picture = np.asarray(cv2.cvtColor(cv2.LUT(hsv, tables), cv2.COLOR_HSV2BGR), np.uint8)
    return picture
