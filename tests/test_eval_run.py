"""An evaluation from pictures on the disk to its report: figures by hand, what is odd with the data, and what is written."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from scipy.io import savemat
from test_eval_inference import Box, Painted, detector, painting, points_of

from featherface_core.data import wider
from featherface_core.data.annotation import Faces
from featherface_core.data.convert import convert
from featherface_core.data.write import Entry
from featherface_core.errors import DataError
from featherface_core.evaluation import run
from featherface_core.evaluation.config import EvalConfig, load_config
from featherface_core.evaluation.report import BrokenPicture, EvalReport, Measured, RecallRow, Subject, read_report
from featherface_core.evaluation.run import Output, evaluate
from featherface_core.events import Progress

CURVES = run.write_curves
SUBJECT = Subject("painted", "paint.bin", "ab" * 32, "torch", "cpu", 123)
SUBSET = (
    "pictures are a part of the 3,226 of the WIDER FACE validation set: these figures are not the benchmark, and compare "
    "only with others on the same pictures"
)


@pytest.fixture(autouse=True)
def no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take half a second to draw; the tests of what is written draw them."""
    monkeypatch.setattr(run, "write_curves", lambda *_: None)


@dataclass(frozen=True)
class Scene:
    """A picture of 160 x 200: its faces, what Painted finds in it, and how clear (0 to 2) each face is."""

    name: str
    faces: Sequence[Box] = ()
    found: Sequence[tuple[Box, int]] = ()
    blur: Sequence[int] = ()
    size: tuple[int, int] = (160, 200)
    counted: dict[str, Sequence[int]] = field(default_factory=dict)  # of the official settings, numbers from 1


A1, A2, A3 = (10, 10, 50, 60), (100, 20, 112, 34), (140, 100, 144, 105)  # 45, 13 and 4.5 pixels
B1, B2 = (20, 20, 120, 120), (140, 20, 170, 50)
SHIFTED = (36, 20, 136, 120)  # overlaps B1 by 0.724; by 0.726 with an extra pixel a side
C1, C2 = (30, 30, 60, 70), (70, 80, 90, 110)
NOWHERE = (100, 20, 130, 50)
SCENES = (
    Scene("0--Parade/a.png", (A1, A2, A3), [(A1, 250)], (0, 2, 2)),
    Scene("0--Parade/b.png", (B1, B2), [(SHIFTED, 150), (B2, 100)], (0, 1)),
    Scene("1--Riot_Police/c.png", (C1, C2), [(NOWHERE, 200)], (0, 0)),
    Scene("1--Riot_Police/d.png", (), [(NOWHERE, 60)], size=(120, 160)),
)
# of 7 faces: right, wrong, right up to an IoU of 0.7, right, wrong
AP50 = 1 / 7 + 2 / 7 * 3 / 4
AP = (5 * (15 + 28 * 3 / 4) + 5 * (15 + 14 * 2 / 4)) / 101 / 10  # 101 recall points: 15 up to 1/7, 29 to 2/7, 43 to 3/7


def draw(images: Path, scenes: Iterable[Scene]) -> None:
    for scene in scenes:
        path = images / scene.name
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), painting(*scene.size, *scene.found))


def make_album(folder: Path) -> Path:
    """SCENES with WIDER FACE's text and its attributes."""
    draw(folder / "images", SCENES)
    entries = [
        Entry(s.name, Faces.of(np.array(s.faces).reshape(-1, 4)), attributes={"blur": np.array(s.blur, np.int64)})
        for s in SCENES
    ]
    wider.write(folder, entries)
    return folder


@pytest.fixture
def album(tmp_path: Path) -> Path:
    return make_album(tmp_path / "album")


def official(folder: Path, scenes: Sequence[Scene]) -> Path:
    """The four files of the official ground truth; a face counts in every setting, or in those of ``counted``."""
    folder.mkdir(parents=True, exist_ok=True)
    events = list(dict.fromkeys(scene.name.partition("/")[0] for scene in scenes))

    def cells(values: Sequence[object]) -> np.ndarray:
        column = np.empty((len(values), 1), object)
        for row, value in enumerate(values):
            column[row, 0] = value
        return column

    def by_event(of: dict[str, object]) -> np.ndarray:
        return cells([cells([v for n, v in of.items() if n.startswith(f"{event}/")]) for event in events])

    boxes = {s.name: np.array(s.faces, np.float64).reshape(-1, 4) for s in scenes}
    sizes = {n: np.concatenate((b[:, :2], b[:, 2:] - b[:, :2]), 1) for n, b in boxes.items()}
    content = {
        "event_list": cells(events),
        "file_list": by_event({s.name: Path(s.name).stem for s in scenes}),
        "face_bbx_list": by_event({**sizes}),
        "blur_label_list": by_event({s.name: np.array(s.blur or [0] * len(s.faces)).reshape(-1, 1) for s in scenes}),
    }
    savemat(folder / "wider_face_val.mat", content)
    for setting in ("easy", "medium", "hard"):
        counted = {s.name: np.array(s.counted.get(setting, range(1, len(s.faces) + 1))).reshape(-1, 1) for s in scenes}
        savemat(folder / f"wider_{setting}_val.mat", {**content, "gt_list": by_event({**counted})})
    return folder


def score(out: Path, data: Path | str = "", network: Painted | None = None, **more: Any) -> EvalReport:
    """Evaluate Painted on ``data``, or ``predictions``; ``more``: for EvalConfig, or for Output where that has it."""
    output = {key: more.pop(key) for key in ("force", "resume", "html") if key in more}
    saved = more.pop("save", None)
    config = EvalConfig(str(data), **{k: str(v) if isinstance(v, Path) else v for k, v in more.items()})
    found = None if config.predictions else detector(network)
    subject = replace(SUBJECT, backend="predictions", sha256="") if found is None else SUBJECT
    return evaluate(config, subject, found, Output(out, predictions=saved, **output))


def figures(report: EvalReport) -> EvalReport:
    """All that does not tell of time and place."""
    return replace(report, timing=None, seconds=0, files=(), data="", ground_truth="", subject=SUBJECT)


# ---- figures ----


def test_the_figures_of_labelled_pictures(album: Path, tmp_path: Path) -> None:
    report = score(tmp_path / "r", album)
    assert report.headline == {"ap50": pytest.approx(AP50), "ap": pytest.approx(AP)}
    assert [s.faces for s in report.settings] == [7, 7]
    assert (report.mean, report.detections, report.landmarks, report.broken, report.warnings) == (None, 5, None, (), ())
    at_half, coco = report.settings
    assert at_half.recall == pytest.approx([1 / 7, 1 / 7, 2 / 7, 3 / 7, 3 / 7], abs=1e-6)
    assert at_half.precision == pytest.approx([1, 1 / 2, 2 / 3, 3 / 4, 3 / 5], abs=1e-6)
    assert (coco.recall, coco.precision) == ((), ())
    label = str(album / "wider_face_bbx_gt.txt")
    assert (report.data, report.ground_truth, report.subject) == (str(album), label, SUBJECT)
    how = report.protocol
    assert (how.method, how.resize, how.flip, how.canvas, how.pictures, how.of) == (
        "plain",
        "original",
        False,
        None,
        4,
        4,
    )
    assert (how.score, how.nms, how.top_k, how.iou) == (0.02, 0.4, 0, 0.5)
    assert how.text == (
        f"AP at IoU 0.5, area under the curve, and COCO AP 0.5:0.95 on 4 pictures of {label}: "
        "original size, no flip, score above 0.02, NMS 0.4, no top-k"
    )


def test_folders_that_are_no_events(tmp_path: Path) -> None:
    draw(tmp_path / "images", [Scene("sea/a.png", (A1,), [(A1, 250)]), Scene("hill/b.png", (C2,), ())])
    lines = [
        f"{name}\n1\n{box[0]} {box[1]} {box[2] - box[0]} {box[3] - box[1]} 0 0 0 0 0 0"
        for name, box in (("sea/a.png", A1), ("hill/b.png", C2))
    ]
    (tmp_path / "wider_face_val_bbx_gt.txt").write_text("\n".join(lines) + "\n")
    report = score(tmp_path / "r", tmp_path)
    assert [(row.group, row.name, row.faces) for row in report.recall if row.group in ("event", "folder")] == [
        ("folder", "hill", 1),
        ("folder", "sea", 1),
    ]


def test_recall_by_size_attribute_and_event(album: Path, tmp_path: Path) -> None:
    assert score(tmp_path / "r", album).recall == (
        RecallRow("size", "under 8 px", 1, 0, 0, 0),
        RecallRow("size", "8-16 px", 1, 0, 0, 0),
        RecallRow("size", "16-32 px", 2, 1, 0, 1),  # NOWHERE in c.png; in d.png its score is too low
        RecallRow("size", "32-64 px", 2, 1, 1, 0),
        RecallRow("size", "64-128 px", 1, 1, 1, 0),
        RecallRow("blur", "clear", 4, 2, 2),
        RecallRow("blur", "normal", 1, 1, 0),
        RecallRow("blur", "heavy", 2, 0, 0),
        RecallRow("occlusion", "none", 7, 3, 2),
        RecallRow("pose", "typical", 7, 3, 2),
        RecallRow("expression", "typical", 7, 3, 2),
        RecallRow("illumination", "normal", 7, 3, 2),
        RecallRow("event", "Parade", 5, 3, 2),
        RecallRow("event", "Riot Police", 2, 0, 0),
    )


def test_the_worst_pictures_come_first(album: Path, tmp_path: Path) -> None:
    worst = [(w.name, w.faces, w.missed, w.false_alarms) for w in score(tmp_path / "r", album).worst]
    # d has a false alarm alone, and none that is confident
    assert worst == [("0--Parade/a", 3, 2, 0), ("1--Riot_Police/c", 2, 2, 1), ("0--Parade/b", 2, 1, 0)]


def test_false_alarms_follow_misses_and_each_kind_has_six(tmp_path: Path) -> None:
    marks = [((10 + 40 * k, 10, 30 + 40 * k, 40), 200) for k in range(4)]
    many = [Scene(f"m/{k}.png", [(10, 100, 20, 120)] * (k + 1), marks[:1]) for k in range(8)]
    many += [Scene(f"n/{k}.png", (), marks[: k % 4 + 1]) for k in range(8)]
    draw(tmp_path / "album" / "images", many)
    wider.write(tmp_path / "album", [Entry(s.name, Faces.of(np.array(s.faces).reshape(-1, 4))) for s in many])
    worst = [(w.name, w.missed, w.false_alarms) for w in score(tmp_path / "r", tmp_path / "album").worst]
    assert worst[:6] == [(f"m/{k}", k + 1, 1) for k in (7, 6, 5, 4, 3, 2)]
    assert worst[6:] == [("n/3", 0, 4), ("n/7", 0, 4), ("n/2", 0, 3), ("n/6", 0, 3), ("n/1", 0, 2), ("n/5", 0, 2)]


@pytest.mark.parametrize("form", ["retinaface", "coco", "yolo", "voc"])
def test_the_format_of_the_labels_does_not_matter(album: Path, tmp_path: Path, form: str) -> None:
    convert(album, tmp_path / form, form, copy_pictures=True)
    report = score(tmp_path / "r", tmp_path / form)
    assert report.headline == {"ap50": pytest.approx(AP50, abs=1e-9), "ap": pytest.approx(AP, abs=1e-9)}
    assert [(row.group, row.faces, row.found) for row in report.recall if row.group == "event"] == [
        ("event", 5, 3),
        ("event", 2, 0),
    ]


def test_ignored_faces_count_neither_way(tmp_path: Path) -> None:
    draw(tmp_path / "album" / "images", [Scene("x/a.png", (), [(A1, 250), (C2, 200)])])
    wider.write(tmp_path / "album", [Entry("x/a.png", Faces.of([A1, C2], ignored=[True, False]))])
    report = score(tmp_path / "r", tmp_path / "album")
    assert report.headline == {"ap50": 1.0, "ap": pytest.approx(1)}
    assert ([s.faces for s in report.settings], report.detections, report.worst) == ([1, 1], 2, ())


def test_landmarks_are_measured_by_the_distance_of_the_eyes(tmp_path: Path) -> None:
    near, far, small, without = (10, 10, 60, 60), (80, 20, 180, 120), (10, 80, 40, 110), (10, 120, 60, 158)
    draw(tmp_path / "album" / "images", [Scene("a.png", (), [(b, 200) for b in (near, far, small, without)])])
    lines = ["# a.png"]
    for box, shift in ((near, (0, 0)), (far, (6, 8)), (small, (20, 20))):
        points = points_of(box) + shift
        known = " ".join(f"{x:g} {y:g} 0" for x, y in points)
        lines.append(f"{box[0]} {box[1]} {box[2] - box[0]} {box[3] - box[1]} {known} 0.9")
    lines.append(f"{without[0]} {without[1]} 50 38 {' '.join(['-1 -1 -1'] * 5)} 0.9")
    (tmp_path / "album" / "label.txt").write_text("\n".join(lines) + "\n")
    report = score(tmp_path / "r", tmp_path / "album")
    left, right = points_of(far)[:2]
    error = 10 / np.linalg.norm(right - left)
    assert report.landmarks is not None
    assert (report.landmarks.faces, report.landmarks.smallest) == (2, 40)
    assert report.landmarks.mean == pytest.approx(error / 2, rel=1e-4)
    assert report.landmarks.median == pytest.approx(error / 2, rel=1e-4)
    assert report.headline["ap50"] == pytest.approx(1)


@pytest.mark.parametrize("painted", [[], [(A1, 250)]], ids=["nothing found", "a false alarm"])
def test_pictures_without_a_face_have_no_ap(tmp_path: Path, painted: list[tuple[Box, int]]) -> None:
    draw(tmp_path / "album" / "images", [Scene("x/a.png", (), painted)])
    (tmp_path / "album" / "label.txt").write_text("# x/a.png\n")
    report = score(tmp_path / "r", tmp_path / "album")
    assert report.headline == {"ap50": None, "ap": None}
    alarms = tuple(RecallRow("size", "32-64 px", 0, 0, 0, 1) for _ in painted)
    assert (report.recall, report.detections, len(report.worst)) == (alarms, len(painted), len(painted))
    assert read_report(tmp_path / "r") == report


def test_nothing_found_is_an_ap_of_0(album: Path, tmp_path: Path) -> None:
    report = score(tmp_path / "r", album, score=0.99)
    assert (report.headline, report.detections) == ({"ap50": 0.0, "ap": 0.0}, 0)
    assert {(row.found, row.confident) for row in report.recall} == {(0, 0)}


@pytest.mark.parametrize("batch", [2, 16])
def test_batches_change_no_figure_and_group_equal_shapes(album: Path, tmp_path: Path, batch: int) -> None:
    draw(album / "images", [replace(SCENES[1], size=(120, 170))])  # now two shapes in turn
    network = Painted()
    one, many = score(tmp_path / "1", album), score(tmp_path / "n", album, network, batch=batch)
    assert figures(one) == figures(many)
    assert sorted(shape[0] for shape in network.shapes) == [1, 1, 2]
    assert many.timing is not None
    assert many.timing.batch == batch


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
    from featherface_core.evaluation.sheet import ALARM, FOUND, LEGEND, MISSED

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


# ---- the official ground truth ----

OFFICIAL = (
    replace(SCENES[0], counted={"easy": [1], "medium": [1, 2]}),
    replace(SCENES[1], counted={"easy": [1], "medium": [1], "hard": [1]}),  # B2 does not count
    replace(SCENES[2], counted={"easy": []}),
    SCENES[3],
)


def test_the_official_settings(tmp_path: Path) -> None:
    draw(tmp_path / "val" / "images", OFFICIAL)
    truth = official(tmp_path / "truth", OFFICIAL)
    report = score(tmp_path / "r", tmp_path / "val", ground_truth=truth, save=tmp_path / "p")
    assert [(s.name, s.faces) for s in report.settings] == [("easy", 2), ("medium", 5), ("hard", 6)]
    # A1 right, a false alarm, B1 right, B2 does not count, a false alarm
    wanted = [1 / n + 1 / n * 2 / 3 for n in (2, 5, 6)]
    assert [s.ap for s in report.settings] == pytest.approx(wanted)
    assert report.mean == pytest.approx(sum(wanted) / 3)
    assert report.warnings == (f"4 {SUBSET}",)
    assert report.protocol.benchmark is False
    assert report.protocol.text.startswith("WIDER FACE protocol (official ground truth, 4 pictures; IoU 0.5, ")
    assert [row for row in report.recall if row.group == "event"] == [
        RecallRow("event", "Parade", 4, 2, 2),
        RecallRow("event", "Riot Police", 2, 0, 0),
    ]
    assert [row.faces for row in report.recall if row.group == "blur"] == [4, 2]
    assert [(w.name, w.faces, w.missed) for w in report.worst][1:] == [("1--Riot_Police/c", 2, 2)]
    again = score(tmp_path / "2", predictions=tmp_path / "p", ground_truth=truth)
    assert (again.settings, again.mean, again.recall) == (report.settings, report.mean, report.recall)


def test_ground_truth_beside_the_pictures_is_found(tmp_path: Path) -> None:
    draw(tmp_path / "val" / "images", OFFICIAL)
    official(tmp_path / "val" / "ground_truth", OFFICIAL)
    report = score(tmp_path / "r", tmp_path / "val")
    assert report.protocol.method == "wider-face"
    assert report.ground_truth == str(tmp_path / "val" / "ground_truth")


def test_pictures_in_one_folder_are_found_by_their_name(tmp_path: Path) -> None:
    truth = official(tmp_path / "truth", OFFICIAL)
    for nested, folder in ((True, "nested"), (False, "flat")):
        scenes = OFFICIAL if nested else [replace(s, name=Path(s.name).name) for s in OFFICIAL]
        draw(tmp_path / folder, scenes)
    nested, flat = (score(tmp_path / f"r{f}", tmp_path / f, ground_truth=truth) for f in ("nested", "flat"))
    assert figures(nested) == figures(flat)
    # two pictures of one name: without their folders nobody can tell which is which
    truth = official(tmp_path / "twins", [*OFFICIAL, replace(OFFICIAL[3], name="2--Other/a.png")])
    report = score(tmp_path / "r3", tmp_path / "flat", ground_truth=truth)
    assert (report.protocol.pictures, report.protocol.of) == (3, 5)
    assert report.warnings[0].startswith("1 of 4 pictures in ")


def test_pictures_that_the_ground_truth_does_not_know(tmp_path: Path) -> None:
    truth = official(tmp_path / "truth", OFFICIAL)
    draw(tmp_path / "val", [*OFFICIAL[:3], replace(OFFICIAL[3], name="9--Else/z.png")])
    report = score(tmp_path / "r", tmp_path / "val", ground_truth=truth)
    assert report.warnings == (
        f"1 of 4 pictures in {tmp_path / 'val'} are not in the ground truth and were left out",
        f"3 {SUBSET}",
    )
    assert "3 of 4 pictures" in report.protocol.text
    draw(tmp_path / "other", [Scene("holiday/beach.png")])
    with pytest.raises(DataError) as caught:
        score(tmp_path / "none", tmp_path / "other", ground_truth=truth)
    assert caught.value.message == (
        f"{tmp_path / 'other'} and {truth} do not belong together: none of 1 pictures, such as holiday/beach, "
        "is in the ground truth"
    )
    assert "0--Parade/a" in caught.value.hint
    assert not (tmp_path / "none").exists()
