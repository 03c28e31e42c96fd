"""Where a teacher and the labels disagree: boxes of labelled faces, and negatives that the teacher takes for faces.

    python benchmarks/teacher_labels.py train/ --weights v1_original.pth --recipe configs/recipes/v2-weights-3.yaml

First, for each folder of pictures: IoU of the teacher's boxes with the labelled ones, and where they begin and end, as shares
of the labelled box (medians over faces that it finds with IoU 0.3). Then, in batches of the recipe: of the negatives that the
labels' loss mines from --student, how many the teacher gives 0.5 or more, and their share of the loss of all negatives.
"""

import argparse
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from featherface_core.boxes import iou
from featherface_core.data.sets import FilePictures, open_data
from featherface_core.detect.detector import TorchDetector
from featherface_core.models.checkpoint import load_model
from featherface_core.models.variants import VARIANTS, shipped_weights
from featherface_core.recipe import load_recipe
from featherface_core.training.loader import TrainingPictures, collate
from featherface_core.training.losses import MultiBoxLoss
from featherface_core.training.order import Order
from featherface_core.training.teacher import Teacher

EDGES = ("left", "top", "right", "bottom")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--weights", required=True, help="the teacher's")
    parser.add_argument("--student", default=str(shipped_weights(VARIANTS["v1"])))
    parser.add_argument("--recipe", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument("--batches", type=int, default=10)
    asked = parser.parse_args()
    source, _ = open_data(asked.data)
    assert isinstance(source, FilePictures)
    teacher = load_model(asked.weights)
    detector = TorchDetector(teacher)
    found: dict[str, list[np.ndarray]] = defaultdict(list)
    for index in np.linspace(0, len(source) - 1, asked.pictures).round().astype(int):
        picture, faces = source.read(index)
        boxes = detector.detect(picture).boxes
        for box in faces.boxes[~faces.ignored]:
            overlaps = iou(box[None], boxes)[0] if len(boxes) else np.zeros(1)
            if overlaps.max() >= 0.3:
                side = np.tile(box[2:] - box[:2], 2)
                kind = Path(source.annotations[index].path).parent.name
                found[kind].append(np.append(overlaps.max(), (boxes[overlaps.argmax()] - box) / side))
    for kind, rows in found.items():
        share, *moves = np.median(rows, 0)
        edges = ", ".join(f"{move:+.2f} at the {edge}" for edge, move in zip(EDGES, moves, strict=True))
        print(f"{kind}: {len(rows)} faces, IoU {share:.2f}, the teacher's box moved by {edges}")

    recipe = load_recipe(asked.recipe)
    pictures, looks = TrainingPictures(source, recipe), Teacher(teacher)
    student = load_model(asked.student)
    criterion = MultiBoxLoss(recipe.loss)
    counts, losses = np.zeros(2), np.zeros(2)
    order = Order.of(replace(recipe, repeats=1), len(source))
    for _, keys in zip(range(asked.batches), order, strict=False):
        batch = collate([pictures[key] for key in keys])
        pixels = batch.network_input(torch.device("cpu"))
        with torch.no_grad():
            boxes, scores, landmarks = student(pixels)
            logits = scores.clamp(min=1e-12).log()
            labelled = criterion((boxes, logits, landmarks), batch.targets, *pixels.shape[2:])
            flat = logits.flatten(0, 1)[labelled.negative]
            cost = F.softplus(flat[:, 1] - flat[:, 0])
            disputed = looks.look(pixels).margin.sigmoid()[labelled.negative] >= 0.5
        counts += (int(disputed.sum()), len(disputed))
        losses += (float(cost[disputed].sum()), float(cost.sum()))
    print(
        f"of {counts[1]:,.0f} mined negatives the teacher gives {counts[0] / counts[1]:.1%} 0.5 or more; they have "
        f"{losses[0] / losses[1]:.0%} of the negatives' loss"
    )


if __name__ == "__main__":
    main()
