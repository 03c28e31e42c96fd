"""Shaded skin and how it is laid on a face."""

from random import Random

import cv2
import numpy as np
from numpy.typing import NDArray

from featherface_core.data.annotation import Picture
from featherface_core.data.synthetic.drawing import FIXED, Colour, Pen, Points, curve, mix, scaled
from featherface_core.data.synthetic.person import Person

_TILE = 24  # pixels a unit has in the shaded skin, which is smooth
_TILE_X, _TILE_Y = np.meshgrid(
    (np.arange(56, dtype=np.float32) - 27.5) / _TILE, (np.arange(56, dtype=np.float32) - 27.5) / _TILE
)
# skin in the shade is redder, not only darker
_SHADES = (np.arange(256)[:, None] / 176.0) ** np.array([1.14, 1.08, 0.96])


def skin_tile(r: Random, skin: Colour, person: Person | None, beard: Colour | None) -> Picture:
    """Shaded skin (56, 56, 3) of the face's frame, -1.15 to 1.15 both ways; without a person, of a plain egg."""
    half = 0.75 if person is None else person.half
    side, above = r.uniform(-1, 1), r.uniform(-0.6, 0.15)
    nx, ny = _TILE_X * (0.85 / half), _TILE_Y * 0.85
    depth = np.sqrt(np.maximum(0.05, 1 - nx * nx - ny * ny))
    bright = r.uniform(0.56, 0.64) + r.uniform(0.2, 0.34) * depth + r.uniform(0.1, 0.26) * (side * nx + above * ny)
    if person is not None:
        bright *= _relief(r, person)
    levels = np.clip(bright * 188, 0, 255).astype(np.uint8)
    table = np.minimum(np.array(skin) * _SHADES, 255).astype(np.uint8)
    tile = np.asarray(cv2.LUT(cv2.merge((levels, levels, levels)), table[None]), np.uint8)
    if person is not None:
        hair = beard if beard is not None else scaled(skin, 0.6)
        rosy = r.uniform(0.0, 0.28)
        if rosy > 0.1:
            _tint(tile, _cheeks(person), mix(skin, (90, 80, 215), 0.45), rosy)
        if beard is not None:
            _tint(tile, _beard_mask(r, person), hair, r.uniform(0.35, 0.95))
    return tile


def _relief(r: Random, person: Person) -> NDArray[np.float32]:
    """What the sockets, the nose and the mouth do to the light, (56, 56), about 1."""
    map_ = np.full((56, 56), 128, np.uint8)
    depth = r.uniform(0.8, 1.3)
    pen = Pen(map_, (28.0, 28.0), _TILE)
    down, up = 128 - 30 * depth, 128 + 20 * depth
    for x, y in person.eyes.tolist():
        pen.oval(x, y - 0.04, 0.2, 0.15, (down, down, down))
    bridge_x = float(person.eyes[:, 0].mean())
    bridge_y = float(person.eyes[:, 1].mean())
    tip_x, tip_y = person.nose
    far = 1 if tip_x < bridge_x or (abs(tip_x - bridge_x) < 0.05 and r.random() < 0.5) else -1
    pen.fill(
        [(bridge_x + far * 0.05, bridge_y), (tip_x + far * 0.2, tip_y + 0.04), (tip_x + far * 0.05, tip_y)],
        (down, down, down),
    )
    pen.fill(
        [(bridge_x - 0.04, bridge_y), (bridge_x + 0.04, bridge_y), (tip_x + 0.06, tip_y), (tip_x - 0.06, tip_y)],
        (up, up, up),
    )
    pen.oval(tip_x, tip_y, 0.09, 0.08, (up + 8, up + 8, up + 8))
    deep = down - 10
    pen.oval(tip_x * 0.97, tip_y + 0.13, 0.16, 0.05, (deep, deep, deep))
    mouth_x, mouth_y = person.mouth.mean(0).tolist()
    pen.oval(mouth_x, mouth_y + 0.2, 0.17, 0.05, (down, down, down))
    soft = cv2.GaussianBlur(map_, (5, 5), 1.2)
    return soft.astype(np.float32) * np.float32(1 / 128)


def _cheeks(person: Person) -> Picture:
    mask = np.zeros((56, 56), np.uint8)
    pen = Pen(mask, (28.0, 28.0), _TILE)
    for (x, _), (_, y) in zip(person.eyes.tolist(), person.mouth.tolist(), strict=True):
        pen.oval(x * 1.08, y - 0.32, 0.16, 0.13, (255, 255, 255))
    return np.asarray(cv2.GaussianBlur(mask, (9, 9), 2.5), np.uint8)


def _beard_mask(r: Random, person: Person) -> Picture:
    mask = np.zeros((56, 56), np.uint8)
    pen = Pen(mask, (28.0, 28.0), _TILE)
    (lx, y), (rx, _) = person.mouth.tolist()
    half = person.half
    x = (lx + rx) / 2
    kind = r.random()
    if kind < 0.6:  # all around
        high = r.uniform(0.0, 0.25)
        upper = curve(
            (-half * 1.1, high),
            (-half * 0.82, high + 0.25),
            (lx, y - 0.14),
            (x, y - 0.13),
            (rx, y - 0.14),
            (half * 0.82, high + 0.25),
            (half * 1.1, high),
        )
        pen.fill(np.concatenate([upper, [(1.1, 1.1), (-1.1, 1.1)]]), (255, 255, 255))
    elif kind < 0.8:  # round the mouth
        pen.oval(x, y + 0.12, (rx - lx) * 0.62, 0.33, (255, 255, 255))
    else:  # a moustache
        pen.fill(
            curve(
                (lx - 0.03, y + 0.02),
                (lx * 0.5 + x * 0.5, y - 0.14),
                (x, y - 0.12),
                (rx * 0.5 + x * 0.5, y - 0.14),
                (rx + 0.03, y + 0.02),
                (x, y - 0.04),
            ),
            (255, 255, 255),
        )
    return np.asarray(cv2.GaussianBlur(mask, (3, 3), 0.8), np.uint8)


def _tint(tile: Picture, mask: Picture, colour: Colour, strength: float) -> None:
    share = cv2.merge((mask, mask, mask)).reshape(56, -1) * np.float32(strength / 255)
    flat = tile.reshape(56, -1)
    flat[:] = flat + (np.array(colour * 56, np.float32) - flat) * share


def lay(pen: Pen, tile: Picture, outline: Points) -> None:
    """The skin of a tile inside an outline (n, 2) of the pen's frame, its border smooth."""
    canvas = pen.canvas
    polygon = pen.fixed(outline)
    least, most = polygon.min(0) >> FIXED, (polygon.max(0) >> FIXED) + 2
    x1, y1 = max(0, int(least[0]) - 1), max(0, int(least[1]) - 1)
    x2, y2 = min(canvas.shape[1], int(most[0]) + 1), min(canvas.shape[0], int(most[1]) + 1)
    if x2 <= x1 or y2 <= y1:
        return
    mask = np.zeros((y2 - y1, x2 - x1), np.uint8)
    cv2.fillPoly(mask, [polygon - np.array([x1, y1], np.int32) * (1 << FIXED)], (255,), cv2.LINE_AA, FIXED)
    linear = np.array(pen.matrix).T / _TILE
    move = np.array(pen.origin) - (x1, y1) - linear @ (27.5, 27.5)
    layer = cv2.warpAffine(
        tile,
        np.column_stack([linear, move]),
        (x2 - x1, y2 - y1),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    share = mask.astype(np.float32) * np.float32(1 / 255)
    part = canvas[y1:y2, x1:x2]
    part[:] = cv2.blendLinear(layer, np.ascontiguousarray(part), share, 1 - share)
