"""What detect_files writes, and what breaking pictures, interruptions and failures leave."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from spotter import detector, digests, files_in, film, lines_of, one_face, run, save, scene, stop_at

from featherface_core.config import DetectConfig
from featherface_core.detect.detect_files import detect_files
from featherface_core.errors import DataError
from featherface_core.events import Progress
from featherface_core.results import PictureResult

# ---- what is written ----


def test_drawn_pictures_and_lines(tmp_path: Path) -> None:
    paths = [save(tmp_path / "in" / "a.png"), save(tmp_path / "in" / "b.jpg", 90, 70), save(tmp_path / "in" / "c.tif")]
    out = tmp_path / "new" / "out"
    found = run(paths, out)
    report = found.report
    assert files_in(out) == ["a_faces.png", "b_faces.jpg", "c_faces.jpg", "detections.jsonl"]
    assert [p.drawn for p in found.pictures] == [str(out / name) for name in files_in(out)[:3]]
    for path, name in zip(paths, files_in(out), strict=False):
        before, drawn = cv2.imread(str(path)), cv2.imread(str(out / name))
        assert drawn.shape == before.shape
        assert (drawn != before).any()
    for line, result in zip(lines_of(out), found.pictures, strict=True):
        assert list(line) == ["schema", "source", "width", "height", "drawn", "faces"]
        assert (line["schema"], line["source"]) == (1, result.source)
        assert (line["width"], line["height"]) == (result.width, result.height)
        assert line["faces"] == list(result.faces)
        assert [len(line["faces"][0]["box"]), len(line["faces"][0]["landmarks"])] == [4, 5]
        assert line["faces"][0]["score"] == pytest.approx(0.9)
    assert (report.model, report.weights, report.out, report.interrupted) == ("stub", "none", str(out), False)


def test_a_picture_without_faces_has_a_line(tmp_path: Path) -> None:
    run([save(tmp_path / "a.png", box=None)], tmp_path / "out")
    (line,) = lines_of(tmp_path / "out")
    assert line["faces"] == []
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "out" / "a_faces.png")), scene(60, 80))


def test_without_a_folder_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = run([save(tmp_path / "a.png")])
    assert files_in(tmp_path) == ["a.png"]
    assert (found.report.out, found.pictures[0].drawn) == (None, None)


def test_results_are_not_searched_for_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert [result.source for result in run(["."], Path("detections")).pictures] == ["a.png"]
    assert files_in(tmp_path / "detections") == ["a_faces.png", "detections.jsonl"]
    # a folder of results that is asked for by name is searched
    assert len(run(["detections"], Path("again")).pictures) == 1


def test_results_beside_their_sources_are_not_searched(tmp_path: Path) -> None:
    for name in ("a.png", ".hidden.png", "my_faces_at_home.png"):
        save(tmp_path / name)
    for _ in range(2):
        found = [Path(result.source).name for result in run([tmp_path], tmp_path).pictures]
        assert found == ["a.png", "my_faces_at_home.png"]


def test_folders_are_kept_below_the_output_folder(tmp_path: Path) -> None:
    save(tmp_path / "in" / "a" / "1.png")
    save(tmp_path / "in" / "b" / "1.png")
    run([tmp_path / "in"], tmp_path / "out")
    assert files_in(tmp_path / "out") == ["a/1_faces.png", "b/1_faces.png", "detections.jsonl"]


def test_equal_names_do_not_meet(tmp_path: Path) -> None:
    names = ["a/1.jpg", "b/1.jpg", "c/1.tif", "a/1.png", "a/1_faces.jpg"]
    paths = [save(tmp_path / name, box=(5 + 9 * i, 10, 30 + 9 * i, 40)) for i, name in enumerate(names)]
    report = run(paths, tmp_path / "out")
    drawn = [p.drawn for p in report.pictures]
    assert len(set(drawn)) == len(paths)
    assert len(files_in(tmp_path / "out")) == len(paths) + 1
    for i, name in enumerate(drawn):  # each holds its own picture
        inside = cv2.imread(str(name))[20:38, 8 + 9 * i : 28 + 9 * i]
        assert inside.mean() > 200


def test_a_second_run_replaces_the_first(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png")
    run([path, save(tmp_path / "b.png")], tmp_path / "out")
    run([path], tmp_path / "out")
    assert len(lines_of(tmp_path / "out")) == 1
    assert files_in(tmp_path / "out") == ["a_faces.png", "b_faces.png", "detections.jsonl"]


@pytest.mark.parametrize(
    "names", [["a.png", "a_faces.png"], ["a_faces.png", "a.png"], ["a.png", "a_faces.png", "a.jpg"]]
)
def test_no_source_is_written_over(tmp_path: Path, names: list[str]) -> None:
    paths = [save(tmp_path / name, box=(5 + 9 * i, 10, 40 + 9 * i, 40)) for i, name in enumerate(names)]
    before = digests(paths)
    report = run(paths, tmp_path)  # drawn beside the sources
    assert digests(paths) == before
    for i, result in enumerate(report.pictures):
        np.testing.assert_allclose(one_face(result), [5 + 9 * i, 10, 40 + 9 * i, 40], atol=1)
        assert Path(str(result.drawn)).is_file()


def test_a_link_to_a_source_is_not_written_through(tmp_path: Path) -> None:
    path = save(tmp_path / "in" / "a.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a_faces.png").symlink_to(path)
    before = digests([path])
    run([path], tmp_path / "out")
    assert digests([path]) == before


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png")
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "taken" / "detections.jsonl").mkdir(parents=True)
    for out in (tmp_path / "file" / "sub", tmp_path / "file", tmp_path / "taken"):
        with pytest.raises(DataError) as caught:
            run([path], out)
        assert str(out) in caught.value.message
    assert files_in(tmp_path) == ["a.png", "file"]
    assert (tmp_path / "file").read_text() == "in the way"


# ---- what breaks ----


def test_broken_pictures_are_reported_and_the_rest_go_on(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{i}.jpg") for i in range(4)]
    data = paths[1].read_bytes()
    paths[1].write_bytes(data[: len(data) // 2])
    paths[3].write_bytes(b"")
    report = run(paths, tmp_path / "out")
    assert [p.source for p in report.broken] == [str(paths[1]), str(paths[3])]
    assert all(p.hint for p in report.broken)
    assert [len(p.faces) for p in report.pictures] == [1, 0, 1, 0]
    lines = lines_of(tmp_path / "out")
    assert ["problem" in line for line in lines] == [False, True, False, True]
    assert "cut short" in lines[1]["problem"]
    assert lines[1]["faces"] == []
    assert files_in(tmp_path / "out") == ["0_faces.jpg", "2_faces.jpg", "detections.jsonl"]


@pytest.mark.parametrize("batch", [1, 4])
def test_an_interruption_keeps_what_was_found(tmp_path: Path, batch: int) -> None:
    paths = [save(tmp_path / f"{i}.png") for i in range(6)]
    out = tmp_path / "out"
    found = run(paths, out, on_event=stop_at(4), batch=batch)
    assert found.report.interrupted
    assert [p.source for p in found.pictures] == [str(p) for p in paths[:3]]
    assert [line["source"] for line in lines_of(out)] == [str(p) for p in paths[:3]]
    assert files_in(out) == ["0_faces.png", "1_faces.png", "2_faces.png", "detections.jsonl"]


def test_an_interruption_while_a_result_is_told_loses_no_line(tmp_path: Path) -> None:
    paths = [str(save(tmp_path / f"{i}.png")) for i in range(3)]

    def tell(result: PictureResult) -> None:
        if result.source == paths[1]:
            raise KeyboardInterrupt

    report = detect_files(detector(), paths, DetectConfig(), tmp_path / "out", tell)
    assert report.interrupted
    assert len(lines_of(tmp_path / "out")) == report.pictures == 2


def test_a_failure_leaves_the_earlier_lines(tmp_path: Path) -> None:
    path, out = save(tmp_path / "a.png"), tmp_path / "out"
    run([path], out)
    before = (out / "detections.jsonl").read_bytes()

    def fail(result: PictureResult) -> None:
        raise RuntimeError("a bug in the caller")

    with pytest.raises(RuntimeError):
        detect_files(detector(), [str(path)], DetectConfig(), out, fail)
    assert (out / "detections.jsonl").read_bytes() == before
    assert files_in(out) == ["a_faces.png", "detections.jsonl"]


def test_events_count_to_the_total(tmp_path: Path) -> None:
    paths = [str(save(tmp_path / f"{i}.png")) for i in range(3)]
    (tmp_path / "1.png").write_bytes(b"")
    paths.append(str(film(tmp_path / "clip.mp4", [(5, 5, 30, 30)] * 4)))
    events: list[Progress] = []
    detect_files(detector(), paths, DetectConfig(batch=2), on_event=events.append)
    assert [(event.done, event.total) for event in events] == [(i + 1, 7) for i in range(7)]
    assert [event.what for event in events] == paths[:3] + paths[3:] * 4
