"""The history of gradient norms: its figures by hand, its bounded memory, and going on from a checkpoint."""

import json
import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featherface_core.training.monitor import MOST_KEPT, GradientHistory


def test_gradient_history_by_hand():
    history = GradientHistory()
    assert history.stats() == {}
    for norm, clipped in ((2.0, True), (0.5, False), (3.5, True), (1.0, False)):
        history.add(norm, clipped)
    assert history.stats() == {
        "grad_norm_current": 1.0,
        "grad_norm_min": 0.5,
        "grad_norm_median": 1.5,
        "grad_norm_mean": 1.75,
        "grad_norm_max": 3.5,
        "grad_clipped_share": 0.5,
    }
    history.add(math.nan, True)
    history.add(math.inf, True)
    assert len(history) == 4
    history.reset()
    assert history.stats() == {}
    assert len(history) == 0


def test_its_memory_is_bounded_and_its_median_stays_near():
    history = GradientHistory()
    norms = [i / 10_007 for i in range(10_007)]  # rising: a sample of the last ones alone would be far off
    for norm in norms:
        history.add(norm)
        assert len(history.state_dict()["kept"]) <= MOST_KEPT
    stats = history.stats()
    assert stats["grad_norm_median"] == pytest.approx(statistics.median(norms), abs=0.03)
    assert stats["grad_norm_mean"] == pytest.approx(statistics.fmean(norms))
    assert (stats["grad_norm_min"], stats["grad_norm_max"]) == (min(norms), max(norms))
    assert len(history) == 10_007


def test_a_long_gradient_history_goes_on_the_same():
    whole, part = GradientHistory(), GradientHistory()
    for number in range(5000):
        if number == 3001:
            state, part = json.loads(json.dumps(part.state_dict())), GradientHistory()
            part.load_state_dict(state)
        whole.add(number)
        part.add(number)
    assert part.state_dict() == whole.state_dict()


@given(st.lists(st.tuples(st.floats(0, 1e6), st.booleans()), max_size=50), st.integers(0, 50))
def test_a_gradient_history_cut_anywhere_goes_on(seen, cut):
    whole, part = GradientHistory(), GradientHistory()
    for number, (norm, clipped) in enumerate(seen):
        if number == cut:
            state, part = json.loads(json.dumps(part.state_dict())), GradientHistory()
            part.load_state_dict(state)
        whole.add(norm, clipped)
        part.add(norm, clipped)
    assert part.stats() == whole.stats()
    if seen:
        stats = whole.stats()
        assert stats["grad_norm_min"] == min(n for n, _ in seen)
        assert stats["grad_norm_max"] == max(n for n, _ in seen)
        assert stats["grad_clipped_share"] == sum(c for _, c in seen) / len(seen)
