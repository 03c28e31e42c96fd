"""The engine: learning, resuming bit for bit, surviving kills, several processes, and what a run folder holds."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from featherface_core.checkpoint import load_model, load_weights
from featherface_core.data.annotation import Faces, Picture
from featherface_core.errors import ConfigError, FeatherFaceError, WeightsError
from featherface_core.events import Epoch, Note, RunEvent
from featherface_core.models.variants import build_model
from featherface_core.recipe import (
    AugmentConfig,
    MachineConfig,
    OptimiserConfig,
    Recipe,
    StoppingConfig,
    ValidationConfig,
)
from featherface_core.training.engine import Engine
from featherface_core.training.folder import RunFolder
from featherface_core.training.interrupt import StoppedError
from featherface_core.training.processes import Processes
from featherface_core.training.runs import Where, resume, train
from featherface_core.training.tasks import LabelsTask


def recipe(**changes: object) -> Recipe:
    """A run of seconds: four steps an epoch on drawn faces."""
    values: dict = {
        "model": "v2",
        "epochs": 3,
        "pictures_per_epoch": 16,
        "batch_size": 4,
        "size": 64,
        "augment": AugmentConfig(crop="jitter", jitter=(0.5, 1.0), drop_block=0.1),
        "optimiser": OptimiserConfig(warmup_epochs=0.5),
        "validation": ValidationConfig(pictures=4, size=0),
        "stopping": StoppingConfig(enabled=False),
        "machine": MachineConfig(device="cpu", workers=0, cache_gb=0.0),
    }
    return Recipe(**(values | changes))


DATA = "synthetic:24"


def silent(event: RunEvent) -> None:
    """A listener that does not listen."""


def run(out: Path, **changes: object) -> Path:
    train(recipe(**changes), DATA, None, Where(out), silent)
    return out


def tensors(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path / "last.pt", weights_only=True)["model"]


def assert_same_run(a: Path, b: Path) -> None:
    """Weights, averages, optimiser and metrics agree bit for bit."""
    left, right = (torch.load(p / "last.pt", weights_only=True) for p in (a, b))
    for part in ("model", "average"):
        assert left[part].keys() == right[part].keys()
        assert all(torch.equal(left[part][name], right[part][name]) for name in left[part]), part
    for state in zip(left["optimiser"]["state"].values(), right["optimiser"]["state"].values(), strict=True):
        assert all(torch.equal(torch.as_tensor(state[0][k]), torch.as_tensor(state[1][k])) for k in state[0])
    timed = {"epoch_time", "eta", "images_per_second", "val_time"}
    lines = [[json.loads(line) for line in (p / "metrics.jsonl").read_text().splitlines()] for p in (a, b)]
    without = [[{k: v for k, v in record.items() if k not in timed} for record in records] for records in lines]
    assert without[0] == without[1]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never interrupted."""
    return run(tmp_path_factory.mktemp("whole") / "run")


def test_a_run_folder_holds_what_is_documented(whole: Path) -> None:
    names = {p.name for p in whole.iterdir()} - {"tensorboard"}
    assert names == {
        "config.yaml", "env.json", "metrics.jsonl", "last.pt", "best.safetensors", "report.json", "samples",
    }  # fmt: skip
    report = json.loads((whole / "report.json").read_text())
    records = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert [r["epoch"] for r in records] == [1, 2, 3]
    assert report["finished"]
    assert report["epochs_asked"] == 3
    assert "IoU 0.5" in report["protocol"]
    best = max(records, key=lambda r: r["val_map"])
    assert report["network"]["ap"] == pytest.approx(best["val_map"])
    assert {"loss/box", "loss/cls", "loss/landmark", "learning_rate", "grad_norm_mean", "eta"} <= records[0].keys()
    assert records[0]["train_loss"] == pytest.approx(sum(v for k, v in records[0].items() if k.startswith("loss/")))
    assert records[-1]["eta"] == 0


def test_best_weights_are_a_plain_network_with_their_protocol(whole: Path) -> None:
    weights = load_weights(whole / "best.safetensors")
    assert weights.config.name == "v2"
    assert weights.state.keys() == build_model("v2").state_dict().keys()
    from safetensors import safe_open

    with safe_open(whole / "best.safetensors", "pt") as stored:
        notes = stored.metadata()
    assert "IoU 0.5" in notes["protocol"]
    assert notes["seed"] == "0"


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
    """Killed five times at moments that differ, in and between epochs, the run still ends as the whole one."""
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, {tests!r})\n"
        "from test_training import *\n"
        "out = Path({out!r}); checkpointed = (out / 'config.yaml').exists()\n"
        "changed = recipe(machine=MachineConfig(device='cpu', workers=0, cache_gb=0.0, save_minutes=0.01))\n"
        "resume(out, 'train', 0, silent) if checkpointed else train(changed, DATA, None, Where(out), silent)\n"
    )
    out = tmp_path / "run"
    program = code.format(tests=str(Path(__file__).parent), out=str(out))
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    for delay in (0.1, 0.35, 0.6, 1.0, 1.4):
        child = subprocess.Popen([sys.executable, "-c", program], env=environment, stderr=subprocess.DEVNULL)
        # measured from the moment that it works, not from its start
        limit = time.monotonic() + 60
        while not (out / "samples" / "training.jpg").exists() and child.poll() is None and time.monotonic() < limit:
            time.sleep(0.02)
        time.sleep(delay)
        child.send_signal(signal.SIGKILL)
        child.wait()
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    finished = "is finished" in done.stderr
    assert done.returncode == 0 or finished, done.stderr
    assert_same_run(whole, out)


def test_a_full_disk_leaves_the_previous_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(tmp_path)
    folder.save({"step": 1, "model": {"w": torch.ones(3)}})
    before = folder.last.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WeightsError, match="No space left"):
        folder.save({"step": 2, "model": {"w": torch.zeros(3)}})
    assert folder.last.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_damaged_checkpoint_is_named(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "last.pt").write_bytes((whole / "last.pt").read_bytes()[:1000])
    with pytest.raises(WeightsError, match=r"last\.pt is a damaged checkpoint"):
        RunFolder(tmp_path).load()


class TestFolders:
    def test_a_run_folder_is_not_overwritten(self, whole: Path) -> None:
        with pytest.raises(ConfigError, match="exists and is not empty") as problem:
            train(recipe(), DATA, None, Where(whole), silent)
        assert "--resume" in problem.value.hint
        assert "--force" in problem.value.hint

    def test_force_empties_run_folders_alone(self, tmp_path: Path) -> None:
        (tmp_path / "thesis.txt").write_text("years of work")
        with pytest.raises(ConfigError, match="is not a run folder"):
            RunFolder.create(tmp_path, force=True)
        assert (tmp_path / "thesis.txt").exists()
        (tmp_path / "config.yaml").write_text("task: train\n")
        RunFolder.create(tmp_path, force=True)
        assert list(tmp_path.iterdir()) == []

    def test_a_finished_run_is_not_resumed(self, whole: Path) -> None:
        with pytest.raises(ConfigError, match="is finished"):
            resume(whole, "train", 0, silent)

    def test_a_run_is_resumed_by_its_own_command(self, whole: Path) -> None:
        with pytest.raises(ConfigError, match="not of distill") as problem:
            resume(whole, "distill", 0, silent)
        assert "featherface train --resume" in problem.value.hint

    def test_nothing_to_resume(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="does not exist"):
            resume(tmp_path / "nowhere", "train", 0, silent)

    def test_changed_data_cannot_be_resumed(self, tmp_path: Path) -> None:
        out = tmp_path / "run"
        train(recipe(pictures_per_epoch=0), DATA, None, Where(out, stop_after=1), silent)
        config = out / "config.yaml"
        config.write_text(config.read_text().replace("synthetic:24", "synthetic:40"))
        with pytest.raises(FeatherFaceError, match="6 steps"):
            resume(out, "train", 0, silent)


class Poisoned:
    """Pictures whose n-th reading from on gives labels that overflow the loss."""

    name = "poisoned"

    def __init__(self, from_reading: int) -> None:
        self.readings, self.from_reading = 0, from_reading

    def __len__(self) -> int:
        return 16

    def faces(self, index: int) -> Faces:
        points = np.full((1, 5, 2), 20.0)
        if self.from_reading <= self.readings < self.from_reading + self.length:
            points += 1e38
        return Faces.of([[10, 10, 30, 30]], points)

    length = 10**6

    def read(self, index: int) -> tuple[Picture, Faces]:
        self.readings += 1
        return np.full((64, 64, 3), 100, np.uint8), self.faces(index)


def engine(out: Path, source: object, on_event=silent, **changes: object) -> Engine:
    made = recipe(augment=AugmentConfig(crop="none", colour=0.0), **changes)
    out.mkdir(exist_ok=True)
    task = LabelsTask(made.loss, Processes())
    model = build_model("v2", seed=0)
    cpu = torch.device("cpu")
    return Engine("model", model, task, source, source, made, RunFolder(out), Processes(), cpu, on_event, "random")


def test_three_steps_without_a_finite_loss_stop_the_run(tmp_path: Path) -> None:
    notes: list[Note] = []
    one = engine(tmp_path / "run", Poisoned(8), lambda e: notes.append(e) if isinstance(e, Note) else None)
    with pytest.raises(FeatherFaceError, match="3 steps in a row") as problem:
        one.fit()
    assert "--lr" in problem.value.hint
    kept = sorted(p.name for p in (tmp_path / "run" / "bad_batches").iterdir())
    assert len(kept) == 3
    saved = torch.load(tmp_path / "run" / "bad_batches" / kept[0], weights_only=True)
    assert saved["batches"][0]["pixels"].shape == (4, 64, 64, 3)
    assert any("is skipped" in note.text for note in notes)
    assert all(bool(torch.isfinite(t).all()) for t in one.model.state_dict().values())


def test_one_bad_step_is_skipped_and_counted(tmp_path: Path) -> None:
    source = Poisoned(4)
    source.length = 4
    one = engine(tmp_path / "run", source, epochs=1)
    assert one.fit().finished
    record = json.loads((tmp_path / "run" / "metrics.jsonl").read_text())
    assert record["skipped_steps"] == 1
    assert record["train_loss"] is not None


def test_early_stopping_ends_a_run(tmp_path: Path) -> None:
    stopping = StoppingConfig(patience=1, min_epoch=2, window_start=2, window_end=3)
    optimiser = OptimiserConfig(lr=1e-9, ema=0.0)  # learns nothing, so nothing improves
    report = train(
        recipe(epochs=9, stopping=stopping, optimiser=optimiser), DATA, None, Where(tmp_path / "run"), silent
    )
    assert report.finished
    assert report.stopped
    assert report.network.epochs < 9
    assert (tmp_path / "run" / "report.json").exists()


def test_accumulated_batches_are_one_step(tmp_path: Path) -> None:
    optimiser = OptimiserConfig(accumulate=2)
    out = run(tmp_path / "run", optimiser=optimiser, epochs=1)
    assert torch.load(out / "last.pt", weights_only=True)["step"] == 2


def test_clipping_bounds_the_step(tmp_path: Path) -> None:
    records = []
    for clip in (1e-3, 1e6):
        out = run(tmp_path / f"{clip}", optimiser=OptimiserConfig(clip=clip), epochs=1)
        records.append(json.loads((out / "metrics.jsonl").read_text()))
    assert records[0]["grad_clipped_share"] == 1
    assert records[1]["grad_clipped_share"] == 0


def test_it_learns(tmp_path: Path) -> None:
    """Sixteen pictures, learnt by heart: the loss falls to a third."""
    optimiser = OptimiserConfig(lr=5e-3, warmup_epochs=1, schedule="constant", ema=0.0)
    augment = AugmentConfig(crop="none", colour=0.0, mirror=0.0)
    changed = recipe(epochs=12, pictures_per_epoch=0, optimiser=optimiser, augment=augment, size=128)
    train(changed, "synthetic:16", None, Where(tmp_path / "run"), silent)
    losses = [json.loads(line)["train_loss"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert losses[-1] < losses[0] / 3


def test_starting_from_the_imagenet_backbone(reference: Path, tmp_path: Path) -> None:
    path = reference / "mobilenetV1X0.25_pretrain.tar"
    model = build_model("v2", seed=0)
    from featherface_core.checkpoint import load_start

    assert load_start(model, path) == f"backbone from ImageNet ({path.name})"
    upstream = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    stem = upstream["module.stage1.0.0.weight"]
    assert torch.equal(model.state_dict()["backbone.stages.0.0.conv.weight"], stem)
    fresh = build_model("v2", seed=0).state_dict()
    changed = [name for name, t in model.state_dict().items() if not torch.equal(t, fresh[name])]
    assert changed
    assert all(name.startswith("backbone.") for name in changed)


def test_starting_from_another_variant_takes_its_backbone(whole: Path) -> None:
    from featherface_core.checkpoint import load_start

    model = build_model("v1", seed=0)
    assert load_start(model, whole / "best.safetensors").startswith("backbone of v2")
    theirs = load_model(whole / "best.safetensors").state_dict()
    assert torch.equal(
        model.state_dict()["backbone.stages.2.1.pointwise.conv.weight"],
        theirs["backbone.stages.2.1.pointwise.conv.weight"],
    )
    same = build_model("v2", seed=5)
    assert load_start(same, whole / "best.safetensors") == "all weights of best.safetensors"
    assert all(torch.equal(t, theirs[name]) for name, t in same.state_dict().items())


def test_batch_size_must_divide_among_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from featherface_core.training import runs

    monkeypatch.setattr(runs, "join", lambda device: (Processes(0, 3), torch.device("cpu")))
    with pytest.raises(ConfigError, match="does not divide among 3"):
        train(recipe(), DATA, None, Where(tmp_path / "run"), silent)


GRADIENTS = """
import sys
from pathlib import Path
import torch
sys.path.insert(0, {tests!r})
from test_training import *
from featherface_core.training import runs
from featherface_core.training.processes import join, leave
from featherface_core.data.synthetic import SyntheticFaces
processes, device = join("cpu")
out = Path({out!r})
made = recipe(batch_size=8, augment=AugmentConfig(crop="none"))
source = SyntheticFaces(24, 0, 64)
folder = RunFolder(out / f"run{{processes.world}}")
if processes.first:
    folder.path.mkdir()
folder = RunFolder(Path(processes.tell(str(folder.path))))
model = build_model({model!r}, seed=0)
one = Engine("model", model, LabelsTask(made.loss, processes), source, source, made, folder, processes, device, silent, "")
one.optimiser.step = lambda *a, **k: None
loader = iter(runs_batches(one))
losses, norm, _ = one._step(loader, False)
if processes.first:
    torch.save({{"gradients": {{n: p.grad for n, p in one.model.named_parameters()}}, "losses": losses,
                "statistics": {{n: t for n, t in one.model.state_dict().items() if "running" in n}}}},
               out / f"gradients{{processes.world}}.pt")
leave()
"""


def runs_batches(one: Engine):
    from featherface_core.training.loader import Order, TrainingPictures, batches

    order = Order.of(one.recipe, len(one.source), one.processes.rank, one.processes.world)
    return batches(TrainingPictures(one.source, one.recipe.augment, one.recipe.seed), order, 0)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["v2", "v1"])
def test_two_processes_have_the_gradients_of_one(tmp_path: Path, model: str) -> None:
    program = GRADIENTS.format(tests=str(Path(__file__).parent), out=str(tmp_path), model=model)
    script = tmp_path / "gradients.py"
    script.write_text(program)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    for command in ([sys.executable, str(script)], launcher):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
    alone, both = (torch.load(tmp_path / f"gradients{n}.pt", weights_only=True) for n in (1, 2))
    scale = max(float(g.abs().max()) for g in alone["gradients"].values())
    for name, gradient in alone["gradients"].items():
        assert float((gradient - both["gradients"][name]).abs().max()) <= 1e-6 * max(1.0, scale), name
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
