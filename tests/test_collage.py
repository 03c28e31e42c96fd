"""Pictures side by side: nothing is left grey, and labels stay on what they label."""

from unittest.mock import patch

import numpy as np
import pytest
from augment_pictures import augmented
from hypothesis import example, given, settings
from hypothesis import strategies as st

from featherface_core.data.annotation import Faces, Picture
from featherface_core.data.augment import collage as module
from featherface_core.data.augment.collage import SMALLEST_PIECE, Choice, placed
from featherface_core.recipe import AugmentConfig

PLAIN = AugmentConfig(crop="collage", face_sizes=(8.0, 400.0), mirror=0.0, colour=0.0)
seeds = st.integers(0, 2**32 - 1)
sides = st.integers(3, 700)
SIZE = 192
FACE, GROUND = (10, 250, 10), (200, 0, 200)


def drawn(height: int, width: int, seed: int, faces: int = 1) -> tuple[Picture, Faces]:
    """Faces as green squares on purple, their nose in the middle and the eyes in the upper corners."""
    rng = np.random.default_rng(seed)
    picture = np.full((height, width, 3), GROUND, np.uint8)
    boxes = []
    for i in range(faces):
        side = max(2, int(min(height, width / faces) * rng.uniform(0.2, 0.9)))
        x = i * width // faces + int(rng.integers(max(1, width // faces - side)))
        y = int(rng.integers(max(1, height - side)))
        picture[y : y + side, x : x + side] = FACE
        boxes.append((x, y, min(x + side, width), min(y + side, height)))
    b = np.array(boxes, np.float32).reshape(-1, 4)
    x1, y1, x2, y2 = b.T
    middle = ((x1 + x2) / 2, (y1 + y2) / 2)
    points = np.stack([np.stack(p, 1) for p in ((x1, y1), (x2, y1), middle, (x1, y2), (x2, y2))], 1)
    return picture, Faces.of(b, points)


@given(seeds, st.lists(st.tuples(sides, sides), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_every_pixel_comes_from_a_picture(seed: int, shapes: list[tuple[int, int]]) -> None:
    colours = [(20 + 40 * i, 250 - 50 * i, 7 * i) for i in range(len(shapes))]

    def read(index: int) -> tuple[Picture, Faces]:
        return np.full((*shapes[index], 3), colours[index], np.uint8), Faces.of([])

    picture, faces = augmented(read, 0, len(shapes), PLAIN, SIZE, np.random.default_rng(seed))
    assert picture.shape == (SIZE, SIZE, 3)
    found = {tuple(int(v) for v in pixel) for pixel in np.unique(picture.reshape(-1, 3), axis=0)}
    assert found <= set(colours)
    assert colours[0] in found
    assert len(faces) == 0


@given(seeds, st.floats(0, 1), st.integers(1, 3))
@example(1281, 1.0, 2)
@settings(max_examples=60, deadline=None)
def test_faces_are_where_their_boxes_say(seed: int, mirrored: float, faces_each: int) -> None:
    config = AugmentConfig(crop="collage", face_sizes=(8.0, 400.0), mirror=mirrored, colour=0.0)
    shapes = [(240, 320), (90, 60), (500, 200)]

    def read(index: int) -> tuple[Picture, Faces]:
        return drawn(*shapes[index], index, faces_each)

    # a window far from a face may show a corner of it, which is labelled only from a fifth of the face on
    with patch.object(module, "ELSEWHERE", 0.0):
        picture, faces = augmented(read, 1, len(shapes), config, SIZE, np.random.default_rng(seed))
    seen = np.zeros((SIZE, SIZE), bool)
    for box in faces.boxes:
        assert (box >= 0).all()
        assert (box <= SIZE).all()
        x1, y1, x2, y2 = (round(float(v)) for v in box)
        seen[max(0, y1 - 3) : y2 + 3, max(0, x1 - 3) : x2 + 3] = True
        # a face at an edge may be so narrow that nothing is within; below zero a slice would begin anew from the other end
        inner = picture[y1 + 3 : max(0, y2 - 3), x1 + 3 : max(0, x2 - 3)].astype(int)
        assert (abs(inner - FACE) < 40).all(), box
    # and nothing of a face is left without a box, but for slivers, which are cut off with less than a fifth in view
    lost = (abs(picture.astype(int) - FACE).max(2) < 40) & ~seen
    assert lost.mean() < 0.05
    whole = ~faces.ignored
    eyes = faces.landmarks[whole]
    assert (eyes[:, 0, 0] < eyes[:, 1, 0]).all()
    assert (eyes[:, 0, 1] < eyes[:, 3, 1]).all()


def areas(faces: Faces) -> np.ndarray:
    return np.sqrt((faces.boxes[:, 2:] - faces.boxes[:, :2]).prod(1))


def test_a_face_fits_into_its_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ELSEWHERE", 0.0)
    config = AugmentConfig(crop="collage", face_sizes=(350.0, 400.0), mirror=0.0, colour=0.0)
    for seed in range(30):
        _, faces = augmented(lambda index: drawn(300, 300, 5), 0, 1, config, SIZE, np.random.default_rng(seed))
        assert 0.8 * SIZE < areas(faces).max() <= SIZE
        assert not faces.ignored.any()


def test_windows_elsewhere_may_hold_no_face_and_ignore_what_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ELSEWHERE", 1.0)
    labelled = Faces.of([[10, 20, 90, 100]])
    read = lambda index: (np.zeros((900, 900, 3), np.uint8), labelled)  # noqa: E731
    counts, ignored = [], 0
    for seed in range(300):
        _, faces = augmented(read, 0, 1, PLAIN, SIZE // 2, np.random.default_rng(seed))
        counts.append(len(faces))
        ignored += int(faces.ignored.sum())
        assert areas(faces.select(~faces.ignored)).max(initial=0) <= SIZE // 2
    assert 0 in counts
    assert max(counts) > 0
    assert ignored > 0


@pytest.mark.parametrize("wanted", [(4.0, 6.0), (30.0, 30.0), (100.0, 120.0)])
def test_pictures_show_a_face_of_the_wanted_size(wanted: tuple[float, float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ELSEWHERE", 0.0)
    config = AugmentConfig(crop="collage", face_sizes=wanted, mirror=0.0, colour=0.0)
    picture, labelled = drawn(600, 600, 3)
    smallest = float(areas(labelled)[0]) * SMALLEST_PIECE / 600  # a picture is not shrunk to nothing
    for seed in range(30):
        _, faces = augmented(lambda index: (picture, labelled), 0, 1, config, SIZE, np.random.default_rng(seed))
        assert areas(faces).max() >= max(wanted[0], smallest) * 0.9


def test_the_same_generator_gives_the_same_again() -> None:
    def read(index: int) -> tuple[Picture, Faces]:
        return drawn(100 + 50 * index, 220, index)

    config = AugmentConfig(crop="collage", colour=0.5)
    (a, x), (b, y), (c, _) = (augmented(read, 2, 4, config, 160, np.random.default_rng(seed)) for seed in (7, 7, 8))
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(x.boxes, y.boxes)
    np.testing.assert_array_equal(x.landmarks, y.landmarks)
    assert (a != c).any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (700, 2), (3000, 40)])
def test_odd_shapes(shape: tuple[int, int]) -> None:
    labelled = Faces.of([[0, 0, shape[1], shape[0]]])
    for seed in range(20):
        picture, faces = augmented(
            lambda index: (np.full((*shape, 3), 9, np.uint8), labelled), 0, 1, PLAIN, 64, np.random.default_rng(seed)
        )
        assert (picture == 9).all()
        assert np.isfinite(faces.boxes).all()


def test_a_face_larger_than_its_piece_is_ignored() -> None:
    """A piece of 96 px in the middle of a face of 90, 96 or 100 px."""
    for side, ignored in ((90, False), (96, False), (100, True)):
        faces = Faces.of([[200 - side / 2, 200 - side / 2, 200 + side / 2, 200 + side / 2]])
        choice = Choice(0, (400, 400), faces, 1.0, np.full(2, 200.0 - 48), np.full(2, 96.0))
        part = placed(choice, (96, 96), np.random.default_rng(side))
        assert part.pieces[0].window == (152, 152, 96, 96)
        assert part.faces.ignored.tolist() == [ignored]


def test_much_that_is_enlarged_is_no_face() -> None:
    picture, faces = drawn(600, 800, 1)
    faces = Faces.of(faces.boxes / 20)  # a face of a few pixels in the corner of a large picture
    config = AugmentConfig(crop="collage", face_sizes=(150.0, 150.0), mirror=0.0, colour=0.0)
    shown = [
        len(augmented(lambda _: (picture, faces), 0, 1, config, SIZE, np.random.default_rng(seed))[1])
        for seed in range(200)
    ]
    assert 0.25 < np.mean(np.array(shown) == 0) < 0.55
