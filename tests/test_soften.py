"""Loss of detail: how often, how much, and that nothing moves."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featherface_core.data.annotation import Faces
from featherface_core.data.augment import augment
from featherface_core.data.soften import soften
from featherface_core.errors import ConfigError
from featherface_core.recipe import AugmentConfig

seeds = st.integers(0, 2**32 - 1)


def noise(height: int = 96, width: int = 96) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@given(st.integers(1, 120), st.integers(1, 120), seeds)
@settings(max_examples=60)
def test_any_picture_keeps_its_size(height: int, width: int, seed: int) -> None:
    picture = noise(height, width)
    before = picture.copy()
    soft = soften(picture, 1.0, np.random.default_rng(seed))
    assert soft.shape == picture.shape
    assert soft.dtype == np.uint8
    assert np.array_equal(picture, before)


def test_detail_goes_and_what_is_large_stays_where_it_is() -> None:
    picture = np.full((120, 120, 3), 40, np.uint8)
    picture[30:90, 45:105] = 220
    fine = noise(120, 120)
    for seed in range(20):
        soft = soften(picture, 1.0, np.random.default_rng(seed)).astype(int)
        assert abs(np.argwhere(soft[..., 0] > 130).mean(0) - (59.5, 74.5)).max() < 1.0
        lost = cv2.Laplacian(soften(fine, 1.0, np.random.default_rng(seed)), cv2.CV_64F).std()
        assert lost < 0.9 * cv2.Laplacian(fine, cv2.CV_64F).std()


def test_chance_is_how_often() -> None:
    picture, rng = noise(), np.random.default_rng(0)
    changed = sum(soften(picture, 0.3, rng) is not picture for _ in range(400))
    assert 85 <= changed <= 155
    state = rng.bit_generator.state
    assert soften(picture, 0.0, rng) is picture
    assert rng.bit_generator.state == state  # runs without it draw the same as before it was there


@pytest.mark.parametrize("crop", ["none", "jitter", "face-size", "collage"])
def test_every_kind_of_crop_can_be_softened(crop: str) -> None:
    picture, faces = noise(200, 160), Faces.of([[40, 40, 100, 110]])
    sharp, soft = (
        augment(
            lambda _: (picture, faces),
            0,
            1,
            AugmentConfig(
                crop=crop, mirror=0.0, colour=0.0, interpolation=False, soften=chance, face_sizes=(40.0, 60.0)
            ),  # type: ignore[arg-type]
            128,
            np.random.default_rng(3),
        )[0]
        for chance in (0.0, 1.0)
    )
    assert cv2.Laplacian(soft, cv2.CV_64F).std() < 0.9 * cv2.Laplacian(sharp, cv2.CV_64F).std()


def test_a_chance_is_a_chance() -> None:
    with pytest.raises(ConfigError, match=r"augment\.soften 1\.5"):
        AugmentConfig(soften=1.5)
