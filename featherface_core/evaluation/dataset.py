"""Which pictures are evaluated, and against which faces."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from featherface_core.config import SYNTHETIC
from featherface_core.data.annotation import Annotation, Faces, PictureSource
from featherface_core.data.formats.lines import safe_names
from featherface_core.data.formats.recognise import read_labels
from featherface_core.data.sets import SYNTHETIC_HELD_OUT, FilePictures, open_one
from featherface_core.errors import DataError
from featherface_core.evaluation.config import EvalConfig
from featherface_core.evaluation.predictions import Predictions, read_predictions
from featherface_core.evaluation.report import WIDER_PICTURES
from featherface_core.evaluation.truth import Truth, find_ground_truth, read_ground_truth, truth_of
from featherface_core.pictures import PICTURE_SUFFIXES

SYNTHETIC_DEFAULT = f"{SYNTHETIC}:{SYNTHETIC_HELD_OUT}"  # the validation pictures of training


@dataclass(frozen=True)
class Task:
    """Pictures and their faces. method: ``wider-face`` or ``plain``. truth: P pictures.

    source: the picture files, None where predictions are scored without them; indices (P,): of each picture in it. faces (P,): as
    labelled, for the plain method. of: how many pictures the ground truth has. data, ground_truth: for messages and reports.
    """

    method: str
    truth: Truth
    source: PictureSource | None
    indices: tuple[int, ...]
    faces: tuple[Faces, ...]
    of: int
    data: str
    ground_truth: str
    predictions: Predictions | None = None
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.truth.names)

    def select(self, pictures: Sequence[int]) -> "Task":
        """The task with only some of the pictures."""
        return replace(
            self,
            truth=self.truth.select(pictures),
            indices=tuple(self.indices[p] for p in pictures),
            faces=tuple(self.faces[p] for p in pictures) if self.faces else (),
        )

    @property
    def counted(self) -> str:
        """The setting whose faces the tables count: the widest."""
        return "hard" if self.method == "wider-face" else "all"


def open_task(config: EvalConfig) -> Task:
    """The pictures and faces that were asked for. Raises DataError and ConfigError."""
    predictions = read_predictions(config.predictions) if config.predictions else None
    folder, data = _ground_truth(config), config.data
    if folder is not None:
        truth = read_ground_truth(folder)
        known = truth.names  # all pictures: predictions may cover more than those of --data
        task = _official(folder, truth, data)
    else:
        task = _labelled(data or SYNTHETIC_DEFAULT)
        known = task.truth.names
    if predictions is not None:
        predictions = predictions.called(known)
        if not config.data:  # without --data: the pictures that have predictions
            task = task.select([p for p, name in enumerate(task.truth.names) if name in predictions.pictures])
        task = replace(task, predictions=predictions)
    if config.pictures and config.pictures < len(task):
        task = task.select(spread(len(task), config.pictures))
    warnings = [*task.warnings, *_subset(task)]
    return replace(task, warnings=tuple(warnings))


def spread(count: int, at_most: int) -> list[int]:
    """Which pictures of a set are evaluated: all, or ``at_most`` evenly spread over it; 0 for all."""
    if not at_most or at_most >= count:
        return list(range(count))
    return [int(i) for i in np.linspace(0, count - 1, at_most).round()]


def _ground_truth(config: EvalConfig) -> Path | None:
    """The folder of the official ground truth, named or found beside the pictures."""
    if config.ground_truth:
        return Path(config.ground_truth)
    folder = Path(config.data)
    return find_ground_truth(folder) if config.data and folder.is_dir() else None


def _subset(task: Task) -> list[str]:
    if task.method == "wider-face" and len(task) != WIDER_PICTURES:
        return [
            f"{len(task):,} pictures are a part of the {WIDER_PICTURES:,} of the WIDER FACE validation set: these figures are "
            "not the benchmark, and compare only with others on the same pictures"
        ]
    if len(task) < task.of:
        return [f"{len(task):,} of {task.of:,} pictures were evaluated"]
    return []


def _official(folder: Path, truth: Truth, data: str) -> Task:
    task = Task("wider-face", truth, None, tuple(range(len(truth.names))), (), len(truth.names), data, str(folder))
    if not data:
        return task
    files = _picture_files(Path(data))
    stems = Counter(name.rpartition("/")[2] for name in truth.names)
    places: dict[str, Path] = {}
    by_stem = {PurePosixPath(name).name: path for name, path in files.items()}
    for name in truth.names:
        stem = name.rpartition("/")[2]
        path = files.get(name) or (by_stem.get(stem) if stems[stem] == 1 else None)
        if path is not None:
            places[name] = path
    if not places:
        raise DataError(
            f"{data} and {folder} do not belong together: none of {len(files):,} pictures, such as "
            f"{next(iter(files))}, is in the ground truth",
            f"its pictures have names such as {truth.names[0]}; leave --ground-truth out for other data",
        )
    unknown = len(files) - len(places)
    chosen = [p for p, name in enumerate(truth.names) if name in places]
    annotations = [Annotation(places[truth.names[p]], truth.names[p], Faces.none()) for p in chosen]
    warnings = (
        (f"{unknown:,} of {len(files):,} pictures in {data} are not in the ground truth and were left out",)
        if unknown
        else ()
    )
    task = replace(task.select(chosen), source=FilePictures(annotations, data), warnings=warnings)
    return replace(task, indices=tuple(range(len(annotations))))


def _picture_files(folder: Path) -> dict[str, Path]:
    """Every picture below a folder, by ``folder/name`` without the suffix."""
    if not folder.is_dir():
        raise DataError(f"--data {folder} is no folder of pictures", "name the folder that holds the event folders")
    found = {}
    for root, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        for name in sorted(names):
            if name.lower().endswith(PICTURE_SUFFIXES) and not name.startswith("."):
                path = Path(root, name)
                found[f"{path.parent.name}/{path.stem}"] = path
    if not found:
        raise DataError(f"--data {folder} holds no pictures", "name the folder that holds the event folders")
    return found


def _labelled(data: str) -> Task:
    if data.partition(":")[0] == SYNTHETIC:
        drawn = open_one(data, held_out=True)
        faces = tuple(drawn.faces(i) for i in range(len(drawn)))
        names = [f"drawn/{i:05}" for i in range(len(drawn))]
        return Task(
            "plain", truth_of(names, faces), drawn, tuple(range(len(names))), faces, len(names), data, drawn.name
        )
    labels = read_labels(data)
    source, missing = FilePictures.checked(labels)
    names = safe_names(source.annotations)
    plain = [str(PurePosixPath(name).with_suffix("")) for name in names]
    twice = Counter(plain)
    names = [name if twice[p] > 1 else p for name, p in zip(names, plain, strict=True)]
    faces = tuple(a.faces for a in source.annotations)
    truth = truth_of(names, faces, [a.attributes for a in source.annotations])
    warnings = (f"{len(missing):,} labelled pictures are missing, such as {missing[0].where}",) if missing else ()
    task = Task(
        "plain", truth, source, tuple(range(len(names))), faces, len(labels.annotations), data, str(labels.source)
    )
    return replace(task, warnings=warnings)
