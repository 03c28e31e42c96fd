"""How a run learns: from where, by which steps, at which rates, and which weights it keeps."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_runs import DATA, Poisoned, recipe, run, runs_batches, silent

from featherface_core.models.checkpoint import load_model
from featherface_core.models.variants import build_model
from featherface_core.recipe import AugmentConfig, MachineConfig, OptimiserConfig, StoppingConfig, ValidationConfig
from featherface_core.training.command_run import Where
from featherface_core.training.loop import Engine
from featherface_core.training.processes import Processes
from featherface_core.training.run_folder import RunFolder
from featherface_core.training.runs import train
from featherface_core.training.task import LabelsTask


@pytest.mark.slow
def test_it_learns(tmp_path: Path) -> None:
    """Sixteen pictures, learnt by heart: the loss falls to half."""
    optimiser = OptimiserConfig(lr=2e-2, warmup_epochs=1, schedule="constant", ema=0.0)
    augment = AugmentConfig(crop="none", colour=0.0, mirror=0.0)
    changed = recipe(epochs=25, pictures_per_epoch=0, optimiser=optimiser, augment=augment, size=128)
    train(changed, "synthetic:16", None, Where(tmp_path / "run"), silent)
    losses = [json.loads(line)["train_loss"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert losses[-1] < losses[0] / 2


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


def test_mixed_precision_trains(tmp_path: Path) -> None:
    machine = MachineConfig(device="cpu", workers=0, cache_gb=0.0, amp="bf16")
    out = run(tmp_path / "run", machine=machine, epochs=1)
    record = json.loads((out / "metrics.jsonl").read_text())
    assert record["train_loss"] is not None
    assert all(t.dtype == torch.float32 for t in load_file(out / "best.safetensors").values() if t.is_floating_point())


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
    one.take_step(runs_batches(one))
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


@pytest.mark.slow
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


def test_starting_from_the_imagenet_backbone(reference: Path, tmp_path: Path) -> None:
    path = reference / "mobilenetV1X0.25_pretrain.tar"
    model = build_model("v2", seed=0)
    from featherface_core.models.checkpoint import load_start

    assert load_start(model, path) == f"backbone from ImageNet ({path.name})"
    upstream = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    stem = upstream["module.stage1.0.0.weight"]
    assert torch.equal(model.state_dict()["backbone.stages.0.0.conv.weight"], stem)
    fresh = build_model("v2", seed=0).state_dict()
    changed = [name for name, t in model.state_dict().items() if not torch.equal(t, fresh[name])]
    assert changed
    assert all(name.startswith("backbone.") for name in changed)


def test_starting_from_another_variant_takes_its_backbone(whole: Path) -> None:
    from featherface_core.models.checkpoint import load_start

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
