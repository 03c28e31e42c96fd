"""Landmarks by a second look at each face: where it looks, what it gives back, and what it leaves alone."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import Run, assert_refused, words_of
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from known_faces import stub_onnx
from spotter import Fixed, Spotter, detector, save, scene

from featherface_core.data.open import open_one
from featherface_core.errors import ConfigError
from featherface_core.evaluation.report import read_report
from featherface_core.pictures import PORTRAIT
from featherface_core.results import Detections
from featherface_core.run_folder import CONFIG
from featherface_core.second_look import FACE, ROOM, TOGETHER, SecondLook

DATA = Path(__file__).parents[2] / "shared" / "data"
SIDE = ROOM * FACE
FAR = -7.0  # where no landmark is


class Sized(Spotter):
    """A network of one input size."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.fixed = (1, height, width)


def known(*boxes: tuple[float, float, float, float]) -> Detections:
    """Faces in these boxes, their landmarks far off."""
    around = np.array(boxes, np.float32).reshape(-1, 4)
    return Detections(around, np.full(len(around), 0.9, np.float32), np.full((len(around), 5, 2), FAR, np.float32))


@given(
    height=st.integers(60, 400),
    width=st.integers(60, 400),
    corner=st.tuples(st.floats(0.05, 0.5), st.floats(0.05, 0.5)),
    extents=st.tuples(st.floats(0.1, 0.4), st.floats(0.1, 0.4)),
    off=st.tuples(*[st.floats(-0.1, 0.1)] * 4),
)
@settings(max_examples=120)
def test_landmarks_are_in_pixels_of_the_picture(
    height: int,
    width: int,
    corner: tuple[float, float],
    extents: tuple[float, float],
    off: tuple[float, float, float, float],
) -> None:
    x1, y1 = round(width * corner[0]), round(height * corner[1])
    x2, y2 = x1 + max(8, round(width * extents[0])), y1 + max(8, round(height * extents[1]))
    sides = np.array([x2 - x1, y2 - y1] * 2)
    longest, side = max(sides), np.sqrt(sides[0] * sides[1])
    assume(longest < 1.25 * side)  # a longer face would not fit into its square
    first = known((x1 + off[0] * sides[0], y1 + off[1] * sides[1], x2 + off[2] * sides[0], y2 + off[3] * sides[1]))
    found = SecondLook(detector()).place(scene(height, width, (x1, y1, x2, y2)), first)
    wanted = [[x1, y1], [x2, y1], [(x1 + x2) / 2, (y1 + y2) / 2], [x1, y2], [x2, y2]]
    np.testing.assert_allclose(found.landmarks[0], wanted, atol=0.75 * max(1, side / FACE))
    np.testing.assert_array_equal(found.boxes, first.boxes)
    np.testing.assert_array_equal(found.scores, first.scores)


def test_many_faces_are_seen_a_few_at_a_time() -> None:
    network = Spotter()
    SecondLook(detector(network)).place(scene(60, 80, (20, 10, 50, 40)), known(*[(20, 10, 50, 40)] * (TOGETHER + 3)))
    assert network.batches == [(TOGETHER, 3, SIDE, SIDE), (3, 3, SIDE, SIDE)]


def test_no_face_is_no_work() -> None:
    network = Spotter()
    assert len(SecondLook(detector(network)).place(scene(60, 80), known())) == 0
    assert network.batches == []


def test_a_face_that_the_second_look_misses_keeps_its_landmarks() -> None:
    elsewhere = Fixed(0)  # an anchor at the corner of each square, on no face
    for network in (Fixed(), elsewhere):
        found = SecondLook(detector(network)).place(scene(60, 80), known((20, 10, 50, 40)))
        assert (found.landmarks == FAR).all()


@pytest.mark.parametrize(
    "box",
    [
        (np.nan, 10, 50, 40),
        (20, 10, np.inf, 40),
        (50, 40, 20, 10),
        (20, 10, 20, 40),
        (-1e9, -1e9, 1e9, 1e9),
        (3e38, 10, 3.1e38, 40),
    ],
)
def test_a_box_that_is_none_is_left_alone(box: tuple[float, float, float, float]) -> None:
    good = (20, 10, 50, 40)
    found = SecondLook(detector()).place(scene(60, 80, good), known(box, good))
    assert (found.landmarks[0] == FAR).all()
    np.testing.assert_allclose(found.landmarks[1, 0], good[:2], atol=0.75)


def test_a_face_that_leaves_the_picture_is_seen() -> None:
    # most of it outside: the edge is repeated there, so the network sees more of the same face
    found = SecondLook(detector()).place(scene(60, 80, (60, 10, 80, 40)), known((60, 10, 96, 40)))
    assert (found.landmarks != FAR).all()


def test_a_file_of_one_size_has_to_be_of_the_right_one() -> None:
    with pytest.raises(ConfigError, match="takes 256x256 pixels, and this file 640x480 alone") as refused:
        SecondLook(detector(Sized(480, 640)))
    assert "--dynamic" in refused.value.hint
    network = Sized(SIDE, SIDE)
    box = (20, 10, 50, 40)
    found = SecondLook(detector(network)).place(scene(60, 80, box), known(box))
    np.testing.assert_allclose(found.landmarks[0, 0], box[:2], atol=0.75)


def test_detect_looks_again(tmp_path: Path) -> None:
    first = detector(Fixed(0))
    picture = scene(60, 80, (20, 10, 50, 40))
    assert first.landmarks_by == ""
    before = first.detect(picture)
    first.second_look = SecondLook(detector())
    first.second_look.place = lambda seen, faces: known(*faces.boxes)  # type: ignore[method-assign]
    assert (first.detect(picture).landmarks == FAR).all()
    assert (before.landmarks != FAR).all()
    assert first.landmarks_by == "stub, none"


# --- at the command line ------------------------------------------------------------------------------------------------


def test_detect_places_landmarks_by_another_network(run: Run, tmp_path: Path) -> None:
    asked = ("detect", PORTRAIT, "--json")
    (first,) = json.loads(run(*asked).out)["faces"]
    outcomes = {by: json.loads(run(*asked, "--landmarks-by", by).out)["faces"] for by in ("same", "v1")}
    (same,), (other,) = outcomes.values()
    for face in (same, other):
        assert (face["box"], face["score"]) == (first["box"], first["score"])
        moved = np.abs(np.array(face["landmarks"]) - np.array(first["landmarks"]))
        assert 0 < moved.max() < 15
    assert same["landmarks"] != other["landmarks"]
    said = run("detect", PORTRAIT, "--landmarks-by", "v1")
    assert "by a second look at each face: v1, v1.safetensors (sha256 " in words_of(said.out)
    (tmp_path / "again.png").write_bytes(PORTRAIT.read_bytes())
    batched = run("detect", PORTRAIT, "again.png", "--batch", "2", "--json", "--landmarks-by", "v1").out
    assert [json.loads(line)["faces"][0]["landmarks"] for line in batched.splitlines()] == [other["landmarks"]] * 2


def test_two_exported_files_need_no_torch(stub: Path, tmp_path: Path) -> None:
    looks = stub_onnx(tmp_path / "looks.onnx", canvas=(SIDE, SIDE))
    program = "import sys\nfrom featherface_cli.app import main\ntry:\n    main()\nfinally:\n    print('LOADED', *sys.modules)"
    asked = ["detect", save(tmp_path / "a.png"), "--onnx", stub, "--landmarks-by", looks, "--out", tmp_path / "found"]
    ran = subprocess.run([sys.executable, "-c", program, *map(str, asked)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    said, _, loaded = ran.stdout.partition("LOADED ")
    assert "by a second look at each face: v2, untrained" in words_of(said)
    assert not {"torch", "onnx"} & set(loaded.split())


@pytest.mark.parametrize(
    ("by", "code", "words"),
    [
        ("v7", 2, ("--landmarks-by 'v7' is no file", "use same, v1, v2")),
        ("v1-24", 2, ("--landmarks-by 'v1-24' is no file, nor a variant that weights ship for",)),
        ("nowhere.onnx", 4, ("nowhere.onnx",)),
        ("stub.onnx", 2, ("takes 256x256 pixels, and this file 96x64 alone", "--dynamic")),
        ("text.pth", 4, ("text.pth",)),
    ],
)
@pytest.mark.parametrize("command", ["detect", "eval"])
def test_a_second_look_that_cannot_be(
    run: Run, stub: Path, tmp_path: Path, command: str, by: str, code: int, words: tuple[str, ...]
) -> None:
    (tmp_path / "stub.onnx").write_bytes(stub.read_bytes())
    (tmp_path / "text.pth").write_text("no weights")
    asked = ("detect", save(tmp_path / "a.png")) if command == "detect" else ("eval", "--data", "synthetic:2")
    assert_refused(run(*asked, "--landmarks-by", by, "--quiet"), code, *words)
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "detections").exists()


def test_an_evaluation_says_who_placed_landmarks_and_goes_on_with_that(run: Run, tmp_path: Path) -> None:
    asked = ("eval", "--data", "synthetic:12")
    assert run(*asked, "--out", "first", "--quiet").code == 0
    ran = run(*asked, "--landmarks-by", "v1", "--out", "second", "--html")
    assert "placed by a second look at each face: v1, v1.safetensors (sha256 " in words_of(ran.out)
    assert "placed by a second look at each face: v1, v1.safetensors" in (tmp_path / "second/report.html").read_text()
    first, second = read_report(tmp_path / "first"), read_report(tmp_path / "second")
    assert second.subject.landmarks_by.startswith("v1, v1.safetensors (sha256 ")
    assert first.subject.landmarks_by == ""
    assert [s.ap for s in first.settings] == [s.ap for s in second.settings]  # boxes and scores stay
    assert first.landmarks is not None
    assert second.landmarks is not None
    assert first.landmarks.mean != second.landmarks.mean
    assert run("eval", "--resume", "second", "--json").code == 0
    assert read_report(tmp_path / "second").landmarks == second.landmarks
    assert_refused(run("eval", "--resume", "second", "--landmarks-by", "same"), 2, "--landmarks-by does not go with it")
    config = tmp_path / "second" / CONFIG
    config.write_text(config.read_text().replace("v1.safetensors (sha256 ", "v1.safetensors (sha256 0"))
    assert_refused(run("eval", "--resume", "second"), 2, "second was begun with another second look (v1, ")


def test_landmarks_of_detections_made_elsewhere_are_not_placed(run: Run) -> None:
    ran = run("eval", "--predictions", "p", "--landmarks-by", "same")
    assert_refused(ran, 2, "--predictions were made elsewhere; --landmarks-by does not go with it")


@pytest.mark.slow
@pytest.mark.parametrize(("model", "by"), [("v1", "same"), ("v2", "v1")])
def test_landmarks_of_real_faces_are_nearer(run: Run, model: str, by: str) -> None:
    data = DATA / "val"
    if not data.exists():
        pytest.skip(f"pictures are not part of the repository, and {data} does not exist")
    assert len(open_one(str(data), held_out=True)) == 348
    asked = ("eval", "--model", model, "--data", data, "--protocol", "vga", "--pictures", 40, "--score", 0.3, "--json")
    first = json.loads(run(*asked).out)["landmarks"]
    second = json.loads(run(*asked, "--landmarks-by", by).out)["landmarks"]
    assert second["faces"] == first["faces"] >= 40
    assert second["mean"] < 0.09
    assert second["mean"] < 0.75 * first["mean"]
