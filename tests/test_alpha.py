import json
import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featherface_core.errors import ConfigError
from featherface_core.training.alpha import AlphaSchedule, parse_alpha


def plain(start=0.8, end=0.5, strategy="linear", epochs=400, **rules):
    """A schedule with all rules off but those named."""
    return AlphaSchedule(start, end, strategy, epochs, **{"adapt": False, "late_cap": None, "bounds": None, **rules})


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("0.8:0.5", (0.8, 0.5)),
        ("0.5", (0.5, 0.5)),
        ("0", (0.0, 0.0)),
        ("1:0", (1.0, 0.0)),
        (" 0.8 : .5 ", (0.8, 0.5)),
        ("1e-1:-0", (0.1, 0.0)),
    ],
)
def test_parse_alpha(text, wanted):
    assert parse_alpha(text) == wanted
    assert all(math.copysign(1, value) == 1 for value in parse_alpha(text))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("0.5:1.8", "1.8 is not within 0 to 1"),
        ("-0.1:0.5", "-0.1 is not within"),
        ("abc", "'abc' is not a number"),
        ("0.8:x", "'x' is not a number"),
        ("", "a number is missing"),
        (":", "a number is missing"),
        ("0.8:", "a number is missing"),
        (":0.5", "a number is missing"),
        ("0.1:0.2:0.3", "has 3 values"),
        ("nan", "nan is not within"),
        ("0.8:nan", "nan is not within"),
        ("inf", "inf is not within"),
        ("0,8", "'0,8' is not a number"),
    ],
)
def test_what_parse_alpha_refuses(text, says):
    with pytest.raises(ConfigError) as caught:
        parse_alpha(text)
    assert f"--alpha {text!r}" in caught.value.message
    assert says in caught.value.message
    assert "--alpha 0.8:0.5" in caught.value.hint
    assert caught.value.exit_code == 2


def test_golden_values_half_way():
    assert plain(epochs=401).value(201) == pytest.approx(0.65)
    assert plain(epochs=401, strategy="cosine").value(101) == pytest.approx(0.5 + 0.3 * (1 + math.sqrt(0.5)) / 2)
    assert plain(epochs=401, strategy="exponential").value(201) == pytest.approx(math.sqrt(0.8 * 0.5))


def test_progress_is_over_the_epochs_asked_for():
    """Upstream assumed 400 epochs (FACTS no. 10)."""
    assert [round(plain(epochs=4).value(e), 9) for e in (1, 2, 3, 4)] == [0.8, 0.7, 0.6, 0.5]
    assert plain(epochs=1).value(1) == 0.8
    assert plain(epochs=10).value(11) == plain(epochs=10).value(400) == 0.5


def test_the_late_cap_holds_for_the_last_fifth():
    schedule = plain(late_cap=0.4, epochs=10)
    values = [schedule.value(epoch) for epoch in range(1, 11)]
    assert all(value > 0.5 for value in values[:8])
    assert values[8:] == [0.4, 0.4]
    assert plain(late_cap=0.4, epochs=15).value(12) > 0.5
    assert plain(late_cap=0.4, epochs=15).value(13) == 0.4
    assert plain(late_cap=0.4, epochs=4).value(4) == 0.5  # a fifth of four epochs is no whole one
    assert plain(late_cap=0.4, late_share=0.5, epochs=4).value(3) == 0.4
    assert plain(0.3, 0.2, late_cap=0.4, epochs=10).value(10) == 0.2  # a cap, no floor


def test_the_bounds_hold_at_both_ends():
    schedule = plain(1.0, 0.0, bounds=(0.1, 0.9), epochs=11)
    assert schedule.value(1) == 0.9
    assert schedule.value(6) == 0.5
    assert schedule.value(11) == 0.1
    assert plain(1.0, 0.0, epochs=11).value(11) == 0.0


def test_alpha_shrinks_after_each_ten_validations_without_a_better_ap():
    schedule = plain(0.8, 0.8, adapt=True)
    schedule.observe(0.5)
    for _ in range(9):
        schedule.observe(0.5)  # equal is not better
    assert schedule.value(2) == 0.8
    schedule.observe(0.4)
    assert schedule.value(2) == pytest.approx(0.72)
    for _ in range(9):
        schedule.observe(math.nan)
    assert schedule.value(2) == pytest.approx(0.72)
    schedule.observe(0.49)
    assert schedule.value(2) == pytest.approx(0.648)


def test_an_improvement_begins_the_count_anew_and_gives_nothing_back():
    schedule = plain(0.8, 0.8, adapt=True, shrink_after=3)
    for ap in (0.5, 0.5, 0.5, 0.6, 0.6, 0.6):
        schedule.observe(ap)
    assert schedule.value(1) == 0.8
    schedule.observe(0.6)
    assert schedule.value(1) == pytest.approx(0.72)
    schedule.observe(0.9)
    assert schedule.value(1) == pytest.approx(0.72)


def test_none_is_no_validation_and_adapt_can_be_switched_off():
    schedule = plain(0.8, 0.8, adapt=True, shrink_after=1)
    schedule.observe(0.5)
    schedule.observe(None)
    assert schedule.value(1) == 0.8
    off = plain(0.8, 0.8, shrink_after=1)
    for _ in range(5):
        off.observe(0.5)
    assert off.value(1) == 0.8


@pytest.mark.parametrize("strategy", ["linear", "cosine", "exponential"])
def test_a_constant_zero_stays_zero_under_all_rules(strategy):
    schedule = AlphaSchedule(0, 0, strategy, 10)
    assert not schedule.distils
    assert [schedule.value(epoch) for epoch in range(1, 11)] == [0.0] * 10
    assert schedule.describe() == "alpha 0: no teacher"
    assert AlphaSchedule(0, 0.5, "linear", 10).distils


@pytest.mark.parametrize(
    "arguments",
    [
        {"start": 1.8},
        {"end": -0.1},
        {"start": math.nan},
        {"strategy": "quadratic"},
        {"epochs": 0},
        {"epochs": 2.5},
        {"shrink": 0.0},
        {"shrink": 1.1},
        {"shrink_after": 0},
        {"late_cap": 1.1},
        {"late_cap": 0.05},  # below the lower bound
        {"late_share": -0.1},
        {"bounds": (0.9, 0.1)},
        {"bounds": (0.1, 1.9)},
        {"end": 0.0, "strategy": "exponential"},
        {"start": 0.0, "strategy": "exponential"},
    ],
)
def test_bad_arguments_are_refused_with_a_hint(arguments):
    with pytest.raises(ConfigError) as caught:
        AlphaSchedule(**{"start": 0.8, "end": 0.5, "strategy": "linear", "epochs": 10, **arguments})
    assert caught.value.hint


def test_epochs_count_from_one():
    with pytest.raises(ConfigError, match="epoch 0"):
        plain().value(0)


def test_the_table_and_the_line_before_the_run():
    schedule = AlphaSchedule(0.8, 0.5, "linear", 400)
    table = schedule.table()
    assert [epoch for epoch, _ in table] == [1, 81, 161, 240, 320, 400]
    assert table[0] == (1, 0.8)
    assert table[-1] == (400, 0.4)
    assert table == [(epoch, schedule.value(epoch)) for epoch, _ in table]
    assert AlphaSchedule(0.8, 0.5, "linear", 3).table() == [(1, 0.8), (2, 0.65), (3, 0.5)]
    assert AlphaSchedule(0.8, 0.5, "linear", 1).table() == [(1, 0.8)]
    assert schedule.describe() == (
        "alpha 0.8 to 0.5, linear over 400 epochs; x0.9 after each 10 validations without better AP; "
        "at most 0.4 from epoch 321; always within 0.1 to 0.9"
    )
    assert schedule.value(320) > 0.4 == schedule.value(321)
    assert plain(0.5, 0.5, epochs=3).describe() == "alpha 0.5 throughout 3 epochs"
    assert plain(0.8, 0.5, epochs=1).describe() == "alpha 0.8 to 0.5, linear over 1 epoch"


shares = st.floats(0, 1)
strategies = st.sampled_from(["linear", "cosine", "exponential"])


@given(shares, shares, strategies, st.integers(2, 500))
def test_the_ends_are_exact_and_the_way_between_is_monotone(start, end, strategy, epochs):
    start, end = max(start, 1e-3), max(end, 1e-3)
    schedule = plain(start, end, strategy, epochs)
    values = [schedule.base(epoch) for epoch in range(1, epochs + 1)]
    assert (values[0], values[-1]) == (start, end)
    assert all(min(start, end) - 1e-12 <= value <= max(start, end) + 1e-12 for value in values)
    steps = [b - a for a, b in pairwise(values)]
    assert all(step * (end - start) >= -1e-12 for step in steps)


@given(
    shares,
    shares,
    strategies,
    st.integers(1, 60),
    st.lists(st.one_of(st.none(), st.just(math.nan), shares), max_size=60),
)
def test_alpha_is_within_its_bounds_whatever_is_observed(start, end, strategy, epochs, scores):
    start, end = max(start, 1e-3), max(end, 1e-3)
    schedule = AlphaSchedule(start, end, strategy, epochs, shrink_after=2)
    for number, score in enumerate(scores):
        epoch = 1 + number % epochs
        assert 0.1 <= schedule.value(epoch) <= 0.9
        if epoch > epochs - epochs // 5:  # the last fifth, rounded down
            assert schedule.value(epoch) <= 0.4
        before = schedule.value(epoch)
        schedule.observe(score)
        assert schedule.value(epoch) <= before


@given(st.lists(st.one_of(st.none(), st.just(math.nan), shares), min_size=1, max_size=40), st.integers(0, 40))
def test_a_run_cut_anywhere_goes_on_as_if_it_had_not_been(scores, cut):
    def make():
        return AlphaSchedule(0.9, 0.2, "cosine", 40, shrink_after=3)

    whole, first, second = make(), make(), make()
    for number, score in enumerate(scores):
        if number == cut:
            second.load_state_dict(json.loads(json.dumps(first.state_dict(), allow_nan=False)))
        part = first if number < cut else second
        part.observe(score)
        whole.observe(score)
        assert part.state_dict() == whole.state_dict()
        assert part.value(number + 1) == whole.value(number + 1)
