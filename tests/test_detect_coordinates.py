"""Boxes and landmarks in pixels of the original, whatever size the network saw."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from spotter import Fixed, detector, lines_of, run, save, scene

from featherface_core.boxes import make_anchors
from featherface_core.config import PostprocessConfig


@given(
    height=st.integers(33, 220),
    width=st.integers(33, 220),
    size=st.none() | st.integers(32, 400),
    corner=st.tuples(st.floats(0.05, 0.5), st.floats(0.05, 0.5)),
    extents=st.tuples(st.floats(0.3, 0.45), st.floats(0.3, 0.45)),
)
@settings(max_examples=120)
def test_boxes_are_in_pixels_of_the_original(
    height: int, width: int, size: int | None, corner: tuple[float, float], extents: tuple[float, float]
) -> None:
    x1, y1 = round(width * corner[0]), round(height * corner[1])
    x2, y2 = x1 + round(width * extents[0]), y1 + round(height * extents[1])
    scale = size / max(height, width) if size else 1
    assume(min(x2 - x1, y2 - y1) * scale >= 4)
    found = detector().detect(scene(height, width, (x1, y1, x2, y2)), size)
    assert len(found) == 1
    allowed = 0.75 / min(scale, 1)  # a fraction of a pixel of the coarser picture
    np.testing.assert_allclose(found.boxes[0], [x1, y1, x2, y2], atol=allowed)
    middle = [(x1 + x2) / 2, (y1 + y2) / 2]
    wanted = [[x1, y1], [x2, y1], middle, [x1, y2], [x2, y2]]
    np.testing.assert_allclose(found.landmarks[0], wanted, atol=allowed)


@pytest.mark.parametrize(
    ("height", "width", "size", "scaled"),
    [
        (300, 200, None, (300, 200)),
        (300, 200, 150, (150, 100)),
        (200, 300, 150, (100, 150)),
        (333, 517, 320, (206, 320)),  # 206.1 rows are rounded, so the two sides have scales of their own
        (517, 333, 320, (320, 206)),
        (41, 67, 640, (392, 640)),
        (100, 1000, 100, (10, 100)),  # padded to 32 rows
        (20, 20, None, (20, 20)),
    ],
)
def test_an_anchor_comes_back_at_each_sides_own_scale(
    tmp_path: Path, height: int, width: int, size: int | None, scaled: tuple[int, int]
) -> None:
    path = save(tmp_path / "a.png", height, width)
    x, y = width / scaled[1], height / scaled[0]
    rows, columns = (-(-max(side, 32) // 8) for side in scaled)
    for row, column in ((0, 0), (rows - 1, columns - 1)):
        (result,) = run([path], network=Fixed(2 * (row * columns + column)), size=size).pictures
        (face,) = result.faces
        # an anchor of 16 pixels around the middle of its cell; each point is 3 tenths of 16 pixels off
        left, top, right, bottom = 8 * column - 4, 8 * row - 4, 8 * column + 12, 8 * row + 12
        box = np.clip([left * x, top * y, right * x, bottom * y], 0, [width, height, width, height])
        np.testing.assert_allclose(face["box"], box, atol=0.011)
        np.testing.assert_allclose(face["landmarks"], [[(left + 12.8) * x, (top + 12.8) * y]] * 5, atol=0.011)
        assert (result.width, result.height) == (width, height)


def test_boxes_are_cut_to_the_picture_and_landmarks_are_not(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", 64, 96)
    huge = Fixed(0, regression=(0, 0, 30, 30))
    (result,) = run([path], tmp_path / "out", huge).pictures
    assert result.faces[0]["box"] == [0, 0, 96, 64]
    (line,) = lines_of(tmp_path / "out")
    assert line["faces"][0]["box"] == [0, 0, 96, 64]
    outside = Fixed(0, regression=(1000, 0, 0, 0))  # 1,600 pixels to the right
    (face,) = run([path], network=outside).pictures[0].faces
    assert face["box"][0] == face["box"][2] == 96
    assert run([path], network=Fixed(0)).pictures[0].faces[0]["landmarks"][0] == [8.8, 8.8]
    far = Fixed(len(make_anchors(64, 96)) - 1)  # its points are 3 tenths of 512 pixels off
    assert run([path], network=far).pictures[0].faces[0]["landmarks"][0] == [80 + 153.6, 48 + 153.6]


def test_scores_and_limits_reach_the_post_processing(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", 64, 96)
    network = Fixed(0, 6, 12)  # three of 16 pixels, 24 pixels apart
    assert len(run([path], network=network).pictures[0].faces) == 3
    assert len(run([path], network=network, post=PostprocessConfig(top_k=2)).pictures[0].faces) == 2
    assert run([path], network=network, post=PostprocessConfig(score=0.8)).pictures[0].faces == ()
