"""``featherface data``: check, convert, stats; what they find, write, count, and what their screens say."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featherface_cli import app as cli
from featherface_core.data.annotation import Annotation, AnnotationSet, Faces
from featherface_core.data.check import FIXES, check_data
from featherface_core.data.convert import convert
from featherface_core.data.draw_stats import draw_stats
from featherface_core.data.labels import read_labels
from featherface_core.data.landmark_checks import mirrored, outside_box
from featherface_core.data.reports import DataCheckReport
from featherface_core.data.stats import bins, data_stats, stats_of
from featherface_core.errors import ConfigError, DataError
from featherface_core.events import Progress

DATA = Path(__file__).parents[2] / "shared" / "data"
UPRIGHT = np.array([[30, 40], [70, 40], [50, 60], [35, 80], [65, 80]], np.float64)  # in a box of 100 pixels
SWAPPED = UPRIGHT[[1, 0, 2, 4, 3]]


@dataclass
class Ran:
    code: int
    out: str
    err: str


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., Ran]:
    """Run ``featherface data ARGUMENTS`` in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["featherface", "data", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfd.readouterr()
        return Ran(int(ended.value.code or 0), out, err)

    return call


def line(x: float, y: float, side: float, points: np.ndarray | None = None) -> str:
    """A face of a RetinaFace label, landmarks as they lie in a box of 100 pixels."""
    if points is None:
        return f"{x} {y} {side} {side}"
    placed = points * side / 100 + (x, y)
    return f"{x} {y} {side} {side} " + " ".join(f"{a:.3f} {b:.3f} 0" for a, b in placed) + " 1"


def make(folder: Path, faces: dict[str, list[str]], size: tuple[int, int] = (160, 120), seed: int = 0) -> Path:
    """A data set in RetinaFace's form, with pictures of noise, which are of different bytes."""
    rng = np.random.default_rng(seed)
    text = ""
    for name, lines in faces.items():
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(path.suffix, rng.integers(0, 255, (size[1], size[0], 3), np.uint8))[1])
        text += "\n".join([f"# {name}", *lines, ""])
    (folder / "label.txt").write_text(text)
    return folder


def found(report: DataCheckReport) -> dict[str, tuple[str, int]]:
    return {group.kind: (group.severity, group.count) for group in report.problems}


# --- landmarks ----------------------------------------------------------------------------------------------------------


@given(
    angle=st.floats(0, 360),
    scale=st.floats(0.1, 20),
    yaw=st.floats(-0.9, 0.9),
    swap=st.sampled_from(["none", "eyes", "mouth", "all"]),
)
def test_mirrored_landmarks_of_rolled_faces(angle: float, scale: float, yaw: float, swap: str) -> None:
    turn = np.radians(angle)
    roll = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    points = (UPRIGHT - 50) * (1 - abs(yaw) * 0.5, 1)
    order = {"none": [0, 1, 2, 3, 4], "eyes": [1, 0, 2, 3, 4], "mouth": [0, 1, 2, 4, 3], "all": [1, 0, 2, 4, 3]}[swap]
    faces = Faces.of([[0, 0, 9, 9]], [points[order] @ roll * scale + 500])
    assert mirrored(faces).tolist() == [swap != "none"]


def test_profiles_and_unknown_landmarks_are_not_mirrored() -> None:
    profile = UPRIGHT * (0.02, 1)
    crossed = profile[[1, 0, 2, 4, 3]]  # by a pixel or less
    faces = Faces.of([[0, 0, 100, 100]] * 4, [profile, crossed, np.full((5, 2), np.nan), np.full((5, 2), 7.0)])
    assert not mirrored(faces).any()
    assert mirrored(Faces.none()).shape == (0,)


def test_landmarks_outside_the_box() -> None:
    near, far = UPRIGHT + np.array([55, 0]), UPRIGHT + np.array([90, 0])
    faces = Faces.of([[0, 0, 100, 100]] * 4, [UPRIGHT, near, far, np.full((5, 2), np.nan)])
    assert outside_box(faces).tolist() == [False, False, True, False]
    assert outside_box(Faces.none()).shape == (0,)


# --- check --------------------------------------------------------------------------------------------------------------


def test_check_finds_nothing_in_good_data(tmp_path: Path) -> None:
    make(tmp_path / "train", {"a.png": [line(10, 10, 50, UPRIGHT)], "b.png": []})
    make(tmp_path / "val", {"c.png": [line(-1.5, 80, 41, UPRIGHT)]}, seed=1)
    events: list[Progress] = []
    report = check_data(tmp_path, events.append)
    assert (report.verdict, report.problems, report.decoded) == ("ok", (), 3)
    assert [(s.name, s.pictures, s.faces, s.empty, s.with_landmarks) for s in report.sets] == [
        ("train", 2, 1, 1, 1),
        ("val", 1, 1, 0, 1),
    ]
    assert [(e.done, e.total) for e in events] == [(1, 2), (2, 2), (1, 1), (0, None)]


def test_check_finds_everything(tmp_path: Path) -> None:
    faces = {
        "a.png": [
            line(10, 10, 50, UPRIGHT),
            line(10.2, 10, 50),  # the same again
            line(200, 10, 20),  # outside a width of 160
            line(140, 10, 50),  # partly
            line(20, 80, 0),  # without area
            line(20, 90, 2),  # tiny
            line(70, 60, 40, UPRIGHT + np.array([400, 0])),
            line(60, 20, 40, SWAPPED),
        ],
        "gone.png": [line(1, 1, 9)],
        "short.jpg": [],
        "twice.png": [],
        "same.png": [],
        "name.png": [],
    }
    train = make(tmp_path / "train", faces)
    with (train / "label.txt").open("a") as label:
        label.write(f"# twice.png\n{line(9, 9, 9)}\n")
    (train / "images" / "gone.png").unlink()
    short = train / "images" / "short.jpg"
    short.write_bytes(short.read_bytes()[:-300])
    val = make(tmp_path / "val", {"x.png": [line(10, 10, 50)], "name.png": []}, seed=1)
    (val / "images" / "x.png").write_bytes((train / "images" / "same.png").read_bytes())
    report = check_data(tmp_path)
    assert found(report) == {
        "missing-picture": ("error", 1),
        "unreadable-picture": ("error", 1),
        "in-both": ("error", 1),
        "duplicate-name": ("error", 1),
        "box-outside": ("error", 1),
        "landmarks-mirrored": ("error", 1),  # a third of all
        "name-in-both": ("warning", 1),
        "landmarks-outside": ("warning", 1),
        "no-landmarks": ("warning", 1),
        "duplicate-box": ("warning", 1),
        "box-partly-outside": ("warning", 1),
        "tiny-face": ("warning", 1),
        "zero-area": ("warning", 1),
    }
    assert list(found(report)) == [kind for kind in FIXES if kind in found(report)]
    assert report.verdict == "fail"
    examples = {group.kind: group.examples[0] for group in report.problems}
    assert examples["box-outside"] == (
        "train/images/a.png: face 3, 20 x 20 px at (200, 10), lies outside the picture of 160 x 120 px"
    )
    assert examples["in-both"] == "val/images/x.png: is the same picture as train/images/same.png"
    assert all(group.fix for group in report.problems)
    without = found(check_data(tmp_path, pictures=False))
    assert set(found(report)) - set(without) == {"unreadable-picture", "box-outside", "box-partly-outside"}


def test_a_few_mirrored_faces_are_a_warning(tmp_path: Path) -> None:
    lines = [line(x, y, 30, UPRIGHT) for x in range(0, 120, 32) for y in range(0, 80, 16)]
    make(tmp_path, {"a.png": [*lines, line(100, 80, 30, SWAPPED)]})
    assert found(check_data(tmp_path)) == {"landmarks-mirrored": ("warning", 1)}
    assert check_data(tmp_path).verdict == "warn"


def test_ignored_faces_may_be_odd(tmp_path: Path) -> None:
    make(tmp_path, {"a.png": [line(10, 10, 50, UPRIGHT)]})
    odd = [line(900, 10, 50), line(10, 70, 40, SWAPPED), line(60, 70, 2), line(60, 20, 40, UPRIGHT + 300)]
    (tmp_path / "ignore.txt").write_text("\n".join(["# a.png", *odd]))
    report = check_data(tmp_path)
    assert (report.verdict, report.sets[0].ignored) == ("ok", 4)


def test_check_of_a_label_without_faces(tmp_path: Path) -> None:
    make(tmp_path, {"a.png": []})
    assert found(check_data(tmp_path)) == {"no-faces": ("error", 1)}


def test_every_kind_of_the_readers_has_a_fix(tmp_path: Path) -> None:
    source = "".join(path.read_text() for path in Path(cli.__file__).parents[1].glob("featherface_core/data/*.py"))
    import re

    kinds = set(re.findall(r'(?:Problem|each)\(\s*"([a-z-]+)"', source))
    assert kinds == set(FIXES)


def test_an_interrupted_check_ends(tmp_path: Path) -> None:
    make(tmp_path, {f"{i}.png": [] for i in range(40)})

    def stop(event: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check_data(tmp_path, stop)


# --- convert ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A set of train and val with an ignored face and landmarks."""
    train = make(tmp_path / "data" / "train", {"s/a.png": [line(10, 10, 50, UPRIGHT), line(-5, 9, 8)], "b.png": []})
    (train / "ignore.txt").write_text(f"# s/a.png\n{line(70, 70, 9)}\n")
    make(tmp_path / "data" / "val", {"c.png": [line(20, 20, 30)]}, seed=1)
    return tmp_path / "data"


def test_convert_links_or_copies(small: Path, tmp_path: Path) -> None:
    report = convert(small, tmp_path / "linked", "coco")
    assert (report.pictures, report.faces, report.linked, report.copied) == (3, 4, 3, 0)
    assert (report.source_form, report.form) == ("retinaface", "coco")
    link = tmp_path / "linked" / "train" / "images" / "s" / "a.png"
    assert link.is_symlink()
    assert link.resolve() == (small / "train" / "images" / "s" / "a.png").resolve()
    report = convert(small, tmp_path / "copied", "voc", copy_pictures=True)
    assert (report.linked, report.copied) == (0, 3)
    copy = tmp_path / "copied" / "train" / "JPEGImages" / "s" / "a.png"
    assert not copy.is_symlink()
    assert copy.read_bytes() == link.read_bytes()
    assert [s.name for s in report.sets] == ["train", "val"]
    assert not list(tmp_path.rglob(".*"))


def test_convert_says_what_is_lost(small: Path, tmp_path: Path) -> None:
    lost = {form: "; ".join(convert(small, tmp_path / form, form).lost) for form in ("voc", "yolo", "wider", "coco")}
    assert "landmarks of 1 face: voc" in lost["voc"]
    assert "landmarks of 1 face: wider" in lost["wider"]
    assert "1 ignored face left out" in lost["yolo"]
    assert "1 box reaches outside the picture" in lost["yolo"]
    assert "landmarks of 1" not in lost["coco"] + lost["yolo"]
    assert "attributes" not in lost["coco"]
    assert "attributes: coco" in "; ".join(convert(tmp_path / "wider", tmp_path / "again", "coco").lost)
    assert (tmp_path / "yolo" / "data.yaml").read_text().splitlines()[1:3] == ["train: train/images", "val: val/images"]


def test_convert_keeps_attributes_of_wider(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    text = "a.jpg\n2\n1 2 3.25 4 1 0 1 0 2 1\n5 5 8 8 2 0 0 1 0 0\nb.jpg\n0\n0 0 0 0 0 0 0 0 0 0\n"
    (tmp_path / "in" / "x_bbx_gt.txt").write_text(text)
    convert(tmp_path / "in", tmp_path / "out", "wider")
    assert (tmp_path / "out" / "wider_face_bbx_gt.txt").read_text() == text


def test_convert_without_pictures(tmp_path: Path) -> None:
    train = make(tmp_path / "in", {"a.png": [line(1, 1, 9)], "b.png": [line(1, 1, 9)]})
    (train / "images" / "a.png").unlink()
    report = convert(train, tmp_path / "r", "retinaface")
    assert (report.pictures, report.linked) == (2, 1)
    assert "1 missing picture: labelled, but without a picture" in report.lost
    report = convert(train, tmp_path / "y", "yolo")
    assert (report.pictures, report.linked) == (1, 1)
    assert "1 missing picture: left out" in report.lost
    (train / "images" / "b.png").write_bytes(b"")
    report = convert(train, tmp_path / "c", "coco")
    assert report.pictures == 0
    assert any("cannot be read" in line for line in report.lost)
    (train / "images" / "b.png").unlink()
    with pytest.raises(DataError, match="none of its 2 pictures"):
        convert(train, tmp_path / "v", "voc")
    assert convert(train, tmp_path / "w", "wider").pictures == 2


def test_convert_refuses(small: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'yolov8' is not known") as refused:
        convert(small, tmp_path / "out", "yolov8")
    assert "did you mean 'yolo'" in refused.value.hint
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is not empty") as refused:
        convert(small, tmp_path / "full", "coco")
    assert "--force" in refused.value.hint
    convert(small, tmp_path / "full", "coco", force=True)
    convert(small, tmp_path / "full", "coco", force=True, copy_pictures=True)  # over its own links
    assert (tmp_path / "full" / "mine.txt").read_text() == "mine"
    assert not (tmp_path / "full" / "val" / "images" / "c.png").is_symlink()
    for folder in (small, small / "train"):
        with pytest.raises(ConfigError, match="is the folder that is read"):
            convert(small, folder, "retinaface", force=True)
    with pytest.raises(ConfigError, match="is not a folder"):
        convert(small, tmp_path / "full" / "mine.txt", "coco")
    with pytest.raises(DataError):
        convert(tmp_path / "missing", tmp_path / "out", "coco")
    assert not (tmp_path / "out").exists()


def test_originals_are_never_linked_to_themselves(tmp_path: Path) -> None:
    make(tmp_path, {"a.png": [line(1, 1, 9)]})
    before = (tmp_path / "images" / "a.png").read_bytes()
    (tmp_path / "labels.txt").write_text((tmp_path / "label.txt").read_text())
    (tmp_path / "label.txt").unlink()
    other = tmp_path / "other"
    other.mkdir()
    (other / "images").symlink_to(tmp_path / "images")
    convert(tmp_path, other, "yolo", force=True)
    assert (tmp_path / "images" / "a.png").read_bytes() == before
    assert not (tmp_path / "images" / "a.png").is_symlink()


def test_convert_keeps_names_apart_and_inside(tmp_path: Path) -> None:
    make(tmp_path / "elsewhere", {"z.png": []})
    data = make(tmp_path / "in", {"a.png": [line(1, 1, 9)], "a.jpg": [line(2, 2, 9)]})
    with (data / "label.txt").open("a") as label:
        label.write("# ../../elsewhere/images/z.png\n3 3 9 9\n")
        label.write(f"# {data.resolve() / 'images' / 'a.png'}\n4 4 9 9\n# a.png\n5 5 9 9\n")
    report = convert(data, tmp_path / "out", "yolo")
    names = sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.*"))
    stems = ("a", "a-2", "elsewhere/images/z")
    pictures = (f"images/{stem}.{'jpg' if stem == 'a-2' else 'png'}" for stem in stems)
    assert names == sorted(["data.yaml", *pictures, *(f"labels/{stem}.txt" for stem in stems)])
    faces = {a.name: a.faces.boxes[:, 0].round().tolist() for a in read_labels(tmp_path / "out").annotations}
    assert faces == {"a.png": [1, 4, 5], "a-2.jpg": [2], "elsewhere/images/z.png": [3]}
    assert "2 further entries of a picture joined with its first" in report.lost


# --- stats --------------------------------------------------------------------------------------------------------------


def test_bins() -> None:
    made = bins(np.array([0.0, 7.9, 8, 15, 16, 1e6]), (0.0, 8, 16))
    assert [(b.low, b.high, b.count) for b in made] == [(0, 8, 2), (8, 16, 2), (16, None, 2)]
    assert sum(b.share for b in made) == pytest.approx(1)
    assert [b.share for b in bins(np.zeros(0), (0.0, 8))] == [0, 0]


@given(
    counts=st.lists(st.integers(0, 300), max_size=5), ignored=st.booleans(), side=st.floats(0, 5000, allow_nan=False)
)
def test_statistics_add_up(counts: list[int], ignored: bool, side: float) -> None:
    annotations = tuple(
        Annotation(Path("a"), "a", Faces.of(np.tile([0, 0, side, side], (n, 1)), ignored=[ignored] * n)) for n in counts
    )
    stats = stats_of("data", AnnotationSet(Path("x"), "coco", annotations))
    total = 0 if ignored else sum(counts)
    assert sum(b.count for b in stats.sizes) == sum(b.count for b in stats.histogram) == total
    assert sum(b.count for b in stats.per_picture) == len(counts)
    assert stats.summary.faces == sum(counts)
    if total:
        assert stats.percentiles[2] == pytest.approx(side, abs=0.01, rel=1e-6)


def test_draw_stats(small: Path) -> None:
    report = data_stats(small)
    assert [s.summary.name for s in report.sets] == ["train", "val"]
    picture = draw_stats(report)
    assert (picture.dtype, picture.shape) == (np.uint8, (864, 1280, 3))
    assert picture.mean() > 230
    assert draw_stats(data_stats(small / "val")).shape == (464, 1280, 3)
    none = make(small / "ünï none", {"a.png": []})
    assert draw_stats(data_stats(none)).shape == (464, 1280, 3)


# --- screens ------------------------------------------------------------------------------------------------------------


def test_check_screen(run: Callable[..., Ran], small: Path) -> None:
    ran = run("check", small)
    assert (ran.code, ran.err) == (0, "")
    assert "train" in ran.out
    assert "box-partly-outside" in ran.out
    assert "fix: nothing for faces at the border" in ran.out
    assert "warn: usable as it is (3 pictures opened" in ran.out
    (small / "val" / "images" / "c.png").unlink()
    ran = run("check", small, "--no-pictures", "--json")
    assert ran.code == 1
    said = json.loads(ran.out)
    assert (said["command"], said["verdict"], said["problems"][0]["kind"]) == ("data check", "fail", "missing-picture")


@pytest.mark.parametrize("columns", [80, 120])
def test_screens_fit(run: Callable[..., Ran], small: Path, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    from rich.console import Console

    from featherface_cli import render_data

    for arguments in (("check", small), ("stats", small), ("convert", small, "--to", "yolo", "--out", f"o{columns}")):
        console = Console(highlight=False, markup=False, width=columns)
        monkeypatch.setattr(render_data, "stdout", console)
        ran = run(*arguments)
        assert ran.code == 0
        assert max(map(len, ran.out.splitlines()[1:])) <= columns  # the first line is the path, never cut in a pipe


def test_convert_screen(run: Callable[..., Ran], small: Path, tmp_path: Path) -> None:
    ran = run("convert", small, "--to", "voc", "--out", "out", "--copy")
    assert (ran.code, ran.err) == (0, "")
    assert "4 faces in 3 pictures, 3 copied" in ran.out
    assert "landmarks of 1 face" in ran.out
    said = json.loads(run("convert", small, "--to", "coco", "--out", "other", "--json").out)
    assert (said["command"], said["linked"]) == ("data convert", 3)
    ran = run("convert", small, "--to", "coco", "--out", "out")
    assert ran.code == 2
    assert "error: the folder out is not empty" in ran.err
    assert "hint: choose a new one, or add --force" in ran.err


def test_stats_screen(run: Callable[..., Ran], small: Path, tmp_path: Path) -> None:
    ran = run("stats", small, "--out", "drawn.png")
    assert (ran.code, ran.err) == (0, "")
    assert "faces of train by size" in ran.out
    assert "drawn  drawn.png" in ran.out
    assert cv2.imread(str(tmp_path / "drawn.png")).shape == (864, 1280, 3)
    said = json.loads(run("stats", small / "val", "--json").out)
    assert said["sets"][0]["summary"]["faces"] == 1
    assert run("stats", small, "--out", "drawn.xyz").code == 3


def test_stats_of_the_drawn_faces(run: Callable[..., Ran]) -> None:
    ran = run("stats", "synthetic", "--count", 12)
    assert ran.code == 0
    assert "synthetic" in ran.out
    assert "median" in ran.out


@pytest.mark.parametrize("command", ["check", "convert", "stats"])
def test_every_data_command_shows_an_example(run: Callable[..., Ran], command: str) -> None:
    ran = run(command, "--help")
    assert ran.code == 0
    assert f"featherface data {command}" in ran.out.partition("Examples:")[2]


def test_data_alone_shows_its_commands(run: Callable[..., Ran]) -> None:
    ran = run()
    assert (ran.code, ran.err) == (0, "")
    assert all(command in ran.out for command in ("check", "convert", "stats"))


def test_errors_of_labels_reach_the_user(run: Callable[..., Ran], tmp_path: Path) -> None:
    ran = run("check", "missing")
    assert (ran.code, ran.out) == (3, "")
    (tmp_path / "label.txt").write_text("# a.jpg\n1 2 x 4\n")
    for arguments in (("check", "."), ("stats", "."), ("convert", ".", "--to", "coco", "--out", "new")):
        ran = run(*arguments)
        assert ran.code == 3
        assert "error: label.txt:2: 'x' in column 3 is not a number" in ran.err
        assert "hint: a face is x y w h" in ran.err
        assert "Traceback" not in ran.err
    assert not (tmp_path / "new").exists()


def test_odd_names_reach_the_screen(run: Callable[..., Ran], tmp_path: Path) -> None:
    name = "[bold]x[ ünï b\udcff"
    make(tmp_path / name, {"a.png": [line(1, 1, 9)]})
    (tmp_path / name / "label.txt").write_bytes(b"# [/red]b\xff.png\n1 1 9 9\n")
    ran = run("check", tmp_path / name)
    assert ran.code == 1
    assert "missing-picture" in ran.out
    assert run("stats", tmp_path / name).code == 0
    assert run("convert", tmp_path / name, "--to", "wider", "--out", "out").code == 0


# --- the real pictures --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_real_pictures() -> None:
    if not (DATA / "train" / "label.txt").exists():
        pytest.skip(f"pictures are not part of the repository, and {DATA} does not exist")
    report = check_data(DATA / "train")
    assert report.decoded == 3_499 + 348
    assert not {"missing-picture", "unreadable-picture", "box-outside"} & set(found(report))
    assert found(report)["in-both"] == ("error", 3)
