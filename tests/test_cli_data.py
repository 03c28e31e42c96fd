"""data check, convert and stats as a user meets them: screens, examples, and errors."""

import json
from functools import partial
from pathlib import Path

import cv2
import pytest
from command_line import Run
from data_folders import line, make


@pytest.fixture
def run(run: Run) -> Run:
    """Run ``featherface data ARGUMENTS``."""
    return partial(run, "data")


def test_check_screen(run: Run, small: Path) -> None:
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
def test_screens_fit(run: Run, small: Path, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    from rich.console import Console

    from featherface_cli.screens import data_screen

    for arguments in (("check", small), ("stats", small), ("convert", small, "--to", "yolo", "--out", f"o{columns}")):
        console = Console(highlight=False, markup=False, width=columns)
        monkeypatch.setattr(data_screen, "stdout", console)
        ran = run(*arguments)
        assert ran.code == 0
        assert max(map(len, ran.out.splitlines()[1:])) <= columns  # the first line is the path, never cut in a pipe


def test_convert_screen(run: Run, small: Path, tmp_path: Path) -> None:
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


def test_stats_screen(run: Run, small: Path, tmp_path: Path) -> None:
    ran = run("stats", small, "--out", "drawn.png")
    assert (ran.code, ran.err) == (0, "")
    assert "faces of train by size" in ran.out
    assert "drawn  drawn.png" in ran.out
    assert cv2.imread(str(tmp_path / "drawn.png")).shape == (864, 1280, 3)
    said = json.loads(run("stats", small / "val", "--json").out)
    assert said["sets"][0]["summary"]["faces"] == 1
    assert run("stats", small, "--out", "drawn.xyz").code == 3


def test_stats_of_the_drawn_faces(run: Run) -> None:
    ran = run("stats", "synthetic", "--count", 12)
    assert ran.code == 0
    assert "synthetic" in ran.out
    assert "median" in ran.out


@pytest.mark.parametrize("command", ["check", "convert", "stats"])
def test_every_data_command_shows_an_example(run: Run, command: str) -> None:
    ran = run(command, "--help")
    assert ran.code == 0
    assert f"featherface data {command}" in ran.out.partition("Examples:")[2]


def test_data_alone_shows_its_commands(run: Run) -> None:
    ran = run()
    assert (ran.code, ran.err) == (0, "")
    assert all(command in ran.out for command in ("check", "convert", "stats"))


def test_errors_of_labels_reach_the_user(run: Run, tmp_path: Path) -> None:
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


def test_odd_names_reach_the_screen(run: Run, tmp_path: Path) -> None:
    name = "[bold]x[ ünï b\udcff"
    make(tmp_path / name, {"a.png": [line(1, 1, 9)]})
    (tmp_path / name / "label.txt").write_bytes(b"# [/red]b\xff.png\n1 1 9 9\n")
    ran = run("check", tmp_path / name)
    assert ran.code == 1
    assert "missing-picture" in ran.out
    assert run("stats", tmp_path / name).code == 0
    assert run("convert", tmp_path / name, "--to", "wider", "--out", "out").code == 0
