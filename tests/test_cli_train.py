"""train, distill and data preview as a user meets them: screens, run folders, and what is refused."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from command_line import SCRIPT, Run, assert_refused, words_of
from small_runs import assert_same_run

TINY = (
    "--data", "synthetic:16", "--epochs", "1", "--batch-size", "4", "--size", "64", "--workers", "0", "--device", "cpu",
    "--set", "pictures_per_epoch=8", "--set", "validation.pictures=2", "--set", "machine.cache_gb=0",
)  # fmt: skip


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """Three pictures with a label.txt, and a val part with one."""
    for part, count in (("train", 3), ("val", 1)):
        folder = tmp_path / "faces" / part
        (folder / "images").mkdir(parents=True)
        lines = []
        for n in range(count):
            picture = np.random.default_rng(n).integers(0, 255, (90, 120, 3), np.uint8)
            cv2.imwrite(str(folder / "images" / f"{part}{n}.jpg"), picture)
            lines += [f"# {part}{n}.jpg", "20 20 30 40"]
        (folder / "label.txt").write_text("\n".join(lines) + "\n")
    return tmp_path / "faces"


def test_train_ends_with_a_table_and_weights_that_detect(run: Run, tmp_path: Path, portrait: Path) -> None:
    ran = run("train", *TINY)
    assert ran.code == 0, ran.err
    assert "256,156" in ran.out
    assert "runs/v2-train-1/best.safetensors" in ran.out
    assert "AP at IoU 0.5, 2 pictures of synthetic" in ran.out
    assert "1/1" in ran.err  # the line of the epoch
    assert "\x1b" not in ran.out + ran.err
    assert run("detect", portrait, "--weights", "runs/v2-train-1/best.safetensors", "--quiet").code == 0
    # the next run has the next folder
    assert run("train", *TINY, "--quiet").code == 0
    assert (tmp_path / "runs" / "v2-train-2" / "report.json").exists()


def test_distill_json_is_pure(run: Run, weights: Path, tmp_path: Path) -> None:
    ran = run(
        "distill", *TINY, "--teacher", "v2", "--teacher-weights", weights, "--alpha", "0.8:0.5", "--json", "--out", "r"
    )
    assert ran.code == 0, ran.err
    said = json.loads(ran.out)
    assert (said["schema"], said["command"]) == (1, "distill")
    assert [n["role"] for n in said["networks"]] == ["student", "teacher"]
    assert said["networks"][1]["trained"] is False
    assert ran.err == ""
    kept = json.loads((tmp_path / "r" / "report.json").read_text())
    assert kept.items() <= said.items()
    assert (tmp_path / "r" / "config.yaml").read_text().startswith("# featherface distill --data synthetic:16")


def test_distill_prints_its_schedule_first(run: Run, weights: Path) -> None:
    ran = run(
        "distill", *TINY, "--teacher", "v2", "--teacher-weights", weights, "--alpha", "0.8:0.5", "--monitor-gradients"
    )
    assert ran.code == 0, ran.err
    assert "at epoch" in ran.err
    assert "gradient" in ran.err
    assert "student - teacher" in ran.out
    assert "points of AP" in ran.out


def test_training_on_labelled_pictures(run: Run, faces: Path) -> None:
    ran = run("train", *TINY[2:], "--data", faces, "--recipe", "recipes/cpu.yaml", "--out", "r")
    assert ran.code == 0, ran.err
    assert "val" in ran.out  # the protocol names the pictures that were validated on


def test_resume_and_stop_after(run: Run, tmp_path: Path) -> None:
    ran = run("train", *TINY, "--epochs", "2", "--stop-after", "1", "--out", "r")
    assert ran.code == 0
    assert "featherface train --resume r" in ran.out
    assert not (tmp_path / "r" / "report.json").exists()
    ran = run("train", "--resume", "r")
    assert ran.code == 0, ran.err
    assert "at step 2 of 4" in ran.err
    assert (tmp_path / "r" / "report.json").exists()
    assert_refused(run("train", "--resume", "r"), 2, "the run in r is finished")


def test_several_sets_are_trained_and_validated_on_and_resumed(run: Run, tmp_path: Path, faces: Path) -> None:
    shutil.copytree(faces / "train", tmp_path / "more")
    shutil.copytree(faces / "val", tmp_path / "more" / "val")
    tiny = [word for word in TINY if word not in ("--data", "synthetic:16")] + ["--epochs", "2"]
    tiny += ["--data", "faces", "--data", "more", "--val", "faces/val", "--val", "more/val"]
    tiny += ["--set", "set_weights=[2,0.5]"]
    ran = run("train", *tiny, "--stop-after", "1", "--out", "r")
    assert ran.code == 0, ran.err
    told = words_of(ran.err)
    assert "6 pictures of faces/train/label.txt (3) + more/label.txt (3)" in told
    assert "faces 2, more 0.5" in told
    assert "2 pictures of faces/val/label.txt (1) + more/val/label.txt (1)" in told
    kept = yaml.safe_load((tmp_path / "r" / "config.yaml").read_text())
    assert kept["data"] == [str(faces), str(tmp_path / "more")]
    assert kept["val"] == [str(faces / "val"), str(tmp_path / "more" / "val")]
    ran = run("train", "--resume", "r", "--json")
    assert ran.code == 0, ran.err
    said = json.loads(ran.out)
    assert said["data"] == f"{faces}/train/label.txt (3) + {tmp_path}/more/label.txt (3)"
    assert f"2 pictures of {faces}/val/label.txt (1) + {tmp_path}/more/val/label.txt (1)" in said["protocol"]
    # it is the run that was never stopped
    assert run("train", *tiny, "--out", "whole", "--quiet").code == 0
    assert_same_run(tmp_path / "whole", tmp_path / "r")


def test_one_set_is_kept_as_a_text(run: Run, tmp_path: Path, faces: Path) -> None:
    tiny = [word for word in TINY if word not in ("--data", "synthetic:16")]
    assert (
        run("train", *tiny, "--model", "v2", "--data", faces, "--val", "synthetic:2", "--out", "r", "--quiet").code == 0
    )
    kept = yaml.safe_load((tmp_path / "r" / "config.yaml").read_text())
    assert (kept["data"], kept["val"]) == (str(faces), "synthetic:2")


def test_several_sets_that_cannot_be_used(run: Run, tmp_path: Path, faces: Path) -> None:
    for arguments, code, words in (
        (
            ("--data", faces, "--data", "synthetic:9", "--set", "set_weights=[1]"),
            2,
            "set_weights [1] are 1, the data sets 2",
        ),
        (("--data", faces, "--data", faces / "train"), 2, "are the same set"),
        (
            ("--data", faces, "--data", faces / "val", "--val", faces / "val"),
            3,
            "1 of 1 validation pictures are trained on",
        ),
        (("--data", "synthetic:9", "--data", "nowhere"), 3, "nowhere"),
        (("--data", "synthetic:9", "--val", "synthetic:3", "--val", "synthetic:x"), 2, "'x' is not a number"),
    ):
        assert_refused(run("train", *arguments), code, words)
    assert not (tmp_path / "runs").exists()


BAD = [
    (("train", "--set", "set_weights=[1,-1]"), 2, "set_weights -1 is out of range"),
    (("train", "--set", "set_weights=[0]"), 2, "set_weights [0] show no picture"),
    (("train", "--set", "set_weights=2"), 2, "set_weights"),
    (("train", "--set", "set_weights=[often]"), 2, "'often'"),
    (("train", "--resume", "runs/x", "--data", "synthetic"), 2, "--data does not go with --resume"),
    (("distill", "--alpha", "0.5:1.8"), 2, "1.8"),
    (("distill", "--alpha", "abc"), 2, "abc"),
    (("distill", "--alpha", "nan"), 2, "nan"),
    (("train", "--batch-size", "0"), 2, "--batch-size 0 is out of range"),
    (("train", "--epochs", "0"), 2, "--epochs 0 is out of range"),
    (("train", "--size", "100"), 2, "--size 100 is not a multiple of 32"),
    (("train", "--lr", "0"), 2, "--lr"),
    (("train", "--lr", "nan"), 2, "--lr"),
    (("train", "--device", "tpu9"), 2, "--device 'tpu9' cannot be used"),
    (("train", "--model", "v3"), 2, "unknown model 'v3'"),
    (("train", "--recipe", "nowhere.yaml"), 2, "nowhere.yaml does not exist"),
    (("train", "--set", "augment.mosiac=1"), 2, "unknown key 'mosiac'"),
    (("train", "--set", "loss.iou=high"), 2, "'high'"),
    (("train", "--init", "nowhere.tar"), 4, "nowhere.tar does not exist"),
    (("train", "--init", "v3"), 4, "weights file v3 does not exist"),
    (("train", "--data", "nowhere"), 3, "nowhere"),
    (("train", "--data", "synthetic:many"), 2, "'many' is not a number of pictures"),
    (("train", "--resume", "nowhere"), 2, "does not exist"),
    (("train", "--resume", "runs/x", "--epochs", "3"), 2, "--epochs does not go with --resume"),
    (("train", "--resume", "runs/x", "--set", "seed=1"), 2, "--set does not go with --resume"),
    (("train", "--init", "teacher"), 2, "--init teacher goes with featherface distill"),
    (("train", "--resume", "runs/x", "--seed", "0"), 2, "does not go with --resume"),
    (("distill", "--resume", "runs/x", "--no-adapt"), 2, "does not go with --resume"),
    (("distill", "--resume", "runs/x", "--teacher", "v2"), 2, "--teacher does not go with --resume"),
    (("distill", "--resume", "runs/x", "--teacher", "v1"), 2, "--teacher does not go with --resume"),  # as by default
    (("distill", "--strategy", "exponential", "--alpha", "0.8:0"), 2, "exponential"),
    (("distill", "--teacher-epochs", "-1"), 2, "--teacher-epochs"),
    (("train", "--nproc", "0"), 2, "--nproc"),
    (("train", "--nproc", "2", "--batch-size", "0"), 2, "--batch-size 0"),
    (("distill", "--teacher", "v9"), 2, "unknown model 'v9'"),
    (("distill", "--teacher-weights", "nowhere.pth"), 4, "nowhere.pth does not exist"),
    (("distill", "--temperature", "0"), 2, "--temperature 0"),
    (("distill", "--strategy", "quadratic"), 2, "'quadratic' is not known"),
    (("distill", "--feature-loss", "cosine"), 2, "'cosine' is not known"),
    (("distill", "--optimal-window-start", "50", "--optimal-window-end", "40"), 2, "--optimal-window-end 40 is before"),
    (("data", "preview", "nowhere"), 3, "nowhere"),
    (("data", "preview", "synthetic", "--out", "sheet.xyz"), 3, "sheet.xyz"),
]


@pytest.mark.parametrize(("arguments", "code", "words"), BAD, ids=[" ".join(a) for a, _, _ in BAD])
def test_bad_input_is_one_line_and_leaves_nothing(
    run: Run,
    tmp_path: Path,
    arguments: tuple[str, ...],
    code: int,
    words: str,
) -> None:
    assert_refused(run(*arguments), code, words)
    assert list(tmp_path.rglob("*")) == []


def test_an_empty_data_folder(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert_refused(run("train", "--data", "empty"), 3, "empty")


def test_labels_without_pictures(run: Run, faces: Path) -> None:
    for picture in (faces / "train" / "images").iterdir():
        picture.unlink()
    assert_refused(run("train", "--data", faces), 3, "without its pictures")


def test_nan_in_a_label_names_its_line(run: Run, faces: Path) -> None:
    label = faces / "train" / "label.txt"
    label.write_text(label.read_text().replace("20 20 30 40", "20 nan 30 40", 1))
    assert_refused(run("train", "--data", faces), 3, "label.txt:2")


def test_teacher_weights_of_another_variant(run: Run, weights: Path, tmp_path: Path) -> None:
    refused = run("distill", "--teacher", "v1", "--teacher-weights", weights)
    assert_refused(refused, 4, "holds weights of 'v2', not of 'v1'")
    assert not (tmp_path / "runs").exists()


def test_an_existing_run_folder(run: Run, tmp_path: Path) -> None:
    assert run("train", *TINY, "--out", "r", "--quiet").code == 0
    assert_refused(run("train", *TINY, "--out", "r"), 2, "run folder r exists and is not empty")
    assert run("train", *TINY, "--out", "r", "--force", "--quiet").code == 0


def test_preview_draws_a_sheet(run: Run, tmp_path: Path, faces: Path) -> None:
    for data in (("synthetic",), (str(faces),), (str(faces), "synthetic:4")):
        ran = run("data", "preview", *data, "--count", "5", "--out", "sheet.png", "--set", "augment.mosaic=0.5")
        assert ran.code == 0, ran.err
        sheet = cv2.imread(str(tmp_path / "sheet.png"))
        assert sheet is not None
        assert sheet.shape[0] < sheet.shape[1]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_run_to_resume(run: Run, tmp_path: Path, number: signal.Signals) -> None:
    command = [SCRIPT, "train", *TINY, "--epochs", "500", "--out", "r"]
    child = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    metrics = tmp_path / "r" / "metrics.jsonl"
    limit = time.monotonic() + 90
    while not metrics.exists() and child.poll() is None and time.monotonic() < limit:
        time.sleep(0.05)
    child.send_signal(number)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 130, err
    assert out == ""
    assert "Traceback" not in err
    assert "--resume r" in err
    assert (tmp_path / "r" / "last.pt").exists()
    done = len(metrics.read_text().splitlines())
    resumed = run("train", "--resume", "r", "--stop-after", done + 1, "--json")
    assert resumed.code == 0, resumed.err
    assert json.loads(resumed.out)["network"]["epochs"] == done + 1


@pytest.mark.slow
def test_distill_without_anything_is_the_documented_command(run: Run) -> None:
    """``featherface distill --alpha 0.8:0.5`` in an empty folder, cut short after its first epoch."""
    short = ("--teacher-epochs", "1", "--stop-after", "1", "--set", "pictures_per_epoch=64")
    ran = run("distill", "--alpha", "0.8:0.5", *short, "--json")
    assert ran.code == 0, ran.err
    said = json.loads(ran.out)
    assert [(n["role"], n["model"]) for n in said["networks"]] == [("student", "v2"), ("teacher", "v1")]


@pytest.mark.slow
def test_ctrl_c_reaches_all_processes(tmp_path: Path) -> None:
    command = [SCRIPT, "train", *TINY, "--epochs", "500", "--out", str(tmp_path / "r"), "--nproc", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    metrics = tmp_path / "r" / "metrics.jsonl"
    limit = time.monotonic() + 120
    while not metrics.exists() and child.poll() is None and time.monotonic() < limit:
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    err = child.communicate(timeout=60)[1]
    assert child.returncode == 130, err
    assert f"--resume {tmp_path / 'r'}" in err
    assert (tmp_path / "r" / "last.pt").exists()
    left = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, text=True).stdout
    assert left == ""


def test_setting_its_patience_switches_early_stopping_on(run: Run, tmp_path: Path) -> None:
    assert run("train", *TINY, "--early-stopping-patience", "3", "--optimal-window-start", "7", "--out", "r").code == 0
    stopping = yaml.safe_load((tmp_path / "r" / "config.yaml").read_text())["recipe"]["stopping"]
    assert stopping == {"enabled": True, "patience": 3, "min_epoch": 7, "window_start": 7, "window_end": 120}
