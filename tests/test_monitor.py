import json
import logging
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featherface_core.errors import ConfigError, DataError, FeatherFaceError
from featherface_core.training.monitor import TrainingMonitor
from featherface_core.training.run_folder import read_metrics

PLAN = {
    "epoch": 100,
    "train_loss": 0.8,
    "val_loss": 0.7,
    "val_map": 0.89,
    "learning_rate": 1e-4,
    "grad_stats": {"grad_norm_current": 0.5},
    "alpha": 0.6,
    "epoch_time": 25.0,
}


def silent(line: str) -> None:
    pass


def log(monitor, epoch, **values):
    return monitor.log_epoch_metrics(
        **{"epoch": epoch, "train_loss": 1 / max(epoch, 1), "learning_rate": 1e-3, "epoch_time": 2.0, **values}
    )


def strictly(text):
    """JSON without NaN and Infinity, which are none."""

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


# the record of an epoch


def test_the_plans_example():
    monitor = TrainingMonitor(log_interval=10)
    record = monitor.log_epoch_metrics(**PLAN)
    assert record == {
        "epoch": 100,
        "train_loss": 0.8,
        "val_loss": 0.7,
        "val_map": 0.89,
        "learning_rate": 1e-4,
        "alpha": 0.6,
        "epoch_time": 25.0,
        "eta": None,
        "skipped_steps": 0,
        "grad_norm_current": 0.5,
    }
    assert monitor.history == [record]


def test_it_imports_no_torch():
    modules = ("monitor", "early_stopping", "alpha", "schedule")
    code = "import sys; " + "; ".join(f"import featherface_core.training.{m}" for m in modules)
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; print('torch' in sys.modules)"], capture_output=True, text=True
    )
    assert done.stdout.strip() == "False", done.stderr


@pytest.mark.parametrize("name", [".", "metrics.jsonl", "new/folder", "other.jsonl"])
def test_each_epoch_is_on_the_disk_when_the_call_returns(tmp_path, name):
    path = tmp_path / name
    monitor = TrainingMonitor(path=path, listener=silent)
    file = path if path.suffix == ".jsonl" else path / "metrics.jsonl"
    for epoch in (1, 2, 3):
        log(monitor, epoch, extra={"loss/box": 0.25})
        assert strictly(file.read_text()) == monitor.history
    assert [record["loss/box"] for record in monitor.history] == [0.25] * 3


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf, np.float32("nan")])
def test_what_is_no_number_is_null_and_a_finding(tmp_path, broken):
    monitor = TrainingMonitor(path=tmp_path, listener=silent)
    record = log(monitor, 1, val_map=broken, extra={"loss/box": broken})
    assert (record["val_map"], record["loss/box"]) == (None, None)
    assert strictly((tmp_path / "metrics.jsonl").read_text()) == [record]
    assert monitor.summary()["health"] == {"non-finite-metric": 2}
    assert monitor.findings[0].fix


def test_numbers_of_numpy_become_plain_ones(tmp_path):
    monitor = TrainingMonitor(path=tmp_path, listener=silent)
    record = log(monitor, 1, train_loss=np.float32(0.5), extra={"images_per_second": np.float64(3.5)})
    assert type(record["train_loss"]) is type(record["images_per_second"]) is float


def test_an_epoch_out_of_order_and_a_name_used_twice_are_refused(tmp_path):
    monitor = TrainingMonitor(path=tmp_path, listener=silent)
    log(monitor, 3)
    for epoch in (3, 2):
        with pytest.raises(ConfigError, match=f"epoch {epoch} comes after epoch 3") as caught:
            log(monitor, epoch)
        assert f"rewind({epoch - 1})" in caught.value.hint
    with pytest.raises(ConfigError, match="epoch 0"):
        log(monitor, 0)
    with pytest.raises(ConfigError, match="'val_map'"):
        log(monitor, 4, extra={"val_map": 1.0})
    with pytest.raises(ConfigError, match="'grad_norm_max'"):
        log(monitor, 4, grad_stats={"grad_norm_max": 1.0}, extra={"grad_norm_max": 1.0})
    assert len(read_metrics(tmp_path / "metrics.jsonl").records) == 1


@pytest.mark.parametrize("arguments", [{"log_interval": 0}, {"log_interval": 1.5}, {"epochs": 0}])
def test_bad_arguments_are_refused(arguments):
    with pytest.raises(ConfigError):
        TrainingMonitor(**arguments)


def test_a_place_that_cannot_be_written_to_is_refused_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError):
        TrainingMonitor(path=tmp_path / "file" / "metrics.jsonl")


# lines for people and the time left


def test_eta_goes_by_the_epochs_that_were_asked_for():
    """Upstream assumed 400 epochs (FACTS no. 10)."""
    monitor = TrainingMonitor(epochs=12, listener=silent)
    assert log(monitor, 1, epoch_time=10.0)["eta"] == 110.0
    assert log(monitor, 2, epoch_time=20.0)["eta"] == 150.0
    assert log(monitor, 12, epoch_time=20.0)["eta"] == 0.0
    assert log(monitor, 13, epoch_time=20.0)["eta"] == 0.0
    assert log(TrainingMonitor(listener=silent), 1)["eta"] is None


def test_eta_goes_by_the_last_ten_epochs_and_survives_nan():
    monitor = TrainingMonitor(epochs=100, listener=silent)
    for epoch in range(1, 11):
        log(monitor, epoch, epoch_time=1000.0)
    for epoch in range(11, 21):
        record = log(monitor, epoch, epoch_time=1.0)
    assert record["eta"] == 80.0
    assert log(monitor, 21, epoch_time=math.nan)["eta"] == 79.0
    assert log(TrainingMonitor(epochs=3, listener=silent), 1, epoch_time=math.nan)["eta"] is None


def test_a_line_each_interval_and_for_the_first_and_the_last_epoch():
    lines = []
    monitor = TrainingMonitor(log_interval=10, epochs=25, listener=lines.append)
    for epoch in range(1, 26):
        log(monitor, epoch)
    assert [line.partition(":")[0] for line in lines] == ["epoch 1/25", "epoch 10/25", "epoch 20/25", "epoch 25/25"]


def test_the_line_says_it_all_and_leaves_out_what_is_not_known():
    lines = []
    TrainingMonitor(epochs=400, listener=lines.append).log_epoch_metrics(**PLAN)
    assert lines == [
        "epoch 100/400: train loss 0.8000, val loss 0.7000, AP 0.8900, lr 1.0e-04, alpha 0.600, gradient norm 0.5, "
        "25.0 s, ETA 2:05:00"
    ]
    lines.clear()
    log(TrainingMonitor(listener=lines.append), 1)
    assert lines == ["epoch 1: train loss 1.0000, lr 1.0e-03, 2.0 s"]


def test_by_default_lines_go_to_the_logger(caplog, capfd):
    with caplog.at_level(logging.INFO, logger="featherface"):
        log(TrainingMonitor(), 1)
    assert [record.getMessage() for record in caplog.records] == ["epoch 1: train loss 1.0000, lr 1.0e-03, 2.0 s"]
    assert capfd.readouterr().out == ""


def test_findings_are_told_once_with_their_count():
    lines = []
    monitor = TrainingMonitor(log_interval=1, listener=lines.append)
    for step in range(5):
        monitor.check_step(1.0, 20.0 + step, step)
    log(monitor, 1)
    assert lines[1].startswith("warn: the gradient norm is 24, over 10, at step 4 (5 such since the last line); ")
    assert "--gradient-clip-norm" in lines[1]
    lines.clear()
    log(monitor, 2)
    assert len(lines) == 1


# health


@pytest.mark.parametrize(
    ("loss", "norm", "kinds", "option"),
    [
        (1.0, 1.0, [], ""),
        (100.0, 10.0, [], ""),
        (0.0, 1e-6, [], ""),
        (1.0, None, [], ""),
        (100.1, 1.0, ["high-loss"], "--lr"),
        (1.0, 10.1, ["exploding-gradient"], "--gradient-clip-norm"),
        (1.0, 0.9e-6, ["vanishing-gradient"], "--lr"),
        (1.0, 0.0, ["vanishing-gradient"], "--alpha"),
        (math.nan, 1.0, ["non-finite-loss"], "--warmup-epochs"),
        (-math.inf, None, ["non-finite-loss"], "--lr"),
        (1.0, math.inf, ["non-finite-gradient"], "--lr"),
        (math.inf, math.nan, ["non-finite-loss", "non-finite-gradient"], "--lr"),
    ],
)
def test_check_step(loss, norm, kinds, option):
    monitor = TrainingMonitor(listener=silent)
    found = monitor.check_step(loss, norm, 12)
    assert [health.kind for health in found] == kinds
    assert all(option in health.fix and "step 12" in health.found for health in found)
    assert all((health.verdict == "fail") == health.kind.startswith("non-finite") for health in found)
    assert monitor.summary()["health"] == dict.fromkeys(kinds, 1)


def test_without_check_step_the_epoch_itself_is_looked_at():
    monitor = TrainingMonitor(listener=silent)
    log(monitor, 1, train_loss=500.0, grad_stats={"grad_norm_current": 1e-9})
    assert monitor.summary()["health"] == {"high-loss": 1, "vanishing-gradient": 1}
    assert "epoch 1" in monitor.findings[0].found
    stepped = TrainingMonitor(listener=silent)
    stepped.check_step(1.0, 1.0, 1)
    log(stepped, 1, train_loss=500.0)
    assert stepped.summary()["health"] == {}


def test_three_steps_in_a_row_that_are_not_finite_stop_the_run():
    monitor = TrainingMonitor(listener=silent)
    monitor.check_step(math.nan, 1.0, 7)
    assert [monitor.non_finite(), monitor.non_finite()] == [1, 2]
    monitor.finite_step()
    assert [monitor.non_finite(), monitor.non_finite()] == [1, 2]
    with pytest.raises(FeatherFaceError, match="3 steps in a row") as caught:
        monitor.non_finite("runs/a/samples/bad.pt")
    assert caught.value.exit_code == 1
    assert "--lr" in caught.value.hint
    assert "runs/a/samples/bad.pt" in caught.value.hint
    assert caught.value.details == ("the loss is nan at step 7",)


def test_the_three_in_a_row_may_span_a_resume():
    killed, resumed = TrainingMonitor(listener=silent), TrainingMonitor(listener=silent)
    killed.non_finite()
    killed.non_finite()
    resumed.load_state_dict(killed.state_dict())
    with pytest.raises(FeatherFaceError, match="3 steps in a row"):
        resumed.non_finite()


def test_skipped_steps_are_counted_by_epoch():
    monitor = TrainingMonitor(listener=silent)
    monitor.non_finite()
    monitor.non_finite()
    assert log(monitor, 1)["skipped_steps"] == 2
    monitor.finite_step()
    monitor.non_finite()
    assert monitor.summary()["skipped_steps"] == 3
    assert log(monitor, 2)["skipped_steps"] == 1
    assert log(monitor, 3)["skipped_steps"] == 0
    assert monitor.summary()["skipped_steps"] == 3


def test_the_summary():
    monitor = TrainingMonitor(listener=silent)
    assert monitor.summary()["gradient_norm"] == {"min": None, "median": None, "max": None}
    for step, norm in enumerate([3.0, 1.0, 30.0, math.nan]):
        monitor.check_step(1.0, norm, step)
    log(monitor, 1)
    log(monitor, 2)
    summary = monitor.summary()
    assert summary["gradient_norm"] == {"min": 1.0, "median": 3.0, "max": 30.0}
    assert summary["health"] == {"exploding-gradient": 1, "non-finite-gradient": 1}
    assert (summary["epochs"], summary["seconds"]) == (2, 4.0)
    assert [finding["kind"] for finding in summary["findings"]] == ["exploding-gradient", "non-finite-gradient"]
    json.dumps(summary, allow_nan=False)


# going on from a checkpoint


@pytest.fixture(scope="module")
def five(tmp_path_factory):
    """metrics.jsonl of five epochs, and the state of its monitor after each."""
    path = tmp_path_factory.mktemp("run") / "metrics.jsonl"
    monitor = TrainingMonitor(path=path, epochs=9, listener=silent)
    states = [monitor.state_dict()]
    for epoch in range(1, 6):
        log(monitor, epoch, val_map=0.1 * epoch, extra={"loss/box": 1 / 3})
        states.append(json.loads(json.dumps(monitor.state_dict(), allow_nan=False)))
    return path.read_bytes(), states


@given(st.data())
def test_rewind_after_a_kill_at_any_byte(five, tmp_path_factory, data):
    content, _ = five
    cut = data.draw(st.integers(0, len(content)))
    whole = content[:cut].count(b"\n")
    whole += cut < len(content) and content[cut : cut + 1] == b"\n"  # only the line's end is missing
    epoch = data.draw(st.integers(0, 6))
    path = tmp_path_factory.mktemp("cut") / "metrics.jsonl"
    path.write_bytes(content[:cut])
    monitor = TrainingMonitor(path=path, epochs=9, listener=silent)
    monitor.rewind(epoch)
    kept = min(whole, epoch)
    assert path.read_bytes() == b"".join(content.splitlines(keepends=True)[:kept])
    assert [record["epoch"] for record in monitor.history] == list(range(1, kept + 1))
    log(monitor, 7)
    assert [record["epoch"] for record in strictly(path.read_text())] == [*range(1, kept + 1), 7]


@given(st.data())
def test_with_its_state_the_file_goes_on_as_if_the_run_had_not_been_killed(five, tmp_path_factory, data):
    content, states = five
    held = data.draw(st.integers(0, 5))  # epochs that the checkpoint holds
    cut = data.draw(st.integers(0, len(content)))
    path = tmp_path_factory.mktemp("cut") / "metrics.jsonl"
    path.write_bytes(content[:cut])
    monitor = TrainingMonitor(path=path, epochs=9, listener=silent)
    monitor.load_state_dict(states[held])
    monitor.rewind(held)
    for epoch in range(held + 1, 6):
        log(monitor, epoch, val_map=0.1 * epoch, extra={"loss/box": 1 / 3})
    assert path.read_bytes() == content
    assert monitor.state_dict() == states[5]


def test_rewind_drops_damage_and_keeps_the_later_of_two(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = [
        '{"epoch": 1, "a": 1}',
        "[1]",
        '{"epoch": "2"}',
        "\x00",
        '{"epoch": 2, "a": NaN}',
        '{"epoch": 1, "a": 5}',
        "{",
    ]
    path.write_text("\n".join(lines))
    monitor = TrainingMonitor(path=path, listener=silent)
    monitor.rewind(10)
    assert path.read_text() == '{"epoch": 1, "a": 5}\n{"epoch": 2, "a": null}\n'


def test_rewind_without_a_file_makes_none_and_zero_begins_anew(tmp_path):
    monitor = TrainingMonitor(path=tmp_path, listener=silent)
    monitor.rewind(5)
    assert list(tmp_path.iterdir()) == []
    log(monitor, 1)
    monitor.rewind(0)
    assert monitor.history == []
    assert (tmp_path / "metrics.jsonl").read_bytes() == b""
    in_memory = TrainingMonitor(listener=silent)
    log(in_memory, 1)
    log(in_memory, 2)
    in_memory.rewind(1)
    assert [record["epoch"] for record in in_memory.history] == [1]


def test_a_rewind_that_cannot_write_leaves_the_file_as_it_was(tmp_path, monkeypatch, five):
    from pathlib import Path

    path = tmp_path / "metrics.jsonl"
    path.write_bytes(five[0])
    monitor = TrainingMonitor(path=path, listener=silent)

    def full(self, *arguments, **keywords):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(DataError, match="No space left"):
        monitor.rewind(2)
    assert path.read_bytes() == five[0]


def test_a_file_that_cannot_be_written_is_an_error_with_its_name(tmp_path):
    monitor = TrainingMonitor(path=tmp_path / "metrics.jsonl", listener=silent)
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(DataError, match=r"cannot write .*metrics\.jsonl"):
        log(monitor, 1)
    with pytest.raises(DataError, match=r"cannot read .*metrics\.jsonl"):
        monitor.rewind(0)


steps = st.lists(
    st.tuples(st.one_of(st.just(math.nan), st.floats()), st.one_of(st.none(), st.floats(min_value=0))), max_size=30
)


@given(steps, st.integers(0, 30))
def test_a_monitor_cut_anywhere_goes_on_as_if_it_had_not_been(seen, cut):
    def run(monitor, number, loss, norm):
        found = monitor.check_step(loss, norm, number)
        if any(health.verdict == "fail" for health in found):
            try:
                monitor.non_finite()
            except FeatherFaceError:
                monitor.finite_step()
        else:
            monitor.finite_step()
        if number % 4 == 3:
            log(monitor, number, train_loss=loss)

    lines, parts = [], []
    whole = TrainingMonitor(log_interval=2, epochs=50, listener=lines.append)
    first = TrainingMonitor(log_interval=2, epochs=50, listener=parts.append)
    second = TrainingMonitor(log_interval=2, epochs=50, listener=parts.append)
    for number, (loss, norm) in enumerate(seen):
        if number == cut:
            second.load_state_dict(json.loads(json.dumps(first.state_dict(), allow_nan=False)))
        run(whole, number, loss, norm)
        run(first if number < cut else second, number, loss, norm)
    last = first if cut >= len(seen) else second
    assert last.state_dict() == whole.state_dict()
    assert last.summary() == whole.summary()
    assert parts == lines
