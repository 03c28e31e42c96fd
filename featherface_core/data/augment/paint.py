"""Plans as pixels, by OpenCV on the CPU."""

from collections.abc import Callable

import cv2
import numpy as np

from featherface_core.data.annotation import Picture
from featherface_core.data.augment.plan import PLAIN_COLOUR, Colour, Piece, Plan
from featherface_core.pictures import MEAN, resized

Read = Callable[[int], Picture]


def paint(plan: Plan, read: Read) -> Picture:
    """The plan as (size, size, 3) BGR uint8. read: the decoded picture of an index; it is never written to."""
    canvas = np.empty((plan.size, plan.size, 3), np.uint8)
    for piece in plan.pieces:
        x1, y1, x2, y2 = piece.shown
        left, top = piece.place[:2]
        tile = painted(read(piece.picture), piece)[y1 - top : y2 - top, x1 - left : x2 - left]
        below = canvas[y1:y2, x1:x2]
        if piece.opacity < 1:
            tile = np.asarray(cv2.addWeighted(below, 1 - piece.opacity, tile, piece.opacity, 0), np.uint8)
        below[:] = tile
    return canvas


def painted(picture: Picture, piece: Piece) -> Picture:
    """The whole window of a piece as (height, width, 3) of its place."""
    width, height = piece.place[2:]
    tile = resized(_window(picture, *piece.window), *piece.detail)
    if piece.detail != (width, height):
        tile = np.asarray(cv2.resize(tile, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    if piece.mirrored:
        tile = np.asarray(cv2.flip(tile, 1), np.uint8)
    return coloured(tile, piece.colour)


def coloured(picture: Picture, colour: Colour) -> Picture:
    """A picture (H, W, 3) with its colours changed; itself where nothing changes."""
    if colour == PLAIN_COLOUR:
        return picture
    levels = np.arange(256, dtype=np.float32)
    if (colour.brightness, colour.contrast) != (0.0, 1.0):
        table = (levels + colour.brightness) * colour.contrast
        picture = np.asarray(cv2.LUT(picture, np.clip(table, 0, 255).astype(np.uint8)), np.uint8)
    if (colour.saturation, colour.hue) != (1.0, 0.0):
        hsv = cv2.cvtColor(picture, cv2.COLOR_BGR2HSV)
        hue = (levels + colour.hue) % 180
        saturation = np.clip(levels * colour.saturation, 0, 255)
        tables = np.stack((hue, saturation, levels), 1).astype(np.uint8)[None]
        picture = np.asarray(cv2.cvtColor(cv2.LUT(hsv, tables), cv2.COLOR_HSV2BGR), np.uint8)
    return picture


def _window(picture: Picture, x: int, y: int, wide: int, high: int) -> Picture:
    """A window of a picture, the mean colour where it leaves the picture."""
    height, width = picture.shape[:2]
    part = picture[max(0, y) : max(0, min(height, y + high)), max(0, x) : max(0, min(width, x + wide))]
    if part.shape[:2] == (high, wide):
        return part
    canvas = np.empty((high, wide, 3), np.uint8)
    canvas[:] = np.array(MEAN, np.uint8)
    left, top = max(0, -x), max(0, -y)
    canvas[top : top + part.shape[0], left : left + part.shape[1]] = part
    return canvas
