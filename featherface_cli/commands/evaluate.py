"""The command ``eval``."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from featherface_cli import options as o
from featherface_cli.parser import command_line, given, grouped
from featherface_core.evaluation.config import MACHINE, MAX_DROP, EvalConfig, check_together

if TYPE_CHECKING:
    from featherface_core.detect.detector import Detector
    from featherface_core.evaluation.compare import Baseline
    from featherface_core.evaluation.report import Measured, Subject


@grouped
def evaluate(
    ctx: typer.Context,
    *,
    reports: o.Reports = None,
    ground_truth: o.GroundTruth = None,
    onnx: o.Onnx = None,
    predictions: o.Predictions = None,
    config: o.Evaluation,
    written: o.Output,
    against: o.Comparison,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Measure a detector: WIDER FACE's official AP, or plain AP on any labelled pictures, with the protocol beside it.

    Examples:

        featherface eval --data WIDER_val/images --ground-truth ground_truth --html

        featherface eval --onnx featherface_v2.onnx --data faces/val --protocol size=640

        featherface eval --predictions detections.zip --ground-truth ground_truth --name mine

        featherface eval --compare runs/v1-eval-1 runs/v2-eval-1

        featherface eval --compare --by-name control-seed* taught-seed* --chart gain.png
    """
    from featherface_cli.progress import progress_bar
    from featherface_cli.screens.console import note, print_json
    from featherface_cli.screens.evaluate_screen import show_eval, show_gate

    asked = given(ctx)
    check_together(asked)
    if against.compare:
        _compare(reports or [], against, as_json)
        return
    from featherface_core.evaluation.compare import read_baseline
    from featherface_core.evaluation.evaluate import Output, stopped_run
    from featherface_core.evaluation.evaluate import evaluate as core_evaluate

    config = replace(
        config, ground_truth=str(ground_truth or ""), onnx=str(onnx or ""), predictions=str(predictions or "")
    )
    output = Output(
        written.out, written.force, False, written.html, written.save_predictions, written.peers, command_line()
    )
    if written.resume is not None:
        machine = {name: asked[name] for name in MACHINE if name in asked}
        config, output = stopped_run(written.resume, machine, output)
    before = read_baseline(against.baseline, against.max_drop) if against.baseline is not None else None
    detector, subject = _open(config, quiet)
    folders: list[Path] = []

    def begin(folder: Path, measured: "Measured") -> None:
        if before is not None:
            before.check(measured, against.any_protocol)  # before an hour of work, not after it
        folders.append(folder)

    try:
        with progress_bar("eval", quiet or as_json) as on_event:
            report = core_evaluate(config, subject, detector, output, on_event, begin)
    except KeyboardInterrupt:
        if folders and detector is not None:
            note(f"stopped; go on with: featherface eval --resume {shlex.quote(str(folders[0]))}{_gate(before)}")
        raise
    verdict = before.hold(report) if before is not None else None
    if as_json:
        print_json(report, "eval", {"gate": verdict.as_dict()} if verdict else None)
    else:
        show_eval(report)
        if verdict:
            show_gate(verdict)
    if verdict and not verdict.passed:
        raise typer.Exit(1)
    if report.broken:
        raise typer.Exit(3)


def _compare(reports: list[Path], against: o.EvalComparison, as_json: bool) -> None:
    """Put reports side by side, or take those of one name together."""
    from featherface_cli.screens.console import print_json
    from featherface_cli.screens.evaluate_screen import show_comparison, show_groups
    from featherface_core.evaluation.compare import compare, draw_groups, group

    if not against.by_name:
        comparison = compare(reports, against.any_protocol)
        print_json(comparison, "eval --compare") if as_json else show_comparison(comparison)
        return
    grouped_runs = group(reports)
    if against.chart is not None:
        draw_groups(grouped_runs, against.chart)
    print_json(grouped_runs, "eval --compare --by-name") if as_json else show_groups(grouped_runs)


def _open(config: EvalConfig, quiet: bool) -> "tuple[Detector | None, Subject]":
    """The detector, None for detections made elsewhere, and what there is to say of it."""
    from featherface_cli.detector import open_detector, open_second_look
    from featherface_core.evaluation.report import Subject

    if config.predictions:
        return None, Subject(
            config.name or Path(config.predictions).stem, config.predictions, "", "predictions", "", None
        )
    onnx = Path(config.onnx) if config.onnx else None
    detector, subject = open_detector(
        config.weights or None, onnx, config.model or None, config.device, config.threads, quiet
    )
    detector.second_look = open_second_look(config.landmarks_by, detector, config.device, config.threads)
    return detector, replace(subject, model=config.name or subject.model, landmarks_by=detector.landmarks_by)


def _gate(before: "Baseline | None") -> str:
    """The options of a gate, to be named again."""
    if before is None:
        return ""
    drop = "" if before.max_drop == MAX_DROP else f" --max-drop {before.max_drop:g}"
    return f" --baseline {shlex.quote(str(before.path))}{drop}"
