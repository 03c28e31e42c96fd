"""data check: what it finds in a data set, and how it tells odd landmarks."""

from pathlib import Path

import numpy as np
import pytest
from data_folders import SWAPPED, UPRIGHT, found, line, make
from hypothesis import given
from hypothesis import strategies as st

from featherface_cli import app as cli
from featherface_core.data.annotation import Faces
from featherface_core.data.check import FIXES, check_data, mirrored, outside_box
from featherface_core.events import Progress

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
    source = "".join(path.read_text() for path in Path(cli.__file__).parents[1].glob("featherface_core/data/**/*.py"))
    import re

    kinds = set(re.findall(r'(?:Problem|each)\(\s*"([a-z-]+)"', source))
    assert kinds == set(FIXES)


def test_an_interrupted_check_ends(tmp_path: Path) -> None:
    make(tmp_path, {f"{i}.png": [] for i in range(40)})

    def stop(event: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check_data(tmp_path, stop)
