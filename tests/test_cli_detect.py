"""detect as a user meets it: what it writes and prints, and pictures, options and files that it refuses."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from command_line import SCRIPT, Run, assert_refused
from known_faces import FACES

# --- what it writes and prints ------------------------------------------------------------------------------------------


def test_detect_writes_and_prints(run: Run, picture: Path, weights: Path, tmp_path: Path) -> None:
    ran = run("detect", picture, "--weights", weights, "--score", 0.1)
    assert ran.code == 0
    assert "v2, v2.safetensors (sha256 " in ran.out
    assert sorted(p.name for p in (tmp_path / "detections").iterdir()) == ["detections.jsonl", "good_faces.png"]
    (line,) = (tmp_path / "detections" / "detections.jsonl").read_text().splitlines()
    said = run("detect", picture, "--weights", weights, "--score", 0.1, "--json").out
    assert json.loads(said) == json.loads(line)
    face = json.loads(line)["faces"][0]
    assert len(face["box"]) == 4
    assert len(face["landmarks"]) == 5
    assert 0 <= face["box"][0] <= face["box"][2] <= 64


def test_quiet_says_nothing(run: Run, picture: Path, weights: Path) -> None:
    ran = run("detect", picture, "--weights", weights, "--quiet")
    assert (ran.code, ran.out, ran.err) == (0, "", "")


def test_untrained_is_said(run: Run, picture: Path) -> None:
    assert "random network" in run("detect", picture, "--weights", "untrained").err


def test_detect_with_an_onnx_file(run: Run, picture: Path, stub: Path, tmp_path: Path) -> None:
    import cv2

    cv2.imwrite(str(tmp_path / "wide.png"), np.zeros((128, 192, 3), np.uint8))  # runs at half its size
    ran = run("detect", picture, "wide.png", "--onnx", stub, "--json", "--out", "found")
    assert (ran.code, ran.err) == (0, "")
    small, wide = (json.loads(line) for line in ran.out.splitlines())
    assert (small["source"], small["width"], small["height"]) == (str(picture), 64, 48)
    assert [face["score"] for face in wide["faces"]] == pytest.approx(sorted(FACES.values(), reverse=True))
    # scales are 4/3 and 1/2; the canvas cuts neither face off
    points = [np.array(line["faces"][0]["landmarks"]) for line in (small, wide)]
    np.testing.assert_allclose(points[0] * 4 / 3, points[1] / 2, atol=0.04)  # of two rounded numbers
    written = (tmp_path / "found" / "detections.jsonl").read_text().splitlines()
    assert written == ran.out.splitlines()
    assert [
        face["score"]
        for face in json.loads(run("detect", picture, "--onnx", stub, "--score", 0.8, "--json").out)["faces"]
    ] == [0.9]
    assert_refused(run("detect", picture, "--onnx", stub, "--size", 97), 2, "--size 97", "96x64")
    # the fixed size bounds --size (64x48 pixels become 85x64, not 96x72), and a smaller one is kept to
    bounded = [json.loads(run("detect", picture, "--onnx", stub, "--json", "--size", n).out) for n in (96, 32)]
    assert bounded[0]["faces"] == small["faces"]
    np.testing.assert_allclose(np.array(bounded[1]["faces"][0]["landmarks"]) / 2, points[0] * 4 / 3, atol=0.04)


def test_json_stays_pure_beside_a_broken_picture(run: Run, picture: Path, stub: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    ran = run("detect", "empty.jpg", picture, "--onnx", stub, "--json")
    assert_refused(ran, 3, "empty.jpg")
    assert ["problem" in json.loads(line) for line in ran.out.splitlines()] == [True, False]


def test_a_video_has_one_summary_and_no_line_a_frame(run: Run, stub: Path, tmp_path: Path) -> None:
    import cv2

    writer = cv2.VideoWriter(str(tmp_path / "clip.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 5, (96, 64))
    for _ in range(3):
        writer.write(np.zeros((64, 96, 3), np.uint8))
    writer.release()
    ran = run("detect", "clip.mp4", "--onnx", stub)
    assert ran.code == 0
    assert "6 faces in 3 " in ran.out
    assert "frame 0" not in ran.out
    frames = [
        json.loads(line)["frame"] for line in run("detect", "clip.mp4", "--onnx", stub, "--json").out.splitlines()
    ]
    assert frames == [0, 1, 2]


@pytest.mark.parametrize("name", ["two\nlines.jpg", "[bold]x[", "[red].jpg", "ünï 文.jpg", "b\udcff.jpg"])
def test_odd_names_of_pictures(run: Run, picture: Path, stub: Path, tmp_path: Path, name: str) -> None:
    assert_refused(run("detect", f"missing {name}", "--onnx", stub), 3, "missing")
    assert len(run("detect", f"missing {name}", "--onnx", stub).err.splitlines()) == 2
    (tmp_path / name).write_bytes(picture.read_bytes())
    ran = run("detect", name, "--onnx", stub)
    assert (ran.code, ran.err) == (0, "")
    (line,) = (tmp_path / "detections" / "detections.jsonl").read_text().splitlines()
    assert json.loads(line)["source"] == name
    (tmp_path / name).write_bytes(b"")
    assert_refused(run("detect", name, "--onnx", stub), 3, "is empty")


# --- what is interrupted ------------------------------------------------------------------------------------------------


def test_an_interrupted_detect_keeps_what_it_found(
    run: Run, picture: Path, stub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from featherface_core.detect.detector import Detector

    for name in ("b.png", "c.png"):
        (tmp_path / name).write_bytes(picture.read_bytes())
    calls = []
    whole = Detector.run

    def second_is_interrupted(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Detector, "run", second_is_interrupted)
    ran = run("detect", picture, "b.png", "c.png", "--onnx", stub)
    assert ran.code == 130
    assert "Traceback" not in ran.err
    assert sorted(p.name for p in (tmp_path / "detections").iterdir()) == ["detections.jsonl", "good_faces.png"]
    assert len((tmp_path / "detections" / "detections.jsonl").read_text().splitlines()) == 1


def test_a_terminated_run_keeps_what_it_found(stub: Path, tmp_path: Path) -> None:
    import signal

    import cv2

    for i in range(300):
        cv2.imwrite(str(tmp_path / f"{i:03}.png"), np.zeros((500, 500, 3), np.uint8))
    arguments = [SCRIPT, "detect", ".", "--onnx", str(stub), "--out", "found"]
    child = subprocess.Popen(
        arguments, cwd=tmp_path, stdout=subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    )
    assert child.stdout is not None
    child.stdout.readline()
    child.send_signal(signal.SIGTERM)
    child.stdout.read()
    assert child.wait(30) == 130
    lines = (tmp_path / "found" / "detections.jsonl").read_text().splitlines()
    assert 0 < len(lines) < 300
    assert not list((tmp_path / "found").glob(".*"))


# --- what is refused ----------------------------------------------------------------------------------------------------


def test_a_broken_picture_does_not_stop_the_rest(run: Run, picture: Path, weights: Path, tmp_path: Path) -> None:
    import cv2

    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    whole = cv2.imencode(".jpg", noise)[1].tobytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    ran = run("detect", "cut.jpg", picture, "--weights", weights)
    assert_refused(ran, 3, "cut.jpg", "cut short")
    lines = [json.loads(line) for line in (tmp_path / "detections/detections.jsonl").read_text().splitlines()]
    assert ["problem" in line for line in lines] == [True, False]
    assert (tmp_path / "detections/good_faces.png").is_file()


def test_pictures_that_cannot_be_read(run: Run, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "folder").mkdir()
    for name in ("missing.jpg", "empty.jpg", "text.jpg", "folder", "no*.jpg", "97"):
        assert_refused(run("detect", name, "--weights", weights), 3, name)


def test_onnx_files_that_cannot_be_used(run: Run, picture: Path, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_text("no network")
    for name in ("bad.onnx", "missing.onnx"):
        assert_refused(run("detect", picture, "--onnx", name), 4, name)
    assert_refused(run("detect", picture, "--onnx", "bad.onnx", "--weights", weights), 2, "--onnx")


@pytest.mark.parametrize(("device", "why"), [("cuda", "CUDAExecutionProvider"), ("mps", "onnxruntime")])
def test_an_exported_file_runs_on_the_device_that_is_named_or_not_at_all(
    run: Run, picture: Path, stub: Path, tmp_path: Path, device: str, why: str
) -> None:
    import onnxruntime

    if device == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    for asked in (("detect", picture), ("eval", "--data", "synthetic:2")):
        assert_refused(run(*asked, "--onnx", stub, "--device", device), 2, f"--device {device}".split()[1], why)
        assert_refused(run(*asked, "--onnx", stub, "--threads", "-1"), 2, "--threads -1")
    assert sorted(path.name for path in tmp_path.iterdir()) == [picture.name]


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--size", "31"], ["31"]),
        (["--size", "-5"], ["-5"]),
        (["--score", "1.5"], ["1.5"]),
        (["--score", "abc"], ["--score"]),
        (["--score", "nan"], ["nan"]),
        (["--nms", "-0.1"], ["-0.1"]),
        (["--batch", "0"], ["--batch 0"]),
        (["--top-k", "-1"], ["--top-k -1"]),
        (["--threads", "-1"], ["--threads -1"]),
        (["--device", "gpu"], ["gpu"]),
        (["--model", "v3"], ["'v3'"]),
    ],
)
def test_detect_refuses(run: Run, picture: Path, weights: Path, arguments: list[str], names: list[str]) -> None:
    assert_refused(run("detect", picture, "--weights", weights, *arguments), 2, *names)


def test_detect_needs_weights_where_none_ship(run: Run, picture: Path) -> None:
    assert_refused(run("detect", picture, "--model", "v1-24"), 2, "no weights ship for 'v1-24'", "--weights")
