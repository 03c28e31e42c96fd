"""Evaluations by the official ground truth: its settings, and the pictures that it knows."""

from dataclasses import replace
from pathlib import Path

import pytest
from eval_scenes import OFFICIAL, SUBSET, Scene, draw, figures, official, score

from featherface_core.errors import DataError
from featherface_core.evaluation.report import RecallRow

pytestmark = pytest.mark.usefixtures("no_curves")


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
