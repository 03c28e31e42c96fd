"""Loss of detail: how often, how much, which faces it leaves, and that nothing moves."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from augment_pictures import PLAIN, augmented, crowd, noisy, planned, rng_of, same, seeds, whole
from hypothesis import given, settings
from hypothesis import strategies as st

from featherface_core.data.annotation import Faces, Picture
from featherface_core.data.augment.paint import painted
from featherface_core.data.augment.planner import softened
from featherface_core.errors import ConfigError
from featherface_core.recipe import AugmentConfig


def soften(picture: Picture, rng: np.random.Generator) -> Picture:
    height, width = picture.shape[:2]
    (piece,) = softened(whole(0, Faces.none(), width, height), 1.0, rng).pieces
    return painted(picture, piece)


@given(st.integers(1, 120), st.integers(1, 120), seeds)
@settings(max_examples=60)
def test_any_picture_keeps_its_size(height: int, width: int, seed: int) -> None:
    picture = noisy(height, width)
    before = picture.copy()
    soft = soften(picture, rng_of(seed))
    assert soft.shape == picture.shape
    assert soft.dtype == np.uint8
    assert np.array_equal(picture, before)


def test_detail_goes_and_what_is_large_stays_where_it_is() -> None:
    picture = np.full((120, 120, 3), 40, np.uint8)
    picture[30:90, 45:105] = 220
    fine = noisy(120, 120)
    for seed in range(20):
        soft = soften(picture, rng_of(seed)).astype(int)
        assert abs(np.argwhere(soft[..., 0] > 130).mean(0) - (59.5, 74.5)).max() < 1.0
        lost = cv2.Laplacian(soften(fine, rng_of(seed)), cv2.CV_64F).std()
        assert lost < 0.9 * cv2.Laplacian(fine, cv2.CV_64F).std()


def test_chance_is_how_often() -> None:
    part, rng = whole(0, Faces.none(), 96, 96), rng_of(0)
    changed = sum(softened(part, 0.3, rng) is not part for _ in range(400))
    assert 85 <= changed <= 155
    state = rng.bit_generator.state
    assert softened(part, 0.0, rng) is part
    assert rng.bit_generator.state == state  # runs without it draw the same as before it was there


def test_detail_is_lost_by_up_to_a_factor_of_three_and_a_stretch() -> None:
    """Shrunk by 1 to 3, times 0.8 to 1.25 for each axis: 960 pixels become 256 (3.75 times fewer) or more."""
    found = np.array([softened(whole(0, Faces.none(), 960, 960), 1.0, rng_of(s)).pieces[0].detail for s in range(400)])
    assert found.min() in range(256, 280)
    assert found.max() == 960  # never enlarged
    stretch = found[:, 0] / found[:, 1]
    assert np.abs(np.log(stretch)).max() <= np.log(1.25 / 0.8) + 0.01
    assert stretch.min() < 0.8
    assert stretch.max() > 1.25


@given(seeds, st.integers(20, 160), st.integers(20, 160))
@settings(max_examples=200)
def test_faces_that_count_keep_seven_pixels_and_none_moves(seed: int, width: int, height: int) -> None:
    faces = crowd(rng_of(seed), height, width)
    part = whole(0, faces, width, height)
    soft = softened(part, 1.0, rng_of(seed + 1))
    same(replace(soft.faces, ignored=faces.ignored), faces)
    assert not (faces.ignored & ~soft.faces.ignored).any()
    across, down = soft.pieces[0].detail
    assert 1 <= across <= width
    assert 1 <= down <= height
    if (across, down) == (width, height):
        assert soft is part
        return
    largest = 0.0
    for (x1, y1, x2, y2), was, now in zip(faces.boxes.tolist(), faces.ignored, soft.faces.ignored, strict=True):
        kept = ((x2 - x1) * across / width * (y2 - y1) * down / height) ** 0.5
        if not was:
            assert now == (kept < 7) or kept == pytest.approx(7, abs=1e-3)
            if 0 <= x1 + x2 <= 2 * width and 0 <= y1 + y2 <= 2 * height:
                largest = max(largest, kept)
    # of the faces in view that count, the largest one still does
    assert largest == 0 or largest >= 7 - 1e-3


def test_softening_by_hand() -> None:
    """Of faces of 28 and 14 px, the larger one allows a shrink by 4, the smaller one by 2; below 7 px nothing is lost."""
    boxes = [[10, 10, 38, 38], [60, 60, 74, 74]]
    for seed in range(60):
        soft = softened(whole(0, Faces.of(boxes), 96, 96), 1.0, rng_of(seed))
        across, down = soft.pieces[0].detail
        assert min(across, down) >= 26  # 96 / 3.75
        assert soft.faces.ignored.tolist() == [False, across * down < 48 * 48]
    tiny = whole(0, Faces.of([[10, 10, 16, 17]]), 96, 96)
    assert all(softened(tiny, 1.0, rng_of(seed)) is tiny for seed in range(20))
    # a large face that is out of view, or ignored, does not count
    for other in ([[500, 10, 700, 210], [60, 60, 74, 74]], [[0, 0, 90, 90], [60, 60, 74, 74]]):
        for seed in range(60):
            soft = softened(whole(0, Faces.of(other, ignored=[other[0][0] == 0, False]), 96, 96), 1.0, rng_of(seed))
            assert min(soft.pieces[0].detail) >= 48
            assert not soft.faces.ignored[1]


@pytest.mark.parametrize("crop", ["none", "jitter", "face-size", "collage"])
def test_every_kind_of_crop_can_be_softened(crop: str) -> None:
    picture, faces = noisy(200, 160), Faces.of([[40, 40, 100, 110]])
    config = replace(PLAIN, crop=crop, face_sizes=(40.0, 60.0))
    sharp, soft = (
        augmented(lambda _: (picture, faces), 0, 1, replace(config, soften=chance), 128, rng_of(3))[0]
        for chance in (0.0, 1.0)
    )
    assert cv2.Laplacian(soft, cv2.CV_64F).std() < 0.9 * cv2.Laplacian(sharp, cv2.CV_64F).std()


@given(seeds, st.sampled_from(["collage", "mixture"]))
@settings(max_examples=60)
def test_faces_of_collages_keep_seven_pixels_on_their_piece(seed: int, crop: str) -> None:
    config = AugmentConfig(crop=crop, soften=1.0, view_side=128)  # type: ignore[arg-type]
    source = [(noisy(120 + 40 * i, 200, i), crowd(rng_of(seed + i), 120 + 40 * i, 200)) for i in range(3)]
    plan = planned(lambda index: source[index], 0, 3, config, 128, rng_of(seed))
    for x1, y1, x2, y2 in plan.faces.boxes[~plan.faces.ignored].tolist():
        kept = []
        for piece in plan.pieces:
            left, top, right, bottom = piece.shown
            if left <= x1 + 0.01 and x2 - 0.01 <= right and top <= y1 + 0.01 and y2 - 0.01 <= bottom:
                across, down = piece.detail[0] / piece.place[2], piece.detail[1] / piece.place[3]
                kept.append(7.0 if across == down == 1 else ((x2 - x1) * across * (y2 - y1) * down) ** 0.5)
        assert max(kept) >= 7 - 1e-3


def test_a_chance_is_a_chance() -> None:
    with pytest.raises(ConfigError, match=r"augment\.soften 1\.5"):
        AugmentConfig(soften=1.5)
