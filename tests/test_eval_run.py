"""An evaluation from pictures on the disk to its files: what is odd with the pictures, and what is written."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from eval_scenes import A1, SCENES, SUBJECT, Scene, draw, figures, score
from painted import detector

from featherface_core.data.annotation import Faces
from featherface_core.data.formats import wider
from featherface_core.data.formats.lines import Entry
from featherface_core.evaluation import evaluate as run
from featherface_core.evaluation.config import EvalConfig, load_config
from featherface_core.evaluation.evaluate import Output, evaluate
from featherface_core.evaluation.report import BrokenPicture, Measured, read_report
from featherface_core.events import Progress

pytestmark = pytest.mark.usefixtures("no_curves")

CURVES = run.write_curves


# ---- what is odd with the pictures ----


def test_a_broken_picture_is_one_where_nothing_was_found(album: Path, tmp_path: Path) -> None:
    broken = album / "images" / SCENES[1].name
    broken.write_bytes(broken.read_bytes()[:200])
    told: list[Progress] = []
    report = evaluate(EvalConfig(str(album)), SUBJECT, detector(), Output(tmp_path / "r"), told.append)
    assert report.broken == (BrokenPicture("0--Parade/b", f"picture {broken} is cut short: its end is missing"),)
    assert report.warnings == ("1 picture could not be read: nothing counts as found there",)
    assert report.headline == {"ap50": pytest.approx(1 / 7), "ap": pytest.approx(15 / 101)}
    assert report.worst[0].name == "0--Parade/a"
    assert [(w.name, w.faces, w.missed) for w in report.worst if w.name == "0--Parade/b"] == [("0--Parade/b", 2, 2)]
    assert [event.done for event in told] == [0, 1, 2, 3, 4, 4]
    assert {event.total for event in told} == {4}
    again = score(tmp_path / "r", album, resume=True)  # the problem is kept
    assert figures(again) == figures(report)
    for scene in (SCENES[0], SCENES[2], SCENES[3]):
        (album / "images" / scene.name).write_bytes(b"no picture")
    report = score(tmp_path / "all", album)
    assert report.warnings == ("4 pictures could not be read: nothing counts as found there",)
    assert (report.headline, report.detections, len(report.broken)) == ({"ap50": 0.0, "ap": 0.0}, 0, 4)
    assert report.timing is not None
    assert report.timing.total == 0


def test_missing_labelled_pictures_are_told(album: Path, tmp_path: Path) -> None:
    gone = album / "images" / SCENES[2].name
    gone.unlink()
    report = score(tmp_path / "r", album)
    assert report.warnings == (
        f"1 labelled pictures are missing, such as {gone}",
        "3 of 4 pictures were evaluated",
    )
    assert (report.protocol.pictures, report.protocol.of, report.settings[0].faces) == (3, 4, 5)


def test_some_of_the_pictures_are_spread_over_all(tmp_path: Path) -> None:
    scenes = [Scene(f"x/{k}.png", (A1,), [(A1, 250)] if k in (0, 4) else []) for k in range(9)]
    draw(tmp_path / "album" / "images", scenes)
    wider.write(tmp_path / "album", [Entry(s.name, Faces.of(s.faces)) for s in scenes])
    report = score(tmp_path / "r", tmp_path / "album", pictures=3)
    names = [json.loads(line)["name"] for line in (tmp_path / "r" / "detections.jsonl").read_text().splitlines()]
    assert names == ["x/0", "x/4", "x/8"]
    assert report.warnings == ("3 of 9 pictures were evaluated",)
    assert report.headline["ap50"] == pytest.approx(2 / 3)
    assert "on 3 of 9 pictures of " in report.protocol.text
    assert score(tmp_path / "all", tmp_path / "album", pictures=9).warnings == ()


def test_names_that_differ_in_their_suffix_stay_apart(tmp_path: Path) -> None:
    scenes = [Scene("x/a.png", (A1,), [(A1, 250)]), Scene("x/a.bmp", (A1,)), Scene("x/b.png", (A1,))]
    draw(tmp_path / "album" / "images", scenes)
    wider.write(tmp_path / "album", [Entry(s.name, Faces.of(s.faces)) for s in scenes])
    report = score(tmp_path / "r", tmp_path / "album", save=tmp_path / "p")
    assert {w.name for w in report.worst} == {"x/a.bmp", "x/b"}
    assert report.headline["ap50"] == pytest.approx(1 / 3)
    again = score(tmp_path / "again", tmp_path / "album", predictions=tmp_path / "p")
    assert again.headline == report.headline


# ---- what is written ----


def test_all_files_are_written_and_the_report_reads_as_it_was(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "write_curves", CURVES)
    began: list[tuple[Path, Measured, bool]] = []
    folder = tmp_path / "r"
    config = EvalConfig(str(album), name="mine", batch=3, threads=1)
    output = Output(folder, html=True, predictions=tmp_path / "p", command="featherface eval --data 'my album'")

    def begin(path: Path, measured: Measured) -> None:
        began.append((path, measured, path.exists()))

    report = evaluate(config, SUBJECT, detector(), output, on_begin=begin)
    assert began == [(folder, report.protocol, False)]  # before anything is written
    assert read_report(folder) == read_report(folder / "report.json") == report
    said = json.loads((folder / "report.json").read_text())
    assert (said["schema"], said["command"], said["command_line"]) == (1, "eval", output.command)
    assert dict(report.files) == {
        "folder": str(folder), "report": str(folder / "report.json"), "curves_png": str(folder / "curves.png"),
        "curves_svg": str(folder / "curves.svg"), "worst": str(folder / "worst.jpg"),
        "html": str(folder / "report.html"), "predictions": str(tmp_path / "p"),
    }  # fmt: skip
    assert all(Path(path).exists() for _, path in report.files)
    assert sorted(p.name for p in folder.iterdir()) == [
        "config.yaml", "curves.png", "curves.svg", "detections.jsonl", "report.html", "report.json", "worst.jpg"
    ]  # fmt: skip
    assert all(cv2.imread(str(folder / name)).std() > 5 for name in ("curves.png", "worst.jpg"))
    assert (folder / "curves.svg").read_text().lstrip().startswith(("<?xml", "<svg"))
    assert (folder / "config.yaml").read_text().startswith("# featherface eval --data 'my album'\n")
    kept = load_config(folder)
    assert (kept.config, kept.extras.html, kept.command) == (config, True, output.command)
    assert {"featherface", "python", "numpy", "torch"} <= report.versions.keys()
    assert (report.machine["device"], report.timing is not None) == ("cpu", True)
    plain = score(tmp_path / "plain", album)
    assert {"html", "predictions"}.isdisjoint(dict(plain.files))


def test_the_worst_sheet_marks_what_was_missed(album: Path, tmp_path: Path) -> None:
    from featherface_core.evaluation.worst import ALARM, FOUND, LEGEND, MISSED

    score(tmp_path / "r", album)
    tiles = cv2.imread(str(tmp_path / "r" / "worst.jpg"))[LEGEND:]

    def near(colour: tuple[int, int, int], column: int) -> int:
        part = tiles[:384, 10 + 490 * column : 490 + 490 * column].astype(int)
        return int((np.abs(part - colour).max(2) < 50).sum())

    # in the order of the report: a, c, b
    assert [near(MISSED, k) > 100 for k in range(3)] == [True, True, True]
    assert [near(FOUND, k) > 100 for k in range(3)] == [True, False, True]
    assert [near(ALARM, k) > 100 for k in range(3)] == [False, True, False]


def test_saved_predictions_give_the_same_figures(album: Path, tmp_path: Path) -> None:
    first = score(tmp_path / "1", album, save=tmp_path / "p")
    again = score(tmp_path / "2", album, predictions=tmp_path / "p")
    assert (again.settings, again.recall, again.worst) == (first.settings, first.recall, first.worst)
    assert again.detections == first.detections
    assert (again.timing, again.landmarks) == (None, None)
    how = again.protocol
    assert (how.resize, how.flip, how.score, how.nms, how.top_k) == ("unknown", None, None, None, None)
    assert how.names == first.protocol.names
    assert how.text.endswith(": detections made elsewhere")
    (tmp_path / "p" / "0--Parade" / "a.txt").unlink()  # a picture without predictions is one without detections
    less = score(tmp_path / "3", album, predictions=tmp_path / "p")
    assert (less.detections, less.settings[0].faces) == (4, 7)
