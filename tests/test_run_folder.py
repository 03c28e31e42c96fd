"""Run folders: what they hold, when they are emptied, refused or resumed, and what a full disk leaves."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_runs import DATA, recipe, silent

from featherface_core.errors import ConfigError, FeatherFaceError, WeightsError
from featherface_core.models.checkpoint import load_weights
from featherface_core.models.variants import build_model
from featherface_core.training.command_run import Where
from featherface_core.training.run_folder import RunFolder
from featherface_core.training.runs import resume, train


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


def test_curves_go_to_tensorboard_where_it_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import types

    from featherface_core.training.run_folder import Curves

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


def test_a_run_of_an_older_version_is_read(tmp_path: Path) -> None:
    """Such config.yaml files have augment.interpolation, and know no second size of validation."""
    folder = RunFolder(tmp_path)
    made = recipe()
    folder.write_config(made, {"data": "synthetic:8"}, "featherface train")
    text = folder.config.read_text()
    assert "  augment:\n" in text
    lines = text.replace("  augment:\n", "  augment:\n    interpolation: true\n").splitlines()
    folder.config.write_text("\n".join(line for line in lines if not line.startswith("    small:")) + "\n")
    read, kept = folder.read_config()
    assert read == replace(made, validation=replace(made.validation, small=0.0))
    assert kept["data"] == "synthetic:8"
