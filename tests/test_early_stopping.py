import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featherface_core.errors import ConfigError
from featherface_core.training.early_stopping import SmartEarlyStopping


def first_stop(stopper, best_until, epochs=400, every=1, loss=1.0):
    """The epoch at which a run stops whose AP rises until ``best_until`` and then stays; None if it never does."""
    for epoch in range(1, epochs + 1):
        if epoch % every == 0 and stopper.should_stop(epoch, loss, 0.001 * min(epoch, best_until)):
            return epoch
    return None


def test_the_defaults_are_the_plans():
    stopper = SmartEarlyStopping()
    assert (stopper.patience, stopper.min_epoch, stopper.optimal_window) == (20, 100, (100, 120))
    assert (stopper.degradation, stopper.min_delta) == (0.10, 0.0)


@pytest.mark.parametrize(
    ("best_until", "stops"),
    [
        (10, 100),  # long over, but never before min_epoch
        (90, 100),  # half the patience is over at the window's first epoch
        (95, 105),
        (110, 120),  # the window's last epoch belongs to it
        (111, 131),  # beyond it the full patience counts
        (150, 170),
        (380, 400),
        (381, None),
    ],
)
def test_patience_by_epoch(best_until, stops):
    assert first_stop(SmartEarlyStopping(), best_until) == stops


def test_half_an_odd_patience_is_rounded_up():
    assert first_stop(SmartEarlyStopping(patience=7), 100) == 104
    assert first_stop(SmartEarlyStopping(patience=1), 100) == 101


def test_patience_counts_epochs_and_not_calls():
    # best at 100; of the calls at 105, 110, ... the one at 110 is ten epochs on
    assert first_stop(SmartEarlyStopping(), 100, every=5) == 110
    assert first_stop(SmartEarlyStopping(), 200, every=8) == 224
    stopper = SmartEarlyStopping()
    assert first_stop(stopper, 200, every=8) == 224
    assert stopper.epochs_without_improvement == 24


@pytest.mark.parametrize(
    ("min_epoch", "window", "best_until", "stops"),
    [
        (10, (50, 60), 20, 40),  # after min_epoch and before the window: the full patience
        (10, (50, 60), 35, 50),  # the window opens while the patience runs
        (100, (20, 30), 85, 105),  # a window that is over before min_epoch shortens nothing
        (110, (100, 120), 95, 110),
        (0, (0, 5), 1, 21),
    ],
)
def test_window_and_min_epoch_need_not_meet(min_epoch, window, best_until, stops):
    assert first_stop(SmartEarlyStopping(20, min_epoch, window), best_until) == stops


@pytest.mark.parametrize(
    ("epoch", "ap", "stops"),
    [(130, 0.72, True), (130, 0.7201, False), (120, 0.1, False), (121, 0.72, True), (121, 0.9, False)],
)
def test_a_fall_of_a_tenth_stops_after_the_window(epoch, ap, stops):
    stopper = SmartEarlyStopping()
    assert not stopper.should_stop(119, 1.0, 0.8)
    assert stopper.should_stop(epoch, 1.0, ap) is stops
    if stops:
        assert stopper.reason == f"AP fell by 10% to 0.720 at epoch {epoch}: best 0.800 at epoch 119"


def test_a_fall_of_exactly_a_tenth_is_not_lost_to_rounding():
    for hundredths in range(10, 101, 10):
        stopper = SmartEarlyStopping()
        stopper.should_stop(120, 1.0, hundredths / 100)
        assert stopper.should_stop(121, 1.0, hundredths * 9 / 1000), hundredths


def test_a_fall_does_not_stop_before_the_window():
    stopper = SmartEarlyStopping(min_epoch=10)
    assert not stopper.should_stop(40, 1.0, 0.8)
    assert not stopper.should_stop(41, 1.0, 0.1)


def test_the_reason_is_in_words():
    stopper = SmartEarlyStopping(patience=20)
    assert not stopper.should_stop(103, 1.0, 0.812)
    assert not stopper.should_stop(122, 1.0, 0.8)
    assert stopper.reason == ""
    assert stopper.should_stop(123, 1.0, 0.8)
    assert stopper.reason == "no better AP for 20 epochs at epoch 123: best 0.812 at epoch 103"
    assert (stopper.best_epoch, stopper.best_map, stopper.epochs_without_improvement) == (103, 0.812, 20)
    assert not stopper.should_stop(124, 1.0, 0.9)
    assert stopper.reason == ""


def test_the_reason_in_the_window_says_so():
    stopper = SmartEarlyStopping()
    stopper.should_stop(95, 1.0, 0.5)
    assert stopper.should_stop(105, 1.0, 0.5)
    assert "10 epochs (half the patience, epochs 100 to 120)" in stopper.reason


def test_without_ap_the_loss_decides():
    stopper = SmartEarlyStopping(patience=2, min_epoch=1, optimal_window=(50, 60))
    assert [stopper.should_stop(e, v, None) for e, v in enumerate([3.0, 2.0, 2.0, 2.5], 1)] == [False] * 3 + [True]
    assert stopper.reason == "no lower validation loss for 2 epochs at epoch 4: best 2 at epoch 2"


def test_an_equal_ap_with_a_lower_loss_is_better_and_a_lower_ap_never_is():
    stopper = SmartEarlyStopping()
    stopper.should_stop(1, 3.0, 0.5)
    stopper.should_stop(2, 2.0, 0.5)
    assert stopper.best_epoch == 2
    stopper.should_stop(3, 1.0, 0.4)
    assert stopper.best_epoch == 2
    assert stopper.epochs_without_improvement == 1
    stopper.should_stop(4, 9.0, 0.6)
    assert (stopper.best_epoch, stopper.best_map) == (4, 0.6)


def test_min_delta():
    stopper = SmartEarlyStopping(min_delta=0.01)
    stopper.should_stop(1, 1.0, 0.5)
    stopper.should_stop(2, 1.0, 0.509)
    assert (stopper.best_epoch, stopper.best_map) == (1, 0.5)
    stopper.should_stop(3, 1.0, 0.511)
    assert (stopper.best_epoch, stopper.best_map) == (3, 0.511)


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_never_improves(broken):
    stopper = SmartEarlyStopping(patience=3, min_epoch=1, optimal_window=(50, 60))
    stopper.should_stop(1, 1.0, 0.5)
    assert [stopper.should_stop(e, broken, broken) for e in (2, 3, 4)] == [False, False, True]
    assert (stopper.best_epoch, stopper.best_map) == (1, 0.5)


def test_a_run_of_nothing_but_nan_ends_too():
    stopper = SmartEarlyStopping(patience=3, min_epoch=1, optimal_window=(50, 60))
    assert [stopper.should_stop(e, math.nan, math.nan) for e in (1, 2, 3, 4)] == [False, False, False, True]
    assert "none was ever measured" in stopper.reason


def test_the_first_epoch_seen_may_be_any():
    assert not SmartEarlyStopping().should_stop(300, math.nan, math.nan)


@pytest.mark.parametrize(
    "arguments",
    [
        {"patience": 0},
        {"patience": -1},
        {"patience": 2.5},
        {"patience": True},
        {"min_epoch": -1},
        {"optimal_window": (120, 100)},
        {"optimal_window": (100,)},
        {"optimal_window": 100},
        {"optimal_window": (-1, 100)},
        {"degradation": 0.0},
        {"degradation": 1.5},
        {"degradation": math.nan},
        {"min_delta": -0.1},
        {"min_delta": math.nan},
    ],
)
def test_bad_arguments_are_refused_with_a_hint(arguments):
    with pytest.raises(ConfigError) as caught:
        SmartEarlyStopping(**arguments)
    assert caught.value.hint


def test_epochs_count_from_one_and_do_not_fall():
    stopper = SmartEarlyStopping()
    with pytest.raises(ConfigError, match="epoch 0"):
        stopper.should_stop(0, 1.0, 0.5)
    stopper.should_stop(5, 1.0, 0.5)
    with pytest.raises(ConfigError, match="epoch 4 comes after epoch 5"):
        stopper.should_stop(4, 1.0, 0.5)


validations = st.lists(
    st.tuples(
        st.integers(1, 6),  # epochs since the last validation
        st.one_of(st.none(), st.floats()),
        st.one_of(st.none(), st.just(math.nan), st.sampled_from([0.0, 0.3, 0.5]), st.floats(0, 1)),
    ),
    min_size=1,
    max_size=60,
)
stoppers = st.builds(
    lambda patience, min_epoch, start, length, delta: SmartEarlyStopping(
        patience, min_epoch, (start, start + length), min_delta=delta
    ),
    st.integers(1, 8),
    st.integers(0, 60),
    st.integers(0, 80),
    st.integers(0, 30),
    st.sampled_from([0.0, 0.05]),
)


@given(stoppers, validations)
def test_it_never_stops_before_min_epoch_and_keeps_its_own_account(stopper, seen):
    epoch = 0
    for step, loss, ap in seen:
        epoch += step
        before = stopper.best_map
        stopped = stopper.should_stop(epoch, loss, ap)
        assert stopped == bool(stopper.reason)
        if epoch < stopper.min_epoch:
            assert not stopped
        elif stopper.epochs_without_improvement >= stopper.patience:
            assert stopped
        if stopper.epochs_without_improvement == 0:
            assert stopper.best_epoch == epoch or stopper.best_epoch == 0
        assert before is None or stopper.best_map >= before


@given(validations, st.integers(0, 60))
def test_a_run_cut_anywhere_goes_on_as_if_it_had_not_been(seen, cut):
    def make():
        return SmartEarlyStopping(3, 5, (10, 20))

    whole, first, second = make(), make(), make()
    epoch = 0
    for number, (step, loss, ap) in enumerate(seen):
        epoch += step
        if number == cut:
            second.load_state_dict(json.loads(json.dumps(first.state_dict(), allow_nan=False)))
        part = first if number < cut else second
        assert part.should_stop(epoch, loss, ap) == whole.should_stop(epoch, loss, ap)
        assert part.state_dict() == whole.state_dict()
