import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featherface_core import boxes

Boxes = list[tuple[float, float, float, float]]

coordinate = st.integers(0, 24)
whole_box = st.tuples(coordinate, coordinate, coordinate, coordinate).map(
    lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3]))
)
side = st.floats(1, 600, width=32)
middle = st.floats(-100, 800, width=32)


def array(values: object, width: int = 4) -> np.ndarray:
    return np.array(values, np.float32).reshape(-1, width)


def test_anchors_of_a_small_square() -> None:
    anchors = boxes.make_anchors(32, 32)
    assert anchors.dtype == np.float32
    assert anchors.shape == (42, 4)
    # 4 x 4 cells of 8 pixels, 2 x 2 of 16, one of 32; in each cell the smaller size first
    assert anchors[:3].tolist() == [[4, 4, 16, 16], [4, 4, 32, 32], [12, 4, 16, 16]]
    assert anchors[8].tolist() == [4, 12, 16, 16]
    assert anchors[31:35].tolist() == [[28, 28, 32, 32], [8, 8, 64, 64], [8, 8, 128, 128], [24, 8, 64, 64]]
    assert anchors[40:].tolist() == [[16, 16, 256, 256], [16, 16, 512, 512]]


def test_anchors_of_an_odd_rectangle() -> None:
    anchors = boxes.make_anchors(33, 50)  # 5 x 7, 3 x 4 and 2 x 2 cells: the last ones reach over the edge
    assert len(anchors) == 2 * (5 * 7 + 3 * 4 + 2 * 2)
    assert anchors[12].tolist() == [52, 4, 16, 16]
    assert anchors[14].tolist() == [4, 12, 16, 16]
    assert anchors[-1].tolist() == [48, 48, 512, 512]


def test_anchor_count_at_640() -> None:
    assert boxes.count_anchors(640, 640) == 16_800


@given(height=st.integers(1, 300), width=st.integers(1, 300))
def test_anchor_count(height: int, width: int) -> None:
    wanted = 2 * sum(math.ceil(height / s) * math.ceil(width / s) for s in (8, 16, 32))
    assert boxes.count_anchors(height, width) == wanted == len(boxes.make_anchors(height, width))


def test_decode_by_hand() -> None:
    anchor = array([100, 100, 32, 16])
    double = math.log(2) / 0.2
    decoded = boxes.decode_boxes(array([1, -1, double, 0]), anchor)
    np.testing.assert_allclose(decoded, [[103.2 - 32, 98.4 - 8, 103.2 + 32, 98.4 + 8]], rtol=1e-6)
    points = boxes.decode_landmarks(array([1, 0, 0, 1, -1, -1, 0, 0, 10, 10], 10), anchor)
    wanted = [[[103.2, 100], [100, 101.6], [96.8, 98.4], [100, 100], [132, 116]]]
    np.testing.assert_allclose(points, wanted, rtol=1e-6)


def test_variances_are_the_callers() -> None:
    anchor = array([0, 0, 10, 10])
    np.testing.assert_allclose(boxes.decode_boxes(array([1, 2, 0, 0]), anchor, (0.5, 0.2)), [[0, 5, 10, 15]])
    wide = boxes.decode_boxes(array([0, 0, math.log(3), 0]), anchor, (0.1, 1.0))
    np.testing.assert_allclose(wide, [[-15, -5, 15, 5]], rtol=1e-6)


@given(x=middle, y=middle, width=side, height=side, place=st.integers(0, 41))
def test_boxes_round_trip(x: float, y: float, width: float, height: float, place: int) -> None:
    anchor = boxes.make_anchors(32, 32)[place : place + 1]
    box = array([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
    back = boxes.decode_boxes(boxes.encode_boxes(box, anchor), anchor)
    np.testing.assert_allclose(back, box, rtol=1e-4, atol=2e-3)


@given(points=st.lists(middle, min_size=10, max_size=10), place=st.integers(0, 41))
def test_landmarks_round_trip(points: list[float], place: int) -> None:
    anchor = boxes.make_anchors(32, 32)[place : place + 1]
    wanted = array(points, 10).reshape(1, 5, 2)
    back = boxes.decode_landmarks(boxes.encode_landmarks(wanted, anchor), anchor)
    np.testing.assert_allclose(back, wanted, rtol=1e-5, atol=1e-3)


def test_decoding_a_diverged_network_stays_finite() -> None:
    assert np.isfinite(boxes.decode_boxes(array([0, 0, 1e5, 1e30]), array([16, 16, 512, 512]))).all()


def test_encoding_a_box_without_width() -> None:
    assert boxes.encode_boxes(array([5, 5, 5, 9]), array([4, 4, 16, 16]))[0, 2] == -np.inf


def test_iou_by_hand() -> None:
    a = array([[0, 0, 10, 10], [0, 0, 4, 4]])
    b = array([[5, 0, 15, 10], [10, 0, 20, 10], [2, 2, 4, 4], [0, 0, 10, 10]])
    np.testing.assert_allclose(boxes.iou(a, b), [[1 / 3, 0, 4 / 100, 1], [0, 0, 4 / 16, 16 / 100]], rtol=1e-6)


def test_iou_of_boxes_without_area() -> None:
    flat = array([[0, 0, 10, 0], [5, 5, 5, 5], [0, 0, 10, 10]])
    assert boxes.iou(flat, flat).tolist() == [[0, 0, 0], [0, 0, 0], [0, 0, 1]]
    turned = array([[10, 10, 0, 0]])  # x2 before x1: no box at all, and not one of positive area
    assert boxes.iou(turned, array([[0, 0, 10, 10]])).tolist() == [[0]]


@given(st.lists(st.tuples(middle, middle, side, side), min_size=1, max_size=8))
def test_iou_properties(drawn: Boxes) -> None:
    corners = array([(x, y, x + w, y + h) for x, y, w, h in drawn])
    shares = boxes.iou(corners, corners)
    assert shares.shape == (len(drawn), len(drawn))
    assert ((shares >= 0) & (shares <= 1 + 1e-6)).all()
    np.testing.assert_array_equal(shares, shares.T)
    np.testing.assert_array_equal(np.diag(shares), 1)


def test_nms_keeps_what_only_a_suppressed_box_covers() -> None:
    # ten pixels a side, the last one counted; the middle one of the chain overlaps both its neighbours by 3/7, and they
    # overlap each other by 1/9
    chain = array([[0, 0, 9, 9], [0, 4, 9, 13], [0, 8, 9, 17]])
    scores = np.array([0.9, 0.8, 0.7], np.float32)
    assert boxes.nms(chain, scores, 0.4).tolist() == [0, 2]
    assert boxes.nms(chain, scores, 0.43).tolist() == [0, 1, 2]
    assert boxes.nms(chain, scores, 0.1).tolist() == [0]
    assert boxes.nms(chain, scores[::-1], 0.4).tolist() == [2, 0]
    assert boxes.nms(chain, np.array([0.7, 0.9, 0.8], np.float32), 0.4).tolist() == [1]


def test_nms_at_the_threshold_itself_keeps() -> None:
    pair = array([[0, 0, 9, 9], [0, 5, 9, 9]])  # 10 x 5 of 10 x 10 pixels: 1/2
    assert boxes.nms(pair, np.array([0.9, 0.8], np.float32), 0.5).tolist() == [0, 1]
    assert boxes.nms(pair, np.array([0.9, 0.8], np.float32), 0.499).tolist() == [0]


def test_nms_counts_the_last_pixel() -> None:
    # one pixel each, side by side: without the published code's "+ 1" they would have no area at all
    dots = array([[0, 0, 0, 0], [1, 0, 1, 0], [0, 0, 1, 0]])
    assert boxes.nms(dots, np.array([0.9, 0.8, 0.7], np.float32), 0.5).tolist() == [0, 1, 2]
    assert boxes.nms(dots, np.array([0.9, 0.8, 0.7], np.float32), 0.49).tolist() == [0, 1]


def test_nms_keeps_the_earlier_of_equals() -> None:
    same = array([[0, 0, 10, 10]] * 3)
    assert boxes.nms(same, np.full(3, 0.5, np.float32), 0.4).tolist() == [0]
    apart = array([[i * 20, 0, i * 20 + 10, 10] for i in range(40)])
    assert boxes.nms(apart, np.full(40, 0.5, np.float32), 0.4).tolist() == list(range(40))


def test_nms_top_k_counts_kept_boxes() -> None:
    stacks = array([[0, 0, 10, 10], [0, 0, 10, 10], [50, 0, 60, 10], [90, 0, 99, 10]])
    scores = np.array([0.9, 0.8, 0.7, 0.6], np.float32)
    assert boxes.nms(stacks, scores, 0.4, top_k=2).tolist() == [0, 2]
    assert boxes.nms(stacks, scores, 0.4, top_k=0).tolist() == [0, 2, 3]
    assert boxes.nms(stacks, scores, 0.4, top_k=99).tolist() == [0, 2, 3]


def test_nms_at_its_extreme_thresholds() -> None:
    few = array([[0, 0, 10, 10], [10, 10, 20, 20], [21, 20, 30, 30], [0, 0, 10, 10]])
    scores = np.array([0.9, 0.8, 0.7, 0.6], np.float32)
    assert boxes.nms(few, scores, 1.0).tolist() == [0, 1, 2, 3]
    assert boxes.nms(few, scores, 0.0).tolist() == [0, 2]  # a shared edge is a shared pixel


def test_nms_of_nothing() -> None:
    kept = boxes.nms(array([]), np.zeros(0, np.float32), 0.4)
    assert kept.shape == (0,)
    assert np.issubdtype(kept.dtype, np.integer)


def slow_nms(corners: Boxes, scores: list[float], threshold: float, top_k: int) -> list[int]:
    kept: list[int] = []
    for i in sorted(range(len(corners)), key=lambda i: (-scores[i], i)):
        ax1, ay1, ax2, ay2 = corners[i]
        for k in kept:
            bx1, by1, bx2, by2 = corners[k]
            shared = max(0, min(ax2, bx2) - max(ax1, bx1) + 1) * max(0, min(ay2, by2) - max(ay1, by1) + 1)
            union = (ax2 - ax1 + 1) * (ay2 - ay1 + 1) + (bx2 - bx1 + 1) * (by2 - by1 + 1) - shared
            if shared / union > threshold:
                break
        else:
            kept.append(i)
    return kept[:top_k] if top_k else kept


@given(
    st.lists(st.tuples(whole_box, st.sampled_from([0.25, 0.5, 0.625, 0.75])), max_size=24),
    st.sampled_from([0, 0.125, 0.25, 0.5, 0.75, 1]),  # in eighths, so that both sides compute without rounding
    st.integers(0, 5),
)
@settings(max_examples=200)
def test_nms_equals_its_definition(
    drawn: list[tuple[tuple[int, int, int, int], float]], threshold: float, top_k: int
) -> None:
    corners, scores = [box for box, _ in drawn], [score for _, score in drawn]
    kept = boxes.nms(array(corners), np.array(scores, np.float32), threshold, top_k)
    assert kept.tolist() == slow_nms(corners, scores, threshold, top_k)


def network_outputs(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Regressions, scores, landmarks and anchors of ``count`` faces far apart, all regressions zero."""
    anchors = array([(100 * i + 50, 50, 20, 20) for i in range(count)])
    scores = np.tile(np.array([1, 0], np.float32), (count, 1))
    return np.zeros((count, 4), np.float32), scores, np.zeros((count, 10), np.float32), anchors


def test_postprocess_sorts_all_three_alike() -> None:
    regressions, scores, landmarks, anchors = network_outputs(4)
    scores[:, 1] = [0.6, 0.2, 0.9, 0.7]
    scores[:, 0] = 1 - scores[:, 1]
    landmarks[:, 0] = [0, 1, 2, 3]
    faces, face_scores, points = boxes.postprocess(regressions, scores, landmarks, anchors, 0.5, 0.4)
    assert faces.tolist() == [[240, 40, 260, 60], [340, 40, 360, 60], [40, 40, 60, 60]]
    np.testing.assert_array_equal(face_scores, np.array([0.9, 0.7, 0.6], np.float32))
    np.testing.assert_allclose(points[:, 0, 0], [250 + 2 * 2, 350 + 3 * 2, 50])
    assert points.shape == (3, 5, 2)
    assert len(boxes.postprocess(regressions, scores, landmarks, anchors, 0.5, 0.4, top_k=2)[0]) == 2


def test_postprocess_keeps_scores_strictly_above_the_threshold() -> None:
    regressions, scores, landmarks, anchors = network_outputs(3)
    scores[:, 1] = [0.5, np.nextafter(np.float32(0.5), np.float32(1)), 0.49]
    faces, _, _ = boxes.postprocess(regressions, scores, landmarks, anchors, 0.5, 0.4)
    assert faces[:, 0].tolist() == [140]


def test_postprocess_suppresses_and_uses_the_variances() -> None:
    regressions, scores, landmarks, anchors = network_outputs(2)
    anchors[1] = anchors[0]
    scores[:, 1] = [0.8, 0.9]
    regressions[:, 0] = [0, 1]
    kept = boxes.postprocess(regressions, scores, landmarks, anchors, 0.5, 0.4)
    np.testing.assert_allclose(kept[0], [[42, 40, 62, 60]])
    both = boxes.postprocess(regressions, scores, landmarks, anchors, 0.5, 0.4, variances=(2.0, 0.2))
    np.testing.assert_allclose(both[0], [[80, 40, 100, 60], [40, 40, 60, 60]])


@pytest.mark.parametrize("count", [0, 3])
def test_postprocess_of_no_face(count: int) -> None:
    faces, scores, points = boxes.postprocess(*network_outputs(count), 0.5, 0.4)
    assert (faces.shape, scores.shape, points.shape) == ((0, 4), (0,), (0, 5, 2))
