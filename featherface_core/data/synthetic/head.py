"""A head, from what is behind the face to what is in front of it."""

import math
from random import Random

import numpy as np

from featherface_core.data.synthetic.drawing import (
    COS,
    IRISES,
    SIN,
    Colour,
    Pen,
    any_colour,
    arc,
    curve,
    mirrored,
    mix,
    oval_outline,
    scaled,
)
from featherface_core.data.synthetic.person import Person
from featherface_core.data.synthetic.skin import lay, skin_tile
from featherface_core.data.synthetic.things import draw_occluder

_STRANDS = np.linspace(0.1, 0.9, 10)  # where along the hairline


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


def draw_glasses(pen: Pen, r: Random, person: Person, tinted: bool) -> None:
    """Glasses, or dark ones."""
    frame = r.choice(((20, 20, 22), (34, 46, 70), (120, 126, 130), (60, 50, 110)))
    width = r.uniform(0.02, 0.045)
    rx, ry = r.uniform(0.22, 0.27), r.uniform(0.15, 0.22)
    round_ = r.random() < 0.5
    (ax, ay), (bx, by) = person.eyes.tolist()
    for x, y in ((ax, ay), (bx, by)):
        w = rx * max(0.5, min(1.0, math.sqrt(max(0.0, 1 - (x / person.half) ** 2)) / 0.88))
        lens = np.stack(
            [x + w * np.sign(COS) * np.abs(COS) ** 0.45, y + 0.03 + ry * np.sign(SIN) * np.abs(SIN) ** 0.45], 1
        )
        shape = oval_outline(x, y + 0.03, w, ry) if round_ else lens
        if tinted:
            pen.fill(shape, (30, 24, 22))
            pen.fill(shape[20:34] * 0.7 + shape[20:34].mean(0) * 0.3, (70, 62, 58))
        pen.stroke(shape, frame, width, closed=True)
    pen.stroke(curve((ax + rx * 0.9, ay), ((ax + bx) / 2, ay - 0.03), (bx - rx * 0.9, by)), frame, width)
    for sign, x, y in ((-1, ax, ay), (1, bx, by)):
        pen.stroke([(x + sign * rx * 0.9, y - 0.02), (sign * person.half * 0.98, y - 0.04)], frame, width)


def draw_hair(pen: Pen, r: Random, person: Person, hair: Colour, style: str, top: float, back: float) -> None:
    """The hair in front: between the outline of the head and the hairline."""
    half, look = person.half, 0.3 * math.sin(person.yaw)
    outer = arc(back, -0.3, half * 1.12, top - 0.3)
    line = r.uniform(-0.92, -0.8)
    if style == "fringe" or (style == "bob" and r.random() < 0.6):
        low = r.uniform(-0.58, -0.46)
        inner = curve(
            (-half * 1.02, -0.12), (-half * 0.86, low), (look, low - 0.04), (half * 0.86, low), (half * 1.02, -0.12)
        )
    elif style in ("parted", "long", "bun"):
        part = look + r.choice((-1, 1)) * r.uniform(0.0, 0.4)
        inner = curve(
            (-half * 1.02, 0.0),
            (-half * 0.93, -0.4),
            ((part - half) * 0.55, -0.72),
            (part, line - 0.1),
            ((part + half) * 0.55, -0.72),
            (half * 0.93, -0.4),
            (half * 1.02, 0.0),
        )
    else:
        inner = curve(
            (-half * 1.03, -0.15),
            (-half * 0.92 + look * 0.3, -0.5),
            (-half * 0.62 + look, line + 0.04),
            (look, line - 0.05 * r.random()),
            (half * 0.62 + look, line + 0.04),
            (half * 0.92 + look * 0.3, -0.5),
            (half * 1.03, -0.15),
        )
    pen.fill(np.concatenate([outer, inner[::-1]]), hair)
    if person.scale > 10:  # strands: from the hairline towards the crown
        start = inner[(_STRANDS * (len(inner) - 1)).astype(int)]
        full = outer[(_STRANDS * (len(outer) - 1)).astype(int)] - start
        strands = np.stack([start, start + full * 0.42 + (r.uniform(-0.05, 0.05), -0.03), start + full * 0.85], 1)
        pen.strokes(strands[::2], scaled(hair, r.uniform(0.7, 0.85)), 0.025)
        pen.strokes(strands[1::2], scaled(hair, r.uniform(1.15, 1.35)), 0.025)


def draw_hat(pen: Pen, r: Random, person: Person, top: float, back: float) -> None:
    """A knitted hat, a cap or one with a brim."""
    half, look = person.half, 0.3 * math.sin(person.yaw)
    colour = any_colour(r)
    shade = scaled(colour, 0.72)
    kind = r.random()
    brow = r.uniform(-0.72, -0.6)
    crown = curve(
        (-half * 1.14 + back, brow),
        (-half * 1.08 + back, -1.0),
        (back, -top - 0.14),
        (half * 1.08 + back, -1.0),
        (half * 1.14 + back, brow),
    )
    pen.fill(crown, colour)
    if kind < 0.4:  # knitted
        pen.fill(
            [
                (-half * 1.16 + back, brow - 0.16),
                (half * 1.16 + back, brow - 0.16),
                (half * 1.16 + back, brow + 0.08),
                (-half * 1.16 + back, brow + 0.08),
            ],
            shade,
        )
    elif kind < 0.75:  # a cap with a peak
        pen.oval(look * 1.6, brow, half * 0.95, 0.13, shade)
    else:  # a brim all around
        pen.oval(back * 0.5, brow, half * 1.85, 0.16, shade)
        pen.stroke([(-half * 1.1 + back, brow - 0.15), (half * 1.1 + back, brow - 0.15)], scaled(colour, 0.45), 0.12)


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
