"""Validation at two sizes: what counts at each, which epoch is kept, and runs that began before there were two."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from painted import Painted, detector, painting
from small_runs import DATA, recipe, run, silent
from test_eval_inference import Album

from featherface_core.data.annotation import Faces
from featherface_core.errors import ConfigError
from featherface_core.evaluation.average_precision import Precision
from featherface_core.models.checkpoint import read_notes
from featherface_core.models.variants import build_model
from featherface_core.recipe import LossConfig, StoppingConfig, ValidationConfig
from featherface_core.training import loop as engine
from featherface_core.training import validation
from featherface_core.training.command_run import Where
from featherface_core.training.runs import resume, train
from featherface_core.training.validation import Validation, validate

CPU = torch.device("cpu")
LARGE, TINY, MISSED = (30, 30, 60, 60), (120, 30, 129, 39), (180, 30, 240, 90)


def seen_by(network: Painted, album: Album, config: ValidationConfig, monkeypatch: pytest.MonkeyPatch) -> Validation:
    monkeypatch.setattr(validation, "TorchDetector", lambda model, device: detector(network))
    return validate(build_model("v2", seed=0), album, config, LossConfig(), CPU)


def test_the_mean_of_two_aps_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """At 300 px two of three faces are found. At 100 px one is 3 px small and does not count: one of two is found."""
    album = Album([painting(120, 300, (LARGE, 250), (TINY, 200))], [Faces.of([LARGE, TINY, MISSED])])
    found = seen_by(Painted(), album, ValidationConfig(size=300), monkeypatch)
    assert found.whole == Precision(pytest.approx(2 / 3), pytest.approx(2 / 3), 3, 1)
    assert found.small == Precision(pytest.approx(1 / 2), pytest.approx(1 / 2), 2, 1)
    assert found.ap == found.recall == pytest.approx(7 / 12)
    assert "long side 300 px" in found.protocol
    assert "mean of this AP and that at long side 100 px, faces below 4 px there ignored" in found.protocol
    assert found.notes()["ap_small"] == "0.500000"


@pytest.mark.parametrize(("size", "small", "sides"), [(300, 1 / 3, [300, 100]), (0, 0.25, [300, 75]), (300, 0, [300])])
def test_the_sizes_at_which_pictures_are_shown(
    monkeypatch: pytest.MonkeyPatch, size: int, small: float, sides: list[int]
) -> None:
    network = Painted()
    album = Album([painting(120, 300, (LARGE, 250))], [Faces.of([LARGE])])
    found = seen_by(network, album, ValidationConfig(size=size, small=small), monkeypatch)
    assert [shape[3] for shape in network.shapes] == sides
    assert (found.small is None) is (small == 0)
    assert ("ignored" in found.protocol) is (small > 0)


@pytest.mark.parametrize(("side", "counted"), [(11, 0), (12, 1)])
def test_a_face_counts_from_four_pixels_on(monkeypatch: pytest.MonkeyPatch, side: int, counted: int) -> None:
    face = (30, 30, 30 + side, 32)  # its long side decides
    album = Album([painting(120, 300)], [Faces.of([face])])
    found = seen_by(Painted(), album, ValidationConfig(size=300), monkeypatch)
    assert found.whole.faces == 1
    assert found.small is not None
    assert found.small.faces == counted
    assert found.ap == 0  # where the small view has no face the other counts alone


def test_pictures_of_one_shape_go_in_batches_whatever_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    tall, wide = painting(90, 60, ((12, 12, 48, 48), 250)), painting(60, 90, ((12, 12, 48, 48), 250))
    right, wrong = Faces.of([(12, 12, 48, 48)]), Faces.of([(0, 50, 20, 60)])
    album = Album([tall, wide] * 5, [right, wrong] * 5)
    network = Painted()
    found = seen_by(network, album, ValidationConfig(size=0, small=0), monkeypatch)
    assert sorted(network.shapes) == [(5, 3, 60, 90), (5, 3, 90, 60)]
    assert found.whole.recall == 0.5  # each picture is held against its own faces


def test_pictures_that_cannot_be_read_are_missed_in_both(monkeypatch: pytest.MonkeyPatch) -> None:
    album = Album(["gone", painting(120, 300, (LARGE, 250))], [Faces.of([LARGE]), Faces.of([LARGE])])
    found = seen_by(Painted(), album, ValidationConfig(size=300), monkeypatch)
    assert found.small is not None
    assert (found.whole.recall, found.small.recall) == (0.5, 0.5)


def test_losses_by_term_and_labels_without_landmarks() -> None:
    """The landmark term of faces without landmarks is no number, and the sum is of the rest."""
    picture = painting(64, 64, ((10, 10, 40, 40), 200))
    config = ValidationConfig(size=0)
    plain, pointed = (
        validate(build_model("v2", seed=0), Album([picture], [faces]), config, LossConfig(), CPU)
        for faces in (Faces.of([(10, 10, 40, 40)]), Faces.of([(10, 10, 40, 40)], np.full((1, 5, 2), 20.0)))
    )
    assert math.isnan(plain.losses["landmark"])
    assert pointed.losses["landmark"] > 0
    assert plain.loss == pytest.approx(pointed.losses["box"] + pointed.losses["cls"])
    assert pointed.loss == pytest.approx(sum(pointed.losses.values()))


def told(whole: float, small: float) -> Validation:
    return Validation({"box": 1.0}, Precision(whole, whole, 9, 4), Precision(small, small, 9, 4), "two sizes")


def test_the_mean_chooses_the_epoch_that_is_kept_and_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The best epoch at full size is the third, by the mean it is the second; after that nothing gets better."""
    results = [told(0.6, 0.2), told(0.5, 0.4), told(0.7, 0.1), told(0.4, 0.4), told(0.4, 0.4)]
    monkeypatch.setattr(engine, "validate", lambda *_: results.pop(0))
    stopping = StoppingConfig(patience=2, min_epoch=1, window_start=90, window_end=99)
    out = run(tmp_path / "run", epochs=5, stopping=stopping)
    report = json.loads((out / "report.json").read_text())
    row = report["network"]
    assert (row["best_epoch"], row["epochs"]) == (2, 4)
    assert (row["ap"], row["ap_whole"], row["ap_small"]) == (pytest.approx(0.45), 0.5, 0.4)
    assert report["stopped"]
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [(r["val_map_whole"], r["val_map_small"]) for r in records[:2]] == [(0.6, 0.2), (0.5, 0.4)]
    assert records[1]["val_map"] == pytest.approx(0.45)
    notes = read_notes(out / "best.safetensors")
    assert (notes["epoch"], notes["ap"], notes["ap_whole"], notes["ap_small"]) == (
        "2",
        "0.450000",
        "0.500000",
        "0.400000",
    )


def test_a_run_from_before_goes_on_as_it_began(tmp_path: Path) -> None:
    """Without the key in its config.yaml, and with the checkpoint of then, a run is validated at one size to its end."""
    out = tmp_path / "run"
    train(
        recipe(validation=ValidationConfig(pictures=4, size=0, small=0)), DATA, None, Where(out, stop_after=1), silent
    )
    kept = yaml.safe_load((out / "config.yaml").read_text())
    del kept["recipe"]["validation"]["small"]
    (out / "config.yaml").write_text("# an older version\n" + yaml.safe_dump(kept))
    state = torch.load(out / "last.pt", weights_only=True)
    best = state["best"]
    state |= {"best": [best["epoch"], 2.0, best["recall"]], "best_loss": best["loss"]}
    torch.save(state, out / "last.pt")
    report = resume(out, "train", 0, silent)
    assert (report.network.best_epoch, report.network.ap, report.network.ap_small) == (1, 2.0, None)
    assert "ignored" not in report.protocol
    assert "val_map_small" not in (out / "metrics.jsonl").read_text()


@pytest.mark.parametrize("small", [-0.1, 1.0, float("nan")])
def test_shares_that_are_none(small: float) -> None:
    with pytest.raises(ConfigError, match=r"validation\.small"):
        ValidationConfig(small=small)
