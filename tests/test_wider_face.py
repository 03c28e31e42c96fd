"""The WIDER FACE evaluation: golden numbers, a slow reference, worked out by hand, and what must not change it."""

import json
import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from featherface_core.evaluation import matching
from featherface_core.evaluation.matching import match
from featherface_core.evaluation.predictions import read_predictions
from featherface_core.evaluation.truth import Found, Truth
from featherface_core.evaluation.wider_face import IOU, Curve, area_under, curve_of
from featherface_core.evaluation.wider_mat import read_ground_truth

Box = tuple[float, float, float, float]
A, B, C, D = (
    (0, 0, 9, 9),
    (20, 0, 29, 9),
    (40, 0, 49, 9),
    (60, 0, 69, 9),
)  # each 10 x 10 pixels, 9 x 9 without the extra one
EMPTY = (500, 500, 509, 509)  # no face is here


class Picture(NamedTuple):
    faces: Sequence[Box]
    found: Sequence[tuple[Box, float]] = ()
    ignored: Sequence[Box] = ()  # those of the faces that do not count


def both(pictures: Sequence[Picture]) -> tuple[Found, Truth]:
    faces = [np.array(p.faces, np.float64).reshape(-1, 4) for p in pictures]
    found = [(np.array([b for b, _ in p.found], np.float64).reshape(-1, 4), [s for _, s in p.found]) for p in pictures]
    truth = Truth(
        tuple(f"event/{k}" for k in range(len(pictures))),
        np.concatenate([np.zeros((0, 4)), *faces]),
        np.cumsum([len(f) for f in faces], dtype=np.int64),
        {"one": np.array([face not in p.ignored for p in pictures for face in p.faces], bool)},
    )
    return Found.of([(boxes, np.array(scores, np.float64)) for boxes, scores in found]), truth


def evaluate(*pictures: Picture, iou: float = IOU) -> Curve:
    found, truth = both(pictures)
    return curve_of(match(found, truth), truth.counted["one"], iou)


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


def share(a: Box, b: Box) -> float:
    wide, high = min(a[2], b[2]) - max(a[0], b[0]) + 1, min(a[3], b[3]) - max(a[1], b[1]) + 1
    if wide <= 0 or high <= 0:
        return 0.0
    areas = [(x2 - x1 + 1) * (y2 - y1 + 1) for x1, y1, x2, y2 in (a, b)]
    return wide * high / (sum(areas) - wide * high)


def walk(pictures: Sequence[Picture], iou: float = 0.5) -> list[tuple[float, bool]]:
    """Score, stretched, of each detection that counts, and whether it is right."""
    scores = [score for p in pictures for _, score in p.found]
    low, high = min([1.0, *scores]), max([0.0, *scores])
    rows = []
    for picture in pictures:
        taken = set()
        for box, score in sorted(picture.found, key=lambda row: -row[1]):
            shares = [share(box, face) for face in picture.faces]
            owner = shares.index(max(shares)) if shares else -1
            fits = owner >= 0 and shares[owner] >= iou
            if fits and picture.faces[owner] in picture.ignored:
                continue
            rows.append(((score - low) / (high - low) if high > low else 1.0, fits and owner not in taken))
            if fits:
                taken.add(owner)
    return rows


def faces_to_find(pictures: Sequence[Picture]) -> int:
    return sum(face not in p.ignored for p in pictures for face in p.faces)


def counts_at(rows: list[tuple[float, bool]], thresholds: Sequence[float]) -> tuple[list[int], list[int]]:
    right, shown = [], []
    for threshold in thresholds:
        at_least = [is_right for score, is_right in rows if score >= threshold]
        right.append(sum(at_least))
        shown.append(len(at_least))
    return right, shown


def voc_area(right: list[int], shown: list[int], faces: int) -> float:
    recall = [0.0, *(r / faces for r in right), 1.0]
    precision = [0.0, *(r / n if n else 0.0 for r, n in zip(right, shown, strict=True)), 0.0]
    for i in range(len(precision) - 1, 0, -1):
        precision[i - 1] = max(precision[i - 1], precision[i])
    return sum((recall[i + 1] - recall[i]) * precision[i + 1] for i in range(len(recall) - 1))


STEPS = [1 - k / 1000 for k in range(1, 1001)]
SCORES = st.integers(0, 10).map(lambda k: k / 10) | st.integers(0, 2000).map(lambda k: k / 2000) | st.floats(-1.5, 2.5)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    """Small and on whole pixels, so that equal overlaps and an IoU of exactly 0.5 are common."""
    x, y, width, height = (draw(st.integers(0, most)) for most in (8, 3, 7, 3))
    return x, y, x + width, y + height


@st.composite
def scenes(draw: st.DrawFn, scores: st.SearchStrategy[float] = SCORES) -> list[Picture]:
    pictures = []
    moves = st.tuples(*[st.sampled_from([0, 0, 0, 0, -1, 1, 0.5])] * 4)
    for _ in range(draw(st.integers(0, 4))):
        faces = draw(st.lists(boxes(), max_size=6, unique=True))
        ignored = [face for face in faces if draw(st.integers(0, 3)) == 3]
        near = [face for face in faces for _ in range(draw(st.sampled_from([1, 0, 1, 2])))]
        found = [tuple(a + b for a, b in zip(face, draw(moves), strict=True)) for face in near]
        found += draw(st.lists(boxes(), max_size=3))
        pictures.append(Picture(faces, [(box, draw(scores)) for box in draw(st.permutations(found))], ignored))
    return pictures


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


# ---- properties ----


@given(scenes(), st.sampled_from([1, 7]))
def test_matching_a_few_pairs_at_a_time_changes_nothing(pictures: list[Picture], pairs: int) -> None:
    found, truth = both(pictures)
    whole, sizes, iou = match(found, truth), [], matching.iou_with_extra_pixel
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matching, "MOST_PAIRS", pairs)
        patch.setattr(matching, "iou_with_extra_pixel", lambda a, b: sizes.append(len(a)) or iou(a, b))
        parts = match(found, truth)
    assert max(sizes, default=0) <= max([pairs, *(len(p.faces) for p in pictures)])  # those of one box are not split
    assert sum(sizes) == sum(len(p.faces) * len(p.found) for p in pictures)
    for name in ("face", "overlap", "order", "scores"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


@given(scenes(), st.randoms(use_true_random=False))
def test_the_order_of_pictures_and_of_detections_does_not_matter(pictures: list[Picture], draw: Random) -> None:
    # equal scores included: of two detections of a face with one score, one is right, whichever comes first. The order
    # of faces does matter where a detection overlaps two of them equally
    shuffled = [p._replace(found=draw.sample(p.found, len(p.found))) for p in draw.sample(pictures, len(pictures))]
    before, after = evaluate(*pictures), evaluate(*shuffled)
    np.testing.assert_array_equal(after.recall, before.recall)
    np.testing.assert_array_equal(after.precision, before.precision)
    np.testing.assert_equal(after.ap, before.ap)


@given(scenes(), st.data())
def test_finding_every_face_and_no_other_is_1(pictures: list[Picture], data: st.DataObject) -> None:
    assume(faces_to_find(pictures))
    perfect = [p._replace(found=[(face, data.draw(SCORES)) for face in p.faces]) for p in pictures]
    assert evaluate(*perfect).ap == pytest.approx(1, abs=1e-12)
    counted = [p._replace(found=[(b, s) for b, s in p.found if b not in p.ignored]) for p in perfect]
    assert evaluate(*counted).ap == pytest.approx(1, abs=1e-12)


def by_every_score(rows: list[tuple[float, bool]], faces: int) -> float:
    """AP with a threshold at every score that occurs, instead of at 1,000 of them."""
    return voc_area(*counts_at(rows, sorted({score for score, _ in rows}, reverse=True)), faces)


def most_lost(rows: list[tuple[float, bool]]) -> float:
    """How much AP can lose to thresholds that are 1/1000 apart.

    Where a threshold takes in n detections, g of them with the highest of their scores, N in all so far, a threshold
    between those scores could have shown a better precision, but only by (n - g) / N: the right ones it shows are among
    those shown here, together with at most n - g wrong ones. Thresholds left out never add to the area.
    """
    worst, above = 0.0, math.inf
    for threshold in STEPS:
        new = [score for score, _ in rows if threshold <= score < above]
        if new:
            so_far = sum(score >= threshold for score, _ in rows)
            worst = max(worst, (len(new) - new.count(max(new))) / so_far)
        above = threshold
    return worst


LEVELS = st.integers(0, 40)
RISING = (  # of whole numbers 0 to 40; each keeps them apart, most not by a thousandth of the range
    lambda k: k / 40,
    lambda k: 0.5 + k / 1e6,
    lambda k: 3.0 * k - 50,
    lambda k: (k / 40) ** 9,
    lambda k: 1 / (1 + math.exp(20 - k)),
    lambda k: -1 / (1 + k * k),
)


@given(scenes(LEVELS), st.sampled_from(RISING))
def test_a_rising_change_of_the_scores_changes_only_what_the_thresholds_tell_apart(
    pictures: list[Picture], rising: Callable[[int], float]
) -> None:
    faces = faces_to_find(pictures)
    assume(faces)
    moved = [p._replace(found=[(box, rising(score)) for box, score in p.found]) for p in pictures]
    best = by_every_score(walk(pictures), faces)  # of the order of the scores alone
    ap = evaluate(*moved).ap
    assert 0 <= ap <= best + 1e-12
    assert ap >= best - most_lost(walk(moved)) - 1e-12


@given(scenes(LEVELS), st.sets(st.integers(0, 900), min_size=41, max_size=41))
def test_only_the_order_matters_where_scores_are_more_than_a_thousandth_apart(
    pictures: list[Picture], values: set[int]
) -> None:
    faces = faces_to_find(pictures)
    assume(faces)
    apart = [value / 900 for value in sorted(values)]
    moved = [p._replace(found=[(box, apart[score]) for box, score in p.found]) for p in pictures]
    assert evaluate(*moved).ap == pytest.approx(by_every_score(walk(pictures), faces), abs=1e-12)


UNIT = st.integers(0, 2000).map(lambda k: k / 2000)
ENDS = Picture([], [(EMPTY, 0.0), (EMPTY, 1.0)])  # with it the scores are as they are: nothing stretches them


@given(scenes(UNIT), UNIT)
def test_a_false_alarm_never_helps(pictures: list[Picture], score: float) -> None:
    faces = faces_to_find(pictures)
    assume(faces)
    alarm = Picture([], [(EMPTY, score)])
    assert evaluate(*pictures, ENDS, alarm).ap <= evaluate(*pictures, ENDS).ap + 1e-12
    # below all others it stretches the scores anew: held against AP that no thresholds lower
    assert evaluate(*pictures, Picture([], [(EMPTY, -0.5)])).ap <= by_every_score(walk(pictures), faces) + 1e-12


@given(scenes(UNIT), st.data())
def test_without_one_of_the_right_detections_recall_is_never_higher(
    pictures: list[Picture], data: st.DataObject
) -> None:
    found, truth = both(pictures)
    matches = match(found, truth)
    counted = truth.counted["one"]
    right = matches.order[matching.judge(matches, counted, 0.5) == matching.RIGHT]
    assume(len(right))
    gone = data.draw(st.sampled_from(right.tolist()))
    picture, before = int(found.picture[gone]), int(np.searchsorted(found.picture, found.picture[gone]))
    kept = list(pictures)
    rows = [row for k, row in enumerate(kept[picture].found, before) if k != gone]
    kept[picture] = kept[picture]._replace(found=rows)
    assert (evaluate(*kept, ENDS).recall <= evaluate(*pictures, ENDS).recall).all()
    fewer = int(counted.sum()) * (evaluate(*pictures).recall[-1] - evaluate(*kept).recall[-1])
    assert round(fewer) in (0, 1)  # another detection of the face may take its place
