"""Plans as pixels: windows are shrunk cleanly, lie where their place says, and cover what is below."""

from dataclasses import replace

import numpy as np
import pytest
from augment_pictures import noisy, rng_of, seeds
from hypothesis import given, settings
from hypothesis import strategies as st

from featherface_core.data.annotation import Faces, Picture
from featherface_core.data.augment.paint import paint, painted
from featherface_core.data.augment.plan import Colour, Piece, Plan
from featherface_core.pictures import resized


def piece_of(window: tuple[int, int, int, int], width: int, height: int, left: int = 0, top: int = 0) -> Piece:
    """Picture 0's window on the canvas at (left, top), all of it shown."""
    return Piece(
        picture=0,
        window=window,
        place=(left, top, width, height),
        shown=(left, top, left + width, top + height),
        detail=(width, height),
    )


def canvas(size: int, *pieces: Piece, pictures: list[Picture]) -> Picture:
    return paint(Plan(size, pieces, Faces.none()), pictures.__getitem__)


@given(seeds, st.integers(1, 90), st.integers(1, 90))
@settings(max_examples=80)
def test_a_window_is_brought_to_its_place_as_evaluation_scales_pictures(seed: int, width: int, height: int) -> None:
    rng = rng_of(seed)
    picture = noisy(120, 160, seed)
    x, y = int(rng.integers(0, 150)), int(rng.integers(0, 110))
    wide, high = int(rng.integers(1, 161 - x)), int(rng.integers(1, 121 - y))
    found = painted(picture, piece_of((x, y, wide, high), width, height))
    wanted = resized(np.ascontiguousarray(picture[y : y + high, x : x + wide]), width, height)
    assert found.astype(float) - wanted == pytest.approx(0)


@pytest.mark.parametrize("side", [400, 200, 100, 64, 50])
def test_a_checkerboard_that_is_shrunk_is_grey(side: int) -> None:
    """No pattern that is not in the picture comes up."""
    squares = (np.indices((800, 800)).sum(0) % 2 * 200).astype(np.uint8)
    board = np.repeat(squares[..., None], 3, 2)
    small = painted(board, piece_of((0, 0, 800, 800), side, side)).astype(int)
    assert abs(small - 100).max() <= 2


@pytest.mark.parametrize("side", [100, 99, 87, 64])
def test_shrinking_by_eight_keeps_means(side: int) -> None:
    """Of noise little is left, as of means of all that a pixel shows: no pixel is picked out of many."""
    picture = noisy(800, 800, 3)
    small = painted(picture, piece_of((0, 0, 800, 800), side, side)).astype(float)
    # the mean of n uniform levels has a standard deviation of 73.9 / sqrt(n), and n is (800 / side) squared
    assert small.std() < 1.4 * 73.9 * side / 800
    assert small.mean() == pytest.approx(picture.mean(), abs=1)


def test_pieces_lie_at_their_places_and_later_ones_cover_earlier_ones() -> None:
    pictures = [np.full((8, 8, 3), level, np.uint8) for level in (10, 200)]
    below = piece_of((0, 0, 8, 8), 8, 8)
    above = replace(piece_of((0, 0, 3, 2), 3, 2, 4, 5), picture=1)
    found = canvas(8, below, above, pictures=pictures)
    wanted = np.full((8, 8, 3), 10, np.uint8)
    wanted[5:7, 4:7] = 200
    np.testing.assert_array_equal(found, wanted)
    assert canvas(8, above, below, pictures=pictures).max() == 10


def test_what_is_not_shown_is_not_painted() -> None:
    picture = noisy(6, 6)
    below = piece_of((0, 0, 6, 6), 6, 6)
    # the window lies two to the right and one above the canvas; three columns and two rows of it are shown
    cut = Piece(picture=1, window=(0, 0, 6, 6), place=(2, -1, 6, 6), shown=(3, 0, 6, 2), detail=(6, 6))
    found = canvas(6, below, cut, pictures=[np.zeros_like(picture), picture])
    np.testing.assert_array_equal(found[:2, 3:], picture[1:3, 1:4])
    found[:2, 3:] = 0
    assert not found.any()


def test_a_mirror_turns_the_window_and_not_what_is_shown_of_it() -> None:
    picture = noisy(4, 6)
    piece = Piece(picture=0, window=(0, 0, 6, 4), place=(0, 0, 6, 4), shown=(0, 0, 2, 4), detail=(6, 4), mirrored=True)
    found = canvas(6, piece, replace(piece, shown=(2, 0, 6, 4)), pictures=[picture])
    np.testing.assert_array_equal(found[:4], picture[:, ::-1])


def test_what_is_below_shines_through() -> None:
    pictures = [np.full((4, 4, 3), level, np.uint8) for level in (200, 100)]
    below, above = piece_of((0, 0, 4, 4), 4, 4), replace(piece_of((0, 0, 4, 4), 4, 4), picture=1)
    for opacity, level in ((1.0, 100), (0.75, 125), (0.25, 175), (0.0, 200)):
        found = canvas(4, below, replace(above, opacity=opacity), pictures=pictures)
        assert (found == level).all()


def test_lost_detail_is_means_spread_over_the_place() -> None:
    """A step of 0 and 240 between columns 3 and 4 of 8, at a detail of 2 x 2: a slope between the two means."""
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[:, 4:] = 240
    soft = painted(picture, replace(piece_of((0, 0, 8, 8), 8, 8), detail=(2, 2)))
    # bilinear between the centres at 2 and 6: column c lies (c + 0.5 - 2) / 4 of the way, at (0.5 + 2) the first time
    assert soft[0, :, 0].tolist() == [0, 0, 30, 90, 150, 210, 240, 240]
    assert (soft == soft[:1]).all()


def test_pictures_that_cannot_be_written_to_are_painted() -> None:
    """A cache may hand out arrays of read-only memory."""
    picture = noisy(20, 20)
    picture.flags.writeable = False
    piece = replace(piece_of((2, 2, 10, 10), 10, 10), mirrored=True, colour=Colour(10, 1.2, 0.8, 5))
    canvas(10, piece, replace(piece, opacity=0.5, detail=(5, 5)), pictures=[picture])


def test_a_window_beyond_its_picture_is_the_mean() -> None:
    picture = noisy(10, 10)
    for window in ((20, 0, 4, 4), (-9, -9, 4, 4), (0, 10, 4, 4)):
        assert painted(picture, piece_of(window, 4, 4)).reshape(-1, 3).tolist() == [[104, 117, 123]] * 16
