"""Parts of a network that stay as they start, and batches that come again: runs of seconds on drawn faces."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import noise
from small_runs import assert_same_run, recipe, run, silent, tensors

from featherface_core.errors import ConfigError
from featherface_core.evaluation.average_precision import Precision
from featherface_core.events import Note
from featherface_core.models.checkpoint import load_weights, model_of, read_notes
from featherface_core.models.variants import build_model
from featherface_core.recipe import CalibrationConfig, LossConfig, MachineConfig, OptimiserConfig, StoppingConfig
from featherface_core.training import loop as engine
from featherface_core.training.command_run import Where
from featherface_core.training.parameters import freeze, set_modes
from featherface_core.training.runs import distill, resume, train
from featherface_core.training.validation import Validation

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def moved(out: Path) -> dict[str, bool]:
    """Which tensors of the trained network are no longer those of its start; heads learn where there are faces of their size."""
    start = build_model("v2", seed=0).state_dict()
    return {name: not torch.equal(t, start[name]) for name, t in tensors(out).items() if not name.startswith("heads.")}


@pytest.mark.parametrize("stages", [0, 1, 2])
def test_frozen_stages_stay_and_all_else_learns(tmp_path: Path, stages: int) -> None:
    out = run(tmp_path / "run", epochs=1, optimiser=OptimiserConfig(frozen_stages=stages))
    frozen = tuple(f"backbone.stages.{n}." for n in range(stages))
    for name, changed in moved(out).items():
        assert changed is not (bool(frozen) and name.startswith(frozen)), name


def test_frozen_statistics_stay_and_all_else_learns(tmp_path: Path) -> None:
    out = run(tmp_path / "run", epochs=1, optimiser=OptimiserConfig(frozen_statistics=True))
    for name, changed in moved(out).items():
        assert changed is not name.endswith(STATISTICS), name


def test_a_run_with_repeats_and_frozen_parts_resumes_bit_for_bit(tmp_path: Path) -> None:
    asked = {"repeats": 2, "optimiser": OptimiserConfig(frozen_stages=1)}
    whole = run(tmp_path / "whole", **asked)
    train(recipe(**asked), "synthetic:24", None, Where(tmp_path / "parts", stop_after=1), silent)
    resume(tmp_path / "parts", "train", 0, silent)
    assert_same_run(whole, tmp_path / "parts")


def test_autograd_keeps_nothing_of_what_is_frozen() -> None:
    """Frozen stages cost a forward pass alone: no graph leads to them."""
    model = build_model("v2", seed=0)
    config = OptimiserConfig(frozen_stages=2)
    freeze(model, config)
    set_modes(model, config)
    first, second, third = model.backbone(noise(2, 64, 64))
    assert (first.requires_grad, second.requires_grad, third.requires_grad) == (False, False, True)
    assert [stage.training for stage in model.backbone.stages] == [False, False, True]


# ---- landmarks alone ----

LANDMARKS = {"init": "v2", "epochs": 2, "optimiser": OptimiserConfig(learn="landmarks", lr=1e-2, frozen_stages=1)}


def test_landmark_heads_learn_and_boxes_and_scores_stay_bit_for_bit(tmp_path: Path) -> None:
    out = run(tmp_path / "run", **LANDMARKS)
    start, best = load_weights("v2"), load_weights(out / "best.safetensors")
    changed = {name for name, t in start.state.items() if not torch.equal(t, best.state[name])}
    # the coarsest level may have seen no face of its size
    assert {"heads.0.landmarks.weight", "heads.0.landmarks.bias"} <= changed
    assert all(".landmarks." in name for name in changed)
    x = noise(1, 96, 128)
    with torch.no_grad():
        before, after = (model_of(weights).eval()(x) for weights in (start, best))
    assert torch.equal(before[0], after[0])
    assert torch.equal(before[1], after[1])
    assert not torch.equal(before[2], after[2])
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert all(record["train_loss"] == record["loss/landmark"] for record in records)


def test_the_lowest_landmark_loss_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the AP is higher in another epoch; and it is this loss that early stopping waits for."""
    results = [(0.9, 3.0), (0.2, 1.0), (0.9, 2.0), (0.9, 2.0), (0.9, 2.0)]

    def told(*_: object) -> Validation:
        ap, loss = results.pop(0)
        return Validation({"box": 9.0 - loss, "landmark": loss}, Precision(ap, ap, 9, 4), None, "one size")

    monkeypatch.setattr(engine, "validate", told)
    stopping = StoppingConfig(patience=2, min_epoch=1, window_start=90, window_end=99)
    out = run(tmp_path / "run", **(LANDMARKS | {"epochs": 5, "stopping": stopping}))
    report = json.loads((out / "report.json").read_text())
    assert (report["network"]["best_epoch"], report["network"]["epochs"]) == (2, 4)
    assert "validation loss" in report["stopped"]


def test_a_landmark_stage_resumes_bit_for_bit(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", **LANDMARKS)
    train(recipe(**LANDMARKS), "synthetic:24", None, Where(tmp_path / "parts", stop_after=1), silent)
    resume(tmp_path / "parts", "train", 0, silent)
    assert_same_run(whole, tmp_path / "parts")


def test_a_teacher_teaches_landmarks_alone(tmp_path: Path) -> None:
    made = recipe(**(LANDMARKS | {"epochs": 1}))
    distill(made, "synthetic:24", None, "v1", Path("v1"), False, 0, Where(tmp_path / "run"), silent)
    start, best = load_weights("v2").state, load_weights(tmp_path / "run" / "best.safetensors").state
    assert {name.split(".")[2] for name, t in start.items() if not torch.equal(t, best[name])} == {"landmarks"}
    record = json.loads((tmp_path / "run" / "metrics.jsonl").read_text())
    assert {key for key in record if key.startswith("loss/")} == {"loss/landmark", "loss/teacher/landmark"}


def test_scores_are_not_calibrated_where_they_are_to_stay(tmp_path: Path) -> None:
    out = run(tmp_path / "run", **(LANDMARKS | {"epochs": 1, "calibration": CalibrationConfig((64,))}))
    assert "calibration" not in read_notes(out / "best.safetensors")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"init": "random"}, "--init random is no start"),
        ({"init": "v1"}, "backbone of v1"),
        ({"loss": LossConfig(landmark=0.0)}, "loss.landmark 0"),
    ],
)
def test_landmarks_that_cannot_be_learnt(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        run(tmp_path / "run", **(LANDMARKS | changes))
    assert not (tmp_path / "run").exists()


def test_a_number_of_stages_that_there_is_not() -> None:
    with pytest.raises(ConfigError, match=r"optimiser\.frozen_stages 4"):
        OptimiserConfig(frozen_stages=4)
    with pytest.raises(ConfigError, match=r"optimiser\.learn 'landmark' is not known") as problem:
        OptimiserConfig(learn="landmark")  # type: ignore[arg-type]
    assert "did you mean 'landmarks'" in problem.value.hint
    with pytest.raises(ConfigError, match="repeats 0"):
        replace(recipe(), repeats=0)


@pytest.mark.parametrize(("has_it", "notes"), [(False, 1), (True, 0)])
def test_imitated_bfloat16_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_it: bool, notes: int) -> None:
    from featherface_core.training import loop as engine

    monkeypatch.setattr(engine, "has_bfloat16", lambda: has_it)
    said: list[object] = []
    machine = MachineConfig(device="cpu", workers=0, cache_gb=0.0, amp="bf16")
    train(recipe(epochs=1, machine=machine), "synthetic:24", None, Where(tmp_path / "run"), said.append)
    found = [event for event in said if isinstance(event, Note) and "bfloat16" in event.text]
    assert len(found) == notes
    assert all("machine.amp=off" in note.text for note in found)
