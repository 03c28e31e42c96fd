"""Matching and MultiBoxLoss: against a plain loop over pictures, against numbers worked out by hand, and at the edges."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from featherface_core.boxes import decode_boxes, encode_boxes, iou, make_anchors
from featherface_core.data.annotation import Faces
from featherface_core.recipe import LossConfig
from featherface_core.training.assignment import match
from featherface_core.training.losses import MultiBoxLoss, box_loss
from featherface_core.training.targets import Targets, anchors_of, decode, encode, encode_points, iou_of

SIDE = 64  # of the smallest picture used: 8x8, 4x4, 2x2 cells, 168 anchors


def targets_of(*pictures: object, **more: object) -> Targets:
    """Targets from a list of boxes for each picture."""
    return Targets.of([Faces.of(boxes, **more) if len(boxes) else Faces.none() for boxes in pictures])


def outputs_for(pictures: int, height: int = SIDE, width: int = SIDE, seed: int = 0) -> tuple[torch.Tensor, ...]:
    draw = torch.Generator().manual_seed(seed)
    anchors = len(anchors_of(height, width))
    return tuple(torch.randn(pictures, anchors, n, generator=draw).requires_grad_() for n in (4, 2, 10))


def corners(anchors: np.ndarray) -> np.ndarray:
    return np.concatenate((anchors[:, :2] - anchors[:, 2:] / 2, anchors[:, :2] + anchors[:, 2:] / 2), 1)


@st.composite
def crowds(draw: st.DrawFn) -> tuple[Targets, int, int]:
    """A batch of one to four pictures of odd sizes, with faces of 1 to 400 pixels in and around them, some ignored."""
    height, width = draw(st.sampled_from([(64, 64), (97, 33), (160, 224), (320, 320)]))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    faces = []
    for _ in range(draw(st.integers(1, 4))):
        n = int(rng.integers(0, 12))
        centre = rng.uniform(0, (width, height), (n, 2))
        side = np.exp(rng.uniform(0, 6, (n, 2)))
        boxes = np.concatenate((centre - side / 2, centre + side / 2), 1)
        faces.append(Faces.of(boxes, ignored=rng.random(n) < 0.3) if n else Faces.none())
    return Targets.of(faces), height, width


@given(crowds())
@settings(max_examples=60)
def test_matching_equals_a_loop_over_pictures(crowd: tuple[Targets, int, int]) -> None:
    targets, height, width = crowd
    found = match(targets, height, width)
    anchors = make_anchors(height, width)
    count = len(anchors)
    for picture in range(targets.pictures):
        mine = (targets.picture == picture).numpy()
        real = np.flatnonzero(mine & ~targets.ignored.numpy())
        here = (found.positive // count == picture).numpy()
        positive = dict(zip((found.positive[here] % count).tolist(), found.face[here].tolist(), strict=True))
        overlaps = iou(targets.boxes.numpy()[real], corners(anchors))
        # 1. all anchors from 0.35 on are positive
        above = np.flatnonzero((overlaps >= 0.3501).any(0))
        assert set(above) <= set(positive)
        # 2. each face's best anchor is positive; 3. nothing else is
        for row, face in enumerate(real):
            best = overlaps[row].max()
            closest = np.flatnonzero(overlaps[row] >= best - 1e-5)
            assert set(closest) & set(positive), f"face {face} has no anchor"
        for anchor, face in positive.items():
            share = overlaps[list(real).index(face), anchor]
            assert share >= 0.3499 or share >= overlaps[list(real).index(face)].max() - 1e-5
        # 4. an anchor that is positive by overlap learns the face it overlaps most, unless it is another's best
        for anchor in above:
            face = positive[anchor]
            share = overlaps[list(real).index(face)]
            assert share[anchor] >= overlaps[:, anchor].max() - 1e-5 or share[anchor] >= share.max() - 1e-5
        # 5. ignored anchors: those on ignored faces, and no positive one
        ignored = set(torch.nonzero(found.ignored.view(-1, count)[picture]).flatten().tolist())
        assert not ignored & set(positive)
        unwanted = np.flatnonzero(mine & targets.ignored.numpy())
        if len(unwanted):
            on = set(np.flatnonzero((iou(targets.boxes.numpy()[unwanted], corners(anchors)) >= 0.2501).any(0)))
            assert on - set(positive) <= ignored
        else:
            assert not ignored


def test_overlaps_are_those_of_the_matches() -> None:
    targets = targets_of([[10, 10, 30, 34]], [[0, 0, 60, 60], [40, 40, 47, 47]])
    found = match(targets, SIDE, SIDE)
    anchors = corners(make_anchors(SIDE, SIDE))
    for anchor, face, overlap in zip(found.positive, found.face, found.overlap, strict=True):
        wanted = iou(targets.boxes[face].numpy()[None], anchors[anchor % len(anchors)][None])[0, 0]
        assert float(overlap) == pytest.approx(float(wanted), abs=1e-5)


def test_two_faces_with_one_best_anchor_leave_it_to_the_closer_fit() -> None:
    # both are nearest to the 16 px anchor around (12, 12); the second fills it
    found = match(targets_of([[11, 11, 13, 13], [4, 4, 20, 20]]), SIDE, SIDE)
    assert 1 in found.face.tolist()
    centre = [a for a, f in zip(found.positive.tolist(), found.face.tolist(), strict=True) if f == 1]
    assert float(found.overlap[found.positive.tolist().index(centre[0])]) == pytest.approx(1.0)


def test_faces_without_area_learn_nothing() -> None:
    found = match(targets_of([[10, 10, 10, 40], [20, 20, 15, 15]]), SIDE, SIDE)
    assert len(found.positive) == 0


# one face, exactly on the 16 px anchor at cell (1, 1): centre (12, 12)
FACE = [[4.0, 4.0, 20.0, 20.0]]
POINTS = [[[8, 9], [16, 9], [12, 12], [9, 16], [15, 16]]]


def hand_made(margin: float = 0.0) -> tuple[list[torch.Tensor], Targets, int]:
    """Outputs that are all zero, but for background odds of ``margin``, the targets, and the index of the face's anchor."""
    anchors = anchors_of(SIDE, SIDE)
    place = int(torch.nonzero((anchors == torch.tensor([12.0, 12.0, 16.0, 16.0])).all(1)))
    zero = [torch.zeros(1, len(anchors), n) for n in (4, 2, 10)]
    zero[1][..., 0] = margin
    return zero, targets_of(FACE, landmarks=POINTS), place


def test_by_hand_box_and_landmarks() -> None:
    outputs, targets, place = hand_made()
    result = MultiBoxLoss(LossConfig())(tuple(outputs), targets, SIDE, SIDE)
    # the face's own anchor (IoU 1) and the 32 px one around it, which overlaps by a quarter and is not taken
    assert result.matches.positive.tolist() == [place]
    # the box is the anchor itself: its regression is 0, and so is the loss
    assert float(result.terms["box"]) == 0
    # landmarks: (p - 12) / (0.1 x 16), smooth L1 = |v| - 0.5 from 1 on: -4 -> 2.5 -> 2.0, -3 -> 1.875 -> 1.375, 3 the same,
    # 0 -> 0: eyes 2 x (2.0 + 1.375), nose 0, mouth 2 x (1.375 + 2.0)
    assert float(result.terms["landmark"]) == pytest.approx(2 * (2.0 + 1.375) * 2, rel=1e-6)


def test_by_hand_scores_and_mining() -> None:
    outputs, targets, _ = hand_made()
    result = MultiBoxLoss(LossConfig())(tuple(outputs), targets, SIDE, SIDE)
    # odds are even: the positive and its seven negatives cost ln 2 each, over one positive
    assert int(result.negative.sum()) == 7
    assert float(result.terms["cls"]) == pytest.approx(8 * math.log(2), rel=1e-6)
    # with confident anchors, the seven highest are mined
    outputs[1][0, 20:23, 1] = 3.0
    result = MultiBoxLoss(LossConfig())(tuple(outputs), targets, SIDE, SIDE)
    assert {20, 21, 22} <= set(torch.nonzero(result.negative).flatten().tolist())
    wanted = math.log(2) + 3 * math.log(1 + math.exp(3)) + 4 * math.log(2)
    assert float(result.terms["cls"]) == pytest.approx(wanted, rel=1e-6)


def test_by_hand_weights_of_terms_and_faces() -> None:
    outputs, targets, place = hand_made()
    outputs[0][0, place] = torch.tensor([0.5, 0.0, 2.0, 0.0])
    # smooth L1 of (0.5, 2.0): 0.125 + 1.5; the box weighs 2
    whole = MultiBoxLoss(LossConfig())(tuple(outputs), targets, SIDE, SIDE).terms
    assert float(whole["box"]) == pytest.approx(2 * 1.625)
    three = MultiBoxLoss(LossConfig(box=3.0, cls=0.5, landmark=0.0))(tuple(outputs), targets, SIDE, SIDE).terms
    assert float(three["box"]) == pytest.approx(3 * 1.625)
    assert float(three["cls"]) == pytest.approx(0.5 * float(whole["cls"]))
    assert float(three["landmark"]) == 0
    # a second picture's face that weighs half: terms are divided by 1.5 faces
    both = targets_of(FACE, FACE, landmarks=POINTS)
    both.weights[1] = 0.5
    twice = tuple(torch.cat((o, o)) for o in outputs)
    mixed = MultiBoxLoss(LossConfig())(twice, both, SIDE, SIDE).terms
    assert float(mixed["box"]) == pytest.approx(float(whole["box"]))


def test_pictures_without_faces_are_background() -> None:
    outputs, _, _ = hand_made()
    result = MultiBoxLoss(LossConfig(background=5))(tuple(outputs), targets_of([]), SIDE, SIDE)
    assert int(result.negative.sum()) == 5
    assert float(result.terms["cls"]) == pytest.approx(5 * math.log(2))
    assert float(result.terms["box"]) == float(result.terms["landmark"]) == 0


def test_ignored_faces_are_neither_positive_nor_negative() -> None:
    outputs, _, place = hand_made()
    outputs[1][0, place, 1] = 9.0  # the most confident anchor: it would be mined first
    ignored = Targets.of([Faces.of(FACE, ignored=[True])])
    result = MultiBoxLoss(LossConfig())(tuple(outputs), ignored, SIDE, SIDE)
    assert len(result.matches.positive) == 0
    assert result.matches.ignored[place]
    assert not result.negative[place]


def test_faces_without_landmarks_train_boxes_and_scores_alone() -> None:
    outputs, _, place = hand_made()
    outputs[0].requires_grad_()
    outputs[2].requires_grad_()
    result = MultiBoxLoss(LossConfig())(tuple(outputs), targets_of([[5, 4, 22, 20]]), SIDE, SIDE)
    torch.stack(list(result.terms.values())).sum().backward()
    assert float(result.terms["landmark"].detach()) == 0
    assert float(outputs[2].grad.abs().sum()) == 0
    assert float(outputs[0].grad[0, place].abs().sum()) > 0


@pytest.mark.parametrize("classification", ["cross-entropy", "focal", "quality-focal"])
@pytest.mark.parametrize("regression", ["smooth-l1", "iou", "diou", "ciou", "eiou"])
@pytest.mark.parametrize(
    "pictures",
    [[[]], [[], []], [[[30, 30, 31, 31]]], [[[-500, -500, -400, -400]]], [[[5, 5, 5, 5]]], [[[0, 0, 64, 64]], []]],
    ids=["no face", "two without", "one pixel", "far outside", "no area", "all and none"],
)
def test_finite_with_gradients(classification: str, regression: str, pictures: list) -> None:
    config = LossConfig(classification=classification, regression=regression)
    outputs = outputs_for(len(pictures))
    terms = MultiBoxLoss(config)(outputs, targets_of(*pictures), SIDE, SIDE).terms
    total = torch.stack(list(terms.values())).sum()
    total.backward()
    assert math.isfinite(float(total.detach()))
    assert all(o.grad is not None and bool(torch.isfinite(o.grad).all()) for o in outputs[1:2])


@pytest.mark.parametrize("regression", ["iou", "diou", "ciou", "eiou"])
def test_overlap_losses_fall_as_boxes_approach(regression: str) -> None:
    anchor = torch.tensor([[32.0, 32.0, 32.0, 32.0]])
    box = torch.tensor([[16.0, 16.0, 48.0, 48.0]])
    losses = [float(box_loss(torch.tensor([[x, 0.0, x, 0.0]]), box, anchor, regression)[0]) for x in (0.0, 1.0, 3.0)]
    assert losses[0] == pytest.approx(0, abs=1e-5)
    assert losses[0] < losses[1] < losses[2]


def test_overlap_by_hand() -> None:
    a = torch.tensor([[0.0, 0, 10, 10]])
    b = torch.tensor([[5.0, 0, 15, 10]])
    share, hull = iou_of(a, b)
    assert float(share) == pytest.approx(1 / 3)
    assert hull.tolist() == [[15, 10]]
    anchor = torch.tensor([[5.0, 5, 10, 10]])
    assert float(box_loss(encode(b, anchor), a, anchor, "iou")[0]) == pytest.approx(2 / 3, abs=1e-5)
    # DIoU adds the squared distance of the centres over the squared diagonal of the hull: 25 / 325
    assert float(box_loss(encode(b, anchor), a, anchor, "diou")[0]) == pytest.approx(2 / 3 + 25 / 325, abs=1e-5)
    # equal shapes: CIoU adds nothing
    assert float(box_loss(encode(b, anchor), a, anchor, "ciou")[0]) == pytest.approx(2 / 3 + 25 / 325, abs=1e-5)
    # another shape, of 10 x 20 px: IoU 50 / 250; centres 5 and 5 px apart, in a hull of 15 x 20 px; heights 10 px apart
    tall = torch.tensor([[5.0, 0, 15, 20]])
    wanted = 0.8 + 50 / (15**2 + 20**2) + 0 / 15**2 + 10**2 / 20**2
    assert float(box_loss(encode(tall, anchor), a, anchor, "eiou")[0]) == pytest.approx(wanted, abs=1e-5)
    assert float(box_loss(encode(a, anchor), tall, anchor, "eiou")[0]) == pytest.approx(wanted, abs=1e-5)


def test_quality_focal_by_hand() -> None:
    outputs, targets, place = hand_made()
    count = len(anchors_of(SIDE, SIDE))
    # the predicted box of the face's anchor lies half a side to the right: 8 of 16 px overlap, IoU 1/3
    outputs[0][0, place, 0] = 5.0
    config = LossConfig(classification="quality-focal")

    def loss(weight: float, ignored: int = 0) -> float:
        targets.weights[0] = weight
        doubtful = torch.zeros(count, dtype=torch.bool)
        doubtful[torch.arange(count)[torch.arange(count) != place][:ignored]] = True
        return float(MultiBoxLoss(config)(tuple(outputs), targets, SIDE, SIDE, doubtful).terms["cls"])

    # scores are 0.5: |target - 0.5|^2 times the cross-entropy, which is ln 2 whatever the target
    face, background = (1 / 3 - 0.5) ** 2 * math.log(2), 0.25 * math.log(2)
    assert loss(1.0) == pytest.approx(face + (count - 1) * background, rel=1e-5)
    assert loss(1.0, 10) == pytest.approx(face + (count - 11) * background, rel=1e-5)
    # a face that counts half weighs half; its target stays. Weights of less than 1 together are not divided by
    assert loss(0.5) == pytest.approx(0.5 * face + (count - 1) * background, rel=1e-5)


def test_focal_by_hand() -> None:
    outputs, targets, _ = hand_made()
    count = len(anchors_of(SIDE, SIDE))
    targets.weights[0] = 0.5
    found = MultiBoxLoss(LossConfig(classification="focal"))(tuple(outputs), targets, SIDE, SIDE).terms["cls"]
    # alpha 0.25 for faces, 0.75 for background, (1 - 0.5)^2 each
    wanted = (0.25 * 0.5 + 0.75 * (count - 1)) * 0.25 * math.log(2)
    assert float(found) == pytest.approx(wanted, rel=1e-5)


def test_coding_equals_the_one_of_detection() -> None:
    anchors = make_anchors(SIDE, SIDE)[:40]
    boxes = corners(anchors) + np.linspace(-3, 3, 160, dtype=np.float32).reshape(40, 4)
    mine = encode(torch.from_numpy(boxes), torch.from_numpy(anchors))
    np.testing.assert_allclose(mine.numpy(), encode_boxes(boxes, anchors), rtol=1e-4, atol=1e-4)
    back = decode(mine, torch.from_numpy(anchors)).numpy()
    np.testing.assert_allclose(back, decode_boxes(mine.numpy(), anchors), rtol=1e-5, atol=1e-4)
    points = torch.rand(40, 5, 2) * 64
    assert encode_points(points, torch.from_numpy(anchors)).shape == (40, 10)


def test_the_loss_of_a_batch_is_that_of_its_pictures_weighted_by_their_positives() -> None:
    pictures = [[[4, 4, 20, 20]], [[8, 8, 40, 44], [30, 2, 50, 20]], [[1, 30, 12, 44]]]
    outputs = outputs_for(3)
    config = LossConfig()
    whole = MultiBoxLoss(config)(outputs, targets_of(*pictures), SIDE, SIDE)
    total, positives = 0.0, 0
    for n, boxes in enumerate(pictures):
        one = MultiBoxLoss(config)(tuple(o[n : n + 1] for o in outputs), targets_of(boxes), SIDE, SIDE)
        count = len(one.matches.positive)
        total += count * float((one.terms["box"] + one.terms["cls"]).detach())
        positives += count
    assert len(whole.matches.positive) == positives
    assert float((whole.terms["box"] + whole.terms["cls"]).detach()) == pytest.approx(total / positives, rel=1e-5)


def test_small_landmark_errors_pull_with_a_small_beta() -> None:
    anchors = anchors_of(SIDE, SIDE)
    face = Faces.of([[4, 4, 20, 20]], [[[8, 8], [16, 8], [12, 12], [9, 16], [15, 16]]])
    targets = Targets.of([face])
    place = int(match(targets, SIDE, SIDE).positive[0])
    outputs = [torch.zeros(1, len(anchors), n) for n in (4, 2, 10)]
    exact = encode_points(targets.landmarks, anchors[place : place + 1])
    pulls = {}
    for beta, off in ((1.0, 0.05), (0.1, 0.05), (0.1, 0.4)):
        outputs[2] = torch.zeros(1, len(anchors), 10)
        outputs[2][0, match(targets, SIDE, SIDE).positive] = exact + off
        points = outputs[2].clone().requires_grad_()
        terms = MultiBoxLoss(LossConfig(landmark_beta=beta))(
            (outputs[0], outputs[1], points), targets, SIDE, SIDE
        ).terms
        terms["landmark"].backward()
        pulls[beta, off] = float(points.grad[0, place].abs().mean() * len(match(targets, SIDE, SIDE).positive))
    assert pulls[1.0, 0.05] == pytest.approx(0.05, rel=0.1)
    assert pulls[0.1, 0.05] == pytest.approx(0.5, rel=0.1)
    assert pulls[0.1, 0.4] == pytest.approx(1.0, rel=0.1)


@pytest.mark.parametrize("classification", ["cross-entropy", "focal", "quality-focal"])
def test_doubtful_anchors_are_no_negatives_but_may_be_positive(classification: str) -> None:
    targets = targets_of([[4, 4, 20, 20]])
    outputs = outputs_for(1)
    criterion = MultiBoxLoss(LossConfig(classification=classification))  # type: ignore[arg-type]
    positive = match(targets, SIDE, SIDE).positive
    plain = criterion(outputs, targets, SIDE, SIDE)
    none = torch.zeros(len(anchors_of(SIDE, SIDE)), dtype=torch.bool)
    assert criterion(outputs, targets, SIDE, SIDE, none).terms["cls"] == plain.terms["cls"]
    everything = criterion(outputs, targets, SIDE, SIDE, ~none)
    assert int(everything.negative.sum()) == 0
    everything.terms["cls"].backward()
    assert sorted(torch.nonzero(outputs[1].grad[0].abs().sum(1)).flatten().tolist()) == positive.tolist()
