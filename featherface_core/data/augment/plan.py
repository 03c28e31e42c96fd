"""What a plan is: a training picture as numbers. Painters turn it into pixels; all of them show the same faces."""

from dataclasses import dataclass, replace

import numpy as np

from featherface_core.data.annotation import FLIP_ORDER, Faces, concatenate

VISIBLE = 0.2  # a face cut off with at least this share in view is ignored: it is neither a face nor background


@dataclass(frozen=True)
class Colour:
    """A change of colours: levels v become (v + brightness) x contrast, then saturation is multiplied, hue turned.

    brightness: in levels of 255. hue: in OpenCV's 180 steps of a full turn. The defaults change nothing.
    """

    brightness: float = 0.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0


PLAIN_COLOUR = Colour()


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A window of a picture on the canvas.

    picture: its index. window: x, y, width, height in pixels of the picture; what lies beyond the picture is the mean colour.
    place: left, top, width, height on the canvas of the whole window; shown: x1, y1, x2, y2, the part of that which is
    painted. detail: width, height in pixels to which the window is shrunk before it is brought to the size of its place; equal
    to that where no detail is lost. mirrored: left and right exchanged. opacity: 1 covers what is below, 0 shows nothing.
    """

    picture: int
    window: tuple[int, int, int, int]
    place: tuple[int, int, int, int]
    shown: tuple[int, int, int, int]
    detail: tuple[int, int]
    mirrored: bool = False
    colour: Colour = PLAIN_COLOUR
    opacity: float = 1.0


@dataclass(frozen=True)
class Plan:
    """A canvas of ``size`` x ``size`` pixels: pieces in the order in which they are painted, and the faces on it."""

    size: int
    pieces: tuple[Piece, ...]
    faces: Faces


@dataclass(frozen=True)
class Part:
    """Pieces with the faces on them, on the way to a plan. Faces may still reach beyond what is shown."""

    pieces: tuple[Piece, ...]
    faces: Faces

    def moved(self, across: int, down: int) -> "Part":
        """The same, ``across`` pixels to the right and ``down`` pixels lower on the canvas."""
        pieces = []
        for p in self.pieces:
            left, top, width, height = p.place
            x1, y1, x2, y2 = p.shown
            place = (left + across, top + down, width, height)
            pieces.append(replace(p, place=place, shown=(x1 + across, y1 + down, x2 + across, y2 + down)))
        return Part(tuple(pieces), scaled(self.faces, (1.0, 1.0), (across, down)))

    def cut(self, x1: int, y1: int, x2: int, y2: int) -> "Part":
        """What a window of the canvas shows of it, and the faces as ``within`` cuts them."""
        pieces = []
        for p in self.pieces:
            a, b, c, d = p.shown
            shown = (max(a, x1), max(b, y1), min(c, x2), min(d, y2))
            if shown[0] < shown[2] and shown[1] < shown[3]:
                pieces.append(replace(p, shown=shown))
        return Part(tuple(pieces), within(self.faces, x1, y1, x2, y2))


def joined(parts: "list[Part]") -> Part:
    """The parts one over the other."""
    return Part(tuple(p for part in parts for p in part.pieces), concatenate([part.faces for part in parts]))


def scaled(faces: Faces, scale: tuple[float, float], shift: tuple[float, float]) -> Faces:
    """Faces multiplied by ``scale`` (x, y), then moved by ``shift`` (x, y) pixels."""
    factor, offset = np.array(scale, np.float32), np.array(shift, np.float32)
    boxes = faces.boxes * np.tile(factor, 2) + np.tile(offset, 2)
    return Faces(boxes, faces.landmarks * factor + offset, faces.ignored, faces.weights)


def windowed(faces: Faces, window: tuple[int, int, int, int], width: int, height: int) -> Faces:
    """Faces of a picture as they are in its ``window`` (x, y, width, height) brought to ``width`` x ``height``; all, whole."""
    x, y, wide, high = window
    moved = scaled(faces, (1.0, 1.0), (-x, -y))
    return scaled(moved, (width / wide, height / high), (0.0, 0.0))


def within(faces: Faces, x1: float, y1: float, x2: float, y2: float) -> Faces:
    """The faces as a window shows them, in the faces' own pixels, which stay.

    Faces whose centre is in the window stay, cut to it; others of which a fifth or more is in view become ignored; the rest go.
    Of ignored ones, which may be regions of many faces, whatever is in view stays. Landmarks stay where they are, in or out of
    the window.
    """
    low, high = np.array((x1, y1), np.float32), np.array((x2, y2), np.float32)
    centres = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2
    inside = ((centres >= low) & (centres <= high)).all(1)
    boxes = np.clip(faces.boxes, np.tile(low, 2), np.tile(high, 2))
    area = np.maximum((faces.boxes[:, 2:] - faces.boxes[:, :2]).prod(1), 1e-6)
    shown = (boxes[:, 2:] - boxes[:, :2]).prod(1) / area
    kept = inside | (shown >= VISIBLE) | (faces.ignored & (shown > 0))
    return Faces(boxes, faces.landmarks, faces.ignored | ~inside, faces.weights).select(kept)


def mirrored(faces: Faces, width: float) -> Faces:
    """Left and right of a canvas of ``width`` exchanged, the landmarks' names with them. Twice gives the same again."""
    boxes = faces.boxes.copy()
    boxes[:, 0], boxes[:, 2] = width - faces.boxes[:, 2], width - faces.boxes[:, 0]
    points = faces.landmarks[:, FLIP_ORDER].copy()
    points[..., 0] = width - points[..., 0]
    return Faces(boxes, points, faces.ignored, faces.weights)
