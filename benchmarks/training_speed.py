"""Pictures a second of `featherface distill` on a processor, as first written and with what has made it faster since.

    python benchmarks/training_speed.py DIR             labelled pictures, as for `featherface distill --data`
    python benchmarks/training_speed.py DIR --compile   the student compiled too, which takes minutes before it starts

One engine for each row, the training's own, with a worker process and decoded pictures in memory. Blocks of steps alternate
between the engines, so that all see the same machine; a ratio is taken within a round, and its spread is the 5th to 95th
percentile. Shares are of a step's time: waiting for the batch, the teacher's look, the student's forward pass, and the rest
(losses, backward pass, optimiser).
"""

import argparse
import os

os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # as the command line does

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from featherface_core.bench.rounds import ratio
from featherface_core.config import configs_folder
from featherface_core.data.annotation import PictureSource
from featherface_core.data.sets import open_data
from featherface_core.models.checkpoint import load_model
from featherface_core.models.variants import build_model, resolve_model, shipped_weights
from featherface_core.recipe import Recipe, load_recipe
from featherface_core.training.alpha import AlphaSchedule
from featherface_core.training.loader import CachedPictures, TrainingPictures, batches
from featherface_core.training.loop import Engine
from featherface_core.training.onnx_teacher import make_teacher
from featherface_core.training.order import ECHO, Order
from featherface_core.training.processes import Processes
from featherface_core.training.run_folder import RunFolder
from featherface_core.training.task import DistillTask

PARTS = ("loading", "teacher", "forward", "rest")


@dataclass
class Row:
    """One way of training: its engine, its batches, and what its steps took. parts: seconds by PARTS, of the block at hand."""

    name: str
    engine: Engine
    loader: Any
    parts: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))
    blocks: list[float] = field(default_factory=list)
    shares: list[list[float]] = field(default_factory=list)

    def timed(self, part: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """``work``, its time added to ``part``."""

        def run(*arguments: Any) -> Any:
            start = time.perf_counter()
            try:
                return work(*arguments)
            finally:
                self.parts[part] += time.perf_counter() - start

        return run

    def block(self, steps: int) -> None:
        """Take steps, and remember how long they took."""
        self.parts.update(dict.fromkeys(PARTS, 0.0))
        start = time.perf_counter()
        for _ in range(steps):
            self.engine.take_step(self.loader)
        total = time.perf_counter() - start
        self.parts["rest"] = total - sum(self.parts.values())
        self.blocks.append(total / steps)
        self.shares.append([self.parts[part] / total for part in PARTS])


class Timed:
    """An iterator whose waiting is timed."""

    def __init__(self, row: Row, loader: Any) -> None:
        self._next = row.timed("loading", loader.__next__)

    def __next__(self) -> Any:
        return self._next()


def make_row(name: str, recipe: Recipe, source: PictureSource, folder: Path, teacher: str) -> Row:
    """An engine that is ready to train the recipe's network by the weights of ``teacher`` that ship."""
    alone, cpu = Processes(), torch.device("cpu")
    weights = shipped_weights(resolve_model(teacher))
    if weights is None:
        raise SystemExit(f"error: no weights of {teacher} ship")
    looks = make_teacher(load_model(weights), recipe, 0, lambda _: None)
    model = build_model(recipe.model, seed=0)
    schedule = AlphaSchedule(0.8, 0.5, "linear", recipe.epochs)
    remembered = ECHO if recipe.repeats > 1 else 0
    task = DistillTask(recipe.loss, recipe.distill, looks, model.config.width, schedule, alone, 0, remembered)
    path = folder / name.replace(" ", "-")
    path.mkdir()
    engine = Engine(name, model, task, source, source, recipe, RunFolder(path), alone, cpu, lambda _: None, "random")
    if engine.compiled:
        engine.compiled.use(True)
    engine.alpha = task.begin(1)
    engine.model.train()
    loader = batches(TrainingPictures(source, recipe), Order.of(recipe, len(source)), 1)
    row = Row(name, engine, None)
    row.loader = Timed(row, loader)
    looks.look = row.timed("teacher", looks.look)  # type: ignore[method-assign]
    engine.model.pyramid = row.timed("forward", engine.model.pyramid)  # type: ignore[method-assign]
    engine.model.predict = row.timed("forward", engine.model.predict)  # type: ignore[method-assign]
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--student", default="v2")
    parser.add_argument("--teacher", default="v1")
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    source = CachedPictures(open_data(options.data)[0], 6.0)
    base = load_recipe(configs_folder() / "recipes" / "cpu.yaml")
    base = replace(base, model=options.student, size=options.size, batch_size=options.batch, epochs=1000)
    ways: list[tuple[str, dict[str, Any], int]] = [
        ("as first written", {"teacher": "torch"}, 1),
        ("teacher in onnxruntime", {"teacher": "onnxruntime"}, 1),
        ("batches four times", {"teacher": "onnxruntime"}, 4),
    ]
    if options.compile:
        ways.append(("student compiled", {"teacher": "onnxruntime", "compile": True}, 4))
    with tempfile.TemporaryDirectory() as scratch:
        rows = []
        for name, machine, repeats in ways:
            recipe = replace(base, repeats=repeats, machine=replace(base.machine, **machine))
            rows.append(make_row(name, recipe, source, Path(scratch), options.teacher))
        # where batches come again a block is a whole turn: each of ECHO batches as often as it comes
        steps = [ECHO * row.engine.recipe.repeats if row.engine.recipe.repeats > 1 else ECHO // 2 for row in rows]
        for turn in range(options.rounds + 1):
            for row, count in zip(rows, steps, strict=True):
                row.block(count)
            if turn == 0:  # to warm up
                for row in rows:
                    row.blocks.clear()
                    row.shares.clear()
    print(f"{options.student} by {options.teacher}, {options.size} px, batch {options.batch}, {source.name}")
    print(f"{'':24}{'pictures/s':>11}{'ratio':>7}  {'spread':13}" + "".join(f"{part:>9}" for part in PARTS))
    for row in rows:
        faster = ratio(np.array(rows[0].blocks), np.array(row.blocks))
        speed = options.batch / np.median(row.blocks)
        shares = "".join(f"{share:>9.0%}" for share in np.mean(row.shares, axis=0))
        print(f"{row.name:24}{speed:>11.1f}{faster.median:>7.2f}  {faster.p5:.2f}-{faster.p95:.2f}    {shares}")


if __name__ == "__main__":
    main()
