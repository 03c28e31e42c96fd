"""What eval refuses: each in one line, with nothing written."""

from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Ran, Run, assert_refused, words_of
from eval_scenes import EVAL
from known_faces import stub_onnx
from painted import Painted

pytestmark = pytest.mark.usefixtures("no_curves")

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
