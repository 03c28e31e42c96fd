"""A network in float32, float16 and int8 beside each other: size, time, AP, and whether they find the same faces."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from featherface_core import boxes
from featherface_core.bench.children import measure_rounds
from featherface_core.bench.config import SIZE, Setting, Source
from featherface_core.bench.rounds import Rounds, latency, ratio
from featherface_core.config import PostprocessConfig
from featherface_core.data.sets import FilePictures
from featherface_core.detect.detector import Detector
from featherface_core.errors import ConfigError
from featherface_core.evaluation.config import EvalConfig
from featherface_core.evaluation.dataset import Task, open_task
from featherface_core.evaluation.inference import run_detector
from featherface_core.evaluation.measure import judge_task, measure, measured
from featherface_core.evaluation.report import Subject
from featherface_core.events import Listener, Progress
from featherface_core.int8.report import Agreement, Form
from featherface_core.pictures import PORTRAIT
from featherface_core.results import Detections, Floats

SAME_FACE = 0.5  # IoU of two boxes
Figures = dict[str, float | None]
NAMES = ("float32", "float16", "int8")


def compare_faces(first: Detector, second: Detector, inputs: Sequence[Floats]) -> Agreement:
    """The faces of both in prepared pictures, (1, 3, h, w) each, at the score and NMS that ``detect`` has."""
    post = PostprocessConfig()
    counts, overlaps, changes = [0, 0], [], []
    for pixels in inputs:
        ours, theirs = (each.run(pixels, [(1.0, 1.0)], post)[0] for each in (first, second))
        counts = [counts[0] + len(ours), counts[1] + len(theirs)]
        for i, j, overlap in _pairs(ours, theirs):
            overlaps.append(overlap)
            changes.append(abs(float(ours.scores[i] - theirs.scores[j])))
    return Agreement(
        len(inputs),
        post.score,
        (counts[0], counts[1]),
        len(overlaps),
        float(np.mean(overlaps)) if overlaps else 0.0,
        float(np.mean(changes)) if changes else 0.0,
    )


def _pairs(ours: Detections, theirs: Detections) -> list[tuple[int, int, float]]:
    """Faces that are each other's nearest, with their IoU."""
    if not len(ours) or not len(theirs):
        return []
    overlaps = boxes.iou(ours.boxes, theirs.boxes)
    nearest, back = overlaps.argmax(1), overlaps.argmax(0)
    pairs = [(i, int(j), float(overlaps[i, j])) for i, j in enumerate(nearest) if back[j] == i]
    return [pair for pair in pairs if pair[2] >= SAME_FACE]


class HeldOut:
    """Labelled pictures that calibration does not see.

    val: as for ``featherface eval --data``. fixed: the (batch, height, width) of a file that takes no other. words: the
    protocol. Raises DataError for what cannot be read, ConfigError where ``calibration`` has some of its pictures.
    """

    def __init__(self, val: str, fixed: tuple[int, int, int] | None, calibration: Sequence[Path]) -> None:
        resize = f"size={max(fixed[1:])}" if fixed else "original"
        self.config = EvalConfig(data=val, protocol=resize)
        self.task = open_task(self.config)
        _check_apart(self.task, val, calibration)
        self.protocol = measured(self.task, self.config, fixed[1:] if fixed else None)
        self.words = self.protocol.text

    def measure(self, detector: Detector, on_event: Listener) -> Figures:
        """AP, 0 to 1, by name: easy, medium, hard and mean; or ap50 and ap."""
        with tempfile.TemporaryDirectory() as folder:
            detected = run_detector(detector, self.task, self.config, Path(folder), on_event)
        judged = judge_task(self.task, detected)
        subject = Subject(detector.model, detector.weights, "", detector.backend, "cpu", None)
        return measure(self.task, detected, judged, subject, self.config, self.protocol, "").headline


def largest_drop(before: Figures, after: Figures) -> float | None:
    """How far the figure that suffers most falls; None where nothing could be measured."""
    pairs = zip(before.values(), after.values(), strict=True)
    falls = [old - new for old, new in pairs if old is not None and new is not None]
    return max(falls, default=None)


def _check_apart(task: Task, val: str, calibration: Sequence[Path]) -> None:
    if not isinstance(task.source, FilePictures):
        return
    held_out = {annotation.path.resolve() for annotation in task.source.annotations}
    both = [path for path in calibration if path.resolve() in held_out]
    if both:
        raise ConfigError(
            f"--val {val} holds {len(both):,} of the calibration pictures, such as {both[0]}",
            "name pictures that calibration does not see",
        )


def timed_size(detector: Detector) -> tuple[int, int]:
    """(height, width) to time at: of a file with a fixed size its own."""
    fixed = detector.network.fixed
    return (fixed[1], fixed[2]) if fixed else (SIZE, SIZE)


def time_forms(files: Sequence[Path], size: tuple[int, int], runs: int, on_event: Listener) -> Rounds:
    """The files of NAMES in turns, as ``featherface bench`` has it: one picture and one thread in onnxruntime."""
    sources = [Source("onnxruntime", onnx=str(file), name=name) for file, name in zip(files, NAMES, strict=True)]

    def told(done: int, total: int) -> None:
        on_event(Progress(done, total, "timing"))

    return measure_rounds(sources, Setting(size, 1, 1, "cpu"), PORTRAIT, runs, told)


def forms_of(files: Sequence[Path], rounds: Rounds, figures: Sequence[Figures]) -> tuple[Form, ...]:
    """What there is to say of each of NAMES."""
    seconds = rounds.seconds
    return tuple(
        Form(
            name,
            file.stat().st_size,
            latency(seconds[:, i]),
            ratio(seconds[:, i], seconds[:, 0]) if i else None,
            ap,
        )
        for i, (name, file, ap) in enumerate(zip(NAMES, files, figures, strict=True))
    )
