"""The loop's steps: read late or at once, skipped on the device, averaged, and stopped by a signal in between."""

import json
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import DATA, Poisoned, assert_same_run, engine, recipe, runs_batches, silent
from torch import nn

from featherface_core.errors import FeatherFaceError
from featherface_core.events import Epoch, RunEvent
from featherface_core.recipe import MachineConfig, OptimiserConfig
from featherface_core.training import command_run as command_run
from featherface_core.training.command_run import Where
from featherface_core.training.ema import Average
from featherface_core.training.loop import Engine
from featherface_core.training.processes import StoppedError
from featherface_core.training.runs import resume, train


class Late(Engine):
    """Reads each step one step later, as on a GPU."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.late = 1


def state(one: Engine) -> dict[str, torch.Tensor]:
    """Copies of all that a step may move, but for the statistics that a forward pass gathers."""
    moments = {f"{i} {k}": v for i, s in enumerate(one.optimiser.state.values()) for k, v in s.items()}
    averages = {f"average {k}": v for k, v in one.average.state.items()}
    weights = dict(one.model.named_parameters())
    return {name: t.detach().clone() for name, t in (moments | averages | weights).items() if t.is_floating_point()}


# ---- steps that are skipped ----


def test_a_step_that_is_not_finite_moves_nothing(tmp_path: Path) -> None:
    source = Poisoned(5)  # the second batch
    source.length = 4
    one = engine(tmp_path / "run", source)
    loader = runs_batches(one)
    one.model.train()
    one.take_step(loader)
    before = state(one)
    taken = one.take_step(loader)
    assert not torch.isfinite(torch.tensor(sum(taken.losses.values())))
    after = state(one)
    assert before.keys() == after.keys()
    assert all(torch.equal(t, after[name]) for name, t in before.items())
    assert one.average.steps == 1
    one.take_step(loader)
    later = state(one)
    assert any(not torch.equal(t, later[name]) for name, t in before.items())
    assert one.average.steps == 2


@pytest.mark.parametrize("late", [0, 1])
def test_bad_steps_end_the_run_however_late_they_are_read(tmp_path: Path, late: int) -> None:
    one = engine(tmp_path / "run", Poisoned(8))
    one.late = late
    with pytest.raises(FeatherFaceError, match="3 steps in a row"):
        one.fit()
    kept = sorted(p.name for p in (tmp_path / "run" / "bad_batches").iterdir())
    assert kept == [f"step_{n}_process_0.pt" for n in (2, 3, 4)]
    assert all(bool(torch.isfinite(p).all()) for p in one.model.parameters())


# ---- late reading ----


def test_read_late_it_is_the_same_run(tmp_path: Path) -> None:
    """With a bad batch, saves in every step, and accumulated batches; the batch that is kept is the bad one."""
    machine = MachineConfig(device="cpu", workers=0, cache_gb=0.0, save_minutes=0.0)
    for late in (0, 1):
        source = Poisoned(10)
        source.length = 1
        one = engine(tmp_path / str(late), source, machine=machine, optimiser=OptimiserConfig(accumulate=2))
        one.late = late
        assert one.fit().finished
    assert_same_run(tmp_path / "0", tmp_path / "1")
    skipped = [
        json.loads(line)["skipped_steps"] for line in (tmp_path / "1" / "metrics.jsonl").read_text().splitlines()
    ]
    assert skipped == [1, 0, 0]
    left, right = (next((tmp_path / str(late) / "bad_batches").iterdir()) for late in (0, 1))
    assert left.name == right.name == "step_2_process_0.pt"
    kept = [torch.load(path, weights_only=True) for path in (left, right)]
    assert float(kept[1]["batches"][0]["landmarks"].max()) > 1e37
    assert kept[0]["losses"].keys() == kept[1]["losses"].keys()


def test_a_signal_between_late_steps_leaves_the_same_run(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step that follows the signal is under way when its flag is read: both are in the checkpoint."""
    monkeypatch.setattr(command_run, "Engine", Late)
    sent: list[int] = []

    def listen(event: RunEvent) -> None:
        if isinstance(event, Epoch) and event.epoch == 1:
            sent.append(event.epoch)
            os.kill(os.getpid(), signal.SIGTERM)

    out = tmp_path / "run"
    with pytest.raises(StoppedError):
        train(recipe(), DATA, None, Where(out), listen)
    saved = torch.load(out / "last.pt", weights_only=True)
    assert (saved["step"], saved["totals"]["steps"], len(sent)) == (6, 2, 1)
    resume(out, "train", 0, silent)
    assert_same_run(whole, out)


# ---- memory ----


@pytest.mark.skipif(not platform.libc_ver()[0], reason="the C library is not glibc")
@pytest.mark.parametrize(("kept", "faults"), [(False, range(16_000, 10**9)), (True, range(8_000))])
def test_memory_is_used_again(kept: bool, faults: range) -> None:
    """64 MB taken and freed ten times are 16,384 pages to clear each time, unless the process keeps them."""
    program = (
        "import resource, sys\n"
        "from featherface_core.training.device import keep_memory\n"
        "if sys.argv[1] == 'True': keep_memory()\n"
        "pages = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt * resource.getpagesize() // 4096\n"
        "fill = lambda: bytearray(64 * 2**20)\n"
        "fill(); before = pages()\n"
        "for _ in range(10): block = fill(); block[::4096] = bytes(len(block[::4096])); del block\n"
        "print(pages() - before)\n"
    )
    environment = os.environ | {"GLIBC_TUNABLES": ""}
    done = subprocess.run([sys.executable, "-c", program, str(kept)], env=environment, capture_output=True, text=True)
    assert int(done.stdout) in faults, done.stderr


# ---- averaged weights ----


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, 2.0]))
        self.register_buffer("seen", torch.tensor(0))


def test_the_average_by_hand() -> None:
    """w = 9/11, then 9/12; a skipped step counts for nothing."""
    model = Two()
    average = Average(model, 0.999)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([2.0, 2.0]))
        model.seen.fill_(7)
    average.update()
    assert average.state["weight"].tolist() == pytest.approx([1 + 9 / 11, 2.0])
    with torch.no_grad():  # a skipped step may have left what is not finite
        model.weight.copy_(torch.tensor([9.0, torch.nan]))
    average.update(torch.tensor(0.0))
    assert average.state["weight"].tolist() == pytest.approx([1 + 9 / 11, 2.0])
    with torch.no_grad():
        model.weight.copy_(torch.tensor([3.0, 6.0]))
    average.update(torch.tensor(1.0))
    first = 1 + 9 / 11
    assert average.state["weight"].tolist() == pytest.approx([first + 0.75 * (3 - first), 5.0])
    assert (int(average.state["seen"]), average.steps) == (7, 2)


def test_the_decay_is_that_of_the_recipe_in_the_end() -> None:
    model = Two()
    average = Average(model, 0.9)
    average.load(average.state, 1000)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([2.0, 2.0]))
    average.update()
    assert average.state["weight"].tolist() == pytest.approx([1.1, 2.0])


def test_without_decay_it_follows_the_model_exactly() -> None:
    model = Two()
    average = Average(model, 0.0)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([1 / 3, 1e30]))
    average.update()
    assert torch.equal(average.state["weight"], model.weight)
