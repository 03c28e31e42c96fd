"""Videos and cameras: numbered frames, a video of the same length, and what breaks."""

import weakref
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from spotter import detector, digests, files_in, film, frames_of, lines_of, one_face, run, save, scene, stop_at

from featherface_core.config import DetectConfig
from featherface_core.detect import detect_files as module
from featherface_core.detect.detect_files import detect_files
from featherface_core.detect.sources import Frame, Source
from featherface_core.results import PictureResult


@pytest.mark.parametrize("batch", [1, 4])
def test_a_video_gives_numbered_frames_and_a_video(tmp_path: Path, batch: int) -> None:
    boxes = [(4 + 3 * i, 8, 24 + 3 * i, 36) for i in range(10)]
    path, out = film(tmp_path / "clip.mp4", boxes), tmp_path / "out"
    report = run([path], out, batch=batch)
    assert [p.frame for p in report.pictures] == list(range(10))
    assert [p.seconds for p in report.pictures] == pytest.approx([i / 5 for i in range(10)])
    for box, result in zip(boxes, report.pictures, strict=True):
        np.testing.assert_allclose(one_face(result), box, atol=3)  # the codec blurs
    lines = lines_of(out)
    assert [(line["frame"], line["seconds"]) for line in lines] == [(i, i / 5) for i in range(10)]
    assert files_in(out) == ["clip_faces.mp4", "detections.jsonl"]
    frames = frames_of(out / "clip_faces.mp4")
    assert len(frames) == 10
    assert all(frame.shape == (48, 64, 3) for frame in frames)
    capture = cv2.VideoCapture(str(out / "clip_faces.mp4"))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(5)
    capture.release()


def test_videos_and_pictures_in_one_run(tmp_path: Path) -> None:
    film(tmp_path / "in" / "a" / "clip.mp4", [(5, 5, 30, 30)] * 3)
    film(tmp_path / "in" / "b" / "clip.mp4", [(5, 5, 30, 30)] * 4, 64, 48)
    save(tmp_path / "in" / "still.png")
    out = tmp_path / "out"
    report = run([tmp_path / "in" / "a" / "clip.mp4", tmp_path / "in"], out, batch=3)
    assert [p.frame for p in report.pictures] == [0, 1, 2, 0, 1, 2, 3, None]
    assert [(p.width, p.height) for p in report.pictures] == [(64, 48)] * 3 + [(48, 64)] * 4 + [(80, 60)]
    assert files_in(out) == ["b/clip_faces.mp4", "clip_faces.mp4", "detections.jsonl", "still_faces.png"]
    assert [len(frames_of(out / name)) for name in files_in(out)[:2]] == [4, 3]


def test_a_video_that_is_interrupted_plays_up_to_there(tmp_path: Path) -> None:
    path, out = film(tmp_path / "clip.mp4", [(5, 5, 30, 30)] * 8), tmp_path / "out"
    found = run([path], out, on_event=stop_at(6))
    assert found.report.interrupted
    assert len(found.pictures) == len(lines_of(out)) == len(frames_of(out / "clip_faces.mp4")) == 5
    assert files_in(out) == ["clip_faces.mp4", "detections.jsonl"]


def test_a_video_that_a_failure_ends_is_not_there(tmp_path: Path) -> None:
    path, out = film(tmp_path / "clip.mp4", [(5, 5, 30, 30)] * 8), tmp_path / "out"
    told: list[PictureResult] = []

    def fail(result: PictureResult) -> None:
        told.append(result)
        if len(told) == 5:
            raise RuntimeError("a bug in the caller")

    with pytest.raises(RuntimeError):
        detect_files(detector(), [str(path)], DetectConfig(), out, fail)
    assert len(told) == 5
    assert files_in(out) == []
    run([path], out)
    before = digests([out / "clip_faces.mp4"])
    told.clear()
    with pytest.raises(RuntimeError):
        detect_files(detector(), [str(path)], DetectConfig(), out, fail)
    assert digests([out / "clip_faces.mp4"]) == before  # that of the run before
    assert files_in(out) == ["clip_faces.mp4", "detections.jsonl"]


def test_a_stream_without_an_end_holds_a_few_frames_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    camera, made, most = Source("0", "camera", Path("camera0")), list[weakref.ref[Frame | PictureResult]](), 0

    def frames(sources: object) -> Iterator[Frame]:
        for number in range(200):
            frame = Frame(camera, scene(48, 64, (5, 5, 30, 30)), number, number / 25, 25)
            made.append(weakref.ref(frame))
            yield frame

    def tell(result: PictureResult) -> None:
        nonlocal most
        made.append(weakref.ref(result))
        most = max(most, sum(one() is not None for one in made))

    for name, stands_for in (("find_sources", lambda *_: [camera]), ("count_frames", lambda _: None)):
        monkeypatch.setattr(module, name, stands_for)
    monkeypatch.setattr(module, "read_frames", frames)
    for batch in (1, 4):
        report = detect_files(detector(), ["0"], DetectConfig(batch=batch), None, tell)
        assert (report.pictures, report.broken, report.faces) == (200, 0, 200)
        assert most <= 4 * (module.LOOKAHEAD + 1)


def test_a_video_is_not_written_over(tmp_path: Path) -> None:
    paths = [film(tmp_path / name, [(5, 5, 30, 30)] * 3) for name in ("clip.mp4", "clip_faces.mp4")]
    before = digests(paths)
    report = run(paths, tmp_path)
    assert digests(paths) == before
    assert len(report.pictures) == 6


def test_a_broken_video_is_reported_and_the_rest_go_on(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("I am no film\n" * 100)
    good = film(tmp_path / "good.mp4", [(5, 5, 30, 30)] * 3)
    out = tmp_path / "out"
    report = run([tmp_path / "text.mp4", good], out)
    assert [bool(p.problem) for p in report.pictures] == [True, False, False, False]
    assert "text.mp4" in report.pictures[0].problem
    assert files_in(out) == ["detections.jsonl", "good_faces.mp4"]


def test_a_camera_that_is_not_there(tmp_path: Path) -> None:
    (result,) = run(["97"], tmp_path / "out").pictures
    assert "camera 97" in result.problem
    assert result.hint
    assert files_in(tmp_path / "out") == ["detections.jsonl"]
