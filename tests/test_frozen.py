"""Parts of a network that stay as they start, and batches that come again: runs of seconds on drawn faces."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_runs import assert_same_run, recipe, run, silent, tensors

from featherface_core.errors import ConfigError
from featherface_core.events import Note
from featherface_core.models.variants import build_model
from featherface_core.recipe import MachineConfig, OptimiserConfig
from featherface_core.training.command_run import Where
from featherface_core.training.runs import resume, train

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


def test_a_number_of_stages_that_there_is_not() -> None:
    with pytest.raises(ConfigError, match=r"optimiser\.frozen_stages 4"):
        OptimiserConfig(frozen_stages=4)
    with pytest.raises(ConfigError, match="repeats 0"):
        replace(recipe(), repeats=0)


@pytest.mark.parametrize(("has_it", "notes"), [(False, 1), (True, 0)])
def test_imitated_bfloat16_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_it: bool, notes: int) -> None:
    from featherface_core.training import engine

    monkeypatch.setattr(engine, "has_bfloat16", lambda: has_it)
    said: list[object] = []
    machine = MachineConfig(device="cpu", workers=0, cache_gb=0.0, amp="bf16")
    train(recipe(epochs=1, machine=machine), "synthetic:24", None, Where(tmp_path / "run"), said.append)
    found = [event for event in said if isinstance(event, Note) and "bfloat16" in event.text]
    assert len(found) == notes
    assert all("machine.amp=off" in note.text for note in found)
