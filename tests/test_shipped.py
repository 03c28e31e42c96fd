"""The weights that ship: small enough, the project's own, used where nothing is named, and described by their cards."""

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from command_line import Run
from safetensors import safe_open

from featherface_core.bench.children import measure_alone
from featherface_core.bench.config import Setting, Source
from featherface_core.config import ExportConfig
from featherface_core.errors import WeightsError
from featherface_core.exporting.export import export
from featherface_core.models.checkpoint import load_weights
from featherface_core.models.variants import DEFAULT, SHIPPED, VARIANTS, shipped_card, shipped_weights
from featherface_core.pictures import PORTRAIT
from featherface_core.training.runs import find_teacher

BYTES = {"v1": 2_100_000, "v2": 1_200_000}


def file_of(name: str) -> Path:
    path = shipped_weights(VARIANTS[name])
    assert path is not None
    return path


@pytest.mark.parametrize("name", SHIPPED)
def test_files_are_small_whole_and_say_where_they_come_from(name: str) -> None:
    path = file_of(name)
    assert path.stat().st_size <= BYTES[name]
    weights = load_weights(path)
    assert (weights.config, weights.layout, weights.cast) == (VARIANTS[name], "featherface", "")
    with safe_open(path, framework="pt") as stored:
        notes = stored.metadata()
    assert {"epoch", "start", "seed", "ap", "protocol"} <= notes.keys()


@pytest.mark.parametrize("name", SHIPPED)
def test_every_parameter_was_trained(name: str, reference: Path) -> None:
    ours = load_weights(file_of(name)).state
    for published in ("v1_original.pth", "v1_489015.pth"):
        theirs = load_weights(reference / published).state
        alike = [
            key
            for key, t in ours.items()
            if _is_parameter(key) and key in theirs and theirs[key].shape == t.shape and torch.equal(t, theirs[key])
        ]
        assert alike == []


@pytest.mark.parametrize("name", SHIPPED)
def test_cards_tell_what_a_user_has_to_know(name: str) -> None:
    card = shipped_card(name).read_text(encoding="utf-8")
    weights = load_weights(file_of(name))
    assert hashlib.sha256(file_of(name).read_bytes()).hexdigest() in card
    assert f"{sum(t.numel() for key, t in weights.state.items() if _is_parameter(key)):,}" in card
    for heading in ("Data", "Training", "Figures", "What it is bad at", "Licence"):
        assert re.search(rf"^## {heading}", card, re.MULTILINE), heading
    with safe_open(file_of(name), framework="pt") as stored:
        assert stored.metadata()["start"].split(" (")[0] in " ".join(card.split())


def _is_parameter(key: str) -> bool:
    return not key.endswith(("running_mean", "running_var", "num_batches_tracked"))


def test_a_variant_of_ones_own_has_none() -> None:
    assert shipped_weights(replace(VARIANTS["v2"], cells=3)) is None
    assert shipped_weights(VARIANTS["v1-24"]) is None
    assert DEFAULT in SHIPPED


@pytest.mark.parametrize("options", [(), ("--model", "v1")])
def test_detect_finds_the_astronaut_in_an_empty_folder(
    run: Run,
    tmp_path: Path,
    options: tuple[str, ...],
) -> None:
    ran = run("detect", PORTRAIT, *options, "--score", "0.5", "--json")
    assert (ran.code, ran.err) == (0, "")
    (face,) = json.loads(ran.out)["faces"]
    x1, y1, x2, y2 = face["box"]
    assert max(abs(x1 - 179), abs(y1 - 56), abs(x2 - 268), abs(y2 - 177)) < 25
    assert all(x1 < x < x2 and y1 < y < y2 for x, y in face["landmarks"])
    assert (tmp_path / "detections" / "astronaut_faces.png").is_file()


def test_eval_and_export_use_them_too(run: Run, tmp_path: Path) -> None:
    ran = run("eval", "--data", "synthetic:4", "--pictures", "2", "--json")
    assert ran.code == 0
    subject = json.loads(ran.out)["subject"]
    assert (subject["model"], subject["weights"]) == ("v2", "v2.safetensors")
    converted = run("export", "--format", "pth", "--model", "v1", "--json")
    assert json.loads(converted.out)["model"] == "v1"
    assert (tmp_path / "featherface_v1.pth").is_file()


def test_who_teaches_where_no_file_is_named() -> None:
    assert find_teacher("v1", None, "faces/") == file_of("v1")
    assert find_teacher("v1", None, "synthetic:400") is None
    assert find_teacher("v1-24", None, "faces/") is None
    assert find_teacher("v1", "train", "faces/") is None
    assert find_teacher("v1", "mine.pth", "synthetic") == Path("mine.pth")


def test_a_name_stands_for_a_file_unless_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: Path
) -> None:
    assert load_weights("v1").path == file_of("v1")
    monkeypatch.chdir(tmp_path)
    Path("v1").write_bytes(weights.read_bytes())
    assert load_weights("v1").config.name == "v2"
    with pytest.raises(WeightsError, match="weights file v1/v1 does not exist"):
        load_weights("v1/v1")
    with pytest.raises(WeightsError, match="v22 does not exist") as problem:
        load_weights("v22")
    assert "did you mean 'v2'? known: v1, v2" in problem.value.hint


SMALL = (
    "--data", "synthetic:16", "--epochs", "2", "--batch-size", "4", "--size", "64", "--workers", "0", "--device", "cpu",
    "--set", "pictures_per_epoch=4", "--set", "validation.pictures=2", "--set", "machine.cache_gb=0", "--out", "r", "--json",
)  # fmt: skip


def test_a_run_starts_from_a_name_and_keeps_it(run: Run, tmp_path: Path) -> None:
    ran = run("train", *SMALL, "--init", "v2", "--lr", "1e-9", "--set", "optimiser.ema=0", "--stop-after", "1")
    assert json.loads(ran.out)["network"]["start"] == "all weights of v2.safetensors"
    name = "heads.0.classes.weight"  # at this learning rate it hardly moves
    trained = torch.load(tmp_path / "r" / "last.pt", weights_only=True)["model"][name]
    assert float((trained - load_weights("v2").state[name]).abs().max()) < 1e-6
    (tmp_path / "r" / "last.pt").unlink()  # stopped before its first checkpoint: it starts from the name again
    resumed = json.loads(run("train", "--resume", "r", "--json").out)
    assert (resumed["finished"], resumed["network"]["start"]) == (True, "all weights of v2.safetensors")


def test_a_teacher_and_a_student_by_name(run: Run) -> None:
    ran = run("distill", *SMALL, "--init", "v2", "--teacher-weights", "v1", "--stop-after", "1")
    assert ran.code == 0, ran.err
    resumed = json.loads(run("distill", "--resume", "r", "--json").out)
    student, teacher = resumed["networks"]
    assert student["start"] == "all weights of v2.safetensors"
    assert "v1.safetensors" in teacher["weights"]
    assert teacher["trained"] is False


def test_a_name_where_a_command_takes_weights(run: Run) -> None:
    ran = run("export", "--format", "pth", "--weights", "v1", "--json")
    assert json.loads(ran.out)["model"] == "v1"


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_a_picture_takes_little_memory(name: str, tmp_path: Path) -> None:
    file = tmp_path / f"{name}.onnx"
    export(load_weights(file_of(name)), file, ExportConfig(dynamic=False))
    alone = measure_alone(Source("onnxruntime", onnx=str(file)), Setting(None, 1, 1, "cpu"), PORTRAIT)
    assert alone.problem == ""
    assert alone.peak_bytes is not None
    assert alone.peak_bytes < 150e6
