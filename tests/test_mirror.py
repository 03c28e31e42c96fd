"""Mirrored training pictures: boxes and landmarks go along, and the left eye stays the left one."""

from dataclasses import replace

import numpy as np
import pytest
from augment_pictures import PLAIN, augmented, crowd, noisy, rng_of, same, seeds, whole
from hypothesis import given
from hypothesis import strategies as st

from featherface_core.data.annotation import Faces, Picture
from featherface_core.data.augment.paint import painted
from featherface_core.data.augment.plan import mirrored


def mirror(picture: Picture, faces: Faces) -> tuple[Picture, Faces]:
    height, width = picture.shape[:2]
    (piece,) = whole(0, faces, width, height).pieces
    return painted(picture, replace(piece, mirrored=True)), mirrored(faces, width)


@given(seeds, st.integers(1, 90), st.integers(1, 90))
def test_two_mirrors_are_none(seed: int, height: int, width: int) -> None:
    picture, faces = noisy(height, width, seed), crowd(rng_of(seed), height, width)
    before = picture.copy()
    once = mirror(picture, faces)
    twice = mirror(*once)
    np.testing.assert_array_equal(picture, before)
    np.testing.assert_array_equal(twice[0], picture)
    same(twice[1], faces)  # quarter pixels: exact in float32


def test_mirror_by_hand() -> None:
    picture = noisy(40, 100)
    points = [[20, 12], [30, 13], [25, 18], [21, 24], [29, 25]]
    half = [[1, 1], [2, 2], [np.nan, np.nan], [4, 4], [5, 5]]
    faces = Faces.of([[10, 5, 40, 35], [0, 0, 8, 8]], [points, half], [False, True], [1, 0.5])
    flipped, turned = mirror(picture, faces)
    np.testing.assert_array_equal(flipped, picture[:, ::-1])
    assert turned.boxes.tolist() == [[60, 5, 90, 35], [92, 0, 100, 8]]
    # the eye that is now on the left was on the right; the nose stays the nose; likewise the mouth
    assert turned.landmarks[0].tolist() == [[70, 13], [80, 12], [75, 18], [71, 25], [79, 24]]
    wanted = [[98, 2], [99, 1], [np.nan, np.nan], [95, 5], [96, 4]]
    np.testing.assert_array_equal(turned.landmarks[1], np.array(wanted, np.float32))
    assert turned.ignored.tolist() == [False, True]
    assert turned.weights.tolist() == [1, 0.5]


def test_a_mirror_moves_a_marker_with_its_landmark() -> None:
    picture = np.zeros((30, 50, 3), np.uint8)
    picture[8, 12] = 255
    flipped, faces = mirror(picture, Faces.of([[10, 5, 20, 15]], [[[12.5, 8.5]] * 5]))
    x, y = faces.landmarks[0, 0]
    assert flipped[int(y), int(x)].tolist() == [255] * 3
    assert int(flipped.sum()) == 3 * 255


@pytest.mark.parametrize("chance", [0.0, 1.0])
def test_the_chance_of_a_mirror(chance: float) -> None:
    source = (noisy(32, 32), Faces.of([[2, 2, 10, 12]]))
    for seed in range(20):
        picture, faces = augmented(lambda _: source, 0, 1, replace(PLAIN, mirror=chance), 32, rng_of(seed))
        wanted = mirror(*source) if chance else source
        np.testing.assert_array_equal(picture, wanted[0])
        same(faces, wanted[1])
