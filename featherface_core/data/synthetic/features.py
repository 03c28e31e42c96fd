"""Brows, eyes, nose and mouth."""

import math
from random import Random

import numpy as np

from featherface_core.data.synthetic.colours import IRISES, Colour, mix, scaled
from featherface_core.data.synthetic.pen import Pen
from featherface_core.data.synthetic.person import Person
from featherface_core.data.synthetic.shapes import curve, oval_outline


def draw_features(pen: Pen, r: Random, person: Person, skin: Colour, hair: Colour) -> None:
    """Brows, eyes, nostrils and mouth, each as narrow as the turned head makes it."""
    yaw, half = person.yaw, person.half
    line = scaled(skin, 0.38)
    brow = mix(hair, scaled(skin, 0.45), 0.45) if sum(hair) > 330 else mix(hair, scaled(skin, 0.5), 0.2)
    iris = r.choice(IRISES[:2]) if sum(skin) < 380 or r.random() < 0.55 else r.choice(IRISES)
    open_ = r.uniform(0.045, 0.085) if r.random() < 0.93 else 0.006
    wide = r.uniform(0.13, 0.165)
    gaze = r.uniform(-0.04, 0.04)
    arch, thick = r.uniform(0.0, 0.07), r.uniform(0.028, 0.06)
    lift = r.uniform(0.17, 0.23)
    slant = r.uniform(-0.015, 0.02)
    for sign, (x, y) in zip((-1, 1), person.eyes.tolist(), strict=True):
        # the cosine of where the eye is on the round head, against that of an eye seen from the front
        narrow = max(0.45, min(1.08, math.sqrt(max(0.0, 1 - (x / half) ** 2)) / 0.88))
        w = wide * narrow
        out = sign * w
        if open_ < 0.02:
            pen.stroke(curve((x - w, y), (x, y + 0.035), (x + w, y)), line, 0.035)
        else:
            white = curve(
                (x - out, y + 0.01),
                (x - out * 0.35, y - open_),
                (x + out * 0.4, y - open_ * 0.95),
                (x + out, y - slant),
                (x + out * 0.3, y + open_ * 0.75),
                (x - out * 0.5, y + open_ * 0.6),
                (x - out, y + 0.01),
            )
            pen.fill(white, mix((222, 226, 230), skin, 0.18))
            radius = r.uniform(0.066, 0.074)
            ring = oval_outline(x + gaze, y - 0.006, radius * narrow, radius)
            ring[:, 1] = np.clip(ring[:, 1], y - open_ * 0.95, y + open_ * 0.7)
            pen.fill(ring, iris)
            pen.oval(x + gaze, y - 0.006, 0.034 * narrow, min(0.036, open_ * 0.8), (14, 12, 12))
            pen.stroke(white[:13], line, 0.03)
            if pen.scale > 30:
                pen.oval(x + gaze + 0.02, y - 0.03, 0.012, 0.012, (240, 240, 240))
                pen.stroke(white[:13] - (0, 0.045), scaled(skin, 0.66), 0.014)
        high = y - lift
        pen.stroke(
            curve(
                (x - out * 1.05, high + 0.03),
                (x - out * 0.1, high - arch * 0.6),
                (x + out * 0.65, high - arch),
                (x + out * 1.25, high + 0.045),
            ),
            brow,
            thick,
        )

    x, y = person.nose
    spread = r.uniform(0.075, 0.115)
    for sign in (-1, 1):
        near = max(0.35, math.cos(yaw) + sign * 0.6 * math.sin(yaw) * -1)
        pen.oval(
            x * 0.96 + sign * spread * min(1.0, near),
            y + 0.085 - 0.02 * person.pitch,
            0.038 * min(1.0, near),
            0.02,
            scaled(skin, 0.4),
            12 * sign,
        )
        if pen.scale > 24:
            wing = x * 0.96 + sign * (spread + 0.06) * min(1.0, near)
            pen.stroke(
                curve((wing - sign * 0.02, y - 0.02), (wing, y + 0.04), (wing - sign * 0.03, y + 0.09)),
                scaled(skin, 0.6),
                0.016,
            )

    draw_mouth(pen, r, person, skin)


def draw_mouth(pen: Pen, r: Random, person: Person, skin: Colour) -> None:
    """Lips, closed or open, perhaps with teeth."""
    (lx, ly), (rx, ry) = person.mouth.tolist()
    x = (lx + rx) / 2 + 0.08 * math.sin(person.yaw)
    y = ly + 0.06 * person.smile
    lip = mix(scaled(skin, 0.78), (74, 62, 178), r.uniform(0.15, 0.6))
    full = r.uniform(0.04, 0.075)
    dark = mix(scaled(skin, 0.3), (20, 14, 50), 0.5)
    quarter, three = (lx + x) / 2, (rx + x) / 2
    upper = curve((lx, ly), (quarter, y - full * 0.95), (x, y - full * 0.75), (three, y - full * 0.95), (rx, ry))
    if r.random() < 0.32:  # open: talking, laughing
        gape = r.uniform(0.06, 0.2)
        lower = curve(
            (rx, ry), (three, y + gape + full * 0.5), (x, y + gape + full), (quarter, y + gape + full * 0.5), (lx, ly)
        )
        pen.fill(np.concatenate([upper, lower]), lip)
        inside_low = curve((rx, ry), (three, y + gape * 0.72), (x, y + gape), (quarter, y + gape * 0.72), (lx, ly))
        inside_high = curve((lx, ly), (quarter, y - full * 0.1), (x, y), (three, y - full * 0.1), (rx, ry))
        pen.fill(np.concatenate([inside_high, inside_low]) * (0.94, 1) + (x * 0.06, 0), dark)
        if person.smile > 0.1 and r.random() < 0.85:
            teeth = (inside_high[2:-2] - (x, 0)) * (0.9, 1) + (x, 0.004)
            drop = gape * r.uniform(0.3, 0.5) * np.sin(np.linspace(0.5, math.pi - 0.5, len(teeth)))
            pen.fill(np.concatenate([teeth, (teeth + np.stack([0 * drop, drop], 1))[::-1]]), (206, 216, 222))
    else:
        lower = curve((rx, ry), (three, y + full * 0.9), (x, y + full * 1.25), (quarter, y + full * 0.9), (lx, ly))
        pen.fill(np.concatenate([upper, lower]), lip)
        pen.stroke(curve((lx, ly), (quarter, y + 0.005), (x, y + 0.01), (three, y + 0.005), (rx, ry)), dark, 0.026)
