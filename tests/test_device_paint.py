"""The painter on a device against OpenCV's: the same plans, pixel by pixel, at any size, softened, mirrored, coloured, mixed."""

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from augment_pictures import MODES, PAD, Given, crowd, noisy, rng_of, seeds, whole
from hypothesis import given, settings
from hypothesis import strategies as st

from featherface_core.data.annotation import Faces, Picture
from featherface_core.data.augment.paint import coloured as coloured_by_opencv
from featherface_core.data.augment.paint import paint
from featherface_core.data.augment.plan import Colour, Piece, Plan
from featherface_core.data.augment.planner import Planner
from featherface_core.pictures import MEAN, read_picture, resized
from featherface_core.recipe import AugmentConfig
from featherface_core.training.device_paint import coloured, paint_on_device, paint_table
from featherface_core.training.paint_jobs import jobs_of, table_of
from featherface_core.training.picture_store import PictureStore

CPU = torch.device("cpu")
SETS = Path(__file__).parents[2] / "shared" / "data" / "val"


def store_of(*pictures: Picture) -> PictureStore:
    return PictureStore(Given(lambda index: (pictures[index], Faces.none()), len(pictures)), 1.0, CPU)


def detailed(height: int, width: int, seed: int) -> Picture:
    """Noise whose detail is eight pixels wide: as a photograph, it has little left of a single pixel's size."""
    small = noisy(max(2, height // 8), max(2, width // 8), seed)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def rms(a: object, b: object) -> float:
    return float(np.sqrt(np.square(np.asarray(a, np.float64) - np.asarray(b, np.float64)).mean()))


def on_device(plan: Plan, *pictures: Picture) -> Picture:
    return np.asarray(paint_on_device([plan], store_of(*pictures))[0])


def square(
    size: int, window: tuple[int, int, int, int], detail: tuple[int, int] | None = None, **changes: object
) -> Plan:
    """A window of picture 0 that fills a canvas."""
    room = (0, 0, size, size)
    values: dict = {"window": window, "place": room, "shown": room, "detail": detail or (size, size), **changes}
    return Plan(size, (Piece(picture=0, **values),), Faces.none())


# ---- both painters ----


@settings(max_examples=60)
@given(
    seeds,
    st.sampled_from(("official", "jitter", "face-size", "collage", "mixture", "none")),
    st.sampled_from((*MODES, None)),
    st.sampled_from((32, 64, 96)),
    st.booleans(),
)
def test_both_painters_agree(seed: int, crop: str, mode: str | None, size: int, colour: bool) -> None:
    rng = rng_of(seed)
    shapes = [(int(h), int(w)) for h, w in np.exp(rng.uniform(0, np.log(250), (4, 2))).astype(int)]
    pictures = [(detailed(*shape, seed % 1000 + i), crowd(rng, *shape)) for i, shape in enumerate(shapes)]
    source = Given(lambda index: pictures[index], 4)
    chances = {mode: 0.7} if mode else {}
    config = AugmentConfig(
        crop=crop,  # type: ignore[arg-type]
        colour=0.5 * colour,
        soften=0.4,
        face_sizes=(8.0, 64.0),
        size_edges=(16.0, 32.0),
        **chances,  # type: ignore[arg-type]
    )
    planner = Planner(source, config, size)
    plans = [planner.plan(index, size, rng) for index in range(4)]
    painted = paint_on_device(plans, PictureStore(source, 1.0, CPU))
    assert painted.shape == (4, size, size, 3)
    assert painted.dtype == torch.uint8
    wanted = np.stack([paint(plan, lambda index: pictures[index][0]) for plan in plans])
    assert rms(painted, wanted) <= (3 if colour else 2)
    assert torch.equal(painted, paint_on_device(plans, PictureStore(source, 1.0, CPU)))


def test_a_batch_is_its_plans_one_by_one() -> None:
    pictures = [noisy(90, 70, 1), noisy(33, 120, 2)]
    source = Given(lambda index: (pictures[index], Faces.of([[5, 5, 25, 25]])), 2)
    planner = Planner(source, AugmentConfig(mosaic=0.3, mixup=0.3, cutmix=0.3, soften=0.5), 64)
    plans = [planner.plan(index % 2, 64, rng_of(index)) for index in range(12)]
    store = PictureStore(source, 1.0, CPU)
    together = paint_on_device(plans, store)
    for plan, picture in zip(plans, together, strict=True):
        assert torch.equal(paint_on_device([plan], store)[0], picture)


# ---- one thing at a time ----


@given(seeds, st.integers(1, 60), st.integers(1, 60))
def test_a_window_at_its_own_size_is_copied(seed: int, height: int, width: int) -> None:
    picture = noisy(height, width, seed % 100)
    side = int(rng_of(seed).integers(8, 80))
    x, y = (int(v) for v in rng_of(seed).integers(-10, 20, 2))
    plan = square(side, (x, y, side, side))
    framed = np.full((side + 200, side + 200, 3), PAD, np.uint8)
    framed[100 : 100 + height, 100 : 100 + width] = picture[: side + 100, : side + 100]
    np.testing.assert_array_equal(on_device(plan, picture), framed[y + 100 :, x + 100 :][:side, :side])


@given(seeds)
def test_mirrored_twice_is_as_it_was(seed: int) -> None:
    picture, window = noisy(70, 90, seed % 100), (int(rng_of(seed).integers(-20, 60)), -5, 53, 61)
    plain, turned = (on_device(square(40, window, mirrored=mirrored), picture) for mirrored in (False, True))
    np.testing.assert_array_equal(turned[:, ::-1], plain)
    softened = [on_device(square(40, window, (17, 23), mirrored=mirrored), picture) for mirrored in (False, True)]
    np.testing.assert_array_equal(softened[1][:, ::-1], softened[0])


@given(st.integers(1, 63), st.integers(1, 63), st.integers(0, 16), st.integers(0, 16))
def test_a_part_shows_what_the_whole_shows_there(right: int, bottom: int, left: int, top: int) -> None:
    picture = noisy(90, 90)
    whole_, room = square(64, (3, 7, 75, 81)), (0, 0, 64, 64)
    shown = (left, top, left + max(1, right - left), top + max(1, bottom - top))
    (piece,) = whole_.pieces
    below = Piece(picture=1, window=room, place=room, shown=room, detail=(64, 64))
    above = Piece(picture=0, window=piece.window, place=room, shown=shown, detail=(64, 64))
    grey = np.full((64, 64, 3), 9, np.uint8)
    painted = on_device(Plan(64, (below, above), Faces.none()), picture, grey)
    wanted = grey.copy()
    x1, y1, x2, y2 = shown
    wanted[y1:y2, x1:x2] = on_device(whole_, picture)[y1:y2, x1:x2]
    np.testing.assert_array_equal(painted, wanted)


def test_a_picture_shines_through_by_hand() -> None:
    below, above = whole(0, Faces.none(), 32, 32).pieces[0], whole(1, Faces.none(), 32, 32).pieces[0]
    veil = Piece(
        picture=1, window=above.window, place=above.place, shown=above.shown, detail=above.detail, opacity=0.25
    )
    painted = on_device(Plan(32, (below, veil), Faces.none()), *(np.full((32, 32, 3), v, np.uint8) for v in (40, 240)))
    assert (painted == 90).all()  # 0.75 x 40 + 0.25 x 240


def test_pieces_lie_one_over_the_other_in_their_order() -> None:
    pictures = [np.full((32, 32, 3), 10 * index, np.uint8) for index in range(5)]
    pieces = []
    for index, (x1, x2) in enumerate(((0, 32), (0, 20), (8, 24), (16, 32), (4, 12))):
        (piece,) = whole(index, Faces.none(), 32, 32).pieces
        shown = (x1, 0, x2, 32)
        pieces.append(Piece(picture=index, window=piece.window, place=piece.place, shown=shown, detail=piece.detail))
    painted = on_device(Plan(32, tuple(pieces), Faces.none()), *pictures)
    wanted = [10] * 4 + [40] * 8 + [20] * 4 + [30] * 16
    assert painted[5, :, 0].tolist() == wanted


@pytest.mark.parametrize(("wide", "high"), [(600, 40), (40, 600), (37, 900)])
def test_axes_that_shrink_by_very_different_factors(wide: int, high: int) -> None:
    picture = detailed(high, wide, 3)
    plan = square(32, (0, 0, wide, high))
    assert rms(on_device(plan, picture), paint(plan, lambda _: picture)) < 1


def test_pieces_that_shrink_by_different_factors_in_one_batch() -> None:
    pictures = [detailed(40, 600, 3), detailed(90, 90, 4), detailed(40, 300, 5)]
    sizes = ((600, 40), (90, 90), (300, 40))
    plans = []
    for index, (wide, high) in enumerate(sizes):
        (piece,) = square(32, (0, 0, wide, high)).pieces
        plans.append(Plan(32, (Piece(**{**vars(piece), "picture": index}),), Faces.none()))
    painted = paint_on_device(plans, store_of(*pictures))
    for plan, found in zip(plans, painted, strict=True):
        assert rms(found, paint(plan, pictures.__getitem__)) < 1


def test_a_mean_of_two_by_two_by_hand() -> None:
    picture = np.zeros((16, 16, 3), np.uint8)
    picture[::2, ::2], picture[1::2, 1::2] = 100, 60  # the others 0: 160 / 4
    assert (on_device(square(8, (0, 0, 16, 16)), picture) == 40).all()


def test_enlarged_by_two_by_hand() -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[:] = (np.arange(8, dtype=np.uint8) * 20)[None, :, None]
    painted = on_device(square(16, (0, 0, 8, 8)), picture)
    # pixel centres: a quarter of a pixel to either side, and the edge repeated
    assert painted[3, :6, 1].tolist() == [0, 5, 15, 25, 35, 45]
    assert painted[3, -1, 1] == 140


# ---- colours ----


def packed(picture: Picture) -> torch.Tensor:
    four = np.concatenate((picture, np.zeros_like(picture[..., :1])), 2)
    return torch.from_numpy(np.ascontiguousarray(four)).view(torch.int32)[..., 0][None]


@given(seeds, st.floats(-32, 32), st.floats(0.5, 1.5), st.floats(0.5, 1.5), st.floats(-18, 18))
def test_colours_change_as_in_opencv(seed: int, plus: float, times: float, more: float, turn: float) -> None:
    picture = noisy(24, 40, seed % 1000)
    change = Colour(plus, times, more, turn)
    numbers = torch.tensor([[plus, times, more, turn]])
    painted = coloured(packed(picture), numbers, turned=True).view(torch.uint8).view(24, 40, 4)[..., :3].numpy()
    wanted = coloured_by_opencv(picture, change)
    if (more, turn) == (1.0, 0.0):
        wanted = coloured_by_opencv(wanted, Colour(saturation=1.0, hue=1e-9))  # to HSV and back
    assert rms(painted, wanted) < 1
    assert np.abs(painted.astype(int) - wanted).max() <= 10  # a step of hue, of a pure colour


@pytest.mark.parametrize("turned", [False, True])
def test_grey_stays_grey(turned: bool) -> None:
    grey = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(16, 16, 3)
    same = coloured(packed(grey), torch.tensor([[0.0, 1.0, 1.3, 11.0]]), turned)
    assert torch.equal(same, packed(grey))


# ---- the store ----


@given(st.integers(1, 70), st.integers(1, 70))
def test_copies_are_halved_as_opencv_halves(height: int, width: int) -> None:
    picture = noisy(height, width, 7)
    store = store_of(noisy(5, 9), picture)
    levels = store.levels
    np.testing.assert_array_equal(store.read(1)[0], picture)
    wanted = picture
    for level in range(int(levels.last[1]) + 1):
        high, wide = wanted.shape[:2]
        assert (levels.heights[1, level], levels.widths[1, level]) == (high, wide)
        at = int(levels.offsets[1, level]) - wide - 3
        flat = store.pixels[at : at + (wide + 2) * (high + 2)].view(torch.uint8).view(high + 2, wide + 2, 4)
        framed = np.full((high + 2, wide + 2, 3), MEAN, np.uint8)
        framed[1:-1, 1:-1] = wanted
        np.testing.assert_array_equal(flat[..., :3].numpy(), framed)
        half = (max(1, wide // 2), max(1, high // 2))
        wanted = np.asarray(cv2.resize(wanted, half, interpolation=cv2.INTER_LINEAR), np.uint8)
    assert max(wanted.shape[:2]) < 32


def test_what_a_worker_sends_is_kilobytes() -> None:
    source = Given(lambda index: (noisy(80, 80, index), Faces.of([[5, 5, 25, 25]] * 6)), 9)
    planner = Planner(source, AugmentConfig(crop="collage", mosaic=0.5, colour=1.0), 320)
    plans = [planner.plan(index % 9, 320, rng_of(index)) for index in range(16)]
    table = table_of(plans)
    assert len(table) == sum(len(plan.pieces) for plan in plans)
    assert len(pickle.dumps(table)) < 256 * len(table)


def test_pieces_that_are_painted_alike_are_painted_together() -> None:
    source = Given(lambda index: (noisy(80, 80, index), Faces.none()), 9)
    planner = Planner(source, AugmentConfig(crop="official", colour=0.0), 32)
    plans = [planner.plan(index % 9, 32, rng_of(index)) for index in range(64)]
    store = PictureStore(source, 1.0, CPU)
    table = table_of(plans)
    jobs = jobs_of(table, 64, 32, store.levels)
    assert len(jobs.groups) <= 4
    assert torch.equal(paint_table(table, 64, 32, store), paint_on_device(plans, store))


# ---- real pictures ----


@pytest.fixture(scope="module")
def photographs() -> list[Picture]:
    paths = sorted(SETS.rglob("*.jpg"))
    if len(paths) < 50:
        pytest.skip(f"real pictures are not part of the repository, and {SETS} does not hold 50")
    return [read_picture(path) for path in paths[:: len(paths) // 50][:50]]


@pytest.mark.parametrize("factor", [1.3, 1.4, 2.0, 2.8, 4.0, 5.0, 6.5, 8.0])
def test_photographs_are_scaled_as_opencv_scales_them(photographs: list[Picture], factor: float) -> None:
    store = store_of(*photographs)
    for index, picture in enumerate(photographs):
        height, width = picture.shape[:2]
        wide, high = max(8, round(width / factor)), max(8, round(height / factor))
        size = max(wide, high)
        place = (0, 0, wide, high)
        (piece,) = square(size, (0, 0, width, height), (wide, high), place=place, shown=place).pieces
        painted = paint_on_device([Plan(size, (Piece(**{**vars(piece), "picture": index}),), Faces.none())], store)
        assert rms(painted[0, :high, :wide], resized(picture, wide, high)) <= 2
