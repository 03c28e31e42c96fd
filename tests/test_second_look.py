"""Landmarks by a second look at each face: where it looks, what it gives back, and what it leaves alone."""

import json
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import SAYS_MODULES, Run, assert_refused, words_of
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from known_faces import stub_onnx
from painted import Box, Painted, painting, points_of
from painted import detector as painted_detector
from spotter import Fixed, Spotter, detector, save, scene

from featherface_core.detect.detector import Detector
from featherface_core.detect.second_look import FACE, ROOM, TOGETHER, SecondLook
from featherface_core.errors import ConfigError
from featherface_core.evaluation.config import Protocol
from featherface_core.evaluation.inference import find_faces
from featherface_core.evaluation.report import read_report
from featherface_core.files import CONFIG
from featherface_core.pictures import PORTRAIT
from featherface_core.results import Detections

DATA = Path(__file__).parents[2] / "shared" / "data"
SIDE = ROOM * FACE
FAR = -7.0  # where no landmark is


class Sized(Spotter):
    """A network of one input size."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.fixed = (1, height, width)


class Shifted(Painted):
    """Painted, with landmarks that tell whose they are."""

    BY = (5.0, -3.0)

    @classmethod
    def detector(cls) -> Detector:
        made = painted_detector(cls())
        plain = made.decode

        def decode(*arguments: Any) -> list[Detections]:
            return [replace(d, landmarks=d.landmarks + np.array(cls.BY, np.float32)) for d in plain(*arguments)]

        made.decode = decode  # type: ignore[method-assign]
        return made


class Pair(Painted):
    """Finds what is painted, and with a better score the same ``apart`` widths to the right."""

    def __init__(self, apart: float) -> None:
        super().__init__()
        self.apart = apart

    def found(self, one: np.ndarray) -> list[tuple[Box, float]]:
        (((x1, y1, x2, y2), _),) = super().found(one)
        off = self.apart * (x2 - x1)
        return [((x1, y1, x2, y2), 0.6), ((x1 + off, y1, x2 + off, y2), 0.9)]


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
        (1e20, 0, 1.001e20, 1e-16),  # of an area like any other
        (3e38, 0, 3.1e38, 1e-37),
        (0, -1e19, 1e-16, -0.999e19),
        (200, 10, 230, 40),  # outside of the picture, and its square too
    ],
)
def test_a_box_that_is_none_is_left_alone(box: tuple[float, float, float, float]) -> None:
    good = (20, 10, 50, 40)
    found = SecondLook(detector()).place(scene(60, 80, good), known(box, good))
    assert (found.landmarks[0] == FAR).all()
    np.testing.assert_allclose(found.landmarks[1, 0], good[:2], atol=0.75)


def test_a_huge_face_is_seen_without_a_copy_of_its_square() -> None:
    box = (500, 500, 7500, 7500)
    picture = np.zeros((8000, 8000, 3), np.uint8)
    picture[500:7500, 500:7500] = 255
    tracemalloc.start()
    found = SecondLook(detector()).place(picture, known(box))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 120e6  # the square has 14,000 pixels a side: 588 MB
    wanted = [[500, 500], [7500, 500], [4000, 4000], [500, 7500], [7500, 7500]]
    np.testing.assert_allclose(found.landmarks[0], wanted, atol=0.75 * 7000 / FACE)


def test_a_face_that_leaves_the_picture_is_seen() -> None:
    # the edge is repeated outside, so that the network sees the face go on there: to the end of its square
    box = (60, 10, 88, 38)
    found = SecondLook(detector()).place(scene(60, 80, (60, 10, 80, 38)), known(box))
    np.testing.assert_allclose(found.landmarks[0, 0], (60, 10), atol=0.75)
    np.testing.assert_allclose(found.landmarks[0, 1], (74 + 28, 10), atol=0.75)


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("apart", [30, 20])  # pixels of 60: they overlap by 0.33 and 0.5
def test_overlapping_faces_keep_their_own_landmarks(order: int, apart: int) -> None:
    """Each square shows both faces, and the second has the better score in both."""
    first, second = (60, 60, 120, 120), (60 + apart, 60, 120 + apart, 120)
    boxes = [first, second][::order]
    picture = painting(200, 240, (first, 250))
    found = SecondLook(painted_detector(Pair(apart / 60))).place(picture, known(*boxes))
    for box, points in zip(boxes, found.landmarks, strict=True):
        np.testing.assert_allclose(points, points_of(box), atol=0.75)


def test_a_file_of_one_size_has_to_be_of_the_right_one() -> None:
    with pytest.raises(ConfigError, match="takes 256x256 pixels, and this file of stub takes 640x480 alone") as refused:
        SecondLook(detector(Sized(480, 640)))
    assert "--dynamic" in refused.value.hint
    network = Sized(SIDE, SIDE)
    box = (20, 10, 50, 40)
    found = SecondLook(detector(network)).place(scene(60, 80, box), known(box))
    np.testing.assert_allclose(found.landmarks[0, 0], box[:2], atol=0.75)


def test_detection_looks_again() -> None:
    anchor = Fixed(2 * (3 * 10 + 5))  # 16 px in the middle of the picture
    first = detector(anchor)
    picture = scene(60, 80, (36, 20, 52, 36))
    before = first.detect(picture)
    assert first.landmarks_by == ""
    first.second_look = SecondLook(detector())
    after = first.detect(picture)
    assert first.landmarks_by == "stub, none"
    np.testing.assert_array_equal(after.boxes, before.boxes)
    assert np.abs(before.landmarks[0, 0] - (36, 20)).max() > 2
    np.testing.assert_allclose(after.landmarks[0, 0], (36, 20), atol=0.75)


@pytest.mark.parametrize("protocol", [Protocol(), Protocol("multi-scale"), Protocol("size=320", flip=True)])
@pytest.mark.parametrize("batch", [1, 2])
def test_evaluation_looks_at_the_picture_itself_whatever_the_views(protocol: Protocol, batch: int) -> None:
    boxes = [(60, 60, 100, 100), (20, 30, 64, 70)]
    pictures = [painting(160, 200, (box, 250)) for box in boxes]
    twice = painted_detector()
    twice.second_look = SecondLook(Shifted.detector())
    found = list(find_faces(twice, lambda i: pictures[i], [0, 1], protocol, batch))
    for box, result in zip(boxes, found, strict=True):
        np.testing.assert_allclose(result.faces.landmarks[0], points_of(box) + Shifted.BY, atol=0.75)
        assert result.milliseconds[2] > 0


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
    asked = ["detect", save(tmp_path / "a.png"), "--onnx", stub, "--landmarks-by", looks, "--out", tmp_path / "found"]
    ran = subprocess.run([sys.executable, "-c", SAYS_MODULES, *map(str, asked)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    said, _, loaded = ran.stdout.partition("LOADED ")
    assert "by a second look at each face: v2, looks.onnx (sha256 " in words_of(said)
    assert not {"torch", "onnx"} & set(loaded.split())


@pytest.mark.parametrize(
    ("by", "code", "words"),
    [
        ("v7", 2, ("--landmarks-by 'v7' is no file", "use same, v1, v2")),
        ("v1-24", 2, ("--landmarks-by 'v1-24' is no file, nor a variant that weights ship for",)),
        ("nowhere.onnx", 4, ("nowhere.onnx",)),
        ("stub.onnx", 2, ("takes 256x256 pixels, and this file of v2 takes 96x64 alone", "--landmarks-by v1")),
        ("text.pth", 4, ("text.pth",)),
        ("nowhere.pth", 4, ("nowhere.pth",)),
        ("NOWHERE.XML", 4, ("NOWHERE.XML",)),
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


@pytest.mark.slow
def test_an_evaluation_says_who_placed_landmarks_and_goes_on_with_that(run: Run, tmp_path: Path) -> None:
    asked = ("eval", "--data", "synthetic:12")
    assert run(*asked, "--out", "first", "--quiet").code == 0
    ran = run(*asked, "--landmarks-by", "v1", "--out", "second", "--html")
    assert "by a second look at each face: v1, v1.safetensors (sha256 " in words_of(ran.out)
    assert "by a second look at each face: v1, v1.safetensors" in (tmp_path / "second/report.html").read_text()
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
    assert "landmarks by a second look at each face" in second.protocol.text
    assert first.protocol.key == second.protocol.key  # APs compare
    config = tmp_path / "first" / CONFIG
    kept = config.read_text().replace("look: ''\n", "").replace("  landmarks_by: ''\n", "")
    assert "look" not in kept
    config.write_text(kept)  # as older versions wrote it
    assert run("eval", "--resume", "first", "--quiet").code == 0
    config = tmp_path / "second" / CONFIG
    config.write_text(config.read_text().replace("v1.safetensors (sha256 ", "v1.safetensors (sha256 0"))
    assert_refused(run("eval", "--resume", "second"), 2, "second was begun with another second look (v1, ")


def test_an_evaluation_without_labelled_landmarks_refuses(run: Run, world: Path) -> None:
    ran = run("eval", "--data", "album", "--landmarks-by", "v1", "--quiet")
    assert_refused(ran, 2, "--landmarks-by v1 changes landmarks alone, and the labels of album have none")
    assert not (world / "runs").exists()


def test_landmarks_of_detections_made_elsewhere_are_not_placed(run: Run) -> None:
    ran = run("eval", "--predictions", "p", "--landmarks-by", "same")
    assert_refused(ran, 2, "--predictions were made elsewhere; --landmarks-by does not go with it")


@pytest.mark.slow
@pytest.mark.parametrize(("model", "by"), [("v1", "same"), ("v2", "v1")])
def test_landmarks_of_real_faces_are_nearer(run: Run, model: str, by: str) -> None:
    data = DATA / "val"
    if not data.exists():
        pytest.skip(f"pictures are not part of the repository, and {data} does not exist")
    asked = ("eval", "--model", model, "--data", data, "--protocol", "vga", "--pictures", 40, "--score", 0.3, "--json")
    first = json.loads(run(*asked).out)["landmarks"]
    second = json.loads(run(*asked, "--landmarks-by", by).out)["landmarks"]
    assert second["faces"] == first["faces"] >= 40
    assert second["mean"] < 0.09
    assert second["mean"] < 0.75 * first["mean"]
