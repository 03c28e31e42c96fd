"""The faces of all pictures of a task: found by a detector, or read from detections made elsewhere."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from featherface_core.data.annotation import Picture
from featherface_core.data.files import FilePictures
from featherface_core.data.picture_size import picture_size
from featherface_core.detect import Detector
from featherface_core.errors import ConfigError, DataError
from featherface_core.evaluation.config import EvalConfig
from featherface_core.evaluation.inference import find_faces
from featherface_core.evaluation.report import BrokenPicture
from featherface_core.evaluation.store import DetectionStore
from featherface_core.evaluation.task import Task
from featherface_core.evaluation.truth import Found
from featherface_core.events import Listener, Progress, ignore
from featherface_core.results import Detections


@dataclass(frozen=True)
class Detected:
    """The faces of every picture of a task, in its order, twice: flat in double precision, and one by one.

    broken: pictures that could not be read. milliseconds: a picture, of reading, preparing, network with all of its second
    look, and post-processing; None for detections made elsewhere.
    """

    found: Found
    faces: tuple[Detections, ...]
    broken: tuple[BrokenPicture, ...] = ()
    milliseconds: tuple[float, float, float, float] | None = None


def run_detector(
    detector: Detector, task: Task, config: EvalConfig, folder: Path, on_event: Listener = ignore
) -> Detected:
    """The faces of every picture; those that an earlier run of this folder has found are not looked for again.

    A picture that cannot be read counts as one in which nothing was found. Raises KeyboardInterrupt when stopped, with all
    that was found kept in the folder; ConfigError as ``check`` does.
    """
    check(detector, task, config)
    assert task.source is not None
    source, names = task.source, task.truth.names
    with_landmarks = any(faces.has_landmarks.any() for faces in task.faces)
    with DetectionStore(folder, with_landmarks) as store:
        missing = [p for p, name in enumerate(names) if name not in store.done]
        if config.batch > 1 and isinstance(source, FilePictures):
            missing.sort(key=lambda p: _shape(source, task.indices[p]))  # pictures of one shape beside each other
        done = len(names) - len(missing)
        on_event(Progress(done, len(names), "pictures"))

        def read(p: int) -> Picture:
            return source.read(task.indices[p])[0]

        for result in find_faces(detector, read, missing, config.views, config.batch):
            store.add(names[result.index], result)
            done += 1
            on_event(Progress(done, len(names), names[result.index]))
        kept = [store.done[name] for name in names]
    broken = tuple(BrokenPicture(name, s.problem) for name, s in zip(names, kept, strict=True) if s.problem)
    times = np.array([s.milliseconds for s in kept if not s.problem]).reshape(-1, 4)
    first, second, third, fourth = (times.mean(0) if len(times) else np.zeros(4)).tolist()
    faces = tuple(s.faces for s in kept)
    return Detected(Found.of([(d.boxes, d.scores) for d in faces]), faces, broken, (first, second, third, fourth))


def from_predictions(task: Task) -> Detected:
    """The detections that were made elsewhere; their landmarks are not known."""
    assert task.predictions is not None
    found = task.predictions.of(task.truth.names)
    faces = [
        Detections(b.astype(np.float32), s.astype(np.float32), np.full((len(s), 5, 2), np.nan, np.float32))
        for b, s in found.parts()
    ]
    return Detected(found, tuple(faces))


def check(detector: Detector, task: Task, config: EvalConfig) -> None:
    """Raise ConfigError where there are no pictures, the detector cannot follow the protocol, or no landmark is measured."""
    if task.source is None:
        raise ConfigError(f"--ground-truth {task.ground_truth} comes without pictures", "name their folder with --data")
    if detector.second_look is not None and not any(faces.has_landmarks.any() for faces in task.faces):
        raise ConfigError(
            f"--landmarks-by {config.landmarks_by} changes landmarks alone, and the labels of {task.data} have none",
            "leave it out",
        )
    fixed, size = detector.network.fixed, config.views.size
    if fixed is not None and (size is None or size > max(fixed[1:])):
        raise ConfigError(
            f"--protocol {config.protocol} cannot be followed by a file with the fixed size {fixed[2]}x{fixed[1]}",
            f"use --protocol size={max(fixed[1:])}, or export with --dynamic",
        )


def _shape(source: FilePictures, index: int) -> tuple[int, int]:
    try:
        return picture_size(source.annotations[index].path)
    except DataError:
        return (0, 0)
