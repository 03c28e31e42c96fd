"""Pictures and faces to vary, and what holds of every picture that was varied."""

from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st

from featherface_core.data.annotation import Faces, Picture
from featherface_core.data.augment.paint import paint
from featherface_core.data.augment.plan import Part, Piece, Plan
from featherface_core.data.augment.planner import Planner
from featherface_core.recipe import AugmentConfig

Read = Callable[[int], tuple[Picture, Faces]]

CROPS = ("official", "jitter", "face-size", "none")
MODES = ("mosaic", "mixup", "cutmix")
PAD = [104, 117, 123]  # the mean, blue, green, red
PLAIN = AugmentConfig(crop="none", mirror=0.0, colour=0.0)
seeds = st.integers(0, 2**32 - 1)
crops = st.sampled_from(CROPS)


def rng_of(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


class Given:
    """A source of ``count`` pictures that a function gives."""

    name = "given"

    def __init__(self, read: Read, count: int) -> None:
        self.read, self.count = read, count
        self.sets = (("given", count),)

    def __len__(self) -> int:
        return self.count

    def shape(self, index: int) -> tuple[int, int]:
        height, width = self.read(index)[0].shape[:2]
        return height, width

    def faces(self, index: int) -> Faces:
        return self.read(index)[1]


def planned(read: Read, index: int, count: int, config: AugmentConfig, size: int, rng: np.random.Generator) -> Plan:
    return Planner(Given(read, count), config, size).plan(index, size, rng)


def augmented(
    read: Read, index: int, count: int, config: AugmentConfig, size: int, rng: np.random.Generator
) -> tuple[Picture, Faces]:
    """Picture ``index`` of ``count``, varied, and its faces."""
    plan = planned(read, index, count, config, size, rng)
    return paint(plan, lambda which: read(which)[0]), plan.faces


def whole(picture: int, faces: Faces, width: int, height: int) -> Part:
    """A picture of ``width`` x ``height`` as it is, with its faces."""
    place = (0, 0, width, height)
    piece = Piece(picture=picture, window=place, place=place, shown=place, detail=(width, height))
    return Part((piece,), faces)


def noisy(height: int, width: int, seed: int = 0) -> Picture:
    return rng_of(seed).integers(0, 256, (height, width, 3), np.uint8)


def same(a: Faces, b: Faces) -> None:
    """Equal in every bit and type; NaN equals NaN."""
    for name in ("boxes", "landmarks", "ignored", "weights"):
        x, y = getattr(a, name), getattr(b, name)
        assert x.dtype == y.dtype, name
        np.testing.assert_array_equal(x, y, name)


def well_formed(picture: Picture, faces: Faces, size: int) -> None:
    assert picture.shape == (size, size, 3)
    assert picture.dtype == np.uint8
    assert picture.flags.c_contiguous
    n = len(faces)
    assert (faces.boxes.shape, faces.landmarks.shape) == ((n, 4), (n, 5, 2))
    assert (faces.ignored.shape, faces.weights.shape) == ((n,), (n,))
    types = [a.dtype for a in (faces.boxes, faces.landmarks, faces.ignored, faces.weights)]
    assert types == [np.float32, np.float32, np.bool_, np.float32]
    assert np.isfinite(faces.boxes).all()
    assert (faces.boxes >= 0).all()
    assert (faces.boxes <= size).all()
    assert (faces.boxes[:, 2:] >= faces.boxes[:, :2]).all()


def crowd(rng: np.random.Generator, height: int, width: int, most: int = 8) -> Faces:
    """Faces in and across the border of a picture; some ignored, some without landmarks. Weights tell them apart."""
    n = int(rng.integers(0, most + 1))
    centre = rng.uniform(0, (width, height), (n, 2))
    side = np.exp(rng.uniform(1, np.log(max(4, min(height, width))), (n, 2)))
    boxes = np.concatenate((centre - side / 2, centre + side / 2), 1)
    boxes = np.round(boxes * 4) / 4
    points = np.round(rng.uniform(-5, (width + 5, height + 5), (n, 5, 2)) * 4) / 4
    points[rng.random(n) < 0.3] = np.nan
    return Faces.of(boxes, points, rng.random(n) < 0.3, (np.arange(n) + 1) / 64)


def colour_of(index: int) -> list[int]:
    return [20 * index + 10, 250 - 20 * index, 130]


def flat(index: int) -> tuple[Picture, Faces]:
    """A picture of one colour and five faces whose weights tell picture and face."""
    rng = rng_of(index)
    picture = np.empty((70, 70, 3), np.uint8)
    picture[:] = colour_of(index)
    # far enough from the border that no interpolation mixes in what is beyond
    corner, side = rng.integers(6, 44, (5, 2)), rng.integers(8, 20, (5, 2))
    boxes = np.concatenate((corner, corner + side), 1)
    points = np.stack((boxes[:, [0, 1]], boxes[:, [2, 1]], corner + side / 2, boxes[:, [0, 3]], boxes[:, [2, 3]]), 1)
    return picture, Faces.of(boxes, points, weights=(index * 5 + np.arange(5)) / 64)
