"""What a recipe shows the network: pictures to look at, faces by size, and the anchors that learn them."""

import time
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from featherface_core.data.annotation import Faces, Picture, set_sizes
from featherface_core.data.contact_sheet import contact_sheet
from featherface_core.data.report import SeenBin, SeenReport
from featherface_core.data.sets import DataNames, open_training
from featherface_core.data.stats import draw_seen, face_sizes
from featherface_core.events import Progress, RunListener, ignore
from featherface_core.models.checkpoint import load_start
from featherface_core.models.featherface import FeatherFace
from featherface_core.models.variants import build_model, resolve_model
from featherface_core.pictures import write_picture
from featherface_core.recipe import Recipe
from featherface_core.training.assignment import Predictions, match
from featherface_core.training.loader import TrainingPictures, collate
from featherface_core.training.order import Key, Order
from featherface_core.training.run_folder import RunFolder
from featherface_core.training.targets import Targets

COLUMNS = 6
SHOWN = 16
EDGES = (0.0, 6, 8, 10, 12, 16, 24, 32, 64, 128, 256)  # pixels


@dataclass(frozen=True)
class PreviewReport:
    """What was drawn. faces: labelled faces in the varied pictures; ignored: of them, those that train nothing."""

    path: str
    data: str
    pictures: int
    faces: int
    ignored: int
    with_landmarks: int


def preview(data: DataNames, recipe: Recipe, count: int, out: Path, on_event: RunListener = ignore) -> PreviewReport:
    """Draw the first ``count`` pictures of the recipe's first epoch on ``data``, with boxes and landmarks, into ``out``."""
    source = open_training(data, on_event)
    samples = training_samples(TrainingPictures(source, recipe), recipe, count)
    write_picture(out, contact_sheet(samples, COLUMNS))
    faces = [faces for _, faces in samples]
    return PreviewReport(
        str(out),
        source.name,
        len(samples),
        sum(len(f) for f in faces),
        sum(int(f.ignored.sum()) for f in faces),
        sum(int(f.has_landmarks.sum()) for f in faces),
    )


def training_samples(pictures: TrainingPictures, recipe: Recipe, count: int) -> list[tuple[Picture, Faces]]:
    """The first ``count`` pictures of the recipe's run, varied as the network sees them; fewer where it has fewer."""
    keys = islice(chain.from_iterable(Order.of(recipe, set_sizes(pictures.source))), count)
    return [pictures[key][:2] for key in keys]


def save_samples(folder: RunFolder, pictures: TrainingPictures, recipe: Recipe) -> None:
    """Draw the first pictures with their labels into samples/training.jpg."""
    folder.samples.mkdir(exist_ok=True)
    write_picture(folder.samples / "training.jpg", contact_sheet(training_samples(pictures, recipe, SHOWN)))


def seen(data: DataNames, recipe: Recipe, count: int, on_event: RunListener = ignore) -> SeenReport:
    """Plan the first ``count`` pictures of the recipe's run over ``data`` and count what they show.

    data: see data.sets.open_data. SimOTA gives anchors by what a network predicts: there the pictures are painted too, and
    shown to the network as ``recipe.init`` starts it. Raises DataError and ConfigError as training does.
    """
    start = time.perf_counter()
    source = open_training(data, on_event)
    pictures = TrainingPictures(source, recipe)
    order = Order.of(recipe, set_sizes(source))
    keys = list(islice(chain.from_iterable(order), count))
    model = _network(recipe) if recipe.loss.assign == "simota" else None
    sizes, positives, ignored, empty, total = [], [], 0, 0, 0
    for first in range(0, len(keys), recipe.batch_size):
        some = keys[first : first + recipe.batch_size]
        for size in sorted({key.size for key in some}):
            batch = [key for key in some if key.size == size]
            faces, each = _learnt(pictures, batch, recipe, model)
            for one in faces:
                total += len(one)
                ignored += int(one.ignored.sum())
                empty += bool(one.ignored.all())
            sizes.append(np.concatenate([face_sizes(one) for one in faces]))
            positives.append(np.where(np.concatenate([one.ignored for one in faces]), -1, each))
        on_event(Progress(first + len(some), len(keys), "plans"))
    side, anchors = np.concatenate(sizes), np.concatenate(positives)
    counted = anchors >= 0
    return SeenReport(
        data=source.name,
        pictures=len(keys),
        size=recipe.size,
        assign=recipe.loss.assign,
        untrained=model is not None and recipe.init == "random",
        faces_per_picture=float(counted.sum()) / max(1, len(keys)),
        ignored=ignored / max(1, total),
        empty=empty / max(1, len(keys)),
        bins=_bins(side[counted], anchors[counted]),
        seconds=time.perf_counter() - start,
    )


def with_drawing(report: SeenReport, path: Path) -> SeenReport:
    """Draw the histograms into ``path`` and note it in the report. Raises DataError."""
    write_picture(path, draw_seen(report))
    return replace(report, drawn=str(path))


def _learnt(
    pictures: TrainingPictures, keys: list[Key], recipe: Recipe, model: FeatherFace | None
) -> tuple[list[Faces], NDArray[np.int64]]:
    """The faces of each plan, and how many anchors learn each of them all."""
    size = keys[0].size
    predictions = None
    if model is None:
        faces = [pictures.plan(key)[0].faces for key in keys]
    else:
        samples = [pictures[key] for key in keys]
        faces = [one for _, one, _ in samples]
        pixels = collate(samples).network_input(torch.device("cpu"))
        with torch.no_grad():
            regressions, scores, _ = (t.flatten(0, 1) for t in model(pixels))
        odds = scores.clamp(min=1e-12).log()
        predictions = Predictions(regressions, odds[:, 1] - odds[:, 0])
    matches = match(Targets.of(faces), size, size, recipe.loss, predictions)
    learnt = matches.face[matches.valid].numpy()
    return faces, np.bincount(learnt, minlength=sum(map(len, faces)))


def _network(recipe: Recipe) -> FeatherFace:
    model = build_model(resolve_model(recipe.model), seed=recipe.seed)
    if recipe.init not in ("random", "teacher"):
        load_start(model, recipe.init)
    return model.eval()


def _bins(sizes: NDArray[np.float64], anchors: NDArray[np.int64]) -> tuple[SeenBin, ...]:
    place = np.digitize(sizes, EDGES[1:])
    made = []
    for i, low in enumerate(EDGES):
        faces, positives = int((place == i).sum()), int(anchors[place == i].sum())
        high = EDGES[i + 1] if i + 1 < len(EDGES) else None
        share, of_anchors = faces / max(1, len(sizes)), positives / max(1, int(anchors.sum()))
        made.append(
            SeenBin(
                low=low,
                high=high,
                faces=faces,
                share=share,
                positives=positives,
                positive_share=of_anchors,
                positives_per_face=positives / max(1, faces),
            )
        )
    return tuple(made)
