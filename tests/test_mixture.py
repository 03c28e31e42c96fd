"""Mixtures: views at the scales that evaluation shows, faces of wanted sizes, and shares of sizes that plans hold."""

import re
from dataclasses import replace

import numpy as np
import pytest
from augment_pictures import crowd, rng_of, seeds
from hypothesis import given, settings
from hypothesis import strategies as st
from test_plan import Shapes

from featherface_core.data.annotation import Faces
from featherface_core.data.augment.mixture import Mixture, _percents
from featherface_core.data.augment.planner import Planner, UnreadableError
from featherface_core.errors import ConfigError, DataError
from featherface_core.recipe import AugmentConfig

VIEWS = AugmentConfig(crop="mixture", views=1.0, mirror=0.0, colour=0.0)
WANTED = AugmentConfig(crop="mixture", views=0.0, mirror=0.0, colour=0.0, size_edges=(24.0,), face_sizes=(12.0, 48.0))
SHARES = replace(
    VIEWS, views=0.4, face_sizes=(5.0, 300.0), size_edges=(12.0, 24.0, 64.0), size_shares=(0.35, 0.3, 0.2, 0.15)
)


class Broken(Shapes):
    """Of ``gone`` the size cannot be read."""

    gone: frozenset[int] = frozenset()

    def shape(self, index: int) -> tuple[int, int]:
        if index in self.gone:
            raise DataError(f"picture {index} is broken", "mend it")
        return super().shape(index)


def street(count: int = 40) -> Broken:
    """Pictures of 1024 x 680 with up to 8 faces each, most of them small."""
    labels = []
    for index in range(count):
        rng = rng_of(index)
        n = int(rng.integers(1, 9))
        side = np.exp(rng.uniform(np.log(8), np.log(200), (n, 1))) * np.array((0.8, 1.2))
        corner = rng.random((n, 2)) * ((1024, 680) - side)
        labels.append(Faces.of(np.concatenate((corner, corner + side), 1)))
    return Broken([(680, 1024)] * count, labels)


def sizes(faces: Faces) -> np.ndarray:
    """Square roots of the areas of those that count."""
    boxes = faces.boxes[~faces.ignored].astype(float)
    return np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))


def scale_limits(window: int, place: int) -> tuple[float, float]:
    """Between which the scale lies that made ``place`` pixels of ``window`` pixels, both rounded."""
    return (place - 0.5) / (window + 0.5), (place + 0.5) / max(window - 0.5, 0.1)


# ---- views ----


@given(seeds, st.sampled_from([(1200, 1600), (1600, 900), (2000, 2000)]))
@settings(max_examples=80, deadline=None)
def test_views_are_of_the_scales_of_evaluation(seed: int, shape: tuple[int, int]) -> None:
    """Pictures that are larger than the canvas of 192 px at every scale, so that each fills it alone."""
    source = Shapes([shape], [crowd(rng_of(seed), *shape)])
    (piece,) = Planner(source, VIEWS, 192).plan(0, 192, rng_of(seed)).pieces
    assert piece.place == (0, 0, 192, 192)
    for side in piece.window[2:]:
        low, high = scale_limits(side, 192)
        assert low <= 2.0 * 640 / max(shape)
        assert high >= 0.6 * 640 / max(shape)


def test_scales_of_views_are_drawn_evenly_on_a_log_scale() -> None:
    source = Shapes([(1280, 1280)], [Faces.of([[400, 400, 500, 520]])])
    planner = Planner(source, VIEWS, 192)
    scales = [192 / planner.plan(0, 192, rng_of(seed)).pieces[0].window[2] for seed in range(400)]
    thirds = np.histogram(np.log(scales), np.linspace(np.log(0.299), np.log(1.005), 4))[0]
    assert thirds.sum() == 400
    assert (abs(thirds - 400 / 3) < 45).all()  # 4.8 standard deviations


@given(seeds, st.integers(60, 900), st.integers(60, 900))
@settings(max_examples=150, deadline=None)
def test_a_view_is_enlarged_further_only_where_it_fills_a_strip(seed: int, height: int, width: int) -> None:
    source = Shapes([(height, width)], [crowd(rng_of(seed), height, width)])
    plan = Planner(source, VIEWS, 320).plan(0, 320, rng_of(seed))
    for piece in plan.pieces:
        wide, high = piece.window[2:]
        across, down = scale_limits(wide, piece.place[2]), scale_limits(high, piece.place[3])
        smallest, most = (min(v * 640 / max(height, width), 4.0) for v in (0.6, 2.0))
        assert max(across[1], down[1]) >= smallest
        if min(across[0], down[0]) > max(most, 48 / min(height, width)):
            assert wide == width or high == height


def test_views_of_small_pictures_are_enlarged_by_four_at_most() -> None:
    planner = Planner(Shapes([(90, 120)], [Faces.none()]), VIEWS, 800)
    firsts = [planner.plan(0, 800, rng_of(seed)).pieces[0] for seed in range(20)]
    # 0.6 x 640 / 120 is 3.2, 2 x 640 / 120 would be 10.7
    scales = [piece.place[2] / piece.window[2] for piece in firsts]
    assert 3.2 - 0.01 <= min(scales) < 3.4
    assert 3.8 < max(scales) <= 4


def test_views_are_of_pictures_in_turn_and_elsewhere_of_any() -> None:
    source = Shapes([(1280, 1280)] * 3, [Faces.of([[600, 600, 640, 640]])] * 3)
    planner = Planner(source, VIEWS, 192)
    assert all(planner.plan(index, 192, rng_of(7)).pieces[0].picture == index for index in range(3))
    # 0.4 of the windows lie anywhere: of those few hold the face's centre
    held = sum(len(planner.plan(0, 192, rng_of(seed)).faces) > 0 for seed in range(300))
    assert 0.6 - 0.1 < held / 300 < 0.75


# ---- faces of wanted sizes ----


@given(seeds, st.integers(60, 320), st.integers(60, 320))
@settings(max_examples=200, deadline=None)
def test_a_face_is_shown_at_a_size_of_its_range(seed: int, height: int, width: int) -> None:
    source = street(6)
    mixture = Mixture(lambda index: (source.shape(index), source.faces(index)), np.ones(6), WANTED)
    choice = mixture.choose(0, (height, width), rng_of(seed))
    shown = choice.scale * float(np.sqrt(choice.sides.prod()))
    own = float(np.sqrt(choice.sides.prod()))
    assert 12 * 0.999 <= shown <= 48 * 1.001
    assert shown <= max(0.9 * min(height, width), 12, own * 48 / 680) * 1.001
    assert choice.scale <= max(2.0, 2.0 * 640 / 1024) * 1.001
    corners = source.faces(choice.picture).boxes[:, 1::-1].tolist()
    assert choice.corner.tolist() in corners


def test_a_plan_shows_a_face_of_the_wanted_size_whole() -> None:
    source = Shapes([(1500, 2000)], [Faces.of([[900, 600, 1000, 700]])])
    planner = Planner(source, WANTED, 192)
    found = [planner.plan(0, 192, rng_of(seed)).faces for seed in range(300)]
    assert all(len(faces) == 1 and not faces.ignored[0] for faces in found)
    shown = np.array([sizes(faces)[0] for faces in found])
    assert shown.min() >= 12 * 0.99
    assert shown.max() <= 48 * 1.01
    # without shares, each range as often
    assert (shown < 24).mean() == pytest.approx(0.5, abs=0.12)  # 4 standard deviations


def test_half_of_the_faces_are_of_their_natural_size() -> None:
    """Of two pictures with a face of 100 px, one shows it at 20 to 64 px as evaluation sees it, the other at 96 to 320."""
    source = Shapes([(2000, 2000), (400, 400)], [Faces.of([[100, 100, 200, 200]])] * 2)
    config = replace(WANTED, size_edges=(), face_sizes=(24.0, 48.0))
    mixture = Mixture(lambda index: (source.shape(index), source.faces(index)), np.ones(2), config)
    drawn = [mixture.choose(0, (300, 300), rng_of(seed)).picture for seed in range(400)]
    assert drawn.count(0) == pytest.approx(300, abs=35)  # a half, and a half of the other half


def test_natural_sizes_are_those_that_a_view_can_show() -> None:
    """A picture of 200 px is a view at 1.92 to 6.4 times its scale, of which 4 is the most that is shown."""
    source = Shapes([(200, 200)], [Faces.of([[90, 90, 110, 110]])])
    look = lambda index: (source.shape(index), source.faces(index))  # noqa: E731
    mixture = Mixture(look, np.ones(1), replace(WANTED, size_edges=(), face_sizes=(16.0, 250.0)))
    scales = [mixture.choose(0, (500, 500), rng_of(seed)).scale for seed in range(200)]
    assert 3.7 < max(scales) <= 4.001


def test_faces_that_no_scale_brings_to_a_size_are_not_drawn_for_it() -> None:
    """Faces of 10 px are enlarged to 20 at most; and views, at most of 1.25 times, show 12.5."""
    source = Shapes(
        [(680, 1024)] * 2, [Faces.of([[100, 100, 110, 110]]), Faces.of([[100, 100, 110, 110]], ignored=[True])]
    )
    look = lambda index: (source.shape(index), source.faces(index))  # noqa: E731
    mixture = Mixture(look, np.ones(2), replace(WANTED, size_edges=(20.5, 30.0), face_sizes=(5.0, 60.0)))
    assert mixture.shares.tolist() == [1, 0, 0]
    assert {mixture.choose(1, (300, 300), rng_of(seed)).picture for seed in range(40)} == {0}


@pytest.mark.parametrize("labels", [Faces.none(), Faces.of([[5, 5, 90, 90]], ignored=[True])])
def test_pictures_without_faces_are_views(labels: Faces) -> None:
    planner = Planner(Shapes([(1280, 1280)], [labels]), WANTED, 192)
    (piece,) = planner.plan(0, 192, rng_of(0)).pieces
    assert 0.6 / 2 * 0.99 <= 192 / piece.window[2] <= 2.0 / 2 * 1.01


# ---- shares of sizes ----


@pytest.mark.parametrize("shares", [(0.5, 0.2, 0.15, 0.15), (0.3, 0.2, 0.2, 0.3)])
def test_plans_hold_faces_as_the_shares_ask(shares: tuple[float, ...]) -> None:
    planner = Planner(street(), replace(SHARES, size_shares=shares), 320)
    shown = np.concatenate([sizes(planner.plan(i % 40, 320, rng_of(i + 10**6)).faces) for i in range(600)])
    held = [((shown >= low) & (shown < high)).mean() for low, high in ((0, 12), (12, 24), (24, 64), (64, 1e9))]
    # 0.08, and what 600 plans differ by chance
    assert held == pytest.approx(shares, abs=0.11)


def test_without_shares_they_hold_others() -> None:
    planner = Planner(street(), replace(SHARES, size_shares=()), 320)
    shown = np.concatenate([sizes(planner.plan(i % 40, 320, rng_of(i)).faces) for i in range(300)])
    assert (shown < 12).mean() < 0.5 - 0.11
    assert (shown >= 64).mean() < 0.3 - 0.11


def test_what_cannot_be_met_is_said_with_what_can() -> None:
    asked = (0.1, 0.1, 0.1, 0.7)
    source = street()
    small = Shapes(source.shapes, [Faces.of(np.c_[f.boxes[:, :2], f.boxes[:, :2] + 20]) for f in source.labels])
    with pytest.raises(ConfigError) as caught:
        Planner(small, replace(SHARES, size_shares=asked), 320)
    assert re.fullmatch(
        r"augment\.size_shares asks for 70% of the faces of 64 px and more; these pictures give 0%",
        caught.value.message,
    )
    found = re.search(r"augment\.size_shares=\[([^]]+)\]", caught.value.hint)
    assert found
    can = tuple(float(share) for share in found[1].split(","))
    assert sum(can) == pytest.approx(1, abs=1e-9)
    assert can[3] == 0
    Planner(small, replace(SHARES, size_shares=can), 320)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=8).filter(any))
def test_shares_in_words_add_up(counts: list[int]) -> None:
    percents = _percents(np.array(counts) / sum(counts))
    assert sum(percents) == 100
    for percent, count in zip(percents, counts, strict=True):
        assert abs(percent - 100 * count / sum(counts)) < 1
        assert count or not percent


def test_shares_of_pictures_without_faces() -> None:
    with pytest.raises(ConfigError, match="these pictures show none"):
        Planner(Shapes([(400, 400)] * 3, [Faces.none()] * 3), SHARES, 192)


# ---- pictures that cannot be read ----


def test_an_unreadable_picture_does_not_hinder_a_fit_and_never_comes() -> None:
    source = street(12)
    source.gone = frozenset({0, 5})
    planner = Planner(source, SHARES, 256)
    with pytest.raises(UnreadableError, match=r"picture (0|5) is broken") as caught:
        [planner.plan(0, 256, rng_of(seed)) for seed in range(20)]
    assert caught.value.index in source.gone
    plans = [planner.plan(index, 256, rng_of(index), source.gone) for index in range(12)]
    assert not {p.picture for plan in plans for p in plan.pieces} & source.gone


def test_a_picture_that_is_gone_later_is_not_looked_at_again() -> None:
    source = street(6)
    planner = Planner(source, WANTED, 256)
    source.gone = frozenset({2, 3})
    plans = [planner.plan(index % 6, 256, rng_of(index), source.gone) for index in range(60)]
    assert {p.picture for plan in plans for p in plan.pieces} == {0, 1, 4, 5}


def test_where_nothing_can_be_read_there_is_no_plan() -> None:
    source = street(4)
    source.gone = frozenset(range(4))
    planner = Planner(source, SHARES, 256)
    with pytest.raises(DataError, match="none of the pictures can be read") as caught:
        planner.plan(1, 256, rng_of(0), source.gone)
    assert "data check" in caught.value.hint
