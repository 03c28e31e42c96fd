"""Average precision: worked out by hand, against a plain textbook implementation, and what must not change it."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featherface_core.data.annotation import Faces
from featherface_core.evaluation.average_precision import Precision, average_precision, judge_picture
from featherface_core.results import Detections

A, B, C = [0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]
EMPTY = [100, 100, 110, 110]  # no face is here


def found(*rows: tuple[Sequence[float], float]) -> Detections:
    """Detections from pairs of box and score."""
    boxes = np.array([box for box, _ in rows], np.float32).reshape(-1, 4)
    scores = np.array([score for _, score in rows], np.float32)
    return Detections(boxes, scores, np.zeros((len(rows), 5, 2), np.float32))


def ap(detections: Detections | list[Detections], faces: Faces | list[Faces], overlap: float = 0.5) -> float:
    one = isinstance(detections, Detections)
    return average_precision([detections] if one else detections, [faces] if one else faces, overlap).ap


# ---- by hand ----


def test_everything_found_and_nothing_else() -> None:
    result = average_precision([found((A, 0.9), (B, 0.2)), found((C, 0.5))], [Faces.of([A, B]), Faces.of([C])])
    assert result == Precision(1.0, 1.0, 3, 2)


def test_nothing_found() -> None:
    assert average_precision([found()], [Faces.of([A, B])]) == Precision(0.0, 0.0, 2, 1)
    assert average_precision([found((EMPTY, 0.9))], [Faces.of([A, B])]) == Precision(0.0, 0.0, 2, 1)


@pytest.mark.parametrize("detections", [found(), found((A, 0.9))], ids=["none", "one"])
@pytest.mark.parametrize("faces", [Faces.none(), Faces.of([A], ignored=[True])], ids=["none", "ignored"])
def test_no_faces_are_no_number(detections: Detections, faces: Faces) -> None:
    result = average_precision([detections, found()], [faces, Faces.none()])
    assert math.isnan(result.ap)
    assert math.isnan(result.recall)
    assert (result.faces, result.pictures) == (0, 2)
    assert average_precision([], []).pictures == 0
    assert math.isnan(average_precision([], []).ap)


def test_a_curve_by_hand() -> None:
    # by score: right, wrong, right, wrong; precision 1, 1/2, 2/3, 1/2 at recall 1/4, 1/4, 2/4, 2/4 of four faces
    rows = ((A, 0.9), (EMPTY, 0.8), (B, 0.7), ([200, 0, 210, 10], 0.6))
    result = average_precision([found(*rows)], [Faces.of([A, B, C, [60, 0, 70, 10]])])
    assert result.ap == pytest.approx(1 / 4 * 1 + 1 / 4 * 2 / 3)
    assert result.recall == 0.5
    # a wrong one first: precision 0, 1/2, 2/3; the curve is the best from each recall on, 2/3
    rows = ((EMPTY, 0.9), (A, 0.8), (B, 0.7))
    assert ap(found(*rows), Faces.of([A, B])) == pytest.approx(2 / 3)


def test_of_two_detections_of_a_face_the_better_scored_is_right() -> None:
    shifted = [1, 0, 11, 10]  # IoU 9/11 with A
    truth = Faces.of([A, B])
    rows = ((A, 0.8), (shifted, 0.9), (B, 0.7))
    assert judge_picture(found(*rows).boxes, found(*rows).scores, truth, 0.5)[0].tolist() == [0, 1, 1]
    assert ap(found(*rows), truth) == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert ap(found((A, 0.8), (B, 0.7)), truth) == 1


def test_a_detection_belongs_to_the_face_it_overlaps_most_and_to_no_other() -> None:
    # both faces overlap the second detection by more than half; it fits the first better, which is taken
    near = [2, 0, 12, 10]  # IoU 2/3 with A
    one = [0.5, 0, 10.5, 10]  # 0.905 with A, 0.739 with near
    rows = ((A, 0.9), (one, 0.8))
    assert judge_picture(found(*rows).boxes, found(*rows).scores, Faces.of([A, near]), 0.5)[0].tolist() == [1, 0]
    rows = ((A, 0.9), ([1.5, 0, 11.5, 10], 0.8))
    assert judge_picture(found(*rows).boxes, found(*rows).scores, Faces.of([A, near]), 0.5)[0].tolist() == [1, 1]
    # one detection of two faces side by side finds one of them
    assert average_precision([found(([0, 0, 20, 10], 0.9))], [Faces.of([A, [10, 0, 20, 10]])]).recall == 0.5


def test_the_overlap_that_counts() -> None:
    half = [0, 0, 10, 5]  # IoU exactly 1/2 with A
    assert ap(found((half, 0.9)), Faces.of([A])) == 1
    assert ap(found(([0, 0, 10, 4.9], 0.9)), Faces.of([A])) == 0
    assert ap(found((half, 0.9)), Faces.of([A]), overlap=0.51) == 0
    assert ap(found(([0, 0, 10, 4], 0.9)), Faces.of([A]), overlap=0.4) == 1


def test_ignored_faces_count_neither_way() -> None:
    truth = Faces.of([A, B], ignored=[False, True])
    assert average_precision([found((A, 0.5))], [truth]) == Precision(1.0, 1.0, 1, 1)  # not missed
    assert ap(found((B, 0.9), (A, 0.5)), truth) == 1  # not wrong
    assert ap(found((B, 0.9), (B, 0.8), (B, 0.7), (A, 0.5)), truth) == 1  # as often as it is found
    assert ap(found((EMPTY, 0.9), (A, 0.5)), truth) == 0.5  # as opposed to where nothing is
    assert judge_picture(found((B, 0.9), (A, 0.5)).boxes, np.array([0.9, 0.5], np.float32), truth, 0.5)[0].tolist() == [
        -1,
        1,
    ]


def test_a_detection_on_a_face_and_on_an_ignored_one_counts() -> None:
    truth = Faces.of([A, [1, 0, 11, 10]], ignored=[False, True])
    assert judge_picture(found((A, 0.9)).boxes, np.array([0.9], np.float32), truth, 0.5)[0].tolist() == [1]
    # and its duplicate is wrong
    twice = found((A, 0.9), (A, 0.8))
    assert judge_picture(twice.boxes, twice.scores, truth, 0.5)[0].tolist() == [1, 0]


def test_equal_scores_are_taken_in_their_order() -> None:
    truth = Faces.of([A])
    assert ap(found((A, 0.5), (EMPTY, 0.5)), truth) == 1
    assert ap(found((EMPTY, 0.5), (A, 0.5)), truth) == 0.5
    twice = found((A, 0.5), (A, 0.5))
    assert judge_picture(twice.boxes, twice.scores, truth, 0.5)[0].tolist() == [1, 0]


def test_a_face_is_looked_for_in_its_own_picture() -> None:
    assert average_precision([found((B, 0.9)), found((A, 0.9))], [Faces.of([A]), Faces.of([B])]).ap == 0


def test_as_many_detections_as_pictures_are_needed() -> None:
    with pytest.raises(ValueError, match="longer than"):
        average_precision([found()], [Faces.none(), Faces.none()])


def test_boxes_without_area_are_never_right() -> None:
    assert ap(found(([5, 5, 5, 5], 0.9)), Faces.of([[5, 5, 5, 5]])) == 0


# ---- properties ----


def textbook(detections: list[Detections], faces: list[Faces], overlap: float) -> float:
    """VOC 2010 as its development kit says it: a loop over all detections by falling score, then the area."""

    def share(a: Sequence[float], b: Sequence[float]) -> float:
        wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
        if wide <= 0 or high <= 0:
            return 0.0
        return wide * high / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - wide * high)

    rows = [
        (float(score), picture, [float(v) for v in box])
        for picture, found_here in enumerate(detections)
        for box, score in zip(found_here.boxes, found_here.scores, strict=True)
    ]
    rows.sort(key=lambda row: -row[0])
    taken: set[tuple[int, int]] = set()
    total = sum(1 for truth in faces for ignored in truth.ignored if not ignored)
    points, right, wrong = [], 0, 0
    for _, picture, box in rows:
        truth = faces[picture]
        best, owner, on_ignored = overlap, None, False
        for number, (face, ignored) in enumerate(zip(truth.boxes.tolist(), truth.ignored, strict=True)):
            here = share(box, face)
            if ignored:
                on_ignored = on_ignored or here >= overlap
            elif here > best or (owner is None and here >= best):
                best, owner = here, number
        if owner is not None and (picture, owner) not in taken:
            taken.add((picture, owner))
            right += 1
        elif owner is not None or not on_ignored:
            wrong += 1
        else:
            continue
        points.append((right / total, right / (right + wrong)))
    area = last = 0.0
    for recall, _ in points:
        area += (recall - last) * max((p for r, p in points if r >= recall), default=0.0)
        last = recall
    return area


@st.composite
def results(draw: st.DrawFn) -> tuple[list[Detections], list[Faces]]:
    """Up to five pictures with crowded faces, and detections on and beside them, all scores different."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    pictures = draw(st.integers(1, 5))
    scores = rng.permutation(400) / 400
    detections, faces = [], []
    for _ in range(pictures):
        n = int(rng.integers(0, 7))
        corner = rng.uniform(0, 40, (n, 2))
        boxes = np.concatenate((corner, corner + rng.uniform(8, 25, (n, 2))), 1)
        faces.append(Faces.of(boxes, ignored=rng.random(n) < 0.3))
        guesses = [box + rng.normal(0, 2, 4) for box in boxes for _ in range(rng.integers(0, 4))]
        guesses += [np.array([x, y, x + 15, y + 15]) for x, y in rng.uniform(0, 40, (int(rng.integers(0, 4)), 2))]
        order = rng.permutation(len(guesses))
        detections.append(found(*((guesses[i], scores[20 * len(faces) + k]) for k, i in enumerate(order))))
    return detections, faces


def close(a: float, b: float) -> bool:
    return math.isnan(a) and math.isnan(b) if math.isnan(a) or math.isnan(b) else a == pytest.approx(b, abs=1e-6)


@given(results(), st.sampled_from([0.3, 0.5, 0.7]))
@settings(max_examples=200)
def test_it_equals_the_textbook(crowd: tuple[list[Detections], list[Faces]], overlap: float) -> None:
    detections, faces = crowd
    result = average_precision(detections, faces, overlap)
    assert result.faces == sum(int((~truth.ignored).sum()) for truth in faces)
    assert result.pictures == len(faces)
    if result.faces:
        assert 0 <= result.ap <= 1
        assert result.ap <= result.recall + 1e-9 <= 1 + 1e-8
        assert close(result.ap, textbook(detections, faces, overlap))
    else:
        assert math.isnan(result.ap)


@given(results(), st.integers(0, 2**32 - 1))
def test_the_order_of_pictures_detections_and_faces_does_not_matter(
    crowd: tuple[list[Detections], list[Faces]], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    detections, faces = crowd
    shuffled = []
    for picture in rng.permutation(len(faces)):
        mine, order = detections[picture], rng.permutation(len(detections[picture]))
        moved = Detections(mine.boxes[order], mine.scores[order], mine.landmarks[order])
        shuffled.append((moved, faces[picture].select(rng.permutation(len(faces[picture])))))
    assert close(ap(detections, faces), ap([d for d, _ in shuffled], [f for _, f in shuffled]))


@given(results(), st.sampled_from([lambda s: s / 7, lambda s: s**3, lambda s: np.exp(5 * s), lambda s: s - 4]))
def test_only_the_order_of_the_scores_matters(crowd: tuple[list[Detections], list[Faces]], change: object) -> None:
    detections, faces = crowd
    # in float64: in float32 a cube could make two scores equal
    moved = [Detections(d.boxes, change(d.scores.astype(np.float64)), d.landmarks) for d in detections]
    assert close(ap(detections, faces), ap(moved, faces))


@given(results())
def test_a_wrong_detection_never_helps_and_pictures_without_anything_change_nothing(
    crowd: tuple[list[Detections], list[Faces]],
) -> None:
    detections, faces = crowd
    before = ap(detections, faces)
    assert close(before, ap([*detections, found()], [*faces, Faces.none()]))
    if not math.isnan(before):
        assert ap([*detections, found((EMPTY, 0.5003))], [*faces, Faces.none()]) <= before + 1e-9
        assert close(before, ap([*detections, found((EMPTY, -1.0))], [*faces, Faces.none()]))  # below all others
