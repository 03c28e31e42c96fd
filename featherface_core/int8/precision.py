"""The AP of a detector on held-out pictures, by the code and in the protocol of ``featherface eval``."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from featherface_core.data.files import FilePictures
from featherface_core.detect import Detector
from featherface_core.errors import ConfigError
from featherface_core.evaluation.config import EvalConfig
from featherface_core.evaluation.detected import run_detector
from featherface_core.evaluation.measure import judge_task, measure, measured
from featherface_core.evaluation.report import Subject
from featherface_core.evaluation.task import Task, open_task
from featherface_core.events import Listener

Figures = dict[str, float | None]


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
