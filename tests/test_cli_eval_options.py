"""Options of eval that have no meaning beside each other, and what a resumed evaluation remembers."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import Run, assert_refused
from eval_scenes import EVAL
from painted import Painted, Stopped

from featherface_core.data import sets as files
from featherface_core.data.annotation import Annotation, AnnotationSet, Faces
from featherface_core.evaluation.compare import read_baseline
from featherface_core.evaluation.report import read_report


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--compare", "a", "b", "--weights", "w"), "--compare evaluates nothing; --weights does not go with it"),
        (("--compare", "a", "b", "--data", "d", "--flip"), "--data, --flip do not go with it"),
        (("--predictions", "good", "--data", "val", "--onnx", "x"), "made elsewhere; --onnx does not go with it"),
        (("--predictions", "good", "--score", "0.1", "--batch", "2"), "--score, --batch do not go with it"),
        (("--predictions", "good", "--protocol", "vga"), "--protocol does not go with it"),
        (("--weights", "painted", "--data", "synthetic:few"), "--data 'synthetic:few': 'few' is not a number"),
        (("--weights", "w", "--max-drop", "1"), "--max-drop 1 says nothing without a baseline"),
        (("--weights", "w", "--max-drop", "0.5"), "--max-drop 0.5 says nothing without a baseline"),  # as by default
        (("--predictions", "good", "--score", "0.02"), "made elsewhere; --score does not go with it"),  # as by default
    ],
)
def test_options_without_a_meaning(
    run: Run, painted: object, world: Path, arguments: tuple[str, ...], words: str
) -> None:
    assert_refused(run("eval", *arguments), 2, words)
    assert not (world / "runs").exists()


def test_a_resumed_evaluation_writes_what_the_stopped_one_would_have(
    run: Run, painted: Callable[..., Painted], world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("eval", *EVAL, "--data", "album", "--out", "whole")
    painted(Stopped(1))
    stopped = run(
        "eval", *EVAL, "--data", "album", "--out", "r", "--html", "--save-predictions", "p", "--name", "two\nlines",
        "--baseline", "whole", "--max-drop", "2",
    )  # fmt: skip
    assert stopped.code == 130
    assert "featherface eval --resume r --baseline whole --max-drop 2" in stopped.err
    assert not (world / "r" / "report.html").exists()
    painted()
    monkeypatch.chdir(world / "empty")  # what was named holds in any folder
    assert run("eval", "--resume", "../r", "--quiet").code == 0
    report = read_report(world / "r")
    assert (world / "r" / "report.html").stat().st_size > 0
    assert sorted(p.name for p in (world / "p").rglob("*.txt")) == ["a.txt", "b.txt", "c.txt", "d.txt"]
    assert report.subject.model == "two\nlines"
    assert "--html" in report.command_line


def test_predictions_of_more_pictures_than_the_data(run: Run, world: Path) -> None:
    """The ground truth knows them all: they are no mistake, and are left out."""
    for event, name in (("0--Parade", "a"), ("0--Parade", "b")):
        (world / "mine" / event).mkdir(parents=True, exist_ok=True)
        (world / "mine" / event / f"{name}.txt").write_text(f"{name}\n1\n10 10 40 50 0.9\n")
    (world / "val" / "images" / "0--Parade" / "b.png").unlink()
    ran = run("eval", "--predictions", "mine", "--ground-truth", "truth", "--data", "val", "--json")
    assert ran.code == 0
    report = json.loads(ran.out)
    assert (report["protocol"]["pictures"], report["detections"]) == (3, 1)


def test_a_drop_of_just_what_is_allowed_passes(run: Run, painted: object, world: Path) -> None:
    assert run("eval", *EVAL, "--data", "album", "--out", "r").code == 0
    report = read_report(world / "r")
    before = replace(report, settings=tuple(replace(s, ap=0.9) for s in report.settings))
    now = replace(report, settings=tuple(replace(s, ap=0.895) for s in report.settings))
    baseline = replace(read_baseline(world / "r", 0.5), report=before)
    assert (0.9 - 0.895) * 100 > 0.5  # as computers count
    assert baseline.hold(now).passed
    assert not replace(baseline, max_drop=0.49).hold(now).passed


def test_entries_of_one_picture_are_joined_for_training_too(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    (tmp_path / "b.png").write_bytes(b"x")

    def entry(name: str, x: float) -> Annotation:
        return Annotation(tmp_path / name, name, Faces.of([[x, 0, x + 10, 10]]))

    labels = AnnotationSet(tmp_path, "retinaface", (entry("a.png", 0), entry("b.png", 0), entry("a.png", 20)))
    pictures, missing = files.FilePictures.checked(labels)
    assert [a.name for a in pictures.annotations] == ["a.png", "b.png"]
    assert pictures.faces(0).boxes.tolist() == [[0, 0, 10, 10], [20, 0, 30, 10]]
    assert missing == []
