"""The same run bit for bit: by its seed, with workers, stopped, killed at any moment, and resumed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from small_runs import DATA, assert_same_run, recipe, run, silent, tensors

from featherface_core.events import Epoch, RunEvent, Step
from featherface_core.recipe import MachineConfig
from featherface_core.training.command_run import Where
from featherface_core.training.processes import StoppedError
from featherface_core.training.runs import resume, train


def test_the_same_seed_gives_the_same_run(whole: Path, tmp_path: Path) -> None:
    assert_same_run(whole, run(tmp_path / "again"))


def test_another_seed_gives_another_run(whole: Path, tmp_path: Path) -> None:
    other = tensors(run(tmp_path / "other", seed=1, epochs=1))
    assert any(not torch.equal(t, other[name]) for name, t in tensors(whole).items())


def test_workers_change_nothing(whole: Path, tmp_path: Path) -> None:
    machine = MachineConfig(device="cpu", workers=1, cache_gb=1.0)
    assert_same_run(whole, run(tmp_path / "workers", machine=machine))


def test_stopped_after_an_epoch_and_resumed_it_is_the_same_run(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    report = train(recipe(), DATA, None, Where(out, stop_after=1), silent)
    assert not report.finished
    assert not (out / "report.json").exists()
    resume(out, "train", 2, silent)
    final = resume(out, "train", 0, silent)
    assert final.finished
    assert_same_run(whole, out)


class StopsWithin:
    """A listener that interrupts the run as Ctrl-C would, at the n-th event of a step."""

    def __init__(self, number: signal.Signals) -> None:
        self.number, self.sent = number, False

    def __call__(self, event: RunEvent) -> None:
        if isinstance(event, Epoch) and event.epoch == 1 and not self.sent:
            self.sent = True
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_within_an_epoch_leaves_the_same_run(whole: Path, tmp_path: Path, number: signal.Signals) -> None:
    out = tmp_path / "run"
    with pytest.raises(StoppedError):
        train(recipe(), DATA, None, Where(out), StopsWithin(number))
    saved = torch.load(out / "last.pt", weights_only=True)
    assert saved["step"] == 5  # the first epoch's four, and the one that was under way
    assert saved["totals"]["steps"] == 1
    resume(out, "train", 0, silent)
    assert_same_run(whole, out)


class StopsAt:
    """A listener that interrupts the run at an epoch's last step, which is always told."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def __call__(self, event: RunEvent) -> None:
        if isinstance(event, Step) and event.epoch == self.epoch and event.step == event.steps - 1:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("epoch", [2, 3])
def test_a_signal_in_the_last_step_of_an_epoch(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch: int
) -> None:
    from featherface_core.training import loop as module

    monkeypatch.setattr(module, "SECONDS_BETWEEN_EVENTS", 0.0)
    out = tmp_path / "run"
    if epoch < 3:
        with pytest.raises(StoppedError):
            train(recipe(), DATA, None, Where(out), StopsAt(epoch))
        assert len((out / "metrics.jsonl").read_text().splitlines()) == epoch
        resume(out, "train", 0, silent)
    else:  # nothing is left to stop
        assert train(recipe(), DATA, None, Where(out), StopsAt(epoch)).finished
    assert_same_run(whole, out)


def test_a_killed_group_of_processes_leaves_a_run_to_resume(tmp_path: Path) -> None:
    """Launchers and job queues send SIGTERM to every process of a run, its workers too."""
    out = tmp_path / "run"
    program = (
        f"import sys; from pathlib import Path; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from small_runs import DATA, recipe, silent\n"
        "from featherface_core.recipe import MachineConfig\n"
        "from featherface_core.training.command_run import Where\n"
        "from featherface_core.training.runs import train\n"
        "machine = MachineConfig(device='cpu', workers=1, cache_gb=0.0)\n"
        f"train(recipe(epochs=500, machine=machine), DATA, None, Where(Path({str(out)!r})), silent)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True, start_new_session=True)
    limit = time.monotonic() + 60
    while not (out / "metrics.jsonl").exists() and child.poll() is None and time.monotonic() < limit:
        time.sleep(0.02)
    os.killpg(child.pid, signal.SIGTERM)
    said = child.communicate(timeout=60)[1]
    assert "StoppedError" in said, said
    assert torch.load(out / "last.pt", weights_only=True)["step"] >= 4


def test_a_kill_between_metrics_and_checkpoint_is_mended(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(recipe(), DATA, None, Where(out, stop_after=1), silent)
    with (out / "metrics.jsonl").open("a") as file:
        file.write(
            '{"epoch": 2, "train_loss": 1.0}\n{"epoch": 3, "tra'
        )  # an epoch without its checkpoint, and half a line
    (out / ".last.99999.part.pt").write_bytes(b"half a checkpoint")
    resume(out, "train", 0, silent)
    assert_same_run(whole, out)


@pytest.mark.slow
def test_kill_9_at_any_moment_leaves_a_run_that_resumes(whole: Path, tmp_path: Path) -> None:
    """A run that saves at each step, killed after its 1st, 2nd, 3rd and 5th save, still ends as the whole one."""
    out = tmp_path / "run"
    program = (
        f"import sys; from pathlib import Path; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from small_runs import DATA, recipe, silent\n"
        "from featherface_core.recipe import MachineConfig\n"
        "from featherface_core.training.command_run import Where\n"
        "from featherface_core.training.runs import resume, train\n"
        f"out = Path({str(out)!r})\n"
        "machine = MachineConfig(device='cpu', workers=0, cache_gb=0.0, save_minutes=0.0)\n"
        "if (out / 'config.yaml').exists():\n"
        "    resume(out, 'train', 0, silent)\n"
        "else:\n"
        "    train(recipe(machine=machine), DATA, None, Where(out), silent)\n"
    )
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    last = out / "last.pt"
    within_an_epoch = 0
    for saves in (1, 2, 3, 5):
        child = subprocess.Popen([sys.executable, "-c", program], env=environment, stderr=subprocess.PIPE)
        seen, limit = 0, time.monotonic() + 60
        before = last.stat().st_mtime_ns if last.exists() else 0
        while seen < saves and child.poll() is None and time.monotonic() < limit:
            now = last.stat().st_mtime_ns if last.exists() else 0
            seen, before = seen + (now != before), now
            time.sleep(0.001)
        assert child.poll() is None, child.stderr.read() if child.stderr else ""
        child.send_signal(signal.SIGKILL)
        child.communicate()
        within_an_epoch += torch.load(last, weights_only=True)["step"] % 4 != 0
    assert within_an_epoch
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not list(out.glob(".*.part*"))
    assert_same_run(whole, out)
