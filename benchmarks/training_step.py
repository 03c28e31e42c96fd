"""A training step with the real loader, against the same step on a batch that is in memory already.

    python benchmarks/training_step.py DIR              labelled pictures, as for `featherface train --data`
    python benchmarks/training_step.py synthetic

Blocks of steps alternate between the two, so that both see the same machine. The loader is the training's own: worker processes,
pictures decoded, cropped, varied. By default decoded pictures are kept in memory as `train` keeps them (machine.cache_gb); with
--cache 0 each is decoded again each time.
"""

import argparse
import os

os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # as the command line does

import statistics
import time
from itertools import cycle

import torch
from torch import nn

from featherface_core.config import configs_folder
from featherface_core.data.open import open_data
from featherface_core.losses import MultiBoxLoss
from featherface_core.models.variants import build_model
from featherface_core.recipe import load_recipe
from featherface_core.training.loader import Batch, CachedPictures, TrainingPictures, batches
from featherface_core.training.order import Order


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--model", default="v2")
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--cache", type=float, default=6.0, help="gigabytes for decoded pictures")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--block", type=int, default=8, help="steps a block")
    parser.add_argument("--blocks", type=int, default=7)
    options = parser.parse_args()
    recipe = load_recipe(configs_folder() / "recipes" / "cpu.yaml")
    source, _ = open_data(options.data)
    if options.cache:
        source = CachedPictures(source, options.cache)
    model = build_model(options.model, seed=0).train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    criterion = MultiBoxLoss(recipe.loss)
    cpu = torch.device("cpu")

    def step(batch: Batch) -> None:
        optimiser.zero_grad(set_to_none=True)
        terms = criterion(model(batch.network_input(cpu, True)), batch.targets, options.size, options.size).terms
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()

    order = Order(len(source), options.batch, 10_000, 0, (options.size,))
    pictures = TrainingPictures(source, recipe)
    loader = batches(pictures, order, options.workers)
    still = [next(loader) for _ in range(4)]
    seconds: dict[str, list[float]] = {"memory": [], "loader": []}
    for block in range(options.blocks + 1):
        for name, given in (("memory", cycle(still)), ("loader", loader)):
            if name == "loader":
                step(next(loader))  # what was prepared while the other block ran does not count
                step(next(loader))
                step(next(loader))
            else:
                time.sleep(1.0)  # the workers fill their queue, and then rest
            start = time.perf_counter()
            for _ in range(options.block):
                step(next(given))
            if block:
                seconds[name].append((time.perf_counter() - start) / options.block)
    ratio = statistics.median(b / a for a, b in zip(seconds["memory"], seconds["loader"], strict=True))
    memory, loaded = (1000 * statistics.median(values) for values in seconds.values())
    print(
        f"{options.model} at {options.size} px, batch {options.batch}, {source.name}: in memory {memory:.0f} ms a step, "
        f"with the loader {loaded:.0f} ms, ratio {ratio:.3f} (medians of {options.blocks} blocks of {options.block} steps, "
        f"{torch.get_num_threads()} threads, {options.workers} workers, cache {options.cache:g} GB)"
    )


if __name__ == "__main__":
    main()
