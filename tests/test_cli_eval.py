"""eval as a user meets it: screens, a bar to hold, a broken picture, a stop and a resume."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest
from command_line import SCRIPT, Run, assert_refused, words_of
from eval_scenes import AP, AP50, EVAL, OFFICIAL, Scene, draw
from painted import Painted, Stopped

from featherface_cli.screens import console

pytestmark = pytest.mark.usefixtures("no_curves")


# ---- screens ----


def test_the_screen_of_an_evaluation(run: Run, painted: object, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console.stdout, "width", 80)
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


def test_a_name_is_for_the_report_and_leads_nowhere(run: Run, painted: object, world: Path) -> None:
    before = set(world.parent.iterdir())
    ran = run("eval", *EVAL, "--data", "album", "--name", "../../up", "--json")
    assert ran.code == 0
    assert json.loads(ran.out)["subject"]["model"] == "../../up"
    assert set(world.parent.iterdir()) == before
    assert len(list((world / "runs").glob("*/report.json"))) == 1


# ---- a baseline ----


def test_a_fall_below_the_baseline_fails(run: Run, painted: object, world: Path) -> None:
    old = ("--baseline", "old/report.json")
    assert run("eval", *EVAL, "--data", "album", "--out", "old").code == 0
    same = run("eval", *EVAL, "--data", "album", *old, "--out", "same")
    assert same.code == 0
    assert "no figure fell by more than 0.5 percentage points of AP" in same.out
    # one face is not found any more
    draw(world / "album" / "images", [Scene(OFFICIAL[1].name, found=OFFICIAL[1].found[:1])])
    worse = run("eval", *EVAL, "--data", "album", *old, "--out", "worse")
    assert worse.code == 1
    now = 1 / 7 + 1 / 7 * 2 / 3
    row = next(line.split() for line in worse.out.splitlines() if line.split()[:1] == ["AP@0.5"] and "fell" in line)
    assert row == ["AP@0.5", f"{AP50:.4f}", f"{now:.4f}", f"{(now - AP50) * 100:+.2f}", "fell"]
    assert "a figure fell by more than 0.5 percentage points of AP" in worse.out
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
def test_an_interrupt_leaves_an_evaluation_to_resume(run: Run, tmp_path: Path) -> None:
    asked = ["eval", "--weights", "untrained", "--model", "v2", "--data", "synthetic:60", "--score", "0.5"]
    asked += ["--threads", "1"]  # waits for no other thread
    child = subprocess.Popen(
        [SCRIPT, *asked, "--out", "r"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # what a shell runs in the background ignores it, and so do its children
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
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
        ended = run(*more, "--json")
        assert ended.code == 0, ended.err
        both.append(plain(json.loads(ended.out)))
    assert both[0] == both[1]
    assert both[0]["detections"] > 60
    assert store.read_bytes().startswith(kept[: kept.rindex(b"\n") + 1])
    assert store.read_bytes().count(b"\n") == 60
