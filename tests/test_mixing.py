"""Training pictures made of several: mixup, cutmix and mosaic, and how often each."""

from dataclasses import replace

import numpy as np
import pytest
from augment_pictures import PLAIN, augmented, colour_of, crops, flat, planned, rng_of, seeds, well_formed, whole
from hypothesis import example, given, settings

from featherface_core.data.annotation import Faces, Picture
from featherface_core.data.augment.paint import paint
from featherface_core.data.augment.plan import Part, Plan
from featherface_core.data.augment.planner import cutmix, mixup
from featherface_core.recipe import AugmentConfig


def marked(n: int, height: int, width: int, first: int, rng: np.random.Generator) -> Faces:
    """Faces of whole pixels, some beyond the border; the first landmark's x tells them apart and never moves."""
    corner = rng.integers(0, (width - 5, height - 5), (n, 2))
    side = rng.integers(4, 40, (n, 2))
    boxes = np.concatenate((corner, np.minimum(corner + side, (width, height))), 1)
    points = np.zeros((n, 5, 2))
    points[:, 0, 0] = first + np.arange(n)
    return Faces.of(boxes, points, rng.random(n) < 0.2, rng.choice([0.5, 1.0], n))


def painted(part: Part, size: int, *levels: int) -> Picture:
    """The part where picture i has the level i everywhere."""
    pictures = [np.full((size, size, 3), level, np.uint8) for level in levels]
    picture = paint(Plan(size, part.pieces, part.faces), pictures.__getitem__)
    for source, level in zip(pictures, levels, strict=True):
        assert (source == level).all()  # the sources are not drawn into
    return picture


@given(seeds)
def test_mixup_keeps_all_faces_and_weighs_them_as_it_blends(seed: int) -> None:
    rng = rng_of(seed)
    a, b = marked(3, 64, 64, 0, rng), marked(4, 64, 64, 10, rng)
    part = mixup(whole(0, a, 64, 64), whole(1, b, 64, 64), rng)
    picture, faces = painted(part, 64, 200, 0), part.faces
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
    part = cutmix(whole(0, a, width, height), whole(1, b, width, height), width, rng)
    picture, faces = painted(part, width, 0, 255), part.faces
    well_formed(picture, faces, width)
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
            if share < 0.2 and not (source.ignored[i] and share > 0):
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
    dark, bright = (whole(index, Faces.none(), 40, 40) for index in range(2))
    shares = [float((painted(cutmix(dark, bright, 40, rng_of(seed)), 40, 0, 255) == 255).mean()) for seed in range(300)]
    # Beta(1.5, 1.5): mean 0.5, standard deviation 0.25; whole pixels round the window down
    assert np.mean(shares) == pytest.approx(0.49, abs=0.05)
    assert np.std(shares) == pytest.approx(0.25, abs=0.04)


@given(seeds, crops)
@settings(max_examples=100)
def test_mosaic_faces_lie_on_their_own_picture(seed: int, kind: str) -> None:
    config = AugmentConfig(crop=kind, mosaic=1.0, colour=0.0, jitter=(0.4, 1.0), face_sizes=(12.0, 40.0))
    plan = planned(flat, 3, 9, config, 128, rng_of(seed))
    picture, faces = paint(plan, lambda index: flat(index)[0]), plan.faces
    asked = [piece.picture for piece in plan.pieces]
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
        faces = augmented(flat, 3, 9, config, 128, rng_of(seed))[1]
        for box, points, ignored in zip(faces.boxes, faces.landmarks, faces.ignored, strict=True):
            outside = (points[2] < box[:2] - 0.01).any() or (points[2] > box[2:] + 0.01).any()
            assert ignored or not outside


def test_mosaic_of_whole_pictures_by_hand() -> None:
    """Tiles show the left upper part of a picture that fills the tile's longer side."""
    faces = Faces.of([[0, 0, 10, 10], [60, 60, 70, 70]], weights=[0.25, 0.5])
    plan = planned(lambda index: (flat(index)[0], faces), 0, 4, replace(PLAIN, mosaic=1.0), 100, rng_of(5))
    colours = iter(range(4))
    picture, shown = paint(plan, lambda _: flat(next(colours))[0]), plan.faces  # each tile in a colour of its own
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
    blank = np.zeros((32, 32, 3), np.uint8), Faces.none()
    config = replace(PLAIN, mosaic=0.2, mixup=0.2, cutmix=0.2)
    counts = []
    for seed in range(300):
        asked = [piece.picture for piece in planned(lambda _: blank, 1, 5, config, 32, rng_of(seed)).pieces]
        assert asked[0] == 1
        assert all(0 <= index < 5 for index in asked)
        counts.append(len(asked))
    assert set(counts) == {1, 2, 4}
    assert counts.count(4) == pytest.approx(60, abs=35)
    assert counts.count(2) == pytest.approx(120, abs=42)
