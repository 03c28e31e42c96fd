"""eval as a user meets it: screens, gates, what is refused, a stop and a resume, and the real pictures of ../shared."""

# ruff: noqa: F811 (fixtures of test_cli)
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import savemat
from test_cli import SCRIPT, Ran, Run, assert_refused, run  # noqa: F401 (a fixture)
from test_eval_compare import Stopped
from test_eval_inference import Painted, detector
from test_eval_run import AP, AP50, OFFICIAL, SUBJECT, Scene, draw, make_album, no_curves, official  # noqa: F401 (a fixture)
from test_package import stub_onnx

from featherface_cli import detector as opening
from featherface_cli import render

SHARED = Path(__file__).parents[2] / "shared"
WIDER202 = SHARED / "data" / "wider202"
EVAL = ("--weights", "painted")  # what `painted` is opened by


@pytest.fixture
def painted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Painted]:
    """Lets every command use a Painted network; called with another one, that."""

    def use(network: Painted | None = None) -> Painted:
        network = network or Painted()
        monkeypatch.setattr(opening, "open_detector", lambda *_: (detector(network), SUBJECT))
        return network

    use()
    return use


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """Below the folder that commands run in: data of every kind, good and bad."""
    make_album(tmp_path / "album")
    draw(tmp_path / "val" / "images", OFFICIAL)
    official(tmp_path / "truth", OFFICIAL)
    draw(tmp_path / "holiday" / "images", [Scene("beach/sun.png")])
    (tmp_path / "empty").mkdir()
    for name, line in (("good", "10 10 40 50 0.9"), ("four", "10 10 40 50"), ("nan", "10 10 40 50 nan")):
        (tmp_path / name / "0--Parade").mkdir(parents=True)
        (tmp_path / name / "0--Parade" / "a.txt").write_text(f"a\n2\n1 1 2 2 0.5\n{line}\n")
    (tmp_path / "good" / "0--Parade" / "a.txt").rename(tmp_path / "good" / "0--Parade" / "z.txt")
    official(tmp_path / "text_mat", OFFICIAL)
    (tmp_path / "text_mat" / "wider_face_val.mat").write_text("no MATLAB file")
    official(tmp_path / "other_mat", OFFICIAL)
    savemat(tmp_path / "other_mat" / "wider_face_val.mat", {"images": np.zeros(3)})
    official(tmp_path / "other_pictures", OFFICIAL[:3])
    (tmp_path / "other_pictures" / "wider_face_val.mat").write_bytes(
        (tmp_path / "truth/wider_face_val.mat").read_bytes()
    )
    (tmp_path / "trained").mkdir()
    (tmp_path / "trained" / "config.yaml").write_text("task: train\nrecipe: {}\n")
    (tmp_path / "peers.yaml").write_text("peers:\n  - name: x\n    easy: 1.5\n")
    (tmp_path / "no_report.json").write_text('{"schema": 1, "command": "train"}')
    return tmp_path


def words_of(text: str) -> str:
    """What a screen says, however its lines are broken."""
    return " ".join(text.split())


# ---- screens ----


def test_the_screen_of_an_evaluation(run: Run, painted: object, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render.stdout, "width", 80)
    ran = run("eval", *EVAL, "--data", "val", "--ground-truth", "truth", "--html")
    assert (ran.code, ran.err) == (0, "")
    said = words_of(ran.out)
    figures = [1 / n + 1 / n * 2 / 3 for n in (2, 5, 6)]
    row = next(line for line in ran.out.splitlines() if line.split()[:1] == ["AP"])
    assert [float(figure) for figure in row.split()[1:]] == pytest.approx([*figures, sum(figures) / 3], abs=6e-5)
    assert re.search(r"^ faces +2 +5 +6 *$", ran.out, re.MULTILINE)
    assert "warning: 4 pictures are a part of the 3,226 of the WIDER FACE validation set: these figures are not" in said
    assert "WIDER FACE protocol (official ground truth, 4 pictures; IoU 0.5" in said
    assert "original size, no flip, score above 0.02, NMS 0.4, no top-k" in said
    assert "worst events Riot Police 2 0.0% 0.0%" in said
    assert "5 detections in 4 pictures" in said
    for name in ("report.json", "curves.png", "worst.jpg", "report.html"):
        assert f"runs/painted-eval-1/{name}" in said
    assert ran.out.startswith("painted: paint.bin\n")
    assert max(map(len, ran.out.splitlines())) <= 80
    assert "\x1b" not in ran.out
    assert (world / "runs" / "painted-eval-1" / "report.html").stat().st_size > 0
    # and the next has the next folder
    assert run("eval", *EVAL, "--data", "album", "--quiet").code == 0
    assert (world / "runs" / "painted-eval-2" / "report.json").exists()


def test_the_screen_of_labelled_pictures(run: Run, painted: object, world: Path) -> None:
    ran = run("eval", *EVAL, "--data", "album", "--pictures", "2", "--out", "r", "--save-predictions", "p")
    said = words_of(ran.out)
    assert ran.code == 0
    assert "warning: 2 of 4 pictures were evaluated" in said
    assert "AP@0.5 AP@0.5:0.95" in said
    assert "on 2 of 4 pictures of album/wider_face_bbx_gt.txt" in said
    assert "predictions p" in said
    assert sorted(path.name for path in (world / "p").rglob("*.txt")) == ["a.txt", "d.txt"]


def test_json_is_pure(run: Run, painted: object, world: Path) -> None:
    ran = run("eval", *EVAL, "--data", "album", "--json", "--out", "r")
    assert (ran.code, ran.err) == (0, "")
    said = json.loads(ran.out)
    assert (said["schema"], said["command"]) == (1, "eval")
    assert {s["name"]: s["ap"] for s in said["settings"]} == {"ap50": pytest.approx(AP50), "ap": pytest.approx(AP)}
    assert json.loads((world / "r" / "report.json").read_text()) == said
    assert said["command_line"] == f"featherface eval {' '.join(EVAL)} --data album --json --out r"
    assert (world / "r" / "config.yaml").read_text().startswith(f"# {said['command_line']}\n")


def test_compare(run: Run, painted: object, world: Path) -> None:
    assert run("eval", *EVAL, "--data", "album", "--score", "0.7", "--out", "few").code == 0
    assert run("eval", *EVAL, "--data", "album", "--out", "all").code == 0
    ran = run("eval", "--compare", "few", "all/report.json")
    assert ran.code == 0
    said = words_of(ran.out)
    assert "Not ranked" in said
    assert re.search(r"\bscore\b.* 0\.7 .* 0\.02 ", said)
    assert "--any-protocol" in said
    ran = run("eval", "--compare", "few", "all", "--any-protocol")
    rows = [line.split() for line in ran.out.splitlines() if "painted" in line]
    assert [(row[0], row[2]) for row in rows] == [("1", f"{AP50:.4f}"), ("2", f"{1 / 7:.4f}")]
    said = json.loads(run("eval", "--compare", "few", "all", "--json").out)
    assert (said["command"], said["ranked"], said["paths"]) == ("eval --compare", False, ["few", "all"])
    assert [r["protocol"]["score"] for r in said["reports"]] == [0.7, 0.02]
    (world / "copy").mkdir()
    (world / "copy" / "report.json").write_bytes((world / "all" / "report.json").read_bytes())
    ran = run("eval", "--compare", "copy", "all")
    assert "rank" in ran.out
    assert "original size, no flip" in words_of(ran.out)


# ---- a baseline ----


def test_a_fall_below_the_baseline_fails(run: Run, painted: object, world: Path) -> None:
    old = ("--baseline", "old/report.json")
    assert run("eval", *EVAL, "--data", "album", "--out", "old").code == 0
    same = run("eval", *EVAL, "--data", "album", *old, "--out", "same")
    assert same.code == 0
    assert "no figure fell by more than 0.5 points of AP" in same.out
    # one face is not found any more
    draw(world / "album" / "images", [Scene(OFFICIAL[1].name, found=OFFICIAL[1].found[:1])])
    worse = run("eval", *EVAL, "--data", "album", *old, "--out", "worse")
    assert worse.code == 1
    now = 1 / 7 + 1 / 7 * 2 / 3
    row = next(line.split() for line in worse.out.splitlines() if line.split()[:1] == ["AP@0.5"] and "fell" in line)
    assert row == ["AP@0.5", f"{AP50:.4f}", f"{now:.4f}", f"{(now - AP50) * 100:+.2f}", "fell"]
    assert "a figure fell by more than 0.5 points of AP" in worse.out
    assert (world / "worse" / "report.json").exists()
    assert run("eval", *EVAL, "--data", "album", *old, "--max-drop", "20", "--out", "much").code == 0
    ran = run("eval", *EVAL, "--data", "album", *old, "--json", "--out", "json")
    gate = json.loads(ran.out)["gate"]
    assert (ran.code, gate["passed"], gate["baseline"], gate["max_drop"]) == (1, False, "old/report.json", 0.5)
    assert [change["passed"] for change in gate["changes"]] == [False, False]


def test_a_baseline_of_another_protocol_stops_before_the_work(
    run: Run, painted: Callable[..., Painted], world: Path
) -> None:
    assert run("eval", *EVAL, "--data", "album", "--out", "old").code == 0
    network = painted()
    asked = ("eval", *EVAL, "--data", "album", "--flip", "--baseline", "old")
    ran = run(*asked)
    assert_refused(ran, 2, "--baseline old was measured by another protocol", "--any-protocol", "off", "on")
    assert "  flip: off in the baseline, on now" in ran.err.splitlines()
    assert network.shapes == []
    assert not (world / "runs").exists()
    assert run(*asked, "--any-protocol").code == 0


# ---- what is refused ----

UNOPENED = [
    (("--model", "v1-24"), 2, "no weights ship for 'v1-24', only for v1 and v2"),
    (("album",), 2, "'album' is named without an option"),
    (("--weights", "nowhere.pth"), 4, "nowhere.pth does not exist"),
    (("--weights", "peers.yaml"), 4, "peers.yaml"),
    (("--onnx", "nowhere.onnx"), 4, "nowhere.onnx does not exist"),
    (("--onnx", "x.onnx", "--weights", "untrained"), 2, "--onnx brings its own network"),
    (("--weights", "untrained", "--model", "v9"), 2, "unknown model 'v9'"),
    (("--weights", "untrained", "--device", "tpu9"), 2, "--device 'tpu9' cannot be used"),
    (("--predictions", "good", "--weights", "untrained"), 2, "--predictions were made elsewhere"),
    (("--predictions", "good", "--model", "v2"), 2, "--predictions were made elsewhere"),
    (("--compare",), 2, "--compare got 0 reports"),
    (("--compare", "album"), 2, "--compare got 1 report"),
    (("--compare", "album", "nowhere"), 3, "cannot read the report album/report.json"),
    (("--compare", "no_report.json", "no_report.json"), 3, "no_report.json is not the report of an evaluation"),
    (("--bogus",), 2, "--bogus"),
]
REFUSED = [
    (("--protocol", "full"), 2, "--protocol 'full' is not known"),
    (("--protocol", "size=16"), 2, "--protocol size 16 is out of range"),
    (("--score", "2"), 2, "--score 2.0 is out of range"),
    (("--score", "nan"), 2, "--score nan is out of range"),
    (("--nms", "-1"), 2, "--nms -1.0 is out of range"),
    (("--top-k", "-1"), 2, "--top-k -1 is out of range"),
    (("--batch", "0"), 2, "--batch 0 is out of range"),
    (("--threads", "-1"), 2, "--threads -1 is out of range"),
    (("--pictures", "-1"), 2, "--pictures -1 is out of range"),
    (("--data", "nowhere"), 3, "nowhere"),
    (("--data", "nowhere", "--ground-truth", "truth"), 3, "--data nowhere is no folder of pictures"),
    (("--data", "empty"), 3, "the folder empty is empty"),
    (("--data", "empty", "--ground-truth", "truth"), 3, "--data empty holds no pictures"),
    (("--data", "holiday"), 3, "holiday holds no labels"),
    (("--data", "holiday", "--ground-truth", "truth"), 3, "holiday and truth do not belong together"),
    (("--data", "synthetic:many"), 2, "'many' is not a number of pictures"),
    (("--ground-truth", "truth"), 2, "--ground-truth truth comes without pictures"),
    (("--ground-truth", "nowhere", "--data", "val"), 3, "--ground-truth nowhere is no folder"),
    (("--ground-truth", "empty", "--data", "val"), 3, "--ground-truth empty holds no wider_face_val.mat"),
    (("--ground-truth", "text_mat", "--data", "val"), 3, "text_mat/wider_face_val.mat is not a MATLAB file"),
    (("--ground-truth", "other_mat", "--data", "val"), 3, "wider_face_val.mat has no 'event_list': it holds images"),
    (("--ground-truth", "other_pictures", "--data", "val"), 3, "wider_easy_val.mat names other pictures than"),
    (("--data", "album", "--out", "trained"), 2, "run folder trained exists and is not empty"),
    (("--data", "album", "--out", "album", "--force"), 2, "album is not a run folder"),
    (("--data", "album", "--out", "trained", "--force"), 2, "trained is not a run folder"),
    (("--data", "album", "--out", "peers.yaml"), 2, "--out peers.yaml is a file"),
    (("--resume", "nowhere"), 2, "--resume nowhere: that run folder does not exist"),
    (("--resume", "empty"), 2, "--resume empty: that run folder has no config.yaml"),
    (("--data", "album", "--peers", "nowhere.yaml"), 2, "the file of peers nowhere.yaml does not exist"),
    (("--data", "album", "--peers", "peers.yaml"), 2, "1.5"),
    (("--data", "album", "--baseline", "no_report.json"), 3, "no_report.json is not the report of an evaluation"),
    (("--data", "album", "--baseline", "nowhere.json"), 3, "nowhere.json"),
    (("--data", "album", "--baseline", "no_report.json", "--max-drop", "200"), 2, "--max-drop 200 is out of range"),
]
PREDICTIONS = [
    (("good",), 3, "good has predictions for 1 unknown pictures, such as 0--Parade/z"),
    (("four",), 3, "four/0--Parade/a.txt:4: '10 10 40 50' has 4 numbers where 5 belong"),
    (("nan",), 3, "nan/0--Parade/a.txt:4: '10 10 40 50 nan' holds nan"),
    (("empty",), 3, "--predictions empty holds no .txt"),
    (("nowhere.zip",), 3, "--predictions nowhere.zip does not exist"),
    (("peers.yaml",), 3, "--predictions peers.yaml is not a .zip"),
]


def assert_leaves_nothing(ran: Callable[[], Ran], code: int, words: str, world: Path) -> None:
    before = sorted(world.rglob("*"))
    refused = ran()
    assert_refused(refused, code, words)
    assert refused.out == ""
    assert sorted(world.rglob("*")) == before


@pytest.mark.parametrize(("arguments", "code", "words"), UNOPENED, ids=[" ".join(a) for a, _, _ in UNOPENED])
def test_no_detector(run: Run, world: Path, arguments: tuple[str, ...], code: int, words: str) -> None:
    assert_leaves_nothing(lambda: run("eval", *arguments, "--quiet"), code, words, world)


@pytest.mark.parametrize(("arguments", "code", "words"), REFUSED, ids=[" ".join(a) for a, _, _ in REFUSED])
def test_bad_input_is_one_line_and_leaves_nothing(
    run: Run, painted: Callable[..., Painted], world: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    network = painted()
    given = () if "--resume" in arguments else EVAL
    assert_leaves_nothing(lambda: run("eval", *given, *arguments), code, words, world)
    assert network.shapes == []


@pytest.mark.parametrize(("arguments", "code", "words"), PREDICTIONS, ids=[" ".join(a) for a, _, _ in PREDICTIONS])
def test_bad_predictions(run: Run, world: Path, arguments: tuple[str, ...], code: int, words: str) -> None:
    given = ("--predictions", *arguments, "--ground-truth", "truth")
    assert_leaves_nothing(lambda: run("eval", *given), code, words, world)


def test_a_file_of_a_fixed_size_is_refused_before_anything_is_written(run: Run, world: Path) -> None:
    stub_onnx(world / "stub.onnx")
    asked = ("eval", "--onnx", "stub.onnx", "--data", "album")
    words = "--protocol original cannot be followed by a file with the fixed size 96x64"
    assert_leaves_nothing(lambda: run(*asked), 2, words, world)
    ran = run(*asked, "--protocol", "size=96")
    assert ran.code == 0
    assert "long side 96 px, no flip, score above 0.02, NMS 0.4, no top-k, padded to 96x64" in words_of(ran.out)


@pytest.mark.parametrize("target", ["peers.yaml", "peers.yaml/inside"])
def test_a_place_for_predictions_that_is_none_is_refused_before_the_work(
    run: Run, painted: Callable[..., Painted], world: Path, target: str
) -> None:
    network = painted()
    ran = run("eval", *EVAL, "--data", "album", "--out", "r", "--save-predictions", target)
    assert ran.code in (2, 3)
    assert_refused(ran, ran.code, "peers.yaml")
    assert network.shapes == []


def test_a_name_is_for_the_report_and_leads_nowhere(run: Run, painted: object, world: Path) -> None:
    before = set(world.parent.iterdir())
    ran = run("eval", *EVAL, "--data", "album", "--name", "../../up", "--json")
    assert ran.code == 0
    assert json.loads(ran.out)["subject"]["model"] == "../../up"
    assert set(world.parent.iterdir()) == before
    assert len(list((world / "runs").glob("*/report.json"))) == 1


# ---- a broken picture, an old folder, a stop ----


def test_a_broken_picture_is_told_and_the_rest_evaluated(run: Run, painted: object, world: Path) -> None:
    (world / "album" / "images" / OFFICIAL[1].name).write_bytes(b"")
    ran = run("eval", *EVAL, "--data", "album", "--out", "r")
    assert ran.code == 3
    said = words_of(ran.out)
    assert "warning: 1 picture could not be read: nothing counts as found there" in said
    assert "broken picture album/images/0--Parade/b.png is empty (0 bytes)" in said
    assert f"AP {1 / 7:.4f}" in said
    assert (world / "r" / "report.json").exists()
    ran = run("eval", *EVAL, "--data", "album", "--out", "r", "--force", "--json")
    assert ran.code == 3
    assert [broken["name"] for broken in json.loads(ran.out)["broken"]] == ["0--Parade/b"]


def test_force_empties_the_folder_of_an_evaluation(run: Run, painted: object, world: Path) -> None:
    asked = ("eval", *EVAL, "--data", "album", "--out", "r")
    assert run(*asked, "--html").code == 0
    assert_refused(run(*asked), 2, "run folder r exists and is not empty", "--resume r", "--force")
    assert run(*asked, "--force").code == 0
    assert not (world / "r" / "report.html").exists()


def test_a_stop_says_how_to_go_on(run: Run, painted: Callable[..., Painted], world: Path) -> None:
    assert run("eval", *EVAL, "--data", "album", "--out", "whole").code == 0
    painted(Stopped(2))
    ran = run("eval", *EVAL, "--data", "album", "--flip", "--out", "my run")
    assert (ran.code, ran.out) == (130, "")
    assert ran.err == "note: stopped; go on with: featherface eval --resume 'my run'\n"
    for more, wrong in (
        (("--data", "val"), "--data"), (("--score", "0.5"), "--score"), (("--flip",), "--flip"), (("--out", "x"), "--out"),
        (("--force",), "--force"), (("--weights", "x"), "--weights"), (("--top-k", "3"), "--top-k"),
    ):  # fmt: skip
        refused = run("eval", "--resume", "my run", *more)
        assert_refused(refused, 2, f"--resume my run takes the evaluation as it was; {wrong} does not go with it")
    assert_refused(run("eval", "--resume", "trained"), 2, "trained holds a run of 'train', not an evaluation")
    network = painted()
    ran = run("eval", "--resume", "my run", "--batch", "2", "--json")
    assert ran.code == 0
    said = json.loads(ran.out)
    assert (said["protocol"]["flip"], said["timing"]["batch"]) == (True, 2)
    assert said["command_line"].endswith("--data album --flip --out 'my run'")
    assert {s["name"]: s["ap"] for s in said["settings"]} == {"ap50": pytest.approx(AP50), "ap": pytest.approx(AP)}
    assert sum(shape[0] for shape in network.shapes) == 6  # three pictures, seen twice


def plain(report: dict) -> dict:
    """What does not tell of time and place."""
    return {
        key: report[key] for key in ("settings", "recall", "worst", "detections", "warnings", "landmarks", "broken")
    }


@pytest.mark.slow
def test_an_interrupt_leaves_an_evaluation_to_resume(tmp_path: Path) -> None:
    asked = ["eval", "--weights", "untrained", "--model", "v2", "--data", "synthetic:60", "--score", "0.5"]
    asked += ["--threads", "1"]  # waits for no other thread
    child = subprocess.Popen(
        [SCRIPT, *asked, "--out", "r"], cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    store = tmp_path / "r" / "detections.jsonl"
    limit = time.monotonic() + 60
    while child.poll() is None and time.monotonic() < limit:
        if store.exists() and store.read_bytes().count(b"\n") >= 3:
            break
        time.sleep(0.005)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert (child.returncode, out) == (130, ""), err
    assert "Traceback" not in err
    assert "stopped; go on with: featherface eval --resume r" in err
    kept = store.read_bytes()
    done = kept.count(b"\n")
    assert 3 <= done < 60
    assert not (tmp_path / "r" / "report.json").exists()
    both = []
    for more in (["eval", "--resume", "r"], [*asked, "--out", "whole"]):
        ended = subprocess.run([SCRIPT, *more, "--json"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert ended.returncode == 0, ended.stderr
        both.append(plain(json.loads(ended.stdout)))
    assert both[0] == both[1]
    assert both[0]["detections"] > 60
    assert store.read_bytes().startswith(kept[: kept.rindex(b"\n") + 1])
    assert store.read_bytes().count(b"\n") == 60


def test_an_untrained_network_in_an_empty_folder(tmp_path: Path) -> None:
    asked = [SCRIPT, "eval", "--weights", "untrained", "--pictures", "4"]
    ran = subprocess.run(
        asked, cwd=tmp_path, capture_output=True, text=True, timeout=120, env={**os.environ, "COLUMNS": "80"}
    )
    assert ran.returncode == 0, ran.stderr
    said = words_of(ran.stdout)
    assert "warning: 4 of 300 pictures were evaluated" in said
    assert "warning: the network is untrained" in said
    assert ran.stderr == "note: no trained weights: this v2 is a random network (seed 0) and finds no faces\n"
    assert max(map(len, ran.stdout.splitlines())) <= 80
    written = {path.name for path in (tmp_path / "runs" / "v2-eval-1").iterdir()}
    assert {"report.json", "curves.png", "curves.svg", "detections.jsonl", "config.yaml"} <= written
    assert cv2.imread(str(tmp_path / "runs" / "v2-eval-1" / "curves.png")) is not None


# ---- the real pictures of ../shared ----


def test_the_official_figures_of_predictions(reference: Path, tmp_path: Path) -> None:
    folder = reference / "wider_eval"
    wanted = json.loads((folder / "expected.json").read_text())
    command = [sys.executable, "-X", "importtime", "-m", "featherface_cli.app", "eval", "--json"]
    files = ["--predictions", str(folder / "predictions.zip"), "--ground-truth", str(folder)]
    with (tmp_path / "out").open("w") as out, (tmp_path / "err").open("w") as err:
        child = subprocess.Popen([*command, *files], cwd=tmp_path, stdout=out, stderr=err)
        _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, (tmp_path / "err").read_text()[-500:]
    said = json.loads((tmp_path / "out").read_text())
    assert {s["name"]: s["ap"] for s in said["settings"]} == pytest.approx(
        {name: wanted[name] for name in ("easy", "medium", "hard")}, abs=1e-9
    )
    assert said["mean"] == pytest.approx(np.mean([wanted[name] for name in ("easy", "medium", "hard")]), abs=1e-9)
    assert said["detections"] == wanted["boxes"]
    lines = (tmp_path / "err").read_text().splitlines()
    loaded = {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}
    assert "featherface_core.evaluation.run" in loaded
    assert not loaded & {"torch", "onnxruntime", "onnx"}
    assert usage.ru_maxrss < 1 << 20  # KiB


@pytest.fixture(scope="module")
def onnx_original(reference: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from featherface_core.checkpoint import load_weights
    from featherface_core.config import ExportConfig
    from featherface_core.onnx.export import export

    path = tmp_path_factory.mktemp("onnx") / "v1_original.onnx"
    export(load_weights(reference / "v1_original.pth"), path, ExportConfig(test_sizes=((96, 160), (33, 97))))
    return path


def both_ways(run: Run, reference: Path, onnx: Path, *more: str) -> list[dict]:
    """The reports of PyTorch and of onnxruntime on wider202."""
    if not (WIDER202 / "expected.json").is_file():
        pytest.skip(f"the pictures are not part of the repository, and {WIDER202} does not exist")
    reports = []
    for source in (("--weights", reference / "v1_original.pth"), ("--onnx", onnx)):
        ran = run("eval", *source, "--data", WIDER202, "--json", *more)
        assert ran.code == 0, ran.err
        reports.append(json.loads(ran.out))
    return reports


def aps(report: dict) -> dict[str, float]:
    return {setting["name"]: setting["ap"] for setting in report["settings"]}


@pytest.mark.slow
def test_torch_and_onnx_agree_on_real_pictures(run: Run, reference: Path, onnx_original: Path) -> None:
    torch, onnx = both_ways(run, reference, onnx_original, "--pictures", "12")
    assert aps(onnx) == pytest.approx(aps(torch), abs=0.002)
    assert min(aps(torch).values()) > 0.3
    assert torch["protocol"]["names"] == onnx["protocol"]["names"]
    assert (torch["subject"]["backend"], onnx["subject"]["backend"]) == ("torch", "onnxruntime")
    assert torch["subject"]["parameters"] == onnx["subject"]["parameters"] == 592_371


@pytest.mark.slow
def test_the_bar_of_the_real_pictures(run: Run, reference: Path, onnx_original: Path) -> None:
    torch, onnx = both_ways(run, reference, onnx_original)
    wanted = json.loads((WIDER202 / "expected.json").read_text())
    assert torch["protocol"]["pictures"] == wanted["pictures"] == 202
    assert aps(torch) == pytest.approx(wanted["ap"], abs=0.002)
    assert aps(onnx) == pytest.approx(aps(torch), abs=0.002)
    assert torch["detections"] == pytest.approx(wanted["detections"], rel=0.001)
    assert torch["warnings"][0].startswith("202 pictures are a part of the 3,226")
