"""The WIDER FACE evaluation: golden numbers, a slow reference, and worked out by hand."""

import json
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wider_scenes import (
    EMPTY,
    STEPS,
    A,
    B,
    Box,
    C,
    D,
    Picture,
    both,
    counts_at,
    evaluate,
    faces_to_find,
    scenes,
    voc_area,
    walk,
)

from featherface_core.evaluation.average_precision import Curve, area_under, curve_of
from featherface_core.evaluation.matching import match
from featherface_core.evaluation.predictions import read_predictions
from featherface_core.evaluation.truth import Found, read_ground_truth


def recall_steps(curve: Curve) -> dict[int, float]:
    """Recall where it changes, by the number of the threshold, from 1."""
    return {k: b for k, (a, b) in enumerate(pairwise([0.0, *curve.recall.tolist()]), 1) if a != b}


# ---- golden numbers ----


def test_the_official_evaluation_is_reproduced(reference: Path) -> None:
    folder = reference / "wider_eval"
    wanted = json.loads((folder / "expected.json").read_text())
    truth = read_ground_truth(folder)
    found = read_predictions(folder / "predictions.zip").called(truth.names).of(truth.names)
    assert (len(found), 0.5) == (wanted["boxes"], wanted["iou"])
    matches = match(found, truth)
    aps = {setting: curve_of(matches, counted).ap for setting, counted in truth.counted.items()}
    assert aps == pytest.approx({setting: wanted[setting] for setting in ("easy", "medium", "hard")}, abs=1e-9)


# ---- the procedure, one loop in another ----


@given(scenes(), st.sampled_from([0.5, 0.5, 0.5, 0.3, 0.75]))
def test_it_equals_the_procedure_step_by_step(pictures: list[Picture], iou: float) -> None:
    result, faces = evaluate(*pictures, iou=iou), faces_to_find(pictures)
    right, shown = counts_at(walk(pictures, iou), STEPS)
    assert result.faces == faces
    precision = [r / n if n else math.nan for r, n in zip(right, shown, strict=True)]
    np.testing.assert_allclose(result.precision, precision, rtol=0, atol=1e-12)
    if faces:
        np.testing.assert_allclose(result.recall, [r / faces for r in right], rtol=0, atol=1e-12)
        assert result.ap == pytest.approx(voc_area(right, shown, faces), abs=1e-12)
    else:
        assert math.isnan(result.ap)
        assert np.isnan(result.recall).all()


# ---- by hand ----


def test_everything_found_and_nothing_else() -> None:
    result = evaluate(Picture([A, B], [(A, 1.0), (B, 0.75)]), Picture([C], [(C, 0.0)]))
    assert (result.ap, result.faces) == (pytest.approx(1), 3)
    # thresholds are 1 - k/1000: the first takes in 1.0, the 250th 0.75, the last 0.0
    assert recall_steps(result) == {1: pytest.approx(1 / 3), 250: pytest.approx(2 / 3), 1000: 1.0}
    assert (result.precision == 1).all()


def test_without_detections_nothing_is_found() -> None:
    result = evaluate(Picture([A, B]), Picture([]))
    assert (result.ap, result.faces) == (0.0, 2)
    assert (result.recall == 0).all()
    assert np.isnan(result.precision).all()
    assert result.recall.shape == result.precision.shape == (1000,)


@pytest.mark.parametrize("faces", [[], [A, B]], ids=["no faces", "all ignored"])
def test_no_face_to_find_is_no_number(faces: list[Box]) -> None:
    result = evaluate(Picture(faces, [(box, 0.5) for box in faces], faces), Picture([]))
    assert math.isnan(result.ap)
    assert result.faces == 0
    assert np.isnan(result.recall).all()
    assert np.isnan(result.precision).all()  # nothing is shown: detections on ignored faces do not count
    with_alarm = evaluate(Picture(faces, [(EMPTY, 0.5)], faces))
    assert math.isnan(with_alarm.ap)
    assert (with_alarm.precision == 0).all()


def test_a_false_alarm_counts_in_a_picture_without_faces_too() -> None:
    # stretched to 1 and 0: precision 0/1 at 999 thresholds, then 1/2 with the one face
    result = evaluate(Picture([A], [(A, 0.5)]), Picture([], [(A, 0.9)]))
    assert result.ap == pytest.approx(1 / 2)
    assert result.precision.tolist() == [0.0] * 999 + [0.5]


def test_of_two_detections_of_a_face_the_better_scored_is_right() -> None:
    # right, wrong, right: precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1
    result = evaluate(Picture([A, B], [(B, 0.7), (A, 0.8), ((1, 0, 10, 9), 0.9)]))
    assert result.ap == pytest.approx(1 / 2 * 1 + 1 / 2 * 2 / 3)
    assert recall_steps(result) == {1: 0.5, 1000: 1.0}  # 0.9 and 0.7 are the highest and the lowest
    assert result.precision[[0, 498, 499, 998, 999]].tolist() == [1, 1, 1 / 2, 1 / 2, 2 / 3]  # 0.8 is half way


def test_equal_scores_of_different_pictures_come_together() -> None:
    # precision 1/2 at the first threshold, 2/3 at the last; both faces are worth the better of the two
    result = evaluate(Picture([A], [(A, 0.5)]), Picture([A], [(EMPTY, 0.5), (A, 0.1)]))
    assert result.ap == pytest.approx(2 / 3)
    assert (result.precision[:999] == 1 / 2).all()
    assert recall_steps(result) == {1: 0.5, 1000: 1.0}


def test_a_box_over_two_faces_finds_the_first() -> None:
    twins = [A, (10, 0, 19, 9)]
    over_both = (0, 0, 19, 9)  # 200 pixels over 100 and 100: IoU 1/2 with each
    assert evaluate(Picture(twins, [(over_both, 0.9)])).recall[-1] == 1 / 2
    # nor does a second one find the other
    result = evaluate(Picture(twins, [(over_both, 0.9), (over_both, 0.9)]))
    assert (result.recall[-1], result.precision[-1]) == (1 / 2, 1 / 2)
    # which of the two comes first decides where one is ignored
    assert evaluate(Picture(twins, [(over_both, 0.9)], [twins[1]])).ap == 1
    assert evaluate(Picture(twins[::-1], [(over_both, 0.9)], [twins[1]])).ap == 0


def test_of_two_equal_faces_only_one_can_be_found() -> None:
    result = evaluate(Picture([A, A], [(A, 0.9), (A, 0.8)]))
    assert (result.faces, result.recall[-1], result.precision[-1]) == (2, 1 / 2, 1 / 2)


def test_detections_on_ignored_faces_count_neither_way() -> None:
    alone = Picture([A, B], [(A, 0.5)], [B])
    assert (evaluate(alone).ap, evaluate(alone).faces) == (1, 1)
    assert evaluate(alone._replace(found=[(B, 0.9), (B, 0.8), (B, 0.7), (A, 0.5)])).ap == 1
    assert evaluate(alone._replace(found=[(EMPTY, 0.9), (A, 0.5)])).ap == 1 / 2


def test_a_detection_belongs_to_the_face_it_overlaps_most_ignored_or_not() -> None:
    near = (2, 0, 11, 9)  # IoU 80/120 with A
    for ignored, on_a, on_near in ([near], 1, 0), ([A], 0, 1):
        assert evaluate(Picture([A, near], [(A, 0.9)], ignored)).ap == on_a
        result = evaluate(Picture([A, near], [(near, 0.9)], ignored))
        assert result.ap == on_near
        assert result.precision[-1] == 1 if on_near else np.isnan(result.precision[-1])  # never a false alarm
    # a little nearer to the one that counts
    assert evaluate(Picture([A, near], [((0.5, 0, 9.5, 9), 0.9)], [near])).ap == 1


def test_the_overlap_that_counts() -> None:
    half = (0, 0, 9, 4)  # 50 of 100 pixels
    assert evaluate(Picture([A], [(half, 0.9)])).ap == 1
    assert evaluate(Picture([A], [((0, 0, 9, 3.999), 0.9)])).ap == 0
    assert evaluate(Picture([A], [(half, 0.9)]), iou=0.501).ap == 0
    assert evaluate(Picture([A], [((0, 0, 9, 3), 0.9)]), iou=0.4).ap == 1


def test_sides_count_one_pixel_more() -> None:
    # 3 x 3 pixels each, 2 x 3 in common: 6 of 12. As 2 x 2, 1 x 2 in common, it would be 2 of 6
    found, truth = both([Picture([(0, 0, 2, 2)], [((1, 0, 3, 2), 0.9)])])
    assert match(found, truth).overlap.tolist() == [6 / 12]
    assert evaluate(Picture([(0, 0, 2, 2)], [((1, 0, 3, 2), 0.9)])).ap == 1
    # boxes that only touch have a column of pixels in common: 10 of 190
    found, truth = both([Picture([A], [((9, 0, 18, 9), 0.9), ((10, 0, 19, 9), 0.8)])])
    assert match(found, truth).overlap.tolist() == [10 / 190, 0]


@pytest.mark.parametrize("score", [0.0, 0.3, 1.0])
def test_one_score_for_all_is_one_point_of_the_curve(score: float) -> None:
    result = evaluate(Picture([A, B], [(A, score), (EMPTY, score)]), Picture([A, C], [(A, score)]))
    assert recall_steps(result) == {1: 2 / 4}
    assert (result.precision == 2 / 3).all()
    assert result.ap == pytest.approx(2 / 4 * 2 / 3)


def test_scores_outside_0_to_1() -> None:
    # above 1 the range starts at 1: 2 and 3 become 0.5 and 1
    assert recall_steps(evaluate(Picture([A, B], [(A, 3.0), (B, 2.0)]))) == {1: 0.5, 500: 1.0}
    # below 0 it ends at 0: -2 and -1 become 0 and 0.5
    low = evaluate(Picture([A, B], [(A, -1.0), (B, -2.0)]))
    assert recall_steps(low) == {500: 0.5, 1000: 1.0}
    assert np.isnan(low.precision[:499]).all()
    assert low.ap == 1
    # on both sides it is their own: -3, -1, 5 become 0, 0.25, 1
    assert recall_steps(evaluate(Picture([A, B, C], [(A, 5.0), (B, -1.0), (C, -3.0)]))).keys() == {1, 750, 1000}


def test_scores_between_two_thresholds_come_together() -> None:
    # right, wrong, wrong: AP over all scores is 1; the first threshold, 0.999, takes in the first two
    rows = [(A, 1.0), (EMPTY, 0.9995), (EMPTY, 0.0)]
    assert evaluate(Picture([A], rows)).ap == 1 / 2
    assert evaluate(Picture([A], [(A, 1.0), (EMPTY, 0.9985), (EMPTY, 0.0)])).ap == 1
    assert evaluate(Picture([A], [(A, 1.0), (EMPTY, 0.999), (EMPTY, 0.0)])).ap == 1 / 2  # at the threshold is in


def test_precision_is_raised_to_the_best_at_a_higher_recall() -> None:
    # precision 1, 1/2, 3/4, 3/5 at recall 1/4, 1/4, 3/4, 3/4 of four faces
    recall, precision = np.array([1, 1, 3, 3]) / 4, np.array([1, 1 / 2, 3 / 4, 3 / 5])
    assert area_under(recall, precision) == pytest.approx(1 / 4 * 1 + 2 / 4 * 3 / 4)
    assert area_under(recall, np.array([math.nan, 1 / 2, 3 / 4, 3 / 5])) == pytest.approx(3 / 4 * 3 / 4)
    rows = [(A, 1.0), (EMPTY, 0.8), (B, 0.6), (C, 0.6), (EMPTY, 0.0)]
    assert evaluate(Picture([A, B, C, D], rows)).ap == pytest.approx(5 / 8)


def test_what_a_match_says() -> None:
    found, truth = both([Picture([], [(A, 0.3)]), Picture([B, A], [(A, 0.1), (EMPTY, 0.7), (B, 0.4), (A, 0.4)])])
    result = match(found, truth)
    assert result.order.tolist() == [0, 2, 3, 4, 1]  # by score within a picture, equal scores as they came
    assert result.scores.tolist() == [0.3, 0.7, 0.4, 0.4, 0.1]
    assert result.overlap.tolist() == [0, 0, 1, 1, 1]
    assert result.face[[0, 2, 3, 4]].tolist() == [-1, 0, 1, 1]


@pytest.mark.parametrize("pictures", [1, 3])
def test_detections_and_faces_are_of_the_same_pictures(pictures: int) -> None:
    _, truth = both([Picture([A]), Picture([B])])
    found = Found.of([(np.zeros((0, 4)), np.zeros(0))] * pictures)
    with pytest.raises(ValueError, match=f"detections of {pictures} pictures, faces of 2"):
        match(found, truth)
