import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from featherface_core import detect_files as module
from featherface_core.boxes import encode_boxes, encode_landmarks, make_anchors
from featherface_core.config import DetectConfig, PostprocessConfig
from featherface_core.detect import Detector, default_constants
from featherface_core.detect_files import detect_files
from featherface_core.errors import DataError
from featherface_core.events import Progress
from featherface_core.results import DetectReport, PictureResult
from featherface_core.sources import find_sources

Box = tuple[int, int, int, int]
MIDDLE = 127 - 110  # halfway between black and white, once the mean is subtracted


class Spotter:
    """A network that answers with the white rectangle it is shown: its box, corners and middle, as regressions.

    It is exact to a fraction of a pixel, so the pictures' way in and the boxes' way back can be measured.
    """

    fixed: tuple[int, int, int] | None = None

    def __init__(self) -> None:
        self.batches: list[tuple[int, ...]] = []

    def run(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        self.batches.append(pixels.shape)
        anchors = make_anchors(*pixels.shape[2:])
        regressions = np.zeros((len(pixels), len(anchors), 4), np.float32)
        scores = np.zeros((len(pixels), len(anchors), 2), np.float32)
        landmarks = np.zeros((len(pixels), len(anchors), 10), np.float32)
        for i, one in enumerate(pixels):
            grey = np.clip((one.mean(0) + np.mean(default_constants()["mean"])) / 255, 0, 1)
            if grey.max() < 0.9:
                continue
            grey[one.mean(0) == 0] = 0  # what pads the picture
            (x1, x2), (y1, y2) = extent(grey.max(0)), extent(grey.max(1))
            middle = np.array([(x1 + x2) / 2, (y1 + y2) / 2])
            best = int(np.abs(anchors[:, :2] - middle).sum(1).argmin())
            anchor = anchors[best : best + 1]
            points = np.array([[(x1, y1), (x2, y1), middle, (x1, y2), (x2, y2)]], np.float32)
            regressions[i, best] = encode_boxes(np.array([[x1, y1, x2, y2]], np.float32), anchor)[0]
            landmarks[i, best] = encode_landmarks(points, anchor)[0]
            scores[i, best, 1] = 0.9
        return regressions, scores, landmarks


class Fixed:
    """A network that finds the same anchors in every picture, at the size that is asked for."""

    fixed: tuple[int, int, int] | None = None

    def __init__(self, *anchors: int, regression: tuple[float, float, float, float] = (0, 0, 0, 0)) -> None:
        self.anchors, self.regression = list(anchors), regression

    def run(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        count = len(make_anchors(*pixels.shape[2:]))
        regressions, scores, landmarks = (np.zeros((len(pixels), count, n), np.float32) for n in (4, 2, 10))
        regressions[:, self.anchors] = self.regression
        landmarks[:, self.anchors] = 3
        scores[:, self.anchors, 1] = 0.8
        return regressions, scores, landmarks


def extent(profile: np.ndarray) -> tuple[float, float]:
    """Where a bump begins and ends, from its area and its centre: finer than a pixel."""
    length = float(profile.sum() / profile.max())
    middle = float((profile * (np.arange(len(profile)) + 0.5)).sum() / profile.sum())
    return middle - length / 2, middle + length / 2


def detector(network: Spotter | Fixed | None = None) -> Detector:
    return Detector(network or Spotter(), default_constants(), "stub", "none")


def scene(height: int, width: int, box: Box | None = None) -> np.ndarray:
    picture = np.zeros((height, width, 3), np.uint8)
    if box is not None:
        x1, y1, x2, y2 = box
        picture[y1:y2, x1:x2] = 255
    return picture


def save(path: Path, height: int = 60, width: int = 80, box: Box | None = (20, 10, 50, 40)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), scene(height, width, box))
    return path


def film(path: Path, boxes: list[Box], height: int = 48, width: int = 64, fps: float = 5) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, (width, height))
    assert writer.isOpened()
    for box in boxes:
        writer.write(scene(height, width, box))
    writer.release()
    return path


def frames_of(path: str | Path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    capture.release()
    return frames


def lines_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "detections.jsonl").read_text(encoding="utf-8").splitlines()]


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def run(paths: list, out: Path | None = None, network: Spotter | Fixed | None = None, **config) -> DetectReport:
    return detect_files(detector(network), [str(path) for path in paths], DetectConfig(**config), out)


def digests(paths: list[Path]) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


def stop_at(event: int) -> Callable[[Progress], None]:
    def listen(progress: Progress) -> None:
        if progress.done == event:
            raise KeyboardInterrupt

    return listen


def one_face(result: PictureResult) -> np.ndarray:
    (face,) = result.faces
    return np.array(face["box"])


# ---- coordinates ----


@given(
    height=st.integers(33, 220),
    width=st.integers(33, 220),
    size=st.none() | st.integers(32, 400),
    corner=st.tuples(st.floats(0.05, 0.5), st.floats(0.05, 0.5)),
    extents=st.tuples(st.floats(0.3, 0.45), st.floats(0.3, 0.45)),
)
@settings(max_examples=120)
def test_boxes_are_in_pixels_of_the_original(
    height: int, width: int, size: int | None, corner: tuple[float, float], extents: tuple[float, float]
) -> None:
    x1, y1 = round(width * corner[0]), round(height * corner[1])
    x2, y2 = x1 + round(width * extents[0]), y1 + round(height * extents[1])
    scale = size / max(height, width) if size else 1
    assume(min(x2 - x1, y2 - y1) * scale >= 4)
    found = detector().detect(scene(height, width, (x1, y1, x2, y2)), size)
    assert len(found) == 1
    allowed = 0.75 / min(scale, 1)  # a fraction of a pixel of the coarser picture
    np.testing.assert_allclose(found.boxes[0], [x1, y1, x2, y2], atol=allowed)
    middle = [(x1 + x2) / 2, (y1 + y2) / 2]
    wanted = [[x1, y1], [x2, y1], middle, [x1, y2], [x2, y2]]
    np.testing.assert_allclose(found.landmarks[0], wanted, atol=allowed)


@pytest.mark.parametrize(
    ("height", "width", "size", "scaled"),
    [
        (300, 200, None, (300, 200)),
        (300, 200, 150, (150, 100)),
        (200, 300, 150, (100, 150)),
        (333, 517, 320, (206, 320)),  # 206.1 rows are rounded, so the two sides have scales of their own
        (517, 333, 320, (320, 206)),
        (41, 67, 640, (392, 640)),
        (100, 1000, 100, (10, 100)),  # padded to 32 rows
        (20, 20, None, (20, 20)),
    ],
)
def test_an_anchor_comes_back_at_each_sides_own_scale(
    tmp_path: Path, height: int, width: int, size: int | None, scaled: tuple[int, int]
) -> None:
    path = save(tmp_path / "a.png", height, width)
    x, y = width / scaled[1], height / scaled[0]
    rows, columns = (-(-max(side, 32) // 8) for side in scaled)
    for row, column in ((0, 0), (rows - 1, columns - 1)):
        (result,) = run([path], network=Fixed(2 * (row * columns + column)), size=size).pictures
        (face,) = result.faces
        # an anchor of 16 pixels around the middle of its cell; each point is 3 tenths of 16 pixels off
        left, top, right, bottom = 8 * column - 4, 8 * row - 4, 8 * column + 12, 8 * row + 12
        box = np.clip([left * x, top * y, right * x, bottom * y], 0, [width, height, width, height])
        np.testing.assert_allclose(face["box"], box, atol=0.011)
        np.testing.assert_allclose(face["landmarks"], [[(left + 12.8) * x, (top + 12.8) * y]] * 5, atol=0.011)
        assert (result.width, result.height) == (width, height)


def test_boxes_are_cut_to_the_picture_and_landmarks_are_not(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", 64, 96)
    huge = Fixed(0, regression=(0, 0, 30, 30))
    (result,) = run([path], tmp_path / "out", huge).pictures
    assert result.faces[0]["box"] == [0, 0, 96, 64]
    (line,) = lines_of(tmp_path / "out")
    assert line["faces"][0]["box"] == [0, 0, 96, 64]
    outside = Fixed(0, regression=(1000, 0, 0, 0))  # 1,600 pixels to the right
    (face,) = run([path], network=outside).pictures[0].faces
    assert face["box"][0] == face["box"][2] == 96
    assert run([path], network=Fixed(0)).pictures[0].faces[0]["landmarks"][0] == [8.8, 8.8]
    far = Fixed(len(make_anchors(64, 96)) - 1)  # its points are 3 tenths of 512 pixels off
    assert run([path], network=far).pictures[0].faces[0]["landmarks"][0] == [80 + 153.6, 48 + 153.6]


def test_scores_and_limits_reach_the_post_processing(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", 64, 96)
    network = Fixed(0, 6, 12)  # three of 16 pixels, 24 pixels apart
    assert len(run([path], network=network).pictures[0].faces) == 3
    assert len(run([path], network=network, post=PostprocessConfig(top_k=2)).pictures[0].faces) == 2
    assert run([path], network=network, post=PostprocessConfig(score=0.8)).pictures[0].faces == ()


# ---- batches ----


def test_a_batch_finds_what_single_pictures_do_in_their_order(tmp_path: Path) -> None:
    shapes = [(60, 80), (80, 60), (60, 80), (50, 50), (80, 60), (60, 80), (60, 80), (33, 90), (60, 80), (80, 60)]
    paths = [save(tmp_path / f"{i}.png", h, w, (5 + i, 4 + i, 25 + i, 28)) for i, (h, w) in enumerate(shapes)]
    paths[4].write_bytes(b"no picture")
    alone, together = Spotter(), Spotter()
    single = run(paths, network=alone)
    batched = run(paths, network=together, batch=4)
    assert [p.source for p in batched.pictures] == [p.source for p in single.pictures] == [str(p) for p in paths]
    assert [p.faces for p in batched.pictures] == [p.faces for p in single.pictures]
    assert [bool(p.problem) for p in batched.pictures] == [i == 4 for i in range(10)]
    for i, result in enumerate(single.pictures):
        if i != 4:
            np.testing.assert_allclose(one_face(result), [5 + i, 4 + i, 25 + i, 28], atol=0.5)
    assert {shape[0] for shape in alone.batches} == {1}
    assert max(shape[0] for shape in together.batches) == 4
    assert sum(shape[0] for shape in together.batches) == 9
    assert len(together.batches) < 9


@given(
    shapes=st.lists(st.sampled_from([(40, 60), (60, 40), (33, 33), None]), min_size=1, max_size=30),
    batch=st.integers(2, 5),
)
@settings(max_examples=15)
def test_any_mixture_comes_out_in_order(
    tmp_path_factory: pytest.TempPathFactory, shapes: list[tuple[int, int] | None], batch: int
) -> None:
    folder = tmp_path_factory.mktemp("mixture")
    for i, shape in enumerate(shapes):
        path = save(folder / f"{i:02}.png", *(shape or (33, 33)), box=(2, 2, 12 + i % 16, 20))
        if shape is None:
            path.write_bytes(b"")
    seen: list[str] = []
    network = Spotter()
    report = detect_files(
        detector(network), [str(folder)], DetectConfig(batch=batch), on_result=lambda result: seen.append(result.source)
    )
    assert seen == [str(folder / f"{i:02}.png") for i in range(len(shapes))] == [p.source for p in report.pictures]
    for i, (shape, result) in enumerate(zip(shapes, report.pictures, strict=True)):
        if shape is None:
            assert "empty" in result.problem
        else:
            np.testing.assert_allclose(one_face(result), [2, 2, 12 + i % 16, 20], atol=0.5)
    assert all(shape[0] <= batch for shape in network.batches)


def test_few_pictures_wait_where_they_are_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [save(tmp_path / f"{i}.png", box=(5 + i, 10, 50, 40)) for i in range(6)]
    monkeypatch.setattr(module, "MOST_WAITING", 1)
    network = Spotter()
    report = run(paths, network=network, batch=4)
    assert [shape[0] for shape in network.batches] == [1] * 6
    assert [round(one_face(p)[0]) for p in report.pictures] == [5, 6, 7, 8, 9, 10]


# ---- what paths mean ----


def test_folders_globs_files_and_repeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a/2.png", "a/1.JPG", "a/deep/3.png", "b/4.png", "b/5.png", "[odd] name?.png"):
        save(tmp_path / name)
    (tmp_path / "a" / "note.txt").write_text("not a picture")
    assert [s.path for s in find_sources(["a"])] == ["a/1.JPG", "a/2.png", "a/deep/3.png"]
    assert [str(s.name) for s in find_sources(["a"])] == ["1.JPG", "2.png", "deep/3.png"]
    assert [s.path for s in find_sources(["b/*.png"])] == ["b/4.png", "b/5.png"]
    assert [s.path for s in find_sources(["**/*.png"])][:2] == ["[odd] name?.png", "a/2.png"]
    assert [s.path for s in find_sources(["b/5.png", "b", "b/*.png", "b/4.png"])] == ["b/5.png", "b/4.png"]
    assert [s.path for s in find_sources(["[odd] name?.png"])] == ["[odd] name?.png"]
    assert [s.kind for s in find_sources(["0", "a/note.txt"])] == ["camera", "picture"]
    save(tmp_path / "seven.png").rename("7")
    assert [s.kind for s in find_sources(["7"])] == ["picture"]  # a file of that name goes before the camera


@pytest.mark.parametrize("second", ["./a.png", "folder/../a.png", "{here}/a.png", "{here}", "{here}/*.png"])
def test_a_picture_named_in_two_ways_is_done_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, second: str) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "a.png")
    (tmp_path / "folder").mkdir()
    assert [source.path for source in find_sources(["a.png", second.format(here=tmp_path)])] == ["a.png"]


@pytest.mark.parametrize("path", ["none.png", "none/", "*.none", "empty", "texts", "", "-1", "1.5"])
def test_paths_without_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "good.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("no picture")
    with pytest.raises(DataError) as caught:
        run(["good.png", path], tmp_path / "out")
    assert caught.value.exit_code == 3
    assert path in caught.value.message
    assert caught.value.hint
    assert not (tmp_path / "out").exists()


# ---- what is written ----


def test_drawn_pictures_and_lines(tmp_path: Path) -> None:
    paths = [save(tmp_path / "in" / "a.png"), save(tmp_path / "in" / "b.jpg", 90, 70), save(tmp_path / "in" / "c.tif")]
    out = tmp_path / "new" / "out"
    report = run(paths, out)
    assert files_in(out) == ["a_faces.png", "b_faces.jpg", "c_faces.jpg", "detections.jsonl"]
    assert [p.drawn for p in report.pictures] == [str(out / name) for name in files_in(out)[:3]]
    for path, name in zip(paths, files_in(out), strict=False):
        before, drawn = cv2.imread(str(path)), cv2.imread(str(out / name))
        assert drawn.shape == before.shape
        assert (drawn != before).any()
    for line, result in zip(lines_of(out), report.pictures, strict=True):
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
    report = run([save(tmp_path / "a.png")])
    assert files_in(tmp_path) == ["a.png"]
    assert (report.out, report.pictures[0].drawn) == (None, None)


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
    report = detect_files(detector(), [str(p) for p in paths], DetectConfig(batch=batch), out, on_event=stop_at(4))
    assert report.interrupted
    assert [p.source for p in report.pictures] == [str(p) for p in paths[:3]]
    assert [line["source"] for line in lines_of(out)] == [str(p) for p in paths[:3]]
    assert files_in(out) == ["0_faces.png", "1_faces.png", "2_faces.png", "detections.jsonl"]


def test_an_interruption_while_a_result_is_told_loses_no_line(tmp_path: Path) -> None:
    paths = [str(save(tmp_path / f"{i}.png")) for i in range(3)]

    def tell(result: PictureResult) -> None:
        if result.source == paths[1]:
            raise KeyboardInterrupt

    report = detect_files(detector(), paths, DetectConfig(), tmp_path / "out", tell)
    assert report.interrupted
    assert len(lines_of(tmp_path / "out")) == len(report.pictures) == 2


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


# ---- videos ----


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
    report = detect_files(detector(), [str(path)], DetectConfig(), out, on_event=stop_at(6))
    assert report.interrupted
    assert len(report.pictures) == len(lines_of(out)) == len(frames_of(out / "clip_faces.mp4")) == 5
    assert files_in(out) == ["clip_faces.mp4", "detections.jsonl"]


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
