"""Scores that mean the same at every anchor size: fitted on held-out pictures, put into the class heads."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import noise, randomise
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import DATA, recipe, silent

from featherface_core.boxes import count_anchors
from featherface_core.config import with_values
from featherface_core.data.sets import open_data
from featherface_core.detect.detector import TorchDetector
from featherface_core.errors import ConfigError
from featherface_core.events import Note
from featherface_core.models.checkpoint import load_weights, read_notes
from featherface_core.models.featherface import FeatherFace
from featherface_core.models.variants import build_model
from featherface_core.training import score_calibration as calibration
from featherface_core.training.command_run import Where
from featherface_core.training.runs import train
from featherface_core.training.score_calibration import AnchorShift, calibrate

SIDE = 64
CELLS = (SIDE // 8) ** 2, (SIDE // 16) ** 2, (SIDE // 32) ** 2


def margins(model: FeatherFace) -> list[np.ndarray]:
    """Log odds of a picture, for each of the six anchor sizes."""
    with torch.inference_mode():
        _, scores, _ = model(noise(1, SIDE, SIDE))
    odds = torch.log(scores[0, :, 1] / scores[0, :, 0]).numpy()
    assert len(odds) == count_anchors(SIDE, SIDE)
    levels = np.split(odds, np.cumsum([2 * cells for cells in CELLS])[:-1])
    return [level[place::2] for level in levels for place in range(2)]


@settings(max_examples=40, deadline=None)
@given(st.floats(-6, 6), st.integers(0, 2**31 - 1))
def test_the_fit_finds_what_made_the_labels(shift: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    odds = rng.normal(0, 2, 20_000)
    right = rng.random(20_000) < 1 / (1 + np.exp(-(odds + shift)))
    found = calibration._fit(16, list(zip(odds.tolist(), right.tolist(), strict=True)))
    assert (found.faces, found.alarms) == (right.sum(), (~right).sum())
    if min(found.faces, found.alarms) > 200:
        assert found.shift == pytest.approx(shift, abs=0.3)
    assert (1 / (1 + np.exp(-(odds + found.shift)))).sum() == pytest.approx(found.faces, abs=1e-3)


def overlap(a: list[float], b: list[float]) -> float:
    """IoU of two boxes."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inside = max(width, 0.0) * max(height, 0.0)
    return inside / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inside)


def judged_by_loops(found: list[list[float]], faces: list[list[float]], ignored: list[bool]) -> list[bool | None]:
    """Of detections, best first: True for the first on a face, False for one more on it or on none, None for neither."""
    verdicts: list[bool | None] = []
    free = [not unwanted for unwanted in ignored]
    for box in found:
        shares = [overlap(box, face) for face in faces]
        if any(share > 0.2 and unwanted for share, unwanted in zip(shares, ignored, strict=True)):
            verdicts.append(None)
        elif shares and max(shares) >= 0.5:
            face = shares.index(max(shares))
            verdicts.append(free[face])
            free[face] = False
        elif shares and max(shares) >= 0.35:
            verdicts.append(None)
        else:
            verdicts.append(False)
    return verdicts


def test_a_false_alarm_takes_no_face() -> None:
    face, beside, unclear, elsewhere = [10, 10, 20, 20], [17, 10, 27, 20], [14.5, 10, 24.5, 20], [50, 50, 60, 60]
    found = [elsewhere, beside, unclear, face, face]
    overlaps = np.array([[overlap(box, face)] for box in found], np.float32)
    # the strongest overlaps nothing, the second a little: the face is still to be found, once
    assert calibration._verdicts(overlaps, np.array([False])) == [False, False, None, True, False]
    assert calibration._verdicts(overlaps, np.array([True])) == [False, False, None, None, None]
    assert calibration._verdicts(np.zeros((2, 0), np.float32), np.zeros(0, bool)) == [False, False]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_verdicts_equal_plain_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 60, (int(rng.integers(0, 6)), 2))
    faces = np.concatenate((corner, corner + rng.uniform(5, 30, corner.shape)), 1)
    near = (
        faces[rng.integers(0, len(faces), 12)] if len(faces) else rng.uniform((0, 0, 40, 40), (30, 30, 70, 70), (12, 4))
    )
    found = (near + rng.normal(0, 3, near.shape) * (rng.random((12, 1)) < 0.8)).tolist()
    found.append([90.0, 90.0, 99.0, 99.0])
    rng.shuffle(found)
    ignored = rng.random(len(faces)) < 0.3
    overlaps = np.array([[overlap(box, face) for face in faces.tolist()] for box in found], np.float32)
    wanted = judged_by_loops(found, faces.tolist(), ignored.tolist())
    assert calibration._verdicts(overlaps.reshape(len(found), len(faces)), ignored) == wanted


def test_anchors_that_show_next_to_nothing_stay() -> None:
    rows = [(float(i), True) for i in range(50)] + [(-1.0, False)] * (calibration.FEWEST - 1)
    assert calibration._fit(512, rows) == AnchorShift(512, 50, calibration.FEWEST - 1, 0.0)
    assert calibration._fit(16, []) == AnchorShift(16, 0, 0, 0.0)


def test_each_anchor_size_moves_by_its_own_shift_and_nothing_else_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    model = randomise(build_model("v2", seed=0))
    before, boxes_before = margins(model), model(noise(1, SIDE, SIDE))[0]
    shifts = iter([i - 2.0 for i in range(6)])
    monkeypatch.setattr(calibration, "_fit", lambda size, _: AnchorShift(size, 0, 0, next(shifts)))
    source, _ = open_data("synthetic:2")
    found = calibrate(model, source, (SIDE,))
    assert [anchor.size for anchor in found] == [16, 32, 64, 128, 256, 512]
    for i, (old, new) in enumerate(zip(before, margins(model), strict=True)):
        np.testing.assert_allclose(new, old + i - 2.0, atol=2e-3)
    assert torch.equal(model(noise(1, SIDE, SIDE))[0], boxes_before)


def test_afterwards_scores_are_the_shares_that_are_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """On drawn faces, with a network that finds them and is too sure of all that it finds."""
    source, _ = open_data("synthetic:60")
    model = _too_sure()

    def doubt() -> tuple[float, int]:
        """How far the mean score is from the share that is right, over anchors with enough of both; and how many those are."""
        samples: dict[int, list[tuple[float, bool]]] = {}
        for index in range(len(source)):
            picture, faces = source.read(index)
            judged = calibration._judged(TorchDetector(model), picture, faces, 2 * SIDE)
            for anchor, odds, right in judged:
                samples.setdefault(anchor, []).append((odds, right))
        gaps = []
        for rows in samples.values():
            odds, right = np.array(rows).T
            if min(right.sum(), len(right) - right.sum()) >= calibration.FEWEST:
                gaps.append(abs(float((1 / (1 + np.exp(-odds))).mean() - right.mean())))
        return max(gaps, default=0.0), len(gaps)

    before, anchors = doubt()
    assert anchors
    assert before > 0.2
    calibrate(model, source, (2 * SIDE,))
    # what it was fitted to, from a score of 0.02 on, now scores less, but counts all the same
    monkeypatch.setattr(calibration, "SCORE", 2e-4)
    after, still = doubt()
    assert still
    assert after < before / 50


def _too_sure() -> FeatherFace:
    """The v1 that ships, too sure of everything."""
    from featherface_core.models.checkpoint import load_model
    from featherface_core.models.variants import VARIANTS, shipped_weights

    path = shipped_weights(VARIANTS["v1"])
    assert isinstance(path, Path)
    model = load_model(path)
    with torch.no_grad():
        for head in model.heads:  # type: ignore[attr-defined]
            head.classes.bias[1::2] += 6
    return model


@pytest.mark.slow
def test_a_run_calibrates_what_it_keeps(tmp_path: Path) -> None:
    small = recipe(epochs=1)
    calibrated = with_values(small, {"calibration": {"sizes": [SIDE]}}, "test")
    notes: list[str] = []

    def listen(event: object) -> None:
        if isinstance(event, Note):
            notes.append(event.text)

    plain = train(small, DATA, None, Where(tmp_path / "plain"), silent)
    scaled = train(calibrated, DATA, None, Where(tmp_path / "scaled"), listen)
    assert scaled.network.ap == plain.network.ap  # of before
    assert any("by anchor size: 16 px" in note for note in notes)
    old, new = (load_weights(tmp_path / name / "best.safetensors").state for name in ("plain", "scaled"))
    changed = {name for name in old if not torch.equal(old[name], new[name])}
    assert all(".classes." in name for name in changed)
    kept, more = (read_notes(tmp_path / name / "best.safetensors") for name in ("plain", "scaled"))
    assert kept.items() <= more.items()
    assert more.keys() - kept.keys() == {"calibration"}


def test_sizes_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"calibration\.sizes 20"):
        with_values(recipe(), {"calibration": {"sizes": [20]}}, "test")
