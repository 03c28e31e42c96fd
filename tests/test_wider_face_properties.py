"""What must not change the WIDER FACE evaluation, and what may only lower it."""

import math
from collections.abc import Callable
from random import Random

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from wider_scenes import EMPTY, SCORES, STEPS, Picture, both, counts_at, evaluate, faces_to_find, scenes, voc_area, walk

from featherface_core.evaluation import matching
from featherface_core.evaluation.matching import match


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
