"""From detections to the report: AP by setting, recall by group, landmarks, the worst pictures."""

from dataclasses import dataclass

import numpy as np

from featherface_core.config import UNTRAINED
from featherface_core.evaluation.average_precision import (
    IOU,
    Curve,
    coco_average_precision,
    curve_of,
    outcome_of,
    plain_curve,
)
from featherface_core.evaluation.config import EvalConfig
from featherface_core.evaluation.dataset import Task
from featherface_core.evaluation.inference import Detected
from featherface_core.evaluation.matching import Outcome, landmark_error, match, recall_rows, worst_pictures
from featherface_core.evaluation.report import (
    WIDER_SETTINGS,
    EvalReport,
    LandmarkError,
    Measured,
    Setting,
    Subject,
    Timing,
)
from featherface_core.machine import machine_facts

POINTS = 1_000  # of a curve in the report, at most


@dataclass(frozen=True)
class Judged:
    """The AP of each setting, and the outcome of each detection in the widest setting."""

    settings: tuple[Setting, ...]
    outcome: Outcome


def judge_task(task: Task, detected: Detected) -> Judged:
    """By the method of the task."""
    found = detected.found
    if task.method == "wider-face":
        matches, counted = match(found, task.truth), task.truth.counted
        settings = tuple(_setting(name, curve_of(matches, counted[name])) for name in WIDER_SETTINGS)
        return Judged(settings, Outcome.of(matches, counted[task.counted], IOU))
    outcome = outcome_of(detected.faces, task.faces, IOU)
    coco = coco_average_precision(detected.faces, task.faces)
    ap50 = _setting("ap50", plain_curve(outcome, found, task.faces))
    return Judged((ap50, Setting("ap", _number(coco.ap), coco.faces)), outcome)


def measure(
    task: Task,
    detected: Detected,
    judged: Judged,
    subject: Subject,
    config: EvalConfig,
    protocol: Measured,
    command: str,
) -> EvalReport:
    """The report, without its time and files. protocol: see ``measured``. command: as typed."""
    found, broken, outcome = detected.found, detected.broken, judged.outcome
    counted = task.truth.counted[task.counted]
    aps = [setting.ap for setting in judged.settings if setting.ap is not None]
    complete = task.method == "wider-face" and len(aps) == len(judged.settings)
    warnings = [*task.warnings]
    if broken:
        what = "1 picture" if len(broken) == 1 else f"{len(broken):,} pictures"
        warnings.append(f"{what} could not be read: nothing counts as found there")
    if subject.weights == UNTRAINED:
        warnings.append("the network is untrained")
    facts = {name: str(value) for name, value in machine_facts().items()}
    versions = {name: facts.pop(name) for name in ("featherface", "python")}
    times = detected.milliseconds
    return EvalReport(
        subject,
        task.data,
        task.ground_truth,
        protocol,
        judged.settings,
        float(np.mean(aps)) if complete else None,
        len(found),
        recall_rows(outcome, found, task.truth, counted),
        landmarks_of(task, detected, outcome),
        worst_pictures(outcome, found, task.truth, counted),
        broken,
        Timing(*times, config.batch, config.threads) if times else None,
        versions | _versions(subject.backend),
        facts | {"device": subject.device},
        command,
        0.0,
        tuple(warnings),
    )


def landmarks_of(task: Task, detected: Detected, outcome: Outcome) -> LandmarkError | None:
    """How far landmarks are from the labelled ones, None where the labels have none."""
    if task.method == "wider-face":  # its ground truth has none
        return None
    points, labelled = (
        np.concatenate([np.zeros((0, 5, 2), np.float32), *(part.landmarks for part in parts)])
        for parts in (detected.faces, task.faces)
    )
    return landmark_error(outcome, points, task.truth, labelled)


def measured(task: Task, config: EvalConfig, canvas: tuple[int, int] | None) -> Measured:
    """The protocol that was followed. canvas: what a file with a fixed size pads pictures to."""
    views, elsewhere = config.views, task.predictions is not None
    pictures = len(task)
    share = f"{pictures:,} pictures" if pictures == task.of else f"{pictures:,} of {task.of:,} pictures"
    if task.method == "wider-face":
        method = f"WIDER FACE protocol (official ground truth, {share}; IoU {IOU:g}, sides + 1 px, 1,000 thresholds)"
    else:
        method = f"AP at IoU {IOU:g}, area under the curve, and COCO AP 0.5:0.95 on {share} of {task.ground_truth}"
    how = "detections made elsewhere" if elsewhere else views.words()
    if config.landmarks_by:
        how += ", landmarks by a second look at each face"
    if canvas is not None and not elsewhere:
        how += f", padded to {canvas[1]}x{canvas[0]}"
    return Measured(
        task.method,
        "unknown" if elsewhere else views.resize,
        None if elsewhere else views.flip,
        None if elsewhere else views.post.score,
        None if elsewhere else views.post.nms,
        None if elsewhere else views.post.top_k,
        IOU,
        None if elsewhere else canvas,
        pictures,
        task.of,
        task.truth.fingerprint(),
        f"{method}: {how}",
    )


def _setting(name: str, curve: Curve) -> Setting:
    """A setting with its curve in at most POINTS points, without repeated ones."""
    shown = np.isfinite(curve.precision) & np.isfinite(curve.recall)
    recall, precision = curve.recall[shown], curve.precision[shown]
    if len(recall):
        new = np.ones(len(recall), bool)
        new[1:] = (np.diff(recall) != 0) | (np.diff(precision) != 0)
        recall, precision = recall[new], precision[new]
        few = np.unique(np.linspace(0, len(recall) - 1, min(POINTS, len(recall))).round().astype(int))
        recall, precision = recall[few].round(6), precision[few].round(6)
    return Setting(name, _number(curve.ap), curve.faces, tuple(recall.tolist()), tuple(precision.tolist()))


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _versions(backend: str) -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    names = ["numpy", "opencv-python"] + ([backend] if backend != "predictions" else [])
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found
