"""Which anchor learns which face: against plain loops on random scenes, by hand, and without waiting for a GPU."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from assignment_loops import Loops
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from featherface_core.boxes import count_anchors
from featherface_core.data.annotation import Faces
from featherface_core.errors import ConfigError
from featherface_core.recipe import AssignKind, DistillConfig, LossConfig
from featherface_core.training import assignment
from featherface_core.training.assignment import Matches, Predictions, match, rows_where
from featherface_core.training.losses import MultiBoxLoss, Outputs
from featherface_core.training.targets import Targets, anchors_of
from featherface_core.training.teacher import DistillationLoss, TeacherView

SIDE = 64
MODES: tuple[AssignKind, ...] = ("iou", "atss", "simota")
# one face around the 16 px anchor at (12, 12), a pixel larger on each side
FACE = [[3.0, 3.0, 21.0, 21.0]]


def scene(seed: int) -> tuple[Targets, int, int, Predictions]:
    """Three pictures: crowds, none, faces of 1 to 900 px, some ignored, some beyond the edge, some without area."""
    rng = np.random.default_rng(seed)
    height, width = [(64, 64), (97, 33), (96, 160), (200, 136)][rng.integers(4)]
    faces = []
    for _ in range(3):
        n = int(rng.integers(0, 12))
        centre = rng.uniform(-0.1, 1.1, (n, 2)) * (width, height)
        if rng.random() < 0.3:
            centre = centre[:1] + rng.normal(0, 8, (n, 2))  # a crowd that wants the same anchors
        side = np.exp(rng.uniform(0, 6.8 if rng.random() < 0.3 else 4.5, (n, 1)) + rng.uniform(-0.4, 0.4, (n, 2)))
        flat = rng.random((n, 2)) < 0.03
        side = np.where(flat, rng.choice([0.0, -5.0], (n, 2)), side)
        boxes = np.concatenate((centre - side / 2, centre + side / 2), 1)
        weights = rng.uniform(0, 1, n)
        faces.append(Faces.of(boxes, ignored=rng.random(n) < 0.2, weights=weights) if n else Faces.none())
    total = 3 * count_anchors(height, width)
    draw = torch.Generator().manual_seed(seed)
    predictions = Predictions(torch.randn(total, 4, generator=draw), 3 * torch.randn(total, generator=draw))
    return Targets.of(faces), height, width, predictions


@pytest.mark.parametrize("mode", MODES)
def test_matching_equals_plain_loops(mode: AssignKind) -> None:
    unclear, pictures, learnt = 0, 0, 0
    for seed in range(340):
        targets, height, width, predictions = scene(seed)
        count = count_anchors(height, width)
        config = LossConfig(assign=mode, iou=(0.35, 0.5, 0.2)[seed % 3], ignore_iou=(0.25, 0.4)[seed % 2])
        config = replace(config, atss_k=(9, 4)[seed % 2])
        found = match(targets, height, width, config, predictions)
        for picture in range(3):
            here = (targets.picture == picture).numpy()
            own = slice(picture * count, (picture + 1) * count)
            loops = Loops(height, width, predictions.regressions[own].numpy(), predictions.margin[own].numpy())
            wanted = loops.judge(
                targets.boxes.numpy()[here],
                targets.ignored.numpy()[here],
                mode,
                config.iou,
                config.ignore_iou,
                config.atss_k,
            )
            pictures += 1
            unclear += wanted.unclear
            if wanted.unclear:
                continue
            mine = (found.positive // count == picture).numpy()
            places, first = (found.positive.numpy()[mine] % count).tolist(), int(here.argmax())
            assert dict(zip(places, (found.face.numpy()[mine] - first).tolist(), strict=True)) == wanted.learns, seed
            assert set(torch.nonzero(found.ignored[own]).flatten().tolist()) == wanted.ignored, seed
            learnt += len(places)
    assert pictures > 1000
    assert unclear < 0.1 * pictures
    assert learnt > 3000


@pytest.mark.parametrize("mode", MODES)
@given(st.integers(0, 10**6), st.integers(0, 4), st.sampled_from([0.0, 0.5, 1.0]))
@settings(max_examples=40, deadline=None)
def test_what_holds_in_each_mode(mode: AssignKind, seed: int, most: int, power: float) -> None:
    targets, height, width, predictions = scene(seed)
    free = match(targets, height, width, LossConfig(assign=mode), predictions)
    found = match(targets, height, width, LossConfig(assign=mode, most_per_face=most, per_face=power), predictions)
    assert len(set(found.positive.tolist())) == len(found.positive)
    assert torch.nonzero(found.taken).flatten().tolist() == found.positive.tolist()
    assert not bool((found.taken & found.ignored).any())
    counts = torch.bincount(found.face, minlength=len(targets.boxes))
    before = torch.bincount(free.face, minlength=len(targets.boxes))
    assert counts.tolist() == (before.clamp(max=most) if most else before).tolist()
    # what a limit takes away is hidden, and overlaps its face no more than what stays
    dropped = free.taken & ~found.taken
    assert bool(found.ignored[dropped].all())
    kept = {f: min(found.overlap[found.face == f].tolist()) for f in set(found.face.tolist())}
    for place, face, overlap in zip(free.positive.tolist(), free.face.tolist(), free.overlap.tolist(), strict=True):
        assert not dropped[place] or overlap <= kept[face] + 1e-6
    wanted = targets.weights[found.face] * counts[found.face] ** -power
    torch.testing.assert_close(found.weight, wanted)


def named(found: Matches) -> set[tuple[float, float, float]]:
    """Centre and side of the positive anchors of a picture."""
    return {tuple(anchor[:3].tolist()) for anchor in anchors_of(SIDE, SIDE)[found.positive]}  # type: ignore[misc]


CENTRE = {(12, 12, 16)}
BESIDE = {(4, 12, 16), (20, 12, 16), (12, 4, 16), (12, 20, 16)}


def test_atss_by_hand() -> None:
    # IoUs of the nine nearest anchors of each layer (four where the picture has no more), the face being 18 px:
    shares = [256 / 324] + 4 * [144 / 436] + 4 * [81 / 499]  # 16 px: the face's middle, 8 px beside it, 8 px across
    shares += [324 / 1024] + 4 * [306 / 1042] + 4 * [289 / 1059]  # 32 px, which lose a column where they are 8 px away
    shares += (
        4 * [324 / 4096] + 4 * [234 / 4186] + [169 / 4251]
    )  # 64 px around 8, 24 and 40; the last cover 13 of 18 px
    shares += 9 * [324 / 16384] + 4 * [324 / 65536] + 4 * [324 / 262144]  # the rest have all of the face in them
    mean = sum(shares) / 44
    threshold = mean + math.sqrt(sum((s - mean) ** 2 for s in shares) / 43)
    assert threshold == pytest.approx(0.29908, abs=1e-5)
    # above it: the middle one, those beside it (.330), and the middle one of 32 px (.316); not the next of 32 px (.294)
    targets = Targets.of([Faces.of(FACE)])
    assert named(match(targets, SIDE, SIDE, LossConfig(assign="atss"))) == CENTRE | BESIDE | {(12, 12, 32)}
    # one a layer: .790, .316, .079, .020, .005, .001 have a mean of .202 and a deviation of .311
    assert named(match(targets, SIDE, SIDE, LossConfig(assign="atss", atss_k=1))) == CENTRE
    assert named(match(targets, SIDE, SIDE)) == CENTRE
    # a face of 4 px that holds no anchor's centre keeps its best
    small = Targets.of([Faces.of([[14, 14, 18, 18]])])
    assert len(match(small, SIDE, SIDE, LossConfig(assign="atss")).positive) == 1


def simota(targets: Targets, scores: dict[tuple[float, float, float], float]) -> Matches:
    """Regressions are zero, so that boxes are anchors; the margin is zero but for the anchors named."""
    anchors = anchors_of(SIDE, SIDE)
    margin = torch.zeros(len(anchors))
    for anchor, value in scores.items():
        margin[(anchors[:, :3] == torch.tensor(anchor)).all(1)] = value
    predictions = Predictions(torch.zeros(len(anchors), 4), margin)
    return match(targets, SIDE, SIDE, LossConfig(assign="simota"), predictions)


def test_simota_by_hand() -> None:
    # the ten best IoUs: .790, four of .330, .316, four of .294: 3.60 together, so three anchors
    # with even scores the middle one costs ln 2 - 3 ln .790 = 1.40, those beside it ln 2 - 3 ln .330 = 4.02; scores decide:
    # 32 px at a margin of 2: .127 - 3 ln .316 = 3.58; one beside at 1: .313 - 3 ln .330 = 3.64
    targets = Targets.of([Faces.of(FACE)])
    better = {(12.0, 12.0, 32.0): 2.0, (20.0, 12.0, 16.0): 1.0}
    assert named(simota(targets, better)) == CENTRE | set(better)
    # at -9 the middle one costs 9.7, more than all that are beside it
    worse = {(12.0, 12.0, 16.0): -9.0, **better, (4.0, 12.0, 16.0): 0.5}
    assert named(simota(targets, worse)) == {*better, (4, 12, 16)}
    # an anchor with the best score does not learn a face more than four times smaller: 128 px and 18 px
    assert named(simota(targets, {**better, (8.0, 8.0, 128.0): 50.0})) == CENTRE | set(better)
    # one whose centre is not in the face costs 200 more: (12, 28) is 7 px below it
    assert named(simota(targets, {**better, (12.0, 28.0, 16.0): 50.0})) == CENTRE | set(better)


def test_simota_gives_a_face_its_cheapest_anchor_first() -> None:
    # the second face, of 28 px, wants the 32 px anchor most and then the 16 px one: .007 - 3 ln(256 / 784) = 3.36. For the
    # first, of 8 px, that is the only one with its centre in the face, though it costs .007 - 3 ln(64 / 256) = 4.17
    middle = (12.0, 12.0, 16.0)
    beside = {(x, y, 32.0): -3.0 for x, y in ((4.0, 12.0), (20.0, 12.0), (12.0, 4.0), (12.0, 20.0))}
    small, large = [8, 8, 16, 16], [-2, -2, 26, 26]
    assert named(simota(Targets.of([Faces.of([large])]), {middle: 5.0, **beside})) > CENTRE
    found = simota(Targets.of([Faces.of([small, large])]), {middle: 5.0, **beside})
    places = [tuple(a[:3].tolist()) for a in anchors_of(SIDE, SIDE)[found.positive]]
    assert found.face.tolist()[places.index(middle)] == 0
    # two faces with one cheapest anchor: the one that fits better has it
    twice = Targets.of([Faces.of([[5, 5, 19, 19], *FACE])])
    found = simota(twice, {})
    places = [tuple(a[:3].tolist()) for a in anchors_of(SIDE, SIDE)[found.positive]]
    assert found.face.tolist()[places.index(middle)] == 1


def test_weights_per_face_by_hand() -> None:
    # the first face has six anchors (see ATSS by hand), the second, exactly on an anchor, one
    targets = Targets.of([Faces.of(FACE), Faces.of([[4, 4, 20, 20]], weights=[0.5])])
    outputs = tuple(torch.zeros(2, len(anchors_of(SIDE, SIDE)), n) for n in (4, 2, 10))
    for power, first in ((0.0, 1.0), (0.5, 6**-0.5), (1.0, 1 / 6)):
        config = LossConfig(assign="atss", per_face=power)
        result = MultiBoxLoss(config)(outputs, targets, SIDE, SIDE)  # type: ignore[arg-type]
        assert result.matches.weight.tolist() == pytest.approx(6 * [first] + [0.5])
        # all scores are even: each positive and each of 7 x 7 negatives costs ln 2, and negatives have no weights
        summed = 6 * first + 0.5
        assert float(result.terms["cls"]) == pytest.approx((summed + 49) * math.log(2) / summed, rel=1e-5)


def test_most_per_face_by_hand() -> None:
    targets = Targets.of([Faces.of(FACE)])
    found = match(targets, SIDE, SIDE, LossConfig(assign="atss", most_per_face=3))
    # the best, and of the four that are alike beside it the first two
    assert named(found) == CENTRE | {(12, 4, 16), (4, 12, 16)}
    hidden = anchors_of(SIDE, SIDE)[found.ignored]
    assert {tuple(a[:3].tolist()) for a in hidden} == {(20, 12, 16), (12, 20, 16), (12, 12, 32)}


def test_regions_of_ignored_faces_by_hand() -> None:
    # 8 px around (12, 12): the anchors of 16 and 32 px in 3x3 cells, whose centres are at most 12 px away
    ignored = Targets.of([Faces.of([[8, 8, 16, 16]], ignored=[True])])
    for mode in ("iou", "atss"):
        hidden = anchors_of(SIDE, SIDE)[match(ignored, SIDE, SIDE, LossConfig(assign=mode)).ignored]  # type: ignore[arg-type]
        wanted = {(x, y, s) for x in (4, 12, 20) for y in (4, 12, 20) for s in (16, 32)}
        assert {tuple(a[:3].tolist()) for a in hidden} == wanted
    # 60 px around (80, 80): of 64 px, those with centres from 50 to 110 (56 to 104), and 32 px up to a factor of two
    larger = Targets.of([Faces.of([[50, 50, 110, 110]], ignored=[True])])
    anchors = anchors_of(160, 160)
    hidden = anchors[match(larger, 160, 160, LossConfig(ignore_iou=1.0)).ignored]
    assert {tuple(a[:2].tolist()) for a in hidden if a[2] == 64} == {
        (x, y) for x in (56, 72, 88, 104) for y in (56, 72, 88, 104)
    }
    assert {tuple(a[:2].tolist()) for a in hidden if a[2] == 128} == set()
    # a real face in an ignored one's region learns as it would without
    both = Targets.of([Faces.of([[8, 8, 16, 16], [4, 4, 20, 20]], ignored=[True, False])])
    found = match(both, SIDE, SIDE)
    assert named(found) == CENTRE
    assert not bool(found.ignored[found.positive].any())


CONFIGS = [
    LossConfig(),
    LossConfig(assign="atss", classification="quality-focal", regression="eiou", per_face=0.5),
    LossConfig(assign="simota", classification="focal", regression="diou", most_per_face=4),
    LossConfig(most_per_face=2, per_face=1.0, regression="ciou"),
]


def trained(config: LossConfig, seed: int) -> tuple[dict[str, float], list[torch.Tensor], Matches]:
    """Terms and gradients of a random scene, by labels and by a teacher."""
    targets, height, width, _ = scene(seed)
    draw = torch.Generator().manual_seed(seed)
    anchors = count_anchors(height, width)
    known = torch.rand(len(targets.boxes), 1, 1, generator=draw) < 0.7
    points = torch.rand(len(targets.boxes), 5, 2, generator=draw) * 60
    targets = replace(targets, landmarks=torch.where(known, points, torch.nan))
    outputs = tuple(torch.randn(3, anchors, n, generator=draw).requires_grad_() for n in (4, 2, 10))
    view = TeacherView(*(torch.randn(3 * anchors, *n, generator=draw) for n in ((4,), (), (10,))), [torch.zeros(1)])
    labelled = MultiBoxLoss(config)(
        outputs,  # type: ignore[arg-type]
        targets,
        height,
        width,
        view.margin > 2,
    )
    teaching = DistillationLoss(DistillConfig(features="none", agree_iou=0.1, believes=0.5))
    taught = teaching(outputs, [], view, targets, labelled, height, width)  # type: ignore[arg-type]
    terms = labelled.terms | taught
    torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
    gradients = [o.grad for o in outputs if o.grad is not None]
    return {k: float(v.detach()) for k, v in terms.items()}, gradients, labelled.matches


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.assign)
def test_lists_of_known_length_give_the_same(config: LossConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs on a GPU, where no list may have a length that depends on the data."""
    for seed in range(15):
        terms, gradients, matches = trained(config, seed)
        assert all(math.isfinite(value) for value in terms.values())
        assert all(bool(torch.isfinite(g).all()) for g in gradients)
        with monkeypatch.context() as patch:
            patch.setattr(assignment, "_counting_is_free", lambda device: False)
            padded_terms, padded_gradients, padded = trained(config, seed)
        assert padded_terms == pytest.approx(terms, rel=1e-5)
        for mine, theirs in zip(padded_gradients, gradients, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)
        assert torch.equal(padded.positive[padded.valid], matches.positive)
        assert torch.equal(padded.face[padded.valid], matches.face)
        assert torch.equal(padded.ignored, matches.ignored)
        assert not bool(padded.weight[~padded.valid].any())


class Waits(TorchDispatchMode):
    """Refuses what would make the CPU wait for a GPU: values that are read, and lengths that depend on the data."""

    allowed = False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        name = func.overloadpacket.__name__
        masks = name in ("index", "index_put", "index_put_") and any(
            i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1]
        )
        reads = ("nonzero", "_local_scalar_dense", "item", "masked_select", "bincount", "repeat_interleave", "equal")
        if not self.allowed and (masks or name in reads or name.startswith("unique")):
            raise AssertionError(f"a GPU would be waited for: {name}")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.assign)
def test_nothing_waits_for_a_gpu(config: LossConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    count = assignment._pairs
    waits = Waits()

    def counted_on_the_host(*given: object) -> int:
        waits.allowed = True
        total = count(*given)  # type: ignore[arg-type]
        waits.allowed = False
        return total

    targets, height, width, _ = scene(0)
    draw = torch.Generator().manual_seed(0)
    anchors = count_anchors(height, width)
    outputs: Outputs = tuple(torch.randn(3, anchors, n, generator=draw).requires_grad_() for n in (4, 2, 10))  # type: ignore[assignment]
    view = TeacherView(*(torch.randn(3 * anchors, *n, generator=draw) for n in ((4,), (), (10,))), [])
    teaching = DistillationLoss(DistillConfig(features="none"))
    match(targets, height, width)  # tables of anchors are made once
    with pytest.raises(AssertionError, match="would be waited for"), waits:
        MultiBoxLoss(config)(outputs, targets, height, width)
    monkeypatch.setattr(assignment, "_counting_is_free", lambda device: False)
    monkeypatch.setattr(assignment, "_pairs", counted_on_the_host)
    with waits:
        labelled = MultiBoxLoss(config)(outputs, targets, height, width, view.margin > 2)
        taught = teaching(outputs, [], view, targets, labelled, height, width)
        torch.stack([*labelled.terms.values(), *taught.values()]).sum().backward()  # type: ignore[no-untyped-call]


def test_rows_of_a_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = torch.tensor([False, True, False, False, True, True, False])
    assert rows_where(mask, 7)[0].tolist() == [1, 4, 5]
    monkeypatch.setattr(assignment, "_counting_is_free", lambda device: False)
    for most in (3, 4, 7, 99):
        rows, valid = rows_where(mask, most)
        assert len(rows) == min(most, 7)
        assert rows[valid].tolist() == [1, 4, 5]
        assert int(valid.sum()) == 3
        assert bool(((rows >= 0) & (rows < 7)).all())
    rows, valid = rows_where(torch.zeros(4, dtype=torch.bool), 2)
    assert len(rows) == 2
    assert not bool(valid.any())


def test_targets_elsewhere_remember_the_cpu() -> None:
    targets = Targets.of([Faces.of(FACE)])
    moved = targets.to("meta")
    assert moved.boxes.device.type == "meta"
    assert moved.on_host() is targets
    assert targets.to("cpu") is targets


@pytest.mark.parametrize(
    ("key", "value"),
    [("assign", "max-iou"), ("atss_k", 0), ("atss_k", 26), ("per_face", 1.5), ("most_per_face", -1), ("prior", 0.0)],
)
def test_odd_settings_are_refused(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"loss\.{key}"):
        LossConfig(**{key: value})  # type: ignore[arg-type]
