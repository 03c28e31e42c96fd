"""``featherface eval``: find the faces, measure, and write a run folder."""

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from featherface_core.detect.detector import Detector
from featherface_core.evaluation.config import KEYS, EvalConfig, Extras, check_subject, load_config, save_config
from featherface_core.evaluation.curves import write_curves
from featherface_core.evaluation.dataset import open_task
from featherface_core.evaluation.inference import check, from_predictions, run_detector
from featherface_core.evaluation.measure import judge_task, measure, measured
from featherface_core.evaluation.page import write_page
from featherface_core.evaluation.peers import load_peers, peers_of
from featherface_core.evaluation.predictions import write_predictions
from featherface_core.evaluation.report import EvalReport, Measured, Subject
from featherface_core.evaluation.worst import worst_sheet
from featherface_core.events import Listener, Progress, ignore
from featherface_core.files import RUNS, existing_folder, fresh_folder, make_folder, next_folder, write_text
from featherface_core.pictures import write_picture
from featherface_core.results import as_json

FILES = {"folder": ".", "report": "report.json", "curves_png": "curves.png", "curves_svg": "curves.svg"}


@dataclass(frozen=True)
class Output:
    """What is written. folder: of the run, None for the next free one below runs/. force: empty it first. resume: continue in it.

    html: also write one page with everything. predictions: a folder for the official layout, or None. peers: a YAML file of
    published results, None for the one that ships. command: as typed, for the report.
    """

    folder: Path | None = None
    force: bool = False
    resume: bool = False
    html: bool = False
    predictions: Path | None = None
    peers: Path | None = None
    command: str = "featherface eval"

    @property
    def extras(self) -> Extras:
        """The outputs that a resumed run writes again."""
        return Extras(self.html, *(str(path.resolve()) if path else "" for path in (self.predictions, self.peers)))


def stopped_run(folder: Path, machine: Mapping[str, Any], output: Output) -> tuple[EvalConfig, Output]:
    """What the stopped evaluation in ``folder`` was asked for, to go on with it.

    machine: values of EvalConfig that replace those kept, such as ``threads``. output: what is to be written now, besides what
    was to be written then. Raises ConfigError where ``folder`` holds no evaluation.
    """
    kept = load_config(existing_folder(folder))
    predictions, peers = (Path(text) if text else None for text in (kept.extras.predictions, kept.extras.peers))
    return replace(kept.config, **machine), replace(
        output,
        folder=folder,
        resume=True,
        html=output.html or kept.extras.html,
        predictions=output.predictions or predictions,
        peers=output.peers or peers,
        command=kept.command or output.command,
    )


def evaluate(
    config: EvalConfig,
    subject: Subject,
    detector: Detector | None,
    output: Output = Output(),
    on_event: Listener = ignore,
    on_begin: Callable[[Path, Measured], None] = lambda folder, measured: None,
) -> EvalReport:
    """Evaluate a detector, or the predictions that ``config`` names, and write the run's folder.

    detector: None for predictions. on_begin: told the folder and the protocol before anything is written. An interrupted run
    can be resumed. Raises ConfigError, DataError.
    """
    start = time.perf_counter()
    task = open_task(config)
    peers = load_peers(output.peers)
    if detector is not None:
        check(detector, task, config)
    fixed = detector.network.fixed if detector is not None else None
    canvas = (fixed[1], fixed[2]) if fixed else None
    protocol = measured(task, config, canvas)
    folder = output.folder or next_folder(RUNS, _name(subject))
    on_begin(folder, protocol)
    if output.predictions is not None:
        make_folder(output.predictions)  # before an hour of work, not after it
    if output.resume:
        check_subject(folder, subject.sha256, subject.landmarks_by)
    else:
        fresh_folder(folder, output.force, KEYS)
        save_config(folder, config, subject.sha256, output.command, output.extras, subject.landmarks_by)
    detected = from_predictions(task) if detector is None else run_detector(detector, task, config, folder, on_event)
    judged = judge_task(task, detected)
    report = measure(task, detected, judged, subject, config, protocol, output.command)
    on_event(Progress(len(task), len(task), "writing the report"))
    files = {name: folder / path for name, path in FILES.items()}
    chosen = peers_of(report.protocol, peers)
    write_curves(report, chosen, files["curves_png"], files["curves_svg"])
    sheet = worst_sheet(task, detected, judged.outcome, report.worst)
    if sheet is not None:
        files["worst"] = folder / "worst.jpg"
        write_picture(files["worst"], sheet)
    if output.predictions is not None:
        write_predictions(output.predictions, task.truth.names, detected.found)
        files["predictions"] = output.predictions
    if output.html:
        files["html"] = folder / "report.html"
    written = tuple((name, str(path)) for name, path in files.items())
    report = replace(report, files=written, seconds=time.perf_counter() - start)
    write_text(files["report"], json.dumps(as_json(report, "eval"), indent=1) + "\n")
    if output.html:
        write_page(report, chosen, files.get("worst"), files["html"])
    return report


def _name(subject: Subject) -> str:
    """Of the run's folder: the model's name without path separators."""
    plain = re.sub(r"[^\w.-]+", "-", subject.model).strip("-.") or "model"
    return f"{plain}-eval"
