"""Crops of training pictures: which faces they show, what is drawn lies where its box says, and what each kind chooses."""

from dataclasses import replace

import numpy as np
import pytest
from augment_pictures import CROPS, PAD, PLAIN, augmented, crops, crowd, noisy, planned, rng_of, seeds, well_formed
from hypothesis import given, settings
from hypothesis import strategies as st

from featherface_core.data.annotation import Faces, Picture
from featherface_core.data.augment.collage import LARGEST_ZOOM, OFFICIAL_SCALES, choose_crop
from featherface_core.data.augment.paint import painted
from featherface_core.data.augment.plan import VISIBLE, Piece, windowed, within
from featherface_core.recipe import AugmentConfig


def crop(
    picture: Picture, faces: Faces, config: AugmentConfig, size: int, rng: np.random.Generator
) -> tuple[Picture, Faces]:
    """The picture cropped and nothing else."""
    return augmented(lambda _: (picture, faces), 0, 1, replace(config, mirror=0.0, colour=0.0), size, rng)


def cut(picture: Picture, faces: Faces, x: int, y: int, side: int, size: int) -> tuple[Picture, Faces]:
    """The square at ``x``, ``y`` of ``side`` pixels, resized to ``size``, and what it shows of the faces."""
    window, place = (x, y, side, side), (0, 0, size, size)
    piece = Piece(picture=0, window=window, place=place, shown=place, detail=(size, size))
    return painted(picture, piece), within(windowed(faces, window, size, size), 0, 0, size, size)


# ---- which faces there are ----


def as_cut(faces: Faces, x: int, y: int, side: int, size: int) -> tuple[list[tuple[int, list[float], bool]], set[int]]:
    """By a plain loop: (face, box, ignored) of what a crop shows, and the faces too close to a limit to call."""
    shown, unclear = [], set()
    for i, (x1, y1, x2, y2) in enumerate(faces.boxes.astype(float)):
        wide = max(0.0, min(x2, x + side) - max(x1, x))
        high = max(0.0, min(y2, y + side) - max(y1, y))
        share = wide * high / max((x2 - x1) * (y2 - y1), 1e-9)
        cx, cy = (x1 + x2) / 2, (y1 + y2) / 2
        margin = min(cx - x, x + side - cx, cy - y, y + side - cy)
        if abs(margin) < 1e-3 or abs(share - 0.2) < 1e-3 or (faces.ignored[i] and 0 < share < 1e-3):
            unclear.add(i)
        if margin >= 0 or share >= 0.2 or (faces.ignored[i] and share > 0):
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
    picture, config = noisy(height, width), AugmentConfig(crop=kind, mirror=0.0)
    plan = planned(lambda _: (picture, faces), 0, 1, config, size, rng_of(seed + 1))
    x, y, side, high = plan.pieces[0].window
    assert side == high
    picture, shown = crop(picture, faces, config, size, rng_of(seed + 1))
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


# ---- boxes stay on what they label ----


def extent(picture: Picture) -> list[int]:
    """x1, y1, x2, y2 of what is bright."""
    rows, columns = np.nonzero(picture.min(2) > 150)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@given(seeds, crops, st.integers(80, 200), st.integers(80, 200), st.sampled_from([32, 64, 80]))
@settings(max_examples=300)
def test_a_drawn_face_lies_where_its_box_says(seed: int, kind: str, height: int, width: int, size: int) -> None:
    rng = rng_of(seed)
    w, h = rng.integers(24, 60, 2)
    x, y = (int(rng.integers(4, limit - side - 4)) for limit, side in ((width, w), (height, h)))
    picture = np.zeros((height, width, 3), np.uint8)
    picture[y : y + h, x : x + w] = 255
    config = AugmentConfig(crop=kind, face_sizes=(12.0, 200.0))
    cropped, faces = crop(picture, Faces.of([[x, y, x + w, y + h]]), config, size, rng)
    assert not faces.ignored.any()
    box = faces.boxes[0]
    if (box[2:] - box[:2]).min() < 4:
        return  # shrunk to where it is a shade
    assert extent(cropped) == pytest.approx(box.tolist(), abs=1.001)


@given(seeds, crops, st.integers(80, 200), st.integers(80, 200))
@settings(max_examples=100)
def test_drawn_landmarks_lie_where_they_should(seed: int, kind: str, height: int, width: int) -> None:
    rng = rng_of(seed)
    x, y = (int(rng.integers(2, limit - 44)) for limit in (width, height))
    points = np.array((x, y)) + rng.integers(6, 35, (5, 2)) + 0.5
    faces = Faces.of([[x, y, x + 40, y + 40]], points)
    config = AugmentConfig(crop=kind, face_sizes=(24.0, 60.0))
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


# ---- what each kind chooses ----


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
