"""doctor as a user meets it: its screen, its report, and its exit codes."""

import json
from pathlib import Path

import pytest
from command_line import Run, assert_refused

from featherface_core.models.variants import VARIANTS


def test_doctor(run: Run, tmp_path: Path) -> None:
    ran = run("doctor", "--only", "models", "--out", "validation_results.json")
    assert ran.code == 0
    assert "5 ok" in ran.out
    report = json.loads((tmp_path / "validation_results.json").read_text())
    assert report["counts"]["ok"] == 5
    assert {f["check"] for f in report["findings"]} == set(VARIANTS)
    assert json.loads(run("doctor", "--only", "python", "--json").out)["counts"]["ok"] == 1


@pytest.mark.usefixtures("imports_well")
def test_doctor_fails_and_is_strict(run: Run, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.pth").touch()
    ran = run("doctor", "--only", "weights", "--weights", "empty.pth")
    assert ran.code == 1
    assert "fix: copy or download it again" in ran.out
    untrained = ("doctor", "--only", "weights", "--weights", weights)
    assert "look untrained" in run(*untrained).out
    assert (run(*untrained).code, run(*untrained, "--strict").code) == (0, 1)


def test_doctor_refuses_an_unknown_check(run: Run) -> None:
    assert_refused(run("doctor", "--only", "modles"), 2, "'modles'", "did you mean 'models'")


@pytest.mark.slow
def test_the_whole_doctor_in_an_empty_folder(run: Run, tmp_path: Path) -> None:
    ran = run("doctor")
    assert ran.code == 0, ran.out
    assert "0 fail" not in ran.out
    assert " fail " not in ran.out
    assert not list(tmp_path.iterdir())
