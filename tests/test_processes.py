"""A run of several processes: the gradients of one, and files that are written once."""

import json
import os
import runpy
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from small_runs import DATA, recipe, silent

from featherface_core.errors import ConfigError, FeatherFaceError
from featherface_core.events import Note, RunEvent
from featherface_core.recipe import Recipe
from featherface_core.training.processes import Processes, find_processes, process_group
from featherface_core.training.runs import train
from featherface_core.training.setup import Where, open_run


def test_batch_size_must_divide_among_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from featherface_core.training import setup as command_run

    monkeypatch.setattr(command_run, "find_processes", lambda device: (Processes(0, 3), torch.device("cpu")))
    with pytest.raises(ConfigError, match="does not divide among 3"):
        train(recipe(), DATA, None, Where(tmp_path / "run"), silent)


class Torchrun:
    """Two processes as torchrun announces them, and what this one does with their group."""

    def __init__(self, patch: pytest.MonkeyPatch, rank: int) -> None:
        self.calls: list[str] = []
        patch.setenv("WORLD_SIZE", "2")
        patch.setenv("RANK", str(rank))
        patch.setattr(dist, "is_initialized", lambda: False)
        patch.setattr(dist, "init_process_group", lambda *_, **__: self.calls.append("init"))
        patch.setattr(dist, "destroy_process_group", lambda: self.calls.append("destroy"))
        patch.setattr(dist, "broadcast_object_list", self.broadcast)

    def broadcast(self, values: list[object]) -> None:
        self.calls.append("broadcast")


@pytest.mark.parametrize("rank", [0, 1])
def test_what_is_wrong_is_said_before_the_processes_meet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: int
) -> None:
    group = Torchrun(monkeypatch, rank)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    data = str(tmp_path / "nowhere")
    wrong: list[tuple[Recipe, str, str, str]] = [
        (recipe(batch_size=3), DATA, "run", "does not divide among 2"),
        (recipe(model="v9"), DATA, "run", "'v9'"),
        (recipe(init=str(tmp_path / "no.safetensors")), DATA, "run", "no.safetensors"),
        (recipe(set_weights=(1.0, 2.0)), DATA, "run", "set_weights"),
        (recipe(), data, "run", "nowhere"),
    ]
    if rank == 0:  # which alone makes the folder
        wrong.append((recipe(), DATA, "taken", "exists and is not empty"))
    for made, named, out, words in wrong:
        with pytest.raises(FeatherFaceError) as refused:
            train(made, named, None, Where(tmp_path / out), silent)
        assert words in refused.value.message
    assert group.calls == []
    assert not (tmp_path / "run").exists()


def test_the_processes_part_however_the_command_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group, notes = Torchrun(monkeypatch, 0), list[RunEvent]()
    for number, problem in enumerate((None, RuntimeError, KeyboardInterrupt)):
        group.calls.clear()
        with (
            pytest.raises(problem) if problem else nullcontext(),
            open_run(recipe(), DATA, None, Where(tmp_path / str(number)), notes.append, "train", {}) as run,
        ):
            assert group.calls == ["init", "broadcast"]
            assert (run.processes.rank, run.processes.world) == (0, 2)
            if problem:
                raise problem
        assert group.calls == ["init", "broadcast", "destroy"]
    said = [event.text for event in notes if isinstance(event, Note) and "stopped" in event.text]
    assert said == [f"stopped; go on with: featherface train --resume {tmp_path / '2'}"]


def test_a_group_that_the_caller_has_made_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    group = Torchrun(monkeypatch, 0)
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    with process_group(*find_processes("cpu")):
        pass
    assert group.calls == []


GRADIENTS = """
import sys
from pathlib import Path
import torch
sys.path.insert(0, {tests!r})
from small_runs import recipe, runs_batches, silent
from featherface_core.data.synthetic import SyntheticFaces
from featherface_core.models.variants import build_model
from featherface_core.recipe import AugmentConfig, OptimiserConfig
from featherface_core.training.loop import Engine
from featherface_core.training.records import RunFolder
from featherface_core.training.processes import find_processes, process_group
from featherface_core.training.task import LabelsTask
processes, device = find_processes("cpu")
with process_group(processes, device):
    out = Path({out!r})
    made = recipe(batch_size=8, augment=AugmentConfig(crop="none"), optimiser=OptimiserConfig(clip=0.0))
    source = SyntheticFaces(24, 0, 64)
    folder = RunFolder(out / f"run{{processes.world}}")
    if processes.first:
        folder.path.mkdir()
    folder = RunFolder(Path(processes.tell(str(folder.path))))
    model = build_model({model!r}, seed=0)
    one = Engine("model", model, LabelsTask(made.loss, processes), source, source, made, folder, processes, device, silent, "")
    one.optimiser.step = lambda *a, **k: None
    loader = iter(runs_batches(one))
    taken = one.take_step(loader)
    if processes.first:
        gradients = {{n: p.grad for n, p in one.model.named_parameters()}}
        statistics = {{n: t for n, t in one.model.state_dict().items() if "running" in n}}
        torch.save({{"gradients": gradients, "losses": taken.losses, "norm": taken.norm, "statistics": statistics}},
                   out / f"gradients{{processes.world}}.pt")
"""


@pytest.mark.slow
@pytest.mark.parametrize("model", ["v2", "v1"])
def test_two_processes_have_the_gradients_of_one(tmp_path: Path, model: str) -> None:
    program = GRADIENTS.format(tests=str(Path(__file__).parent), out=str(tmp_path), model=model)
    script = tmp_path / "gradients.py"
    script.write_text(program)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    runpy.run_path(str(script))
    done = subprocess.run(launcher, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    alone, both = (torch.load(tmp_path / f"gradients{n}.pt", weights_only=True) for n in (1, 2))
    assert both["losses"] == pytest.approx(alone["losses"], rel=1e-6)
    assert both["norm"] == pytest.approx(alone["norm"], rel=1e-6)
    # relative to the gradient as a whole: rounding of one tensor's small values comes from others' large ones
    assert alone["norm"] > 1
    for name, gradient in alone["gradients"].items():
        assert float((gradient - both["gradients"][name]).abs().max()) <= 1e-6 * alone["norm"], name
    for name, statistic in alone["statistics"].items():
        torch.testing.assert_close(statistic, both["statistics"][name], rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_the_command_line_runs_two_processes(tmp_path: Path) -> None:
    """--nproc 2 and plain torchrun give the same run, written once."""
    options = [
        "train", "--data", DATA, "--epochs", "1", "--batch-size", "4", "--size", "64", "--workers", "0", "--json",
        "--set", "pictures_per_epoch=8", "--set", "validation.pictures=2", "--device", "cpu",
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    ours = [sys.executable, "-m", "featherface_cli.app", *options, "--nproc", "2", "--out", "ours"]
    plain = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "featherface_cli.app",
        *options, "--out", "plain",
    ]  # fmt: skip
    for command in (ours, plain):
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["finished"]
    left, right = (load_file(tmp_path / name / "best.safetensors") for name in ("ours", "plain"))
    assert all(torch.equal(t, right[name]) for name, t in left.items())
    assert json.loads((tmp_path / "ours" / "env.json").read_text())["processes"] == 2
    assert len((tmp_path / "ours" / "metrics.jsonl").read_text().splitlines()) == 1
