"""data stats --recipe: what the network is shown, counted beside plans and anchors by hand."""

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import Run
from data_folders import line, make

from featherface_core.data.annotation import set_sizes
from featherface_core.data.report import SeenBin
from featherface_core.data.sets import open_data
from featherface_core.recipe import AugmentConfig, LossConfig, Recipe
from featherface_core.training.loader import TrainingPictures
from featherface_core.training.order import Order
from featherface_core.training.preview import seen

WHOLE = AugmentConfig(crop="none", mirror=0.0, colour=0.0)


def bin_of(bins: tuple[SeenBin, ...], size: float) -> SeenBin:
    return next(b for b in bins if b.low <= size and (b.high is None or size < b.high))


def folder(path: Path) -> str:
    """Pictures of 64 x 64: a face of 16 pixels that is an anchor, one that is ignored, and none."""
    made = make(path / "train", {"a.png": [line(12, 12, 16)], "b.png": [], "c.png": [], "d.png": []}, (64, 64))
    (made / "ignore.txt").write_text(f"# b.png\n{line(20, 20, 9)}\n")
    make(path / "val", {"v.png": []}, (64, 64), seed=1)
    return str(path)


def test_a_face_that_is_an_anchor_by_hand(tmp_path: Path) -> None:
    recipe = Recipe(epochs=1, batch_size=2, size=64, augment=WHOLE)
    report = seen(folder(tmp_path), recipe, 4)
    # anchors of 16 px lie 8 px apart: the face's own, and at an IoU of 1/3 its four neighbours, below the threshold of 0.35;
    # the one of 32 px around it has an IoU of 1/4
    found = bin_of(report.bins, 16)
    assert (found.low, found.high, found.faces, found.positives) == (16, 24, 1, 1)
    assert (found.share, found.positive_share, found.positives_per_face) == (1, 1, 1)
    assert sum(b.faces for b in report.bins) == sum(b.positives for b in report.bins) == 1
    assert (report.pictures, report.faces_per_picture, report.ignored, report.empty) == (4, 0.25, 0.5, 0.75)
    lower = seen(
        folder(tmp_path / "again"), Recipe(epochs=1, batch_size=2, size=64, augment=WHOLE, loss=LossConfig(iou=0.3)), 4
    )
    assert bin_of(lower.bins, 16).positives == 5


def test_the_faces_of_the_plans_are_counted(tmp_path: Path) -> None:
    lines = [line(10 + 30 * i, 20, 8 + 4 * i) for i in range(4)]
    data = str(make(tmp_path / "train", {f"{i}.png": lines[: i + 1] for i in range(4)}).parent)
    make(tmp_path / "val", {"v.png": []}, seed=1)
    augment = AugmentConfig(crop="mixture", views=0.5, view_side=160, face_sizes=(5.0, 60.0), size_edges=(12.0, 24.0))
    recipe = Recipe(epochs=6, batch_size=4, size=96, augment=augment, seed=3)
    report = seen(data, recipe, 24)
    source = open_data(data)[0]
    pictures = TrainingPictures(source, recipe)
    faces = [pictures[key][1] for keys in Order.of(recipe, set_sizes(source)) for key in keys][:24]
    sizes = [float(np.sqrt((x2 - x1) * (y2 - y1))) for f in faces for x1, y1, x2, y2 in f.boxes[~f.ignored]]
    assert sum(b.faces for b in report.bins) == len(sizes)
    for b in report.bins:
        assert b.faces == sum(b.low <= size and (b.high is None or size < b.high) for size in sizes)
        assert b.positives >= b.faces * 0.5
    assert report.empty == pytest.approx(np.mean([f.ignored.all() for f in faces]))


def test_the_screen_and_the_picture(run: Run, tmp_path: Path) -> None:
    data = folder(tmp_path / "set")
    arguments = ("data", "stats", data, "--recipe", "recipes/v2-small-faces.yaml", "--count", 6, "--set", "size=64")
    plain = ("--set", "augment.crop=none", "--set", "augment.min_face=0")
    ran = run(*arguments, *plain, "--out", "seen.png")
    assert ran.code == 0, ran.err
    assert "as the network sees them" in ran.out
    assert "by loss.assign=simota" in ran.out
    assert (tmp_path / "seen.png").read_bytes()[1:4] == b"PNG"
    for assign, untrained in (("simota", True), ("atss", False)):  # SimOTA alone asks the network
        said = json.loads(run(*arguments, *plain, "--set", f"loss.assign={assign}", "--json").out)
        assert (said["assign"], said["untrained"], said["pictures"]) == (assign, untrained, 6)
    ran = run("data", "stats", data, "--set", "size=64")
    assert ran.code == 2
    assert "hint: add --recipe" in ran.err
