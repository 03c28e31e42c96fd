import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featherface_core.errors import ConfigError
from featherface_core.training.schedule import LearningRate


def test_cosine_by_hand():
    rate = LearningRate(peak=1.0, total_steps=9, warmup_steps=4, final=0.1)
    assert rate.at(0) == 0.001
    assert rate.at(2) == pytest.approx(0.5005)
    assert rate.at(4) == 1.0
    assert rate.at(6) == pytest.approx(0.55)
    assert rate.at(8) == 0.1


def test_one_cycle_by_hand():
    rate = LearningRate(peak=2.0, total_steps=11, warmup_steps=0, final=0.01, kind="one-cycle")
    assert rate.at(0) == pytest.approx(0.08)  # a 25th
    assert rate.at(3) == 2.0  # after 30 % of the steps
    assert 0.08 < rate.at(1) < rate.at(2) < 2.0
    assert rate.at(10) == pytest.approx(0.02)
    half_up = LearningRate(peak=2.0, total_steps=11, warmup_steps=4, kind="one-cycle")
    assert half_up.at(2) == pytest.approx((2.0 + 0.08) / 2)
    assert half_up.at(4) == 2.0


def test_constant():
    rate = LearningRate(peak=0.5, total_steps=10, warmup_steps=2, final=0.0, kind="constant")
    assert [rate.at(step) for step in (0, 2, 5, 9, 99)] == [0.0005, 0.5, 0.5, 0.5, 0.5]


@pytest.mark.parametrize("kind", ["cosine", "one-cycle", "constant"])
def test_runs_of_one_and_two_steps(kind):
    assert LearningRate(1.0, 1, 0, 0.1, kind).at(0) == 1.0
    two = LearningRate(1.0, 2, 0, 0.1, kind)
    assert max(two.at(0), two.at(1)) == 1.0
    assert two.at(0) > 0


@pytest.mark.parametrize("kind", ["cosine", "one-cycle", "constant"])
def test_after_the_last_step_the_rate_stays(kind):
    for total in (1, 2, 10):
        rate = LearningRate(1.0, total, 0, 0.1, kind)
        assert rate.at(total) == rate.at(1000) == rate.at(total - 1)
    rate = LearningRate(1.0, 10, 2, 0.1)
    assert rate.at(9) == rate.at(10) == rate.at(1000) == 0.1


@pytest.mark.parametrize(
    "arguments",
    [
        {"peak": 0.0},
        {"peak": -1e-3},
        {"peak": math.nan},
        {"peak": math.inf},
        {"peak": "1e-3"},
        {"total_steps": 0},
        {"total_steps": 2.5},
        {"warmup_steps": -1},
        {"warmup_steps": 10},
        {"final": -0.1},
        {"final": 1.1},
        {"final": math.nan},
        {"kind": "step"},
    ],
)
def test_bad_arguments_are_refused_with_a_hint(arguments):
    with pytest.raises(ConfigError) as caught:
        LearningRate(**{"peak": 1e-3, "total_steps": 10, "warmup_steps": 2, "final": 0.01, **arguments})
    assert caught.value.hint


def test_steps_count_from_zero():
    with pytest.raises(ConfigError, match="step -1"):
        LearningRate(1.0, 10).at(-1)


@given(st.floats(1e-8, 100), st.floats(0, 1))
def test_no_rounding_lifts_the_rate_above_the_peak(peak, final):
    assert LearningRate(peak, 10**10, 0, final).at(1) <= peak


@st.composite
def rates(draw):
    total = draw(st.integers(1, 300))
    return LearningRate(
        draw(st.floats(1e-8, 100)),
        total,
        draw(st.integers(0, total - 1)),
        draw(st.floats(1e-6, 1)),
        draw(st.sampled_from(["cosine", "one-cycle", "constant"])),
    )


@given(rates())
def test_the_rate_is_positive_never_above_the_peak_and_rises_once(rate):
    values = [rate.at(step) for step in range(rate.total_steps)]
    assert all(0 < value <= rate.peak for value in values)
    top = values.index(max(values))
    assert values[top] == rate.peak
    if rate.warmup_steps:
        assert top == rate.warmup_steps
    hair = 1e-12 * rate.peak
    assert all(a <= b + hair for a, b in pairwise(values[: top + 1]))
    assert all(a >= b - hair for a, b in pairwise(values[top:]))
    if rate.kind != "constant" and rate.total_steps > top + 1:
        assert values[-1] == rate.peak * rate.final
