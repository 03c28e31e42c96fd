"""Colours of training pictures: brightness, contrast and hue change within their bounds."""

from dataclasses import replace

import cv2
import numpy as np
from augment_pictures import PLAIN, augmented, noisy, rng_of, seeds
from hypothesis import given
from hypothesis import strategies as st

from featherface_core.data.annotation import Faces, Picture
from featherface_core.data.augment.paint import coloured
from featherface_core.data.augment.plan import Colour


def distort(picture: Picture, chance: float, rng: np.random.Generator) -> Picture:
    """A square picture with the colours of a plan."""
    given_picture = (picture, Faces.none())
    return augmented(lambda _: given_picture, 0, 1, replace(PLAIN, colour=chance), len(picture), rng)[0]


@given(seeds, st.integers(1, 40), st.floats(0, 1))
def test_distortion_keeps_shape_and_type_and_leaves_its_source_alone(seed: int, side: int, chance: float) -> None:
    picture = noisy(side, side, seed)
    before = picture.copy()
    changed = distort(picture, chance, rng_of(seed))
    assert changed.shape == picture.shape
    assert changed.dtype == np.uint8
    np.testing.assert_array_equal(picture, before)
    np.testing.assert_array_equal(distort(picture, 0.0, rng_of(seed)), before)


def test_distortion_by_hand() -> None:
    """Of a grey picture nothing but brightness and contrast can change, within (100 - 32) x 0.5 to (100 + 32) x 1.5."""
    levels = []
    for seed in range(200):
        changed = distort(np.full((4, 4, 3), 100, np.uint8), 1.0, rng_of(seed))
        assert (changed == changed[0, 0, 0]).all()
        levels.append(int(changed[0, 0, 0]))
    assert 34 <= min(levels) < 50
    assert 170 < max(levels) <= 198
    assert np.std(levels) > 20


def test_distortion_turns_the_hue_by_at_most_a_fifth_of_a_half_turn() -> None:
    picture = np.full((2, 2, 3), (0, 0, 200), np.uint8)  # red: hue 0 of 180
    turned = set()
    for seed in range(100):
        changed = distort(picture, 1.0, rng_of(seed))
        turned.add(int((int(cv2.cvtColor(changed, cv2.COLOR_BGR2HSV)[0, 0, 0]) + 90) % 180) - 90)
    assert min(turned) in range(-19, -12)
    assert max(turned) in range(12, 20)


def test_changes_of_colour_by_hand() -> None:
    picture = np.array([[[10, 100, 250], [100, 100, 100]]], np.uint8)
    assert coloured(picture, Colour()) is picture
    # (v + 20) x 1.5: 45, 180, 405, which is as bright as can be; (v - 30) x 0.5: below 0, 35, 110
    assert coloured(picture, Colour(20, 1.5))[0].tolist() == [[45, 180, 255], [180] * 3]
    assert coloured(picture, Colour(-30, 0.5))[0].tolist() == [[0, 35, 110], [35] * 3]
    # without saturation all channels are the brightest one
    assert coloured(picture, Colour(saturation=0.0))[0].tolist() == [[250] * 3, [100] * 3]
    # 60 of 180 steps: red becomes green; back again: blue
    red = np.array([[[0, 0, 200]]], np.uint8)
    assert coloured(red, Colour(hue=60.0)).tolist() == [[[0, 200, 0]]]
    assert coloured(red, Colour(hue=-60.0)).tolist() == [[[200, 0, 0]]]
