"""Runs of seconds on drawn faces, engines without a run, and pictures that spoil a step."""

import json
from pathlib import Path

import numpy as np
import torch

from featherface_core.data.annotation import Faces, Picture, set_sizes
from featherface_core.events import RunEvent
from featherface_core.models.variants import build_model
from featherface_core.recipe import (
    AugmentConfig,
    MachineConfig,
    OptimiserConfig,
    Recipe,
    StoppingConfig,
    ValidationConfig,
)
from featherface_core.training.command_run import Where
from featherface_core.training.loop import Engine
from featherface_core.training.processes import Processes
from featherface_core.training.run_folder import RunFolder
from featherface_core.training.runs import train
from featherface_core.training.task import LabelsTask


def recipe(**changes: object) -> Recipe:
    """A run of seconds: four steps an epoch on drawn faces."""
    values: dict = {
        "model": "v2",
        "epochs": 3,
        "pictures_per_epoch": 16,
        "batch_size": 4,
        "size": 64,
        "augment": AugmentConfig(crop="jitter", jitter=(0.5, 1.0), drop_block=0.1),
        "optimiser": OptimiserConfig(warmup_epochs=0.5),
        "validation": ValidationConfig(pictures=4, size=0),
        "stopping": StoppingConfig(enabled=False),
        "machine": MachineConfig(device="cpu", workers=0, cache_gb=0.0),
    }
    return Recipe(**(values | changes))


DATA = "synthetic:24"


def silent(event: RunEvent) -> None:
    """A listener that does not listen."""


def run(out: Path, **changes: object) -> Path:
    train(recipe(**changes), DATA, None, Where(out), silent)
    return out


def tensors(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path / "last.pt", weights_only=True)["model"]


def assert_same_run(a: Path, b: Path) -> None:
    """Weights, averages, optimiser and metrics agree bit for bit."""
    left, right = (torch.load(p / "last.pt", weights_only=True) for p in (a, b))
    for part in ("model", "average"):
        assert left[part].keys() == right[part].keys()
        assert all(torch.equal(left[part][name], right[part][name]) for name in left[part]), part
    for state in zip(left["optimiser"]["state"].values(), right["optimiser"]["state"].values(), strict=True):
        assert all(torch.equal(torch.as_tensor(state[0][k]), torch.as_tensor(state[1][k])) for k in state[0])
    timed = {"epoch_time", "eta", "images_per_second", "val_time"}
    lines = [[json.loads(line) for line in (p / "metrics.jsonl").read_text().splitlines()] for p in (a, b)]
    without = [[{k: v for k, v in record.items() if k not in timed} for record in records] for records in lines]
    assert without[0] == without[1]


class Poisoned:
    """Pictures whose labels overflow the loss from the n-th reading on, ``length`` times."""

    name = "poisoned"
    sets = (("poisoned", 16),)

    def __init__(self, from_reading: int) -> None:
        self.readings, self.from_reading = 0, from_reading

    def __len__(self) -> int:
        return 16

    def shape(self, index: int) -> tuple[int, int]:
        return 64, 64

    def faces(self, index: int) -> Faces:
        points = np.full((1, 5, 2), 20.0)
        if self.from_reading <= self.readings + 1 < self.from_reading + self.length:
            points += 1e38
        return Faces.of([[10, 10, 30, 30]], points)

    length = 10**6

    def read(self, index: int) -> tuple[Picture, Faces]:
        faces = self.faces(index)
        self.readings += 1
        return np.full((64, 64, 3), 100, np.uint8), faces


def engine(out: Path, source: object, on_event=silent, **changes: object) -> Engine:
    made = recipe(augment=AugmentConfig(crop="none", colour=0.0), **changes)
    out.mkdir(exist_ok=True)
    task = LabelsTask(made.loss, Processes())
    model = build_model("v2", seed=0)
    cpu = torch.device("cpu")
    return Engine("model", model, task, source, source, made, RunFolder(out), Processes(), cpu, on_event, "random")


def runs_batches(one: Engine):
    from featherface_core.training.loader import TrainingPictures, batches
    from featherface_core.training.order import Order

    order = Order.of(one.recipe, set_sizes(one.source), one.processes.rank, one.processes.world)
    return batches(TrainingPictures(one.source, one.recipe), order, 0)
