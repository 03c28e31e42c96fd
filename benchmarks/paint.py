"""The two painters of training pictures, alone: the same plans by OpenCV and by one gather from a store of pictures, in turns.

    python benchmarks/paint.py DIR              labelled pictures, as for `featherface train --data`
    python benchmarks/paint.py synthetic:200

Decoded pictures are in memory for both. Times are of one thread of a CPU (processor time, so that other work on the machine
counts little), or with --device cuda of the device. Plans are those of a recipe, made beforehand.
"""

import argparse
import statistics
import time
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from featherface_core.config import configs_folder
from featherface_core.data.augment.paint import paint
from featherface_core.data.sets import open_data
from featherface_core.recipe import load_recipe
from featherface_core.training.device_paint import paint_table
from featherface_core.training.loader import TrainingPictures
from featherface_core.training.order import Order
from featherface_core.training.paint_jobs import table_of
from featherface_core.training.picture_store import PictureStore


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--recipe", type=Path, default=configs_folder() / "recipes" / "v2-weights-5.yaml")
    parser.add_argument("--batches", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cache", type=float, default=16.0, help="gigabytes for the store")
    options = parser.parse_args()
    recipe = load_recipe(options.recipe)
    device = torch.device(options.device)
    torch.set_num_threads(1)
    source, _ = open_data(options.data)
    store = PictureStore(source, options.cache, device)
    pictures = TrainingPictures(store, recipe)
    batches = []
    began = time.process_time()
    for keys in islice(Order.of(recipe, len(store)), options.batches):
        batches.append([pictures.plan(key)[0] for key in keys])
    count = sum(len(plans) for plans in batches)
    planning = (time.process_time() - began) / count
    needed = sorted({piece.picture for plans in batches for plan in plans for piece in plan.pieces})
    decoded = {index: store.read(index)[0] for index in needed}
    tables = [table_of(plans) for plans in batches]
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    seconds: dict[str, list[float]] = {"OpenCV": [], "device": []}
    for _ in range(options.rounds):
        for plans, table in zip(batches, tables, strict=True):
            start = time.process_time()
            wanted = np.stack([paint(plan, decoded.__getitem__) for plan in plans])
            between = time.process_time()
            begun = clock()
            found = paint_table(table, len(plans), plans[0].size, store)
            if device.type == "cuda":
                torch.cuda.synchronize()
            seconds["device"].append((clock() - begun) / len(plans))
            seconds["OpenCV"].append((between - start) / len(plans))
    difference = float(np.sqrt(np.square(found.cpu().numpy().astype(np.float32) - wanted).mean()))
    opencv, other = (1000 * statistics.median(seconds[name]) for name in seconds)
    pieces = sum(len(table) for table in tables) / count
    print(
        f"{options.recipe.stem}, {recipe.size} px, batches of {recipe.batch_size}, {pieces:.1f} pieces a picture, {source.name}: "
        f"OpenCV {opencv:.2f} ms a picture, {device} {other:.2f} ms, planning {1000 * planning:.2f} ms (medians); "
        f"the last batch differs by {difference:.2f} levels RMS"
    )


if __name__ == "__main__":
    main()
