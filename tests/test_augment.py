"""All that varies a training picture, together: one generator decides, no source is written to, small faces are ignored."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from augment_pictures import CROPS, MODES, augmented, crowd, flat, noisy, rng_of, same, seeds, well_formed
from hypothesis import given
from hypothesis import strategies as st

from featherface_core.data.annotation import Faces, Picture
from featherface_core.data.augment.planner import ignore_small
from featherface_core.recipe import AugmentConfig


@pytest.mark.parametrize("kind", CROPS)
@pytest.mark.parametrize("mode", [None, *MODES])
def test_a_generator_decides_everything(kind: str, mode: str | None) -> None:
    config = AugmentConfig(crop=kind, **{mode: 1.0} if mode else {})

    def read(index: int) -> tuple[Picture, Faces]:
        return noisy(60, 90, index), crowd(rng_of(index), 60, 90)

    pictures = []
    for seed in (1, 1, 2, 3, 4):
        cv2.setRNGSeed(len(pictures))  # none but the generator passed in counts
        np.random.seed(len(pictures))
        picture, faces = augmented(read, 2, 7, config, 64, rng_of(seed))
        well_formed(picture, faces, 64)
        pictures.append((picture, faces))
    np.testing.assert_array_equal(pictures[0][0], pictures[1][0])
    same(pictures[0][1], pictures[1][1])
    assert any(not np.array_equal(pictures[0][0], other) for other, _ in pictures[2:])


@pytest.mark.parametrize("kind", CROPS)
@pytest.mark.parametrize("mode", [None, *MODES])
@pytest.mark.parametrize("shape", [(64, 64), (1, 1), (3, 200), (200, 3)], ids=str)
def test_pictures_without_faces_and_of_any_shape(kind: str, mode: str | None, shape: tuple[int, int]) -> None:
    config = AugmentConfig(crop=kind, min_face=4.0, **{mode: 1.0} if mode else {})
    for seed in range(4):
        picture, faces = augmented(lambda _: (noisy(*shape), Faces.none()), 0, 1, config, 32, rng_of(seed))
        well_formed(picture, faces, 32)
        assert len(faces) == 0
        tiny = Faces.of([[0, 0, 1, 1]])
        well_formed(*augmented(lambda _: (noisy(*shape), tiny), 0, 1, config, 32, rng_of(seed)), 32)  # noqa: B023


@pytest.mark.parametrize("mode", [None, *MODES])
def test_the_source_is_never_written_to(mode: str | None) -> None:
    """A cache hands out the same arrays again and again."""
    picture, faces = noisy(64, 64), crowd(rng_of(3), 64, 64)
    kept = picture.copy(), Faces(*(a.copy() for a in (faces.boxes, faces.landmarks, faces.ignored, faces.weights)))
    for kind in CROPS:
        config = AugmentConfig(crop=kind, colour=0.5, min_face=9.0, **{mode: 1.0} if mode else {})
        for seed in range(5):
            augmented(lambda _: (picture, faces), 0, 1, config, 64, rng_of(seed))
    np.testing.assert_array_equal(picture, kept[0])
    same(faces, kept[1])


@given(seeds, st.floats(0.5, 60))
def test_small_faces_are_ignored_and_never_removed(seed: int, smallest: float) -> None:
    faces = crowd(rng_of(seed), 90, 120)
    result = ignore_small(faces, smallest)
    sides = faces.boxes[:, 2:] - faces.boxes[:, :2]
    np.testing.assert_array_equal(result.ignored, faces.ignored | (sides.max(1) < smallest))
    same(replace(result, ignored=faces.ignored), faces)


@pytest.mark.parametrize("mode", [None, *MODES])
def test_min_face_acts_on_the_pixels_of_the_network(mode: str | None) -> None:
    config = AugmentConfig(crop="jitter", **{mode: 1.0} if mode else {})
    for seed in range(8):
        plain = augmented(flat, 0, 6, config, 96, rng_of(seed))
        strict = augmented(flat, 0, 6, replace(config, min_face=20.0), 96, rng_of(seed))
        np.testing.assert_array_equal(plain[0], strict[0])
        longer = (plain[1].boxes[:, 2:] - plain[1].boxes[:, :2]).max(1)
        np.testing.assert_array_equal(strict[1].ignored, plain[1].ignored | (longer < 20))
        same(replace(strict[1], ignored=plain[1].ignored), plain[1])
