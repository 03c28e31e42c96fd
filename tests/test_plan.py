"""Plans of training pictures: pieces fill the canvas, faces lie on it, and a generator decides everything."""

from dataclasses import replace

import numpy as np
import pytest
from augment_pictures import CROPS, MODES, crowd, rng_of, same, seeds, whole
from hypothesis import given, settings
from hypothesis import strategies as st

from featherface_core.data.annotation import Faces, Picture
from featherface_core.data.augment.plan import Piece, Plan, joined, scaled, windowed
from featherface_core.data.augment.planner import Planner
from featherface_core.recipe import AugmentConfig

SIZE = 128
sides = st.integers(1, 700)


class Shapes:
    """A source of labelled sizes, (height, width), without pixels."""

    name = "shapes"

    def __init__(self, shapes: list[tuple[int, int]], labels: list[Faces]) -> None:
        self.shapes, self.labels = shapes, labels
        self.sets = (("shapes", len(shapes)),)

    def __len__(self) -> int:
        return len(self.shapes)

    def shape(self, index: int) -> tuple[int, int]:
        return self.shapes[index]

    def faces(self, index: int) -> Faces:
        return self.labels[index]

    def read(self, index: int) -> tuple[Picture, Faces]:
        raise AssertionError("a plan needs no pixels")


configs = st.builds(
    lambda crop, mode, soften, min_face: AugmentConfig(
        crop=crop, soften=soften, min_face=min_face, view_side=160, **{mode: 1.0} if mode else {}
    ),
    st.sampled_from([*CROPS, "collage", "mixture"]),
    st.sampled_from([None, *MODES]),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from([0.0, 12.0]),
)


@given(seeds, configs, st.lists(st.tuples(sides, sides), min_size=1, max_size=4))
@settings(max_examples=400, deadline=None)
def test_a_plan_fills_its_canvas_and_keeps_its_faces_on_it(
    seed: int, config: AugmentConfig, shapes: list[tuple[int, int]]
) -> None:
    source = Shapes(shapes, [crowd(rng_of(seed + i), *shape) for i, shape in enumerate(shapes)])
    plan = Planner(source, config, SIZE).plan(len(shapes) - 1, SIZE, rng_of(seed))
    assert plan.size == SIZE
    covered = np.zeros((SIZE, SIZE), int)
    for piece in plan.pieces:
        left, top, width, height = piece.place
        x1, y1, x2, y2 = piece.shown
        assert max(left, 0) <= x1 < x2 <= min(left + width, SIZE)
        assert max(top, 0) <= y1 < y2 <= min(top + height, SIZE)
        assert 1 <= piece.detail[0] <= width
        assert 1 <= piece.detail[1] <= height
        assert min(piece.window[2:]) >= 1
        assert 0 <= piece.opacity <= 1
        covered[y1:y2, x1:x2] += 1
        if piece is plan.pieces[0] or not (config.mixup or config.cutmix):
            assert piece.opacity == 1
    assert covered.min() >= 1
    mixes = config.mosaic or config.mixup or config.cutmix
    assert covered.max() == (2 if config.mixup or config.cutmix else 1)
    if config.crop in ("collage", "mixture") and not mixes:
        for piece in plan.pieces:
            x, y, width, height = piece.window
            assert min(x, y) >= 0
            assert x + width <= shapes[piece.picture][1]
            assert y + height <= shapes[piece.picture][0]
            assert piece.shown == (*piece.place[:2], piece.place[0] + piece.place[2], piece.place[1] + piece.place[3])
    boxes, weights = plan.faces.boxes, plan.faces.weights
    assert np.isfinite(boxes).all()
    assert ((boxes >= 0) & (boxes <= SIZE)).all()
    assert (boxes[:, :2] <= boxes[:, 2:]).all()
    assert ((weights >= 0) & (weights <= 1)).all()
    longer = (boxes[:, 2:] - boxes[:, :2]).max(1)
    assert plan.faces.ignored[longer < config.min_face].all()


@given(seeds, configs)
@settings(max_examples=60, deadline=None)
def test_a_plan_is_the_same_again_for_its_generator(seed: int, config: AugmentConfig) -> None:
    shapes = [(300, 200), (90, 400), (64, 64)]
    source = Shapes(shapes, [crowd(rng_of(seed + i), *shape) for i, shape in enumerate(shapes)])
    planner = Planner(source, config, SIZE)
    first = planner.plan(1, SIZE, rng_of(seed))
    planner.plan(2, 64, rng_of(seed + 1))  # what was planned in between does not count
    for again in (planner.plan(1, SIZE, rng_of(seed)), Planner(source, config, SIZE).plan(1, SIZE, rng_of(seed))):
        assert again.pieces == first.pieces
        same(again.faces, first.faces)


@pytest.mark.parametrize("crop", ["none", "collage"])
def test_other_generators_give_other_plans(crop: str) -> None:
    source = Shapes([(300, 200), (90, 400)], [Faces.of([[10, 10, 60, 70]])] * 2)
    planner = Planner(source, AugmentConfig(crop=crop), SIZE)  # type: ignore[arg-type]
    plans = [planner.plan(0, SIZE, rng_of(seed)).pieces for seed in range(8)]
    assert len(set(plans)) == 8


def test_pictures_of_weight_0_never_come_not_even_in_place_of_another() -> None:
    source = Shapes([(200, 200)] * 6, [Faces.of([[10, 10, 60, 70]])] * 6)
    weights = np.array([0.0, 1.0, 0.0, 3.0, 0.0, 0.0])
    for config in (
        AugmentConfig(crop="mixture", size_edges=(30.0,), size_shares=(0.5, 0.5), views=0.3),
        AugmentConfig(crop="collage"),
        AugmentConfig(mosaic=1.0),
        AugmentConfig(mixup=1.0),
    ):
        planner = Planner(source, config, SIZE, weights)
        drawn = [p.picture for seed in range(60) for p in planner.plan(3, SIZE, rng_of(seed)).pieces]
        assert set(drawn) == {1, 3}
        for gone, left in ((3, 1), (1, 3)):
            plans = [planner.plan(3, SIZE, rng_of(seed), frozenset({gone})) for seed in range(20)]
            assert {p.picture for plan in plans for p in plan.pieces} == {left}


def test_weights_are_how_often_pictures_are_drawn() -> None:
    source = Shapes([(200, 200)] * 3, [Faces.none()] * 3)
    planner = Planner(source, AugmentConfig(), SIZE, np.array([1.0, 0.0, 3.0]))
    rng = rng_of(0)
    counts = np.bincount([planner.draw(rng) for _ in range(400)], minlength=3)
    assert counts[1] == 0
    assert counts[2] == pytest.approx(300, abs=35)  # 4 standard deviations


# ---- the parts of a plan, by hand ----


def test_windowed_faces_by_hand() -> None:
    """A window of 40 x 20 at (10, 30) brought to 80 x 10: twice as wide, half as high."""
    faces = Faces.of(
        [[10, 30, 20, 40], [0, 0, 100, 100]], [[[15, 34]] * 5, [[np.nan] * 2] * 5], [False, True], [1, 0.5]
    )
    shown = windowed(faces, (10, 30, 40, 20), 80, 10)
    assert shown.boxes.tolist() == [[0, 0, 20, 5], [-20, -15, 180, 35]]
    assert shown.landmarks[0].tolist() == [[10, 2]] * 5
    assert np.isnan(shown.landmarks[1]).all()
    assert shown.ignored.tolist() == [False, True]
    assert shown.weights.tolist() == [1, 0.5]
    assert scaled(faces, (2, 0.5), (-20, -15)).boxes.tolist() == shown.boxes.tolist()


def test_parts_move_are_cut_and_joined_by_hand() -> None:
    part = whole(4, Faces.of([[10, 10, 30, 30], [70, 10, 90, 30]], [[[12, 14]] * 5] * 2), 100, 50)
    moved = part.moved(5, -20)
    assert moved.pieces == (replace(part.pieces[0], place=(5, -20, 100, 50), shown=(5, -20, 105, 30)),)
    assert moved.faces.boxes.tolist() == [[15, -10, 35, 10], [75, -10, 95, 10]]
    assert moved.faces.landmarks[0, 0].tolist() == [17, -6]
    cut = moved.cut(0, 0, 60, 40)
    assert cut.pieces == (replace(moved.pieces[0], shown=(5, 0, 60, 30)),)
    # half of the first is in view, its centre on the border
    assert cut.faces.boxes.tolist() == [[15, 0, 35, 10]]
    assert not cut.faces.ignored[0]
    assert moved.cut(0, 30, 60, 40).pieces == ()
    both = joined([cut, part])
    assert both.pieces == cut.pieces + part.pieces
    assert len(both.faces) == 3


def test_pieces_and_plans_cannot_be_changed() -> None:
    piece = Piece(picture=0, window=(0, 0, 4, 4), place=(0, 0, 4, 4), shown=(0, 0, 4, 4), detail=(4, 4))
    for thing, name in ((piece, "picture"), (Plan(4, (piece,), Faces.none()), "size")):
        with pytest.raises(AttributeError):
            setattr(thing, name, 1)
