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
from featherface_core.events import Epoch, Note, RunEvent, Step
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
    from featherface_core.training import engine as module

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
        "from test_training import *\n"
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
        "from test_training import *\n"
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


@pytest.mark.parametrize("moment", ["while writing", "at the end"])
def test_a_full_disk_leaves_the_previous_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    import resource

    folder = RunFolder(tmp_path)
    folder.save({"step": 1, "model": {"w": torch.ones(3)}})
    before = folder.last.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    if moment == "at the end":

        def full(descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))  # a file cannot grow beyond
    try:
        with pytest.raises(WeightsError, match=r"cannot write .*last\.pt") as problem:
            folder.save({"step": 2, "model": {"w": torch.zeros(30_000)}})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "free space" in problem.value.hint
    assert folder.last.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


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
        (tmp_path / "config.yaml").write_text("server: localhost\n")  # another program's
        with pytest.raises(ConfigError, match="is not a run folder"):
            RunFolder.create(tmp_path, force=True)
        (tmp_path / "config.yaml").write_text("task: train\nrecipe: {}\n")
        RunFolder.create(tmp_path, force=True)
        assert list(tmp_path.iterdir()) == []

    def test_a_finished_run_is_not_resumed(self, whole: Path) -> None:
        with pytest.raises(ConfigError, match="is finished"):
            resume(whole, "train", 0, silent)

    def test_a_run_is_resumed_by_its_own_command(self, whole: Path) -> None:
        with pytest.raises(ConfigError, match="not of distill") as problem:
            resume(whole, "distill", 0, silent)
        assert "featherface train --resume" in problem.value.hint

    def test_a_part_is_resumed_with_the_whole(self, tmp_path: Path) -> None:
        (tmp_path / "config.yaml").write_text("task: train\npart_of: runs/x\nrecipe: {}\n")
        with pytest.raises(ConfigError, match="a part of another") as problem:
            resume(tmp_path, "train", 0, silent)
        assert problem.value.hint == "featherface distill --resume runs/x"

    def test_a_run_goes_on_elsewhere(self, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """From another folder, with other workers, after the file it started from is gone."""
        monkeypatch.chdir(tmp_path)
        start = tmp_path / "start.safetensors"
        start.write_bytes((whole / "best.safetensors").read_bytes())
        out = tmp_path / "run"
        begun = train(recipe(init="start.safetensors"), DATA, None, Where(out, stop_after=1), silent)
        start.unlink()
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        report = resume(out, "train", 2, silent, {"workers": 1})
        assert report.network.epochs == 2
        assert report.network.start == begun.network.start == "all weights of start.safetensors"
        # an epoch that is behind us is no reason to go on
        assert resume(out, "train", 1, silent).network.epochs == 2

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


def test_of_many_bad_batches_few_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "bad_batches"
    folder.mkdir(parents=True)
    for n in range(9):
        (folder / f"{n}.pt").write_bytes(b"")
    one = engine(tmp_path / "run", Poisoned(4))
    with pytest.raises(FeatherFaceError, match="3 steps in a row"):
        one.fit()
    assert len(list(folder.iterdir())) == 10


def test_one_bad_step_is_skipped_and_counted(tmp_path: Path) -> None:
    source = Poisoned(5)  # the second batch
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


def test_equal_aps_are_told_apart_by_the_loss(tmp_path: Path) -> None:
    """At first nothing is found: the weights of the lowest loss are kept, not those of the first epoch."""
    validation = ValidationConfig(pictures=4, size=0, score=1.0)  # no score is above 1: the AP stays 0
    out = run(tmp_path / "run", validation=validation)
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert {r["val_map"] for r in records} == {0}
    best = min(records, key=lambda r: r["val_loss"])
    assert json.loads((out / "report.json").read_text())["network"]["best_epoch"] == best["epoch"] > 1


def test_errors_of_workers_are_one_line(tmp_path: Path) -> None:
    from featherface_core.errors import DataError

    class Broken(Poisoned):
        def read(self, index: int) -> tuple[Picture, Faces]:
            raise DataError(f"picture {index} is broken", "mend it")

    machine = MachineConfig(device="cpu", workers=1, cache_gb=0.0)
    with pytest.raises(DataError, match="pictures in a row cannot be read") as problem:
        engine(tmp_path / "run", Broken(99), machine=machine).fit()
    assert problem.value.hint == "look into the data with: featherface data check"


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
    """Sixteen pictures, learnt by heart: the loss falls to half."""
    optimiser = OptimiserConfig(lr=2e-2, warmup_epochs=1, schedule="constant", ema=0.0)
    augment = AugmentConfig(crop="none", colour=0.0, mirror=0.0)
    changed = recipe(epochs=25, pictures_per_epoch=0, optimiser=optimiser, augment=augment, size=128)
    train(changed, "synthetic:16", None, Where(tmp_path / "run"), silent)
    losses = [json.loads(line)["train_loss"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert losses[-1] < losses[0] / 2


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
losses, norm, _ = one._step(loader, False)
if processes.first:
    torch.save({{"gradients": {{n: p.grad for n, p in one.model.named_parameters()}}, "losses": losses, "norm": norm,
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


def test_layers_that_make_offsets_learn_slower(tmp_path: Path) -> None:
    made = recipe(model="v1")
    task = LabelsTask(made.loss, Processes())
    model = build_model("v1", seed=0)
    folder = RunFolder(tmp_path)
    one = Engine(
        "model", model, task, Poisoned(99), Poisoned(99), made, folder, Processes(), torch.device("cpu"), silent, ""
    )
    shares = {id(p): group["share"] for group in one.optimiser.param_groups for p in group["params"]}
    decays = {id(p): group["weight_decay"] for group in one.optimiser.param_groups for p in group["params"]}
    named = dict(model.named_parameters())
    assert len(shares) == len(named)
    slow = {name for name, p in named.items() if shares[id(p)] == 0.1}
    assert slow == {name for name in named if ".offset." in name or ".mask." in name}
    assert len(slow) == 15 * 4
    assert {p.ndim for p in named.values() if decays[id(p)] == 0} == {1}
    one._step(runs_batches(one), False)
    rates = {group["share"]: group["lr"] for group in one.optimiser.param_groups}
    assert rates[0.1] == pytest.approx(0.1 * rates[1.0])


def test_a_trained_backbone_may_learn_slower(tmp_path: Path) -> None:
    made = recipe(model="v2", optimiser=OptimiserConfig(backbone_lr=0.2))
    model = build_model("v2", seed=0)
    folder, task = RunFolder(tmp_path), LabelsTask(made.loss, Processes())
    one = Engine(
        "model", model, task, Poisoned(99), Poisoned(99), made, folder, Processes(), torch.device("cpu"), silent, ""
    )
    shares = {id(p): group["share"] for group in one.optimiser.param_groups for p in group["params"]}
    named = dict(model.named_parameters())
    assert len(shares) == len(named)
    slow = {name for name, p in named.items() if shares[id(p)] == 0.2}
    assert slow == {name for name in named if name.startswith("backbone.")}


def test_mixed_precision_trains(tmp_path: Path) -> None:
    machine = MachineConfig(device="cpu", workers=0, cache_gb=0.0, amp="bf16")
    out = run(tmp_path / "run", machine=machine, epochs=1)
    record = json.loads((out / "metrics.jsonl").read_text())
    assert record["train_loss"] is not None
    assert all(t.dtype == torch.float32 for t in load_file(out / "best.safetensors").values() if t.is_floating_point())


def test_curves_go_to_tensorboard_where_it_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import types

    from featherface_core.training.curves import Curves

    written: list[tuple[str, float, int]] = []

    class SummaryWriter:
        def __init__(self, folder: str) -> None:
            assert folder == str(tmp_path / "tensorboard")

        def add_scalar(self, name: str, value: float, step: int) -> None:
            written.append((name, value, step))

        def flush(self) -> None:
            pass

    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    Curves(tmp_path).add({"epoch": 3, "train_loss": 1.5, "val_map": None})
    assert written == [("train_loss", 1.5, 3)]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    Curves(tmp_path).add({"epoch": 4, "train_loss": 1.0})
    assert len(written) == 1
