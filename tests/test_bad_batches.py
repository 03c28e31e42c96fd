"""Batches that spoil a step: skipped, kept and counted, until there are too many of them."""

import json
from pathlib import Path

import pytest
import torch
from small_runs import Poisoned, engine

from featherface_core.data.annotation import Faces, Picture
from featherface_core.errors import FeatherFaceError
from featherface_core.events import Note
from featherface_core.recipe import MachineConfig


def test_three_steps_without_a_finite_loss_stop_the_run(tmp_path: Path) -> None:
    notes: list[Note] = []
    one = engine(tmp_path / "run", Poisoned(8), lambda e: notes.append(e) if isinstance(e, Note) else None)
    with pytest.raises(FeatherFaceError, match="3 steps in a row") as problem:
        one.fit()
    assert "--lr" in problem.value.hint
    kept = sorted(p.name for p in (tmp_path / "run" / "bad_batches").iterdir())
    assert len(kept) == 3
    saved = torch.load(tmp_path / "run" / "bad_batches" / kept[0], weights_only=True)
    assert saved["batches"][0]["pixels"].shape == (4, 64, 64, 3)
    assert any("is skipped" in note.text for note in notes)
    assert all(bool(torch.isfinite(t).all()) for t in one.model.state_dict().values())


def test_of_many_bad_batches_few_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "bad_batches"
    folder.mkdir(parents=True)
    for n in range(9):
        (folder / f"{n}.pt").write_bytes(b"")
    one = engine(tmp_path / "run", Poisoned(4))
    with pytest.raises(FeatherFaceError, match="3 steps in a row"):
        one.fit()
    assert len(list(folder.iterdir())) == 10


def test_one_bad_step_is_skipped_and_counted(tmp_path: Path) -> None:
    source = Poisoned(5)  # the second batch
    source.length = 4
    one = engine(tmp_path / "run", source, epochs=1)
    assert one.fit().finished
    record = json.loads((tmp_path / "run" / "metrics.jsonl").read_text())
    assert record["skipped_steps"] == 1
    assert record["train_loss"] is not None


def test_errors_of_workers_are_one_line(tmp_path: Path) -> None:
    from featherface_core.errors import DataError

    class Broken(Poisoned):
        def read(self, index: int) -> tuple[Picture, Faces]:
            raise DataError(f"picture {index} is broken", "mend it")

    machine = MachineConfig(device="cpu", workers=1, cache_gb=0.0)
    with pytest.raises(DataError, match="pictures of one plan cannot be read") as problem:
        engine(tmp_path / "run", Broken(99), machine=machine).fit()
    assert problem.value.hint == "look into the data with: featherface data check"
