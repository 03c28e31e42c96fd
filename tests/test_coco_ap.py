"""COCO's average precision: worked out by hand, against a plain loop, and against figures of COCO's own code."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featherface_core.data.annotation import Faces
from featherface_core.evaluation.average_precision import IOUS, CocoPrecision, coco_average_precision
from featherface_core.results import Detections

A, B, C, D = [0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [60, 0, 70, 10]
EMPTY = [100, 100, 110, 110]  # no face is here


def found(*rows: tuple[Sequence[float], float]) -> Detections:
    """Detections from pairs of box and score."""
    boxes = np.array([box for box, _ in rows], np.float32).reshape(-1, 4)
    scores = np.array([score for _, score in rows], np.float32)
    return Detections(boxes, scores, np.zeros((len(rows), 5, 2), np.float32))


def by_iou(detections: Detections, faces: Faces, most: int = 100) -> list[float]:
    return coco_average_precision([detections], [faces], most).by_iou.tolist()


def ap50(detections: Detections, faces: Faces, most: int = 100) -> float:
    return coco_average_precision([detections], [faces], most).ap50


# ---- by hand ----


def test_everything_found_and_nothing_else() -> None:
    result = coco_average_precision([found((A, 0.2), (B, 0.9)), found((C, 0.5))], [Faces.of([A, B]), Faces.of([C])])
    assert (result.ap, result.ap50, result.ap75, result.faces) == (1, 1, 1, 3)
    assert result.by_iou.tolist() == [1] * 10


@pytest.mark.parametrize("detections", [found(), found((EMPTY, 0.9))], ids=["none", "beside"])
def test_nothing_found(detections: Detections) -> None:
    result = coco_average_precision([detections], [Faces.of([A, B])])
    assert (result.ap, result.ap50, result.ap75, result.faces) == (0, 0, 0, 2)
    assert result.by_iou.tolist() == [0] * 10


@pytest.mark.parametrize("detections", [found(), found((A, 0.9))], ids=["none", "one"])
@pytest.mark.parametrize("faces", [Faces.none(), Faces.of([A], ignored=[True])], ids=["none", "ignored"])
def test_no_faces_are_no_number(detections: Detections, faces: Faces) -> None:
    for result in (coco_average_precision([detections], [faces]), coco_average_precision([], [])):
        assert math.isnan(result.ap)
        assert math.isnan(result.ap50)
        assert math.isnan(result.ap75)
        assert result.by_iou.shape == (10,)
        assert np.isnan(result.by_iou).all()
        assert result.faces == 0


def test_a_curve_by_hand() -> None:
    # by score: right, wrong, right, wrong; precision 1 up to recall 1/4, 26 of the 101 recalls, then 2/3 up to 2/4, 25 of them
    rows = ((A, 0.9), (EMPTY, 0.8), (B, 0.7), (EMPTY, 0.6))
    truth = Faces.of([A, B, C, D])
    assert by_iou(found(*rows), truth) == pytest.approx([(26 + 25 * 2 / 3) / 101] * 10, abs=1e-15)
    assert by_iou(found(*rows[::-1]), truth) == pytest.approx(by_iou(found(*rows), truth), abs=0)
    # a wrong one first: precision 0, 1/2, 2/3; the curve is the best from each recall on, 2/3
    rows = ((EMPTY, 0.9), (A, 0.8), (B, 0.7))
    assert ap50(found(*rows), Faces.of([A, B])) == pytest.approx(2 / 3, abs=1e-15)


@pytest.mark.parametrize(
    ("box", "met"),
    [
        ([0, 0, 10, 4.9], 0),
        ([0, 0, 10, 5], 1),  # IoU exactly 0.5
        ([0, 0, 10, 7.4], 5),
        ([0, 0, 10, 7.5], 6),  # IoU exactly 0.75
        ([1, 0, 11, 10], 7),  # 9/11
        ([0, 0, 10, 9.6], 10),
    ],
)
def test_the_overlap_that_counts(box: list[float], met: int) -> None:
    result = coco_average_precision([found((box, 0.9))], [Faces.of([A])])
    assert result.by_iou.tolist() == [1] * met + [0] * (10 - met)
    assert result.ap == pytest.approx(met / 10, abs=1e-15)
    assert (result.ap50, result.ap75) == (met >= 1, met >= 6)


def test_a_detection_takes_the_next_best_face_if_the_best_is_taken() -> None:
    near = [2, 0, 12, 10]
    second = ([0.5, 0, 10.5, 10], 0.8)  # IoU 0.905 with A, 0.739 with near
    half = 51 / 101  # one of two faces is found, and what is wrong comes after it
    assert by_iou(found((A, 0.9), second), Faces.of([A, near])) == pytest.approx([1] * 5 + [half] * 5, abs=1e-15)
    # where the first is not good enough for A, the second takes it: IoU of the first is 0.8
    rows = (([0, 0, 10, 8], 0.9), second)
    assert by_iou(found(*rows), Faces.of([A])) == pytest.approx([1] * 7 + [0.5] * 2 + [0], abs=1e-15)


def test_of_equal_overlaps_the_later_face_is_taken() -> None:
    left, middle, right = [0, 0, 10, 10], [2, 0, 12, 10], [4, 0, 14, 10]  # IoU 2/3 of the middle with both
    rows = ((middle, 0.9), (right, 0.8))
    assert ap50(found(*rows), Faces.of([right, left])) == 1
    assert ap50(found(*rows), Faces.of([left, right])) == pytest.approx(51 / 101, abs=1e-15)


def test_ignored_faces_count_neither_way() -> None:
    truth = Faces.of([A, B], ignored=[False, True])
    assert coco_average_precision([found((A, 0.5))], [truth]).faces == 1
    assert by_iou(found((A, 0.5)), truth) == [1] * 10  # not missed
    assert (
        by_iou(found((B, 0.9), (B, 0.8), (B, 0.7), (A, 0.5)), truth) == [1] * 10
    )  # not wrong, as often as it is found
    assert by_iou(found((EMPTY, 0.9), (A, 0.5)), truth) == [0.5] * 10  # as opposed to where nothing is


def test_on_an_ignored_face_the_share_of_the_detection_counts() -> None:
    truth = Faces.of([A, [20, 0, 120, 100]], ignored=[False, True])
    assert by_iou(found(([30, 30, 35, 35], 0.9), (A, 0.5)), truth) == [1] * 10  # all of it, with an IoU of 1/400
    assert by_iou(found(([14, 0, 24, 10], 0.9), (A, 0.5)), truth) == [0.5] * 10  # 2/5 of it
    assert by_iou(found(([12.5, 0, 32.5, 10], 0.9), (A, 0.5)), truth) == [1] * 3 + [0.5] * 7  # 5/8 of it
    # and not the share of the ignored face
    assert by_iou(found(([10, 0, 40, 10], 0.9), (A, 0.5)), Faces.of([A, B], ignored=[False, True])) == [0.5] * 10


@pytest.mark.parametrize("ignored", [[False, True], [True, False]])
def test_a_face_goes_before_an_ignored_one(ignored: list[bool]) -> None:
    # the detection is on the face by 0.68, and wholly on the ignored one; where it misses the face it is not wrong either
    boxes = [[2, 0, 12, 10], [0, 0, 30, 30]] if ignored[1] else [[0, 0, 30, 30], [2, 0, 12, 10]]
    truth = Faces.of(boxes, ignored=ignored)
    first, second = ([0, 0, 10.1, 10], 0.9), ([2, 0, 12, 10], 0.8)
    assert by_iou(found(first), truth) == [1] * 4 + [0] * 6
    assert by_iou(found(first, second), truth) == [1] * 10  # a second detection is on the ignored face


def test_with_ignored_faces_a_stricter_overlap_can_give_more() -> None:
    # the first has an IoU of 0.62 with A, and 0.77 of it is ignored: up to 0.6 it takes A, and the second is wrong; up to 0.75
    # it counts neither way, and the second takes A; then it is wrong itself
    rows = (([0, 0, 6.2, 10], 0.9), (A, 0.8), (B, 0.7))
    truth = Faces.of([A, B, [-30, 0, 4.8, 10]], ignored=[False, False, True])
    wanted = [(51 + 50 * 2 / 3) / 101] * 3 + [1] * 3 + [2 / 3] * 4
    assert by_iou(found(*rows), truth) == pytest.approx(wanted, abs=1e-15)


def test_equal_scores_are_taken_in_their_order() -> None:
    assert ap50(found((A, 0.5), (EMPTY, 0.5)), Faces.of([A])) == 1
    assert ap50(found((EMPTY, 0.5), (A, 0.5)), Faces.of([A])) == 0.5
    empty, full = (found((EMPTY, 0.5)), Faces.none()), (found((A, 0.5)), Faces.of([A]))
    assert coco_average_precision(*zip(full, empty, strict=True)).ap == 1
    assert coco_average_precision(*zip(empty, full, strict=True)).ap == 0.5


def test_only_the_best_detections_of_a_picture_count() -> None:
    rows = ((A, 0.1), (EMPTY, 0.8), (B, 0.9))
    truth = Faces.of([A, B])
    two_thirds = (51 + 50 * 2 / 3) / 101
    wanted = {0: two_thirds, 1: 51 / 101, 2: 51 / 101, 3: two_thirds, 100: two_thirds}
    for most, ap in wanted.items():
        assert ap50(found(*rows), truth, most) == pytest.approx(ap, abs=1e-15)
    # of each picture, and the first of equal ones; 100 unless told
    many = found(*[(EMPTY, 0.5)] * 99, (A, 0.5), (B, 0.5))
    assert coco_average_precision([many] * 2, [truth] * 2).ap == pytest.approx(51 / 101 * 2 / 200, abs=1e-15)
    assert coco_average_precision([many], [truth], 0).ap == pytest.approx(2 / 101, abs=1e-15)


def test_a_face_is_looked_for_in_its_own_picture() -> None:
    assert coco_average_precision([found((B, 0.9)), found((A, 0.9))], [Faces.of([A]), Faces.of([B])]).ap == 0


def test_boxes_that_are_none() -> None:
    point = [5, 5, 5, 5]
    assert ap50(found((point, 0.9)), Faces.of([point])) == 0
    assert ap50(found((point, 0.9), (A, 0.5)), Faces.of([A])) == 0.5
    # COCO leaves out one whose right is left of its left, and one of more than 100,000 x 100,000 pixels
    assert ap50(found(([9, 0, 1, 10], 0.9), ([0, 0, 1.1e5, 1e5], 0.8), (A, 0.5)), Faces.of([A])) == 1
    assert ap50(found(([0, 0, 1e5, 1e5], 0.8), (A, 0.5)), Faces.of([A])) == 0.5


def test_what_cannot_be_counted() -> None:
    with pytest.raises(ValueError, match="detections of 1 pictures, faces of 2"):
        coco_average_precision([found()], [Faces.none(), Faces.none()])
    with pytest.raises(ValueError, match="most is -1"):
        coco_average_precision([found()], [Faces.none()], -1)


def test_a_picture_with_more_pairs_than_are_held_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    detections, faces = scene(7, 3)
    whole = coco_average_precision(detections, faces, 0)
    for pairs in (1, 20):
        monkeypatch.setattr("featherface_core.evaluation.average_precision.MOST_PAIRS", pairs)
        assert same(coco_average_precision(detections, faces, 0), whole)


# ---- against COCO's own code ----


def scene(
    seed: int, pictures: int, distinct: bool = False, ignored: bool = True
) -> tuple[list[Detections], list[Faces]]:
    """Crowded faces, and detections on and beside them.

    Of three pictures or more one is without faces, one without detections, and one has more than 100 of these. All numbers come
    from whole ones: quarters of a pixel, so that overlaps are equal now and then, and twentieths for scores unless those are to
    be distinct.
    """
    rng = np.random.default_rng(seed)
    detections, faces = [], []
    for picture in range(pictures):
        special = picture if pictures > 2 else -1
        n = 0 if special == 0 else int(rng.integers(1, 9))
        low = rng.integers(0, 150, (n, 2))
        boxes = np.concatenate((low, low + rng.integers(32, 97, (n, 2))), 1)
        guesses = np.repeat(boxes, rng.integers(0, 5, n), 0)
        guesses = guesses + rng.integers(-8, 9, guesses.shape)
        low = rng.integers(0, 150, (130 if special == 2 else int(rng.integers(0, 7)), 2))
        others = np.concatenate((low, low + rng.integers(16, 65, low.shape)), 1)
        scores = np.concatenate((rng.integers(4, 20, len(guesses)), rng.integers(0, 14, len(others))))
        order = rng.permutation(0 if special == 1 else len(scores))
        detections.append(found(*zip(np.concatenate((guesses, others))[order] / 4, scores[order] / 20, strict=True)))
        faces.append(Faces.of(boxes / 4, ignored=rng.integers(0, 4, n) == 0 if ignored else None))
    if distinct:
        order = rng.permutation(sum(map(len, detections)))
        ends = np.cumsum([len(d) for d in detections])[:-1]
        parts = np.split((order / 1024).astype(np.float32), ends)
        detections = [Detections(d.boxes, s, d.landmarks) for d, s in zip(detections, parts, strict=True)]
    return detections, faces


def same(a: CocoPrecision, b: CocoPrecision) -> bool:
    """Equal to the last bit, NaN equal to NaN."""
    assert a.by_iou.shape == b.by_iou.shape == (10,)
    return a.faces == b.faces and np.array_equal(
        (a.ap, a.ap50, a.ap75, *a.by_iou), (b.ap, b.ap50, b.ap75, *b.by_iou), equal_nan=True
    )


# Figures of pycocotools 2.0.11 (bbox, area range "all", maxDets as in ``most``, no limit for 0; ignored faces as iscrowd=1) for
# scene(seed, 12): (seed, most, sum of the scene, faces that count, AP at each IoU from 0.5 to 0.95, and mean)
GOLDEN = [
    (
        *(1, 100, 138025, 39),
        *(0.6290690202974335, 0.6276235289432833, 0.6266932072929717, 0.5295063195805906, 0.3978105700874598),
        *(0.2912534208446345, 0.1097536711665921, 0.04316363886028809, 0.002011696397635522, 0.0, 0.325688507347089),
    ),
    (
        *(2, 100, 128247, 34),
        *(0.5229025595203157, 0.5175661188297699, 0.5034572079386809, 0.4667388302922977, 0.419599901197916),
        *(0.3617971475826592, 0.1898609778560273, 0.03699020823309802, 0.002094636708252869, 0.0, 0.3021007588159017),
    ),
    (
        *(3, 100, 110604, 38),
        *(0.4968699144265463, 0.4396835218495877, 0.4083636215935782, 0.4047940394573959, 0.2786675118482339),
        *(0.129797366291251, 0.06357769352085628, 0.0009741296710316193, 0.0, 0.0, 0.2222727798658481),
    ),
    (
        *(1, 0, 138025, 39),
        *(0.6285441485331486, 0.627122789214138, 0.6262149727201924, 0.5292408029874257, 0.3978105700874598),
        *(0.2912534208446345, 0.1097140890805068, 0.04306792107001964, 0.002004796752967222, 0.0, 0.3254973511290493),
    ),
    (
        *(2, 10, 128247, 34),
        *(0.5388040557995117, 0.5388040557995117, 0.5246951449084227, 0.4845628053602489, 0.4368409366215018),
        *(0.3626478133643324, 0.186038961038961, 0.03298365550840798, 0.0017472335468841, 0.0, 0.31071246619477827),
    ),
]


@pytest.mark.parametrize("row", GOLDEN, ids=lambda row: f"scene {row[0]}, most {row[1]}")
def test_it_equals_cocos_own_code(row: tuple[float, ...]) -> None:
    seed, most, total, count, *wanted = row
    detections, faces = scene(int(seed), 12)
    # a sum of whole numbers: where it differs, NumPy draws other numbers than it did, and the figures are for another scene
    whole = sum(int(4 * d.boxes.sum(dtype=float) + np.rint(d.scores * 20).sum()) for d in detections)
    assert whole + sum(int(4 * f.boxes.sum(dtype=float) + f.ignored.sum()) for f in faces) == total
    result = coco_average_precision(detections, faces, int(most))
    assert result.faces == count
    assert [*result.by_iou, result.ap] == pytest.approx(wanted, abs=1e-12)
    assert (result.ap50, result.ap75) == (result.by_iou[0], result.by_iou[5])


# ---- properties ----


def textbook(detections: list[Detections], faces: list[Faces], overlap: float, most: int) -> float:
    """AP at one IoU by a loop over all detections and faces, and over the 101 recalls."""
    verdicts = []
    for found_here, truth in zip(detections, faces, strict=True):
        rows = sorted(zip(found_here.scores.tolist(), found_here.boxes.tolist(), strict=True), key=lambda row: -row[0])
        taken: set[int] = set()
        for score, a in rows[: most or None]:
            best, owner, on_ignored = overlap, -1, False
            for number, (b, ignored) in enumerate(zip(truth.boxes.tolist(), truth.ignored, strict=True)):
                wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
                shared = max(wide, 0) * max(high, 0)
                area = (a[2] - a[0]) * (a[3] - a[1])
                if ignored:
                    on_ignored = on_ignored or shared / area >= overlap
                    continue
                share = shared / (area + (b[2] - b[0]) * (b[3] - b[1]) - shared)
                if number not in taken and share >= best:
                    best, owner = share, number
            taken.add(owner)
            if owner >= 0 or not on_ignored:
                verdicts.append((score, owner >= 0))
    verdicts.sort(key=lambda verdict: -verdict[0])
    total = sum(1 for truth in faces for ignored in truth.ignored if not ignored)
    points, right = [], 0
    for shown, (_, is_right) in enumerate(verdicts, 1):
        right += is_right
        points.append((right / total, right / shown))
    recalls = np.linspace(0, 1, 101).tolist()
    return math.fsum(max((p for r, p in points if r >= recall), default=0.0) for recall in recalls) / 101


seeds = st.integers(0, 2**32 - 1)


@given(seeds, st.integers(1, 5), st.sampled_from([0, 1, 5, 100]))
def test_it_equals_the_textbook(seed: int, pictures: int, most: int) -> None:
    detections, faces = scene(seed, pictures)
    result = coco_average_precision(detections, faces, most)
    assert result.faces == sum(int((~truth.ignored).sum()) for truth in faces)
    if not result.faces:
        assert math.isnan(result.ap)
        return
    assert result.ap == pytest.approx(result.by_iou.mean(), abs=1e-15)
    assert ((result.by_iou >= 0) & (result.by_iou <= 1)).all()
    wanted = [textbook(detections, faces, float(overlap), most) for overlap in IOUS]
    assert result.by_iou.tolist() == pytest.approx(wanted, abs=1e-12)


@given(seeds, st.integers(1, 6), st.sampled_from([0, 3, 100]))
def test_the_order_of_pictures_and_detections_does_not_matter(seed: int, pictures: int, most: int) -> None:
    detections, faces = scene(seed, pictures, distinct=True)
    rng = np.random.default_rng(seed)
    shuffled = []
    for picture in rng.permutation(pictures):
        mine, order = detections[picture], rng.permutation(len(detections[picture]))
        moved = Detections(mine.boxes[order], mine.scores[order], mine.landmarks[order])
        shuffled.append((moved, faces[picture]))
    moved_result = coco_average_precision(*zip(*shuffled, strict=True), most)
    assert same(moved_result, coco_average_precision(detections, faces, most))


@given(seeds, st.integers(1, 5))
def test_the_faces_themselves_are_perfect(seed: int, pictures: int) -> None:
    _, faces = scene(seed, pictures)
    rng = np.random.default_rng(seed)
    detections = [found(*((box, rng.random()) for box in truth.boxes)) for truth in faces]
    result = coco_average_precision(detections, faces)
    assert result.by_iou.tolist() == [1] * 10 if result.faces else math.isnan(result.ap)


@given(seeds, st.integers(1, 5), st.sampled_from([0, 5, 100]))
def test_without_ignored_faces_a_stricter_overlap_never_gives_more(seed: int, pictures: int, most: int) -> None:
    detections, faces = scene(seed, pictures, ignored=False)
    result = coco_average_precision(detections, faces, most)
    assert (np.diff(result.by_iou) <= 1e-15).all()
    assert result.ap75 <= result.ap50
    assert result.by_iou[-1] <= result.ap <= result.ap50 + 1e-15


@given(seeds, st.integers(1, 5))
def test_pictures_without_anything_change_nothing_and_false_alarms_never_help(seed: int, pictures: int) -> None:
    detections, faces = scene(seed, pictures)
    before = coco_average_precision(detections, faces)
    assert same(coco_average_precision([*detections, found()], [*faces, Faces.none()]), before)
    if before.faces:
        alarmed = coco_average_precision([*detections, found((EMPTY, 0.503))], [*faces, Faces.none()])
        assert (alarmed.by_iou <= before.by_iou + 1e-15).all()
