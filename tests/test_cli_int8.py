"""export --int8 as a user meets it: its screen, its JSON, the commands that take its file, and what it refuses."""

import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from command_line import Run, assert_refused, words_of
from data_folders import make_small
from small_network import small_network

import featherface_core.int8.export_int8 as run_module
from featherface_core.bench.rounds import Rounds
from featherface_core.int8.forms import HeldOut
from featherface_core.pictures import PORTRAIT, read_picture


@pytest.fixture
def small_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every export gives the same small network, and no time is taken of it."""

    def export(_: object, file: Path, *__: object) -> SimpleNamespace:
        small_network(file)
        return SimpleNamespace(checks=())

    monkeypatch.setattr(run_module, "export", export)
    seconds = np.array([[0.02, 0.03, 0.01], [0.02, 0.03, 0.012], [0.02, 0.03, 0.014]])
    monkeypatch.setattr(run_module, "time_forms", lambda *_: Rounds(seconds, 0.5))


@pytest.fixture
def pieces(tmp_path: Path) -> Path:
    """Two pictures of a face, with room around, and one that is broken."""
    folder = tmp_path / "pieces"
    folder.mkdir()
    for i in range(2):
        cv2.imwrite(str(folder / f"{i}.png"), read_picture(PORTRAIT)[: 160 + 32 * i, 100:300])
    (folder / "broken.jpg").write_bytes(b"no picture")
    return folder


@pytest.mark.usefixtures("small_export", "pieces")
def test_without_labels_it_says_that_no_ap_was_measured(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featherface_cli.screens.console.stdout.width", 80)
    ran = run("export", "--int8", "--calibration", "pieces", "--weights", "untrained")
    assert ran.code == 0, ran.err
    assert max(len(line) for line in ran.out.splitlines()) <= 80
    said = words_of(ran.out)
    assert "AP not measured" in said
    assert "calibrated 2 pictures of pieces, percentile; 1 more could not be read" in said
    assert "backbone stage 1 1 64" in said
    assert "0.60 0.51-0.69" in said  # of float32's time, round by round
    assert "50% of the time" in said
    assert sorted(p.name for p in tmp_path.iterdir()) == ["featherface_v2_int8.onnx", "pieces"]


@pytest.mark.usefixtures("small_export", "pieces")
def test_every_command_takes_the_file(run: Run, tmp_path: Path) -> None:
    data = make_small(tmp_path / "data")
    ran = run(
        "export", "--int8", "--calibration", "pieces", "--val", data / "val", "--out", "q.onnx", "--json",
        "--max-drop", "100", "--weights", "untrained", "--quiet",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    report = json.loads(ran.out)
    assert report["command"] == "export --int8"
    assert [form["name"] for form in report["forms"]] == ["float32", "float16", "int8"]
    assert list(report["forms"][2]["ap"]) == ["ap50", "ap"]
    assert report["calibration"]["pictures"] == 2
    assert "1 pictures of" in report["protocol"]
    assert run("detect", "pieces/0.png", "--onnx", "q.onnx", "--json").code == 0
    ran = run("eval", "--onnx", "q.onnx", "--data", data / "val", "--json", "--out", "evaluated")
    figures = {setting["name"]: setting["ap"] for setting in json.loads(ran.out)["settings"]}
    assert figures == pytest.approx(report["forms"][2]["ap"])


@pytest.mark.usefixtures("small_export", "pieces")
def test_the_screen_with_ap_at_80_columns(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_small(tmp_path / "data")
    figures = iter([{"easy": 0.9, "hard": None}, {"easy": 0.9, "hard": None}, {"easy": 0.895, "hard": None}])
    monkeypatch.setattr(HeldOut, "measure", lambda *_: next(figures))
    monkeypatch.setattr("featherface_cli.screens.console.stdout.width", 80)
    ran = run("export", "--int8", "--calibration", "pieces", "--val", data / "val", "--weights", "untrained")
    assert max(len(line) for line in ran.out.splitlines()) <= 80
    said = words_of(ran.out)
    assert "int8 against float32 -0.0050 unknown" in said
    assert "falls by 0.50 percentage points at most; 1 may be lost" in said
    assert "original size, no flip, score above 0.02" in said


@pytest.mark.usefixtures("small_export", "pieces")
def test_what_lost_too_much_is_not_written(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_small(tmp_path / "data")
    figures = iter([{"ap50": 0.9}, {"ap50": 0.9}, {"ap50": 0.88}])
    monkeypatch.setattr(HeldOut, "measure", lambda *_: next(figures))
    ran = run("export", "--int8", "--calibration", "pieces", "--val", data / "val", "--weights", "untrained")
    assert_refused(
        ran,
        5,
        "falls by 2.00 percentage points",
        "1 may be lost",
        "ap50: 0.9000 in float32, 0.8800 in int8",
        "--max-drop 100",
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "pieces"]


@pytest.mark.usefixtures("small_export", "pieces")
@pytest.mark.parametrize(("points", "code"), [("1.9", 5), ("2", 0), ("2.1", 0)])
def test_a_drop_is_in_percentage_points_as_in_eval(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, points: str, code: int
) -> None:
    data = make_small(tmp_path / "data")
    figures = iter([{"ap50": 0.9}, {"ap50": 0.9}, {"ap50": 0.88}])
    monkeypatch.setattr(HeldOut, "measure", lambda *_: next(figures))
    asked = ("--calibration", "pieces", "--val", data / "val", "--max-drop", points, "--weights", "untrained", "--json")
    ran = run("export", "--int8", *asked)
    assert ran.code == code
    if code == 0:  # in the report as ever: of AP from 0 to 1
        report = json.loads(ran.out)
        assert (report["drop"], report["max_drop"]) == pytest.approx((0.02, float(points) / 100))


@pytest.mark.parametrize(
    ("arguments", "code", "names"),
    [
        (["--int8"], 2, ["--int8", "--calibration"]),
        (["--calibration", "pieces"], 2, ["--calibration", "add --int8"]),
        (["--val", "pieces", "--max-drop", "0.5"], 2, ["--val, --max-drop", "add --int8"]),
        (["--int8", "--calibration", "pieces", "--format", "openvino"], 2, ["--format openvino"]),
        (["--int8", "--calibration", "pieces", "--format", "pth"], 2, ["--format pth"]),
        (["--int8", "--calibration", "pieces", "--package", "deploy"], 2, ["--package"]),
        (["--int8", "--calibration", "pieces", "--with-postprocess"], 2, ["--with-postprocess"]),
        (["--int8", "--calibration", "pieces", "--max-drop", "0.5"], 2, ["--max-drop 0.5", "--val"]),
        (
            ["--int8", "--calibration", "pieces", "--val", "x", "--max-drop", "101"],
            2,
            ["--max-drop 101", "0.0 to 100.0"],
        ),
        (["--int8", "--calibration", "pieces", "--val", ""], 2, ["--val"]),
        (["--int8", "--calibration", "pieces", "--calibration-method", "entropi"], 2, ["'entropi'", "'entropy'"]),
        (["--int8", "--calibration", "pieces", "--calibration-pictures", "0"], 2, ["--calibration-pictures 0"]),
        (["--int8", "--calibration", "nowhere"], 3, ["--calibration nowhere", "does not exist"]),
        (["--int8", "--calibration", "hollow"], 3, ["--calibration hollow", "no pictures"]),
        (["--int8", "--calibration", "broken"], 3, ["--calibration broken", "a.jpg"]),
        (["--int8", "--calibration", "pieces", "--val", "nowhere"], 3, ["nowhere"]),
    ],
)
def test_what_is_refused(
    run: Run, tmp_path: Path, pieces: Path, arguments: list[str], code: int, names: list[str]
) -> None:
    (tmp_path / "hollow").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.jpg").write_bytes(b"no picture")
    before = sorted(tmp_path.rglob("*"))
    assert_refused(run("export", *arguments, "--weights", "untrained", "--quiet"), code, *names)
    assert sorted(tmp_path.rglob("*")) == before
