"""Varying training pictures: labels must stay on what they label. Drawn squares are looked for where the boxes say they are."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from featherface_core.data.annotation import Faces, Picture
from featherface_core.data.augment import (
    LARGEST_ZOOM,
    OFFICIAL_SCALES,
    VISIBLE,
    augment,
    choose_crop,
    crop,
    cut,
    cutmix,
    distort,
    ignore_small,
    mirror,
    mixup,
    within,
)
from featherface_core.models.drop_block import DropBlock
from featherface_core.recipe import AugmentConfig

CROPS = ("official", "jitter", "face-size", "none")
MODES = ("mosaic", "mixup", "cutmix")
PAD = [104, 117, 123]  # the mean, blue, green, red
PLAIN = AugmentConfig(crop="none", mirror=0.0, colour=0.0, interpolation=False)
seeds = st.integers(0, 2**32 - 1)
crops = st.sampled_from(CROPS)


def rng_of(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


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


# ---- mirror ----


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
    flipped, mirrored = mirror(picture, faces)
    np.testing.assert_array_equal(flipped, picture[:, ::-1])
    assert mirrored.boxes.tolist() == [[60, 5, 90, 35], [92, 0, 100, 8]]
    # the eye that is now on the left was on the right; the nose stays the nose; likewise the mouth
    assert mirrored.landmarks[0].tolist() == [[70, 13], [80, 12], [75, 18], [71, 25], [79, 24]]
    wanted = [[98, 2], [99, 1], [np.nan, np.nan], [95, 5], [96, 4]]
    np.testing.assert_array_equal(mirrored.landmarks[1], np.array(wanted, np.float32))
    assert mirrored.ignored.tolist() == [False, True]
    assert mirrored.weights.tolist() == [1, 0.5]


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
        picture, faces = augment(lambda _: source, 0, 1, replace(PLAIN, mirror=chance), 32, rng_of(seed))
        wanted = mirror(*source) if chance else source
        np.testing.assert_array_equal(picture, wanted[0])
        same(faces, wanted[1])


# ---- crops: which faces there are ----


def as_cut(faces: Faces, x: int, y: int, side: int, size: int) -> tuple[list[tuple[int, list[float], bool]], set[int]]:
    """By a plain loop: (face, box, ignored) of what a crop shows, and the faces too close to a limit to call."""
    shown, unclear = [], set()
    for i, (x1, y1, x2, y2) in enumerate(faces.boxes.astype(float)):
        wide = max(0.0, min(x2, x + side) - max(x1, x))
        high = max(0.0, min(y2, y + side) - max(y1, y))
        share = wide * high / max((x2 - x1) * (y2 - y1), 1e-9)
        cx, cy = (x1 + x2) / 2, (y1 + y2) / 2
        margin = min(cx - x, x + side - cx, cy - y, y + side - cy)
        if abs(margin) < 1e-3 or abs(share - 0.2) < 1e-3:
            unclear.add(i)
        if margin >= 0 or share >= 0.2:
            corners = ((x1, x), (y1, y), (x2, x), (y2, y))
            box = [min(max((v - corner) * size / side, 0.0), float(size)) for v, corner in corners]
            shown.append((i, box, bool(faces.ignored[i]) or margin < 0))
    return shown, unclear


@given(seeds, crops, st.integers(20, 200), st.integers(20, 200), st.sampled_from([32, 64, 100]))
@settings(max_examples=250)
def test_a_crop_shows_faces_of_the_picture_and_no_others(
    seed: int, kind: str, height: int, width: int, size: int
) -> None:
    faces = crowd(rng_of(seed), height, width)
    config = AugmentConfig(crop=kind)
    x, y, side = choose_crop((height, width), faces, config, size, rng_of(seed + 1))
    picture, shown = crop(noisy(height, width), faces, config, size, rng_of(seed + 1))
    well_formed(picture, shown, size)
    assert len(shown) <= len(faces)
    wanted, unclear = as_cut(faces, x, y, side, size)
    found = [round(float(w) * 64) - 1 for w in shown.weights]
    assert len(set(found)) == len(found)
    assert [i for i in found if i not in unclear] == [i for i, _, _ in wanted if i not in unclear]
    by_face = {i: (box, ignored) for i, box, ignored in wanted}
    for row, i in enumerate(found):
        if i in unclear:
            continue
        box, ignored = by_face[i]
        assert shown.boxes[row].tolist() == pytest.approx(box, abs=0.01)
        assert bool(shown.ignored[row]) == ignored
        moved = (faces.landmarks[i] - (x, y)) * size / side
        np.testing.assert_allclose(shown.landmarks[row], moved, rtol=1e-5, atol=0.01)  # NaN stays NaN


def test_faces_that_a_window_cuts_by_hand() -> None:
    # a window of 100 pixels at (0, 0); faces of 40 pixels that leave it at the right
    rights = {"whole": 0, "three quarters": 10, "centre on the border": 20, "a fifth": 32, "less": 32.4, "none": 45}
    boxes = [[60 + out, 30, 100 + out, 70] for out in rights.values()]
    points = np.full((6, 5, 2), 90.0) + np.array(list(rights.values()))[:, None, None]
    shown = within(Faces.of(boxes, points, weights=np.arange(6) / 8), 0, 0, 100, 100)
    assert (shown.weights * 8).tolist() == [0, 1, 2, 3]
    assert shown.ignored.tolist() == [False, False, False, True]
    assert shown.boxes[:, 0].tolist() == [60, 70, 80, 92]
    assert shown.boxes[:, 2].tolist() == [100] * 4
    assert shown.landmarks[:, 0, 0].tolist() == [90, 100, 110, 122]  # they stay where they are, in or out
    assert pytest.approx(0.2) == VISIBLE


def test_a_large_face_around_the_window_stays_although_little_of_it_is_seen() -> None:
    shown = within(Faces.of([[-500, -500, 520, 520]]), 0, 0, 100, 100)
    assert shown.boxes.tolist() == [[0, 0, 100, 100]]
    assert not shown.ignored[0]


@pytest.mark.parametrize("kind", CROPS)
def test_ignored_faces_stay_ignored(kind: str) -> None:
    faces = Faces.of([[20, 20, 60, 60], [25, 25, 55, 58]], ignored=[True, False])
    for seed in range(40):
        shown = crop(noisy(90, 120), faces, AugmentConfig(crop=kind), 64, rng_of(seed))[1]
        for box, ignored in zip(shown.boxes, shown.ignored, strict=True):
            larger = (box[2:] - box[:2]).prod() > (shown.boxes[:, 2:] - shown.boxes[:, :2]).prod(1).min()
            assert ignored or not larger


# ---- crops: boxes stay on what they label ----


def extent(picture: Picture) -> list[int]:
    """x1, y1, x2, y2 of what is bright."""
    rows, columns = np.nonzero(picture.min(2) > 150)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@given(seeds, crops, st.booleans(), st.integers(80, 200), st.integers(80, 200), st.sampled_from([32, 64, 80]))
@settings(max_examples=300)
def test_a_drawn_face_lies_where_its_box_says(
    seed: int, kind: str, interpolation: bool, height: int, width: int, size: int
) -> None:
    rng = rng_of(seed)
    w, h = rng.integers(24, 60, 2)
    x, y = (int(rng.integers(4, limit - side - 4)) for limit, side in ((width, w), (height, h)))
    picture = np.zeros((height, width, 3), np.uint8)
    picture[y : y + h, x : x + w] = 255
    config = AugmentConfig(crop=kind, interpolation=interpolation, face_sizes=(12.0, 200.0))
    cropped, faces = crop(picture, Faces.of([[x, y, x + w, y + h]]), config, size, rng)
    assert not faces.ignored.any()
    box = faces.boxes[0]
    if (box[2:] - box[:2]).min() < 4:
        return  # shrunk to where interpolation may lose it
    assert extent(cropped) == pytest.approx(box.tolist(), abs=1.001)


@given(seeds, crops, st.booleans(), st.integers(80, 200), st.integers(80, 200))
@settings(max_examples=100)
def test_drawn_landmarks_lie_where_they_should(
    seed: int, kind: str, interpolation: bool, height: int, width: int
) -> None:
    rng = rng_of(seed)
    x, y = (int(rng.integers(2, limit - 44)) for limit in (width, height))
    points = np.array((x, y)) + rng.integers(6, 35, (5, 2)) + 0.5
    faces = Faces.of([[x, y, x + 40, y + 40]], points)
    config = AugmentConfig(crop=kind, interpolation=interpolation, face_sizes=(24.0, 60.0))
    for number in range(5):
        px, py = points[number].astype(int)
        picture = np.zeros((height, width, 3), np.uint8)
        picture[py - 3 : py + 4, px - 3 : px + 4] = 255
        # what is cropped depends on sizes, boxes and the generator, not on the pixels: the same for all five
        cropped, shown = crop(picture, faces, config, 64, rng_of(seed))
        where = shown.landmarks[0, number]
        scale = (shown.landmarks[0, 1:] - shown.landmarks[0, :1]) / (points[1:] - points[:1]).clip(0.1)
        reach = 4 * float(np.nanmax(np.abs(scale))) + 1
        if (where < reach).any() or (where > 64 - reach).any():
            continue  # the marker is cut off
        rows, columns = np.nonzero(cropped.min(2) > 150)
        if len(rows):
            assert [columns.mean() + 0.5, rows.mean() + 0.5] == pytest.approx(where.tolist(), abs=1.0)
        else:
            assert np.nanmax(np.abs(scale)) < 0.3


@pytest.mark.parametrize(
    ("x", "y", "side", "size"),
    [
        (0, 0, 60, 60),
        (20, 10, 50, 50),  # inside, as it is
        (20, 10, 50, 100),  # inside, enlarged
        (20, 10, 50, 25),  # inside, shrunk
        (-30, -20, 160, 80),  # around the picture
        (-25, 5, 60, 120),  # beyond its left
        (35, 25, 60, 60),  # beyond its right and bottom
        (7, 3, 61, 47),  # at an odd scale
    ],
)
def test_a_cut_by_hand(x: int, y: int, side: int, size: int) -> None:
    picture = np.zeros((70, 90, 3), np.uint8)
    corners = {(30, 20): (255, 0, 0), (46, 20): (0, 255, 0), (30, 40): (0, 0, 255), (46, 40): (255, 255, 0)}
    for (column, row), colour in corners.items():
        picture[row : row + 4, column : column + 4] = colour
    # the outer edges of the four markers
    faces = Faces.of([[30, 20, 50, 44]], [[column + 2, row + 2] for column, row in corners] + [[40, 32]])
    part, shown = cut(picture, faces, x, y, side, size)
    scale = size / side
    assert part.shape == (size, size, 3)
    wanted = np.clip((np.array([30, 20, 50, 44]) - (x, y, x, y)) * scale, 0, size)
    assert shown.boxes[0].tolist() == pytest.approx(wanted.tolist(), abs=1e-3)
    inside = np.array(part.astype(int))
    for number, colour in enumerate(corners.values()):
        cx, cy = shown.landmarks[0, number]
        if not (2 * scale < cx < size - 2 * scale and 2 * scale < cy < size - 2 * scale):
            continue
        distance = np.abs(inside - np.array(colour)).sum(2)
        rows, columns = np.nonzero(distance <= max(distance.min() + 60, 90))
        assert columns.mean() + 0.5 == pytest.approx(cx, abs=1)
        assert rows.mean() + 0.5 == pytest.approx(cy, abs=1)
        assert columns.max() + 1 - columns.min() == pytest.approx(4 * scale, abs=2)
    # what is beyond the picture has the mean colour
    beyond = [(0, 0)] * (x < 0 and y < 0) + [(size - 1, size - 1)] * (x + side > 90 and y + side > 70)
    for row, column in beyond:
        assert part[row, column].tolist() == PAD


@given(seeds, st.integers(-150, 150), st.integers(-150, 150), st.integers(8, 200))
@settings(max_examples=60)
def test_a_cut_anywhere_copies_the_picture_and_pads_with_the_mean(seed: int, x: int, y: int, side: int) -> None:
    picture = noisy(50, 80, seed)
    part, faces = cut(picture, Faces.none(), x, y, side, side)
    wanted = np.full((side, side, 3), PAD, np.uint8)
    for row in range(max(0, -y), min(side, 50 - y)):
        for column in range(max(0, -x), min(side, 80 - x)):
            wanted[row, column] = picture[y + row, x + column]
    np.testing.assert_array_equal(part, wanted)
    assert len(faces) == 0


def test_padding_stays_the_mean_after_every_resize() -> None:
    picture = np.full((40, 100, 3), PAD, np.uint8)
    for kind in CROPS:
        for seed in range(15):
            cropped, _ = crop(picture, Faces.of([[40, 5, 70, 35]]), AugmentConfig(crop=kind), 64, rng_of(seed))
            np.testing.assert_array_equal(cropped, np.broadcast_to(np.array(PAD, np.uint8), (64, 64, 3)))


def test_a_whole_picture_is_scaled_by_its_long_side() -> None:
    picture = np.full((50, 100, 3), 9, np.uint8)
    part, faces = crop(picture, Faces.of([[10, 10, 30, 40]]), PLAIN, 50, rng_of(0))
    assert faces.boxes.tolist() == [[5, 5, 15, 20]]
    assert (part[:25] == 9).all()
    assert (part[25:] == PAD).all()


# ---- crops: what each kind chooses ----


@given(seeds, st.integers(40, 300), st.integers(40, 300))
@settings(max_examples=100)
def test_official_crops_have_official_sides_lie_inside_and_hold_a_whole_face(
    seed: int, height: int, width: int
) -> None:
    faces = crowd(rng_of(seed), height, width)
    x, y, side = choose_crop((height, width), faces, AugmentConfig(), 64, rng_of(seed))
    if (x, y, side) == (0, 0, max(height, width)):
        return  # the whole picture: there is no face that a crop could hold, or all 50 failed
    assert min(abs(side - scale * min(height, width)) for scale in OFFICIAL_SCALES) <= 1
    assert 0 <= x <= width - side
    assert 0 <= y <= height - side
    real = faces.boxes[~faces.ignored]
    whole = [b for b in real if b[0] >= x and b[1] >= y and b[2] <= x + side and b[3] <= y + side]
    assert whole or not len(real)


def test_official_crops_use_each_scale_and_find_a_face_that_they_can_hold() -> None:
    faces = Faces.of([[95, 45, 105, 55]])
    chosen = [choose_crop((100, 200), faces, AugmentConfig(), 64, rng_of(seed)) for seed in range(200)]
    assert {side for _, _, side in chosen} == {30, 45, 60, 80, 100}  # never 200, the whole picture
    assert all(x <= 95 and x + side >= 105 and y <= 45 and y + side >= 55 for x, y, side in chosen)
    assert len({(x, y) for x, y, _ in chosen}) > 100


@pytest.mark.parametrize("kind", ["official", "jitter"])
def test_a_face_that_no_crop_can_hold_gives_the_whole_picture(kind: str) -> None:
    wide = Faces.of([[-10, 10, 210, 90]]) if kind == "official" else Faces.of([[500, 500, 520, 520]])
    config = AugmentConfig(crop=kind)
    assert {choose_crop((100, 200), wide, config, 64, rng_of(seed)) for seed in range(20)} == {(0, 0, 200)}


def test_ignored_faces_do_not_attract_crops() -> None:
    # the only face that trains is on the left; the ignored one, which no crop could hold, does not matter
    faces = Faces.of([[10, 40, 20, 50], [-10, 0, 210, 100], [180, 40, 190, 50]], ignored=[False, True, True])
    for kind in ("official", "face-size"):
        for seed in range(40):
            x, y, side = choose_crop((100, 200), faces, AugmentConfig(crop=kind), 64, rng_of(seed))
            assert x <= 10.5
            assert x + side >= 19.5
            assert y <= 40.5
            assert y + side >= 49.5


@given(seeds, st.integers(40, 200), st.integers(40, 200))
@settings(max_examples=100)
def test_jitter_crops_keep_to_their_range_and_hold_a_centre(seed: int, height: int, width: int) -> None:
    faces = crowd(rng_of(seed), height, width)
    config = AugmentConfig(crop="jitter", jitter=(0.5, 1.7))
    x, y, side = choose_crop((height, width), faces, config, 64, rng_of(seed))
    if (x, y, side) == (0, 0, max(height, width)):
        return
    short = min(height, width)
    assert 0.5 * short - 1 <= side <= 1.7 * short
    for corner, limit in ((x, width), (y, height)):
        # the crop lies within the picture, or the picture within the crop
        assert min(0, limit - side) <= corner <= max(0, limit - side)
    centres = (faces.boxes[~faces.ignored, :2] + faces.boxes[~faces.ignored, 2:]) / 2
    held = ((centres > (x, y)) & (centres < (x + side, y + side))).all(1)
    assert held.any() or not len(centres)


def test_jitter_places_a_picture_anywhere_in_a_larger_crop() -> None:
    config = AugmentConfig(crop="jitter", jitter=(2.0, 2.0))
    chosen = [choose_crop((40, 40), Faces.of([[5, 5, 20, 20]]), config, 64, rng_of(seed)) for seed in range(300)]
    assert {side for _, _, side in chosen} == {80}
    assert {x for x, _, _ in chosen} == set(range(-40, 1))


@given(seeds, st.floats(6, 60), st.floats(0.5, 2.0))
@settings(max_examples=150)
def test_face_size_crops_show_the_face_at_a_size_of_the_range(seed: int, face: float, shape: float) -> None:
    height, width, size = 240, 320, 96
    low, high = 16.0, 64.0
    w, h = face * shape**0.5, face / shape**0.5
    box = np.array([100, 90, 100 + w, 90 + h])
    config = AugmentConfig(crop="face-size", face_sizes=(low, high))
    x, y, side = choose_crop((height, width), Faces.of([box]), config, size, rng_of(seed))
    assert size / LARGEST_ZOOM <= side <= 2 * width
    shown = face * size / side
    clamped = side == size / LARGEST_ZOOM
    assert low * 0.999 <= shown <= high * (1 + 1 / side) + 1e-3 or (clamped and shown < low)
    if max(w, h) <= side:  # it is shown whole, but for rounding to whole pixels
        assert x <= box[0] + 0.5
        assert y <= box[1] + 0.5
        assert x + side >= box[2] - 1
        assert y + side >= box[3] - 1


def test_face_sizes_are_drawn_evenly_on_a_log_scale() -> None:
    config = AugmentConfig(crop="face-size", face_sizes=(8.0, 128.0))
    faces = Faces.of([[400, 400, 480, 480]])
    shown = [80 * 160 / choose_crop((1000, 1000), faces, config, 160, rng_of(s))[2] for s in range(400)]
    thirds = np.histogram(np.log2(shown), [2.99, 4.333, 5.667, 7.05])[0]
    assert thirds.sum() == 400
    assert (abs(thirds - 400 / 3) < 45).all()  # 4.8 standard deviations


def test_face_size_crops_are_limited_in_zoom_and_in_padding() -> None:
    small, large = Faces.of([[50, 50, 52, 52]]), Faces.of([[0, 0, 100, 100]])
    config = AugmentConfig(crop="face-size", face_sizes=(100.0, 100.0))
    assert choose_crop((100, 100), small, config, 64, rng_of(0))[2] == 16  # 64 / 4
    config = AugmentConfig(crop="face-size", face_sizes=(8.0, 8.0))
    assert choose_crop((100, 100), large, config, 64, rng_of(0))[2] == 200  # twice the picture


def test_each_face_of_a_picture_is_chosen_in_turn() -> None:
    faces = Faces.of([[10, 10, 20, 20], [100, 10, 110, 20], [50, 100, 60, 110]])
    config = AugmentConfig(crop="face-size", face_sizes=(60.0, 64.0))
    held = [0, 0, 0]
    for seed in range(90):
        x, y, side = choose_crop((120, 120), faces, config, 64, rng_of(seed))
        for i, (x1, y1, x2, y2) in enumerate(faces.boxes):
            held[i] += x <= (x1 + x2) / 2 <= x + side and y <= (y1 + y2) / 2 <= y + side
    assert min(held) > 12


# ---- mixing ----


def marked(n: int, height: int, width: int, first: int, rng: np.random.Generator) -> Faces:
    """Faces of whole pixels, some beyond the border; the first landmark's x tells them apart and never moves."""
    corner = rng.integers(0, (width - 5, height - 5), (n, 2))
    side = rng.integers(4, 40, (n, 2))
    boxes = np.concatenate((corner, np.minimum(corner + side, (width, height))), 1)
    points = np.zeros((n, 5, 2))
    points[:, 0, 0] = first + np.arange(n)
    return Faces.of(boxes, points, rng.random(n) < 0.2, rng.choice([0.5, 1.0], n))


@given(seeds)
def test_mixup_keeps_all_faces_and_weighs_them_as_it_blends(seed: int) -> None:
    rng = rng_of(seed)
    a, b = marked(3, 64, 64, 0, rng), marked(4, 64, 64, 10, rng)
    picture, faces = mixup((np.full((64, 64, 3), 200, np.uint8), a), (np.zeros((64, 64, 3), np.uint8), b), rng)
    well_formed(picture, faces, 64)
    assert faces.landmarks[:, 0, 0].tolist() == [0, 1, 2, 10, 11, 12, 13]
    np.testing.assert_array_equal(faces.boxes, np.concatenate((a.boxes, b.boxes)))
    np.testing.assert_array_equal(faces.ignored, np.concatenate((a.ignored, b.ignored)))
    share = float(faces.weights[0] / a.weights[0])
    assert 0 <= share <= 1
    np.testing.assert_allclose(faces.weights[:3], a.weights * share, rtol=1e-5)
    np.testing.assert_allclose(faces.weights[3:], b.weights * (1 - share), rtol=1e-4, atol=1e-6)
    assert (picture == picture[0, 0, 0]).all()
    assert picture[0, 0, 0] == pytest.approx(200 * share, abs=0.51)


@given(seeds)
@example(716031580)  # a window so narrow that it shows a face's centre, and less than a fifth of it
@settings(max_examples=200)
def test_cutmix_weighs_faces_by_the_share_of_them_that_is_seen(seed: int) -> None:
    rng = rng_of(seed)
    height = width = 80
    a, b = marked(6, height, width, 0, rng), marked(6, height, width, 10, rng)
    below, above = np.zeros((height, width, 3), np.uint8), np.full((height, width, 3), 255, np.uint8)
    picture, faces = cutmix((below, a), (above, b), rng)
    well_formed(picture, faces, width)
    assert (below == 0).all()  # the sources are not drawn into
    front = picture[..., 0] == 255
    rows, columns = np.nonzero(front)
    assert front[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all()  # one rectangle
    assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
    found = {int(points[0, 0]): row for row, points in enumerate(faces.landmarks)}
    for source, first, visible in ((a, 0, ~front), (b, 10, front)):
        for i, box in enumerate(source.boxes.astype(int)):
            mask = np.zeros((height, width), bool)
            mask[box[1] : box[3], box[0] : box[2]] = True
            share = (mask & visible).sum() / mask.sum()
            row = found.get(first + i)
            if abs(share - 0.2) < 1e-6 or abs(share - 0.5) < 1e-6:
                continue  # on a limit
            if share < 0.2:
                assert row is None
                continue
            assert row is not None
            assert faces.weights[row] == pytest.approx(source.weights[i] * share, abs=1e-5)
            if source is a:
                assert bool(faces.ignored[row]) == bool(source.ignored[i] or share < 0.5)
                assert faces.boxes[row].tolist() == box.tolist()
            else:
                cx, cy = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
                seen = columns.min() <= cx <= columns.max() + 1 and rows.min() <= cy <= rows.max() + 1
                assert bool(faces.ignored[row]) == bool(source.ignored[i] or not seen)
                inside = np.nonzero(mask & visible)
                cut_box = [inside[1].min(), inside[0].min(), inside[1].max() + 1, inside[0].max() + 1]
                assert faces.boxes[row].tolist() == cut_box


def test_cutmix_shows_windows_of_all_sizes() -> None:
    dark, bright = np.zeros((40, 40, 3), np.uint8), np.full((40, 40, 3), 255, np.uint8)
    shares = [
        float((cutmix((dark, Faces.none()), (bright, Faces.none()), rng_of(seed))[0] == 255).mean())
        for seed in range(300)
    ]
    # Beta(1.5, 1.5): mean 0.5, standard deviation 0.25; whole pixels round the window down
    assert np.mean(shares) == pytest.approx(0.49, abs=0.05)
    assert np.std(shares) == pytest.approx(0.25, abs=0.04)


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


@given(seeds, crops)
@settings(max_examples=100)
def test_mosaic_faces_lie_on_their_own_picture(seed: int, kind: str) -> None:
    config = AugmentConfig(crop=kind, mosaic=1.0, colour=0.0, jitter=(0.4, 1.0), face_sizes=(12.0, 40.0))
    asked = []

    def read(index: int) -> tuple[Picture, Faces]:
        asked.append(index)
        return flat(index)

    picture, faces = augment(read, 3, 9, config, 128, rng_of(seed))
    well_formed(picture, faces, 128)
    assert len(asked) == 4
    assert asked[0] == 3
    if kind != "face-size":  # whose crops reach beyond the picture
        for index, (row, column) in zip(asked, ((0, 0), (0, 127), (127, 0), (127, 127)), strict=True):
            assert picture[row, column].tolist() == colour_of(index)
    rows = zip(faces.boxes, faces.landmarks, faces.weights, faces.ignored, strict=True)
    for box, points, weight, ignored in rows:
        index = round(float(weight) * 64) // 5
        assert index in asked
        x1, y1, x2, y2 = np.floor(box).astype(int)
        assert (picture[y1 + 1 : y2, x1 + 1 : x2] == colour_of(index)).all()
        # the landmarks are corners and centre of the uncut face
        assert (box[:2] >= points[0] - 0.01).all()
        assert (box[2:] <= points[4] + 0.01).all()
        if kind == "none":
            outside = (points[2] < box[:2] - 0.01).any() or (points[2] > box[2:] + 0.01).any()
            assert outside == ignored


def test_a_face_that_crop_and_tile_cut_is_ignored_if_its_centre_is_out_of_view() -> None:
    config = AugmentConfig(crop="jitter", mosaic=1.0, colour=0.0, jitter=(0.3, 0.8))
    for seed in range(300):
        faces = augment(flat, 3, 9, config, 128, rng_of(seed))[1]
        for box, points, ignored in zip(faces.boxes, faces.landmarks, faces.ignored, strict=True):
            outside = (points[2] < box[:2] - 0.01).any() or (points[2] > box[2:] + 0.01).any()
            assert ignored or not outside


def test_mosaic_of_whole_pictures_by_hand() -> None:
    """Tiles show the left upper part of a picture that fills the tile's longer side."""
    faces = Faces.of([[0, 0, 10, 10], [60, 60, 70, 70]], weights=[0.25, 0.5])
    colours = iter(range(4))
    picture, shown = augment(
        lambda _: (flat(next(colours))[0], faces), 0, 4, replace(PLAIN, mosaic=1.0), 100, rng_of(5)
    )
    # where the colours change along the borders is where the tiles meet
    across, down = (int((line == colour_of(0)).all(1).sum()) for line in (picture[0], picture[:, 0]))
    assert 30 <= across < 70
    assert 30 <= down < 70
    firsts = shown.boxes[shown.weights == 0.25]
    assert len(firsts) == 4
    tiles = ((0, 0, across, down), (across, 0, 100, down), (0, down, across, 100), (across, down, 100, 100))
    for number, (box, (x1, y1, x2, y2)) in enumerate(zip(firsts, tiles, strict=True)):
        assert (picture[y1:y2, x1:x2] == colour_of(number)).all()
        scale = max(x2 - x1, y2 - y1) / 70
        assert box.tolist() == pytest.approx([x1, y1, x1 + 10 * scale, y1 + 10 * scale], abs=1e-3)


def test_only_one_way_of_mixing_at_a_time_and_as_often_as_asked() -> None:
    asked = []

    def read(index: int) -> tuple[Picture, Faces]:
        asked.append(index)
        return np.zeros((32, 32, 3), np.uint8), Faces.none()

    config = replace(PLAIN, mosaic=0.2, mixup=0.2, cutmix=0.2)
    counts = []
    for seed in range(300):
        asked.clear()
        augment(read, 1, 5, config, 32, rng_of(seed))
        assert asked[0] == 1
        assert all(0 <= index < 5 for index in asked)
        counts.append(len(asked))
    assert set(counts) == {1, 2, 4}
    assert counts.count(4) == pytest.approx(60, abs=35)
    assert counts.count(2) == pytest.approx(120, abs=42)


# ---- colours, small faces ----


@given(seeds, st.integers(1, 40), st.integers(1, 40), st.floats(0, 1))
def test_distortion_keeps_shape_and_type_and_leaves_its_source_alone(
    seed: int, height: int, width: int, chance: float
) -> None:
    picture = noisy(height, width, seed)
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
        plain = augment(flat, 0, 6, config, 96, rng_of(seed))
        strict = augment(flat, 0, 6, replace(config, min_face=20.0), 96, rng_of(seed))
        np.testing.assert_array_equal(plain[0], strict[0])
        longer = (plain[1].boxes[:, 2:] - plain[1].boxes[:, :2]).max(1)
        np.testing.assert_array_equal(strict[1].ignored, plain[1].ignored | (longer < 20))
        same(replace(strict[1], ignored=plain[1].ignored), plain[1])


# ---- all together ----


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
        picture, faces = augment(read, 2, 7, config, 64, rng_of(seed))
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
        picture, faces = augment(lambda _: (noisy(*shape), Faces.none()), 0, 1, config, 32, rng_of(seed))
        well_formed(picture, faces, 32)
        assert len(faces) == 0
        tiny = Faces.of([[0, 0, 1, 1]])
        well_formed(*augment(lambda _: (noisy(*shape), tiny), 0, 1, config, 32, rng_of(seed)), 32)  # noqa: B023


@pytest.mark.parametrize("mode", [None, *MODES])
def test_the_source_is_never_written_to(mode: str | None) -> None:
    """A cache hands out the same arrays again and again."""
    picture, faces = noisy(64, 64), crowd(rng_of(3), 64, 64)
    kept = picture.copy(), Faces(*(a.copy() for a in (faces.boxes, faces.landmarks, faces.ignored, faces.weights)))
    for kind in CROPS:
        config = AugmentConfig(crop=kind, colour=0.5, min_face=9.0, **{mode: 1.0} if mode else {})
        for seed in range(5):
            augment(lambda _: (picture, faces), 0, 1, config, 64, rng_of(seed))
    np.testing.assert_array_equal(picture, kept[0])
    same(faces, kept[1])


# ---- DropBlock ----


@pytest.fixture
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.usefixtures("_seeded")
@pytest.mark.parametrize("share", [0.05, 0.1, 0.3])
def test_drop_block_drops_about_its_share_in_squares_and_keeps_the_mean(share: float) -> None:
    x = torch.ones(30, 3, 40, 40)
    y = DropBlock(share).train()(x)
    assert y.shape == x.shape
    assert y.mean() == pytest.approx(1, abs=1e-4)
    gone = y == 0
    assert float(gone.float().mean()) == pytest.approx(share, rel=0.2)
    assert torch.equal(gone[:, :1].expand_as(gone), gone)  # in all channels alike
    # what is left is one value, and what is gone is made of squares of 3 cells, cut by the border alone
    assert len(y[~gone].unique()) == 1
    inner = gone[:, 0]
    opened = torch.zeros_like(inner)
    squares = -torch.nn.functional.max_pool2d(
        -torch.nn.functional.pad(inner.float()[:, None], (2, 2, 2, 2), value=1.0), 3, 1
    )
    opened = torch.nn.functional.max_pool2d(squares, 3, 1)[:, 0] > 0
    assert torch.equal(opened, inner)


@pytest.mark.usefixtures("_seeded")
def test_drop_block_scales_by_what_is_left_and_lets_gradients_through_there_alone() -> None:
    x = torch.randn(2, 4, 16, 16).requires_grad_()
    y = DropBlock(0.2).train()(x)
    kept = (y != 0).any(1, keepdim=True)
    factor = kept.numel() / kept.sum()
    torch.testing.assert_close(y, x * kept * factor)
    y.sum().backward()
    torch.testing.assert_close(x.grad, (kept * factor).expand_as(x).contiguous())


def test_drop_block_is_nothing_in_evaluation_and_at_a_share_of_0() -> None:
    x = torch.randn(2, 4, 8, 8)
    assert torch.equal(DropBlock(0.5).eval()(x), x)
    assert torch.equal(DropBlock(0.0).train()(x), x)
    assert DropBlock(0.5).state_dict() == {}
    assert not list(DropBlock(0.5).parameters())


@pytest.mark.usefixtures("_seeded")
@pytest.mark.parametrize(
    "kind",
    [
        torch.bfloat16,
        torch.float16,
    ],
    ids=str,
)
def test_drop_block_keeps_the_mean_in_half_precision(kind: torch.dtype) -> None:
    x = torch.ones(18, 1, 64, 64, dtype=kind)  # 73,728 cells; eleven pictures of 640 pixels have more
    assert float(DropBlock(0.1).train()(x).float().mean()) == pytest.approx(1, abs=0.02)
