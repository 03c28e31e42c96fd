"""The command ``eval``."""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featherface_cli.options import (
    JsonOption,
    LandmarksByOption,
    ModelOption,
    QuietOption,
    ThreadsOption,
    WeightsOption,
    command_line,
)
from featherface_core.errors import ConfigError
from featherface_core.evaluation.config import EvalConfig

if TYPE_CHECKING:
    from featherface_core.detect.detector import Detector
    from featherface_core.evaluation.compare import Baseline
    from featherface_core.evaluation.evaluate import Output
    from featherface_core.evaluation.report import Measured, Subject

WHAT, HOW, OUTPUT, COMPARE = "What is evaluated", "Protocol", "What is written", "Against other runs"
MAX_DROP = 0.5
MACHINE = ("batch", "device", "threads")
ELSEWHERE = ("weights", "onnx", "model", "protocol", "flip", "score", "nms", "top_k", "landmarks_by", *MACHINE)


def evaluate(
    reports: Annotated[
        list[Path] | None, typer.Argument(metavar="REPORT", help="Reports or run folders, for --compare.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            "-d",
            metavar="DIR|synthetic",
            help="Pictures; with labels in any format that `data check` reads, or WIDER FACE's with --ground-truth. "
            "Default: drawn faces.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    ground_truth: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder with the official wider_face_val.mat and its settings. Default: the data's own, if it has one.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    weights: WeightsOption = None,
    onnx: Annotated[
        Path | None,
        typer.Option("--onnx", metavar="FILE", help="An exported file: .onnx by onnxruntime, .xml by OpenVINO."),
    ] = None,
    model: ModelOption = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR|ZIP",
            help="Detections made by any program: EVENT/PICTURE.txt with a name, a count, and x y w h score a face.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What to call it in the report.", rich_help_panel=WHAT)
    ] = None,
    pictures: Annotated[
        int,
        typer.Option(metavar="N", help="Only so many pictures, evenly spread; 0 for all.", rich_help_panel=WHAT),
    ] = 0,
    protocol: Annotated[
        str,
        typer.Option(
            metavar="RULE",
            help="How pictures are resized: original (not at all), vga (long side 640 px), size=N (long side N px), "
            "multi-scale (five sizes).",
            rich_help_panel=HOW,
        ),
    ] = EvalConfig.protocol,
    flip: Annotated[bool, typer.Option("--flip", help="See each picture mirrored too.", rich_help_panel=HOW)] = False,
    score: Annotated[
        float, typer.Option(help="Faces with a score above this, 0 to 1.", rich_help_panel=HOW)
    ] = EvalConfig.score,
    nms: Annotated[
        float, typer.Option(help="IoU above which the weaker of two boxes goes, 0 to 1.", rich_help_panel=HOW)
    ] = EvalConfig.nms,
    top_k: Annotated[
        int, typer.Option(help="Faces per picture at most; 0: no limit.", rich_help_panel=HOW)
    ] = EvalConfig.top_k,
    landmarks_by: LandmarksByOption = None,
    batch: Annotated[int, typer.Option(help="Pictures of equal shape that run together.")] = EvalConfig.batch,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:1; mps for --weights alone.")] = EvalConfig.device,
    threads: ThreadsOption = EvalConfig.threads,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="DIR", help="Default: the next free runs/MODEL-eval-N.", rich_help_panel=OUTPUT
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Empty the --out of an earlier evaluation first.", rich_help_panel=OUTPUT)
    ] = False,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Go on with an evaluation that was stopped.", rich_help_panel=OUTPUT),
    ] = None,
    html: Annotated[
        bool, typer.Option("--html", help="Also gather all in one page, report.html.", rich_help_panel=OUTPUT)
    ] = False,
    save_predictions: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Also write the faces in WIDER FACE's layout.", rich_help_panel=OUTPUT),
    ] = None,
    peers: Annotated[
        Path | None,
        typer.Option(
            metavar="YAML", help="Published results to draw beside. Default: those that ship.", rich_help_panel=OUTPUT
        ),
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Put REPORTs side by side; nothing is evaluated.", rich_help_panel=COMPARE)
    ] = False,
    by_name: Annotated[
        bool,
        typer.Option(
            "--by-name",
            help="With --compare: take runs of one --name together (seeds): mean, spread, gain over the first name.",
            rich_help_panel=COMPARE,
        ),
    ] = False,
    chart: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also draw what --by-name shows, as .png or .svg.", rich_help_panel=COMPARE),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(
            metavar="REPORT",
            help="An earlier report.json; exit code 1 where a figure falls below it by more than --max-drop.",
            rich_help_panel=COMPARE,
        ),
    ] = None,
    max_drop: Annotated[
        float, typer.Option(metavar="POINTS", help="In percentage points of AP.", rich_help_panel=COMPARE)
    ] = MAX_DROP,
    any_protocol: Annotated[
        bool,
        typer.Option(
            "--any-protocol", help="Rank and hold against even where protocols differ.", rich_help_panel=COMPARE
        ),
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Measure a detector: WIDER FACE's official AP, or plain AP on any labelled pictures, with the protocol beside it.

    Examples:

        featherface eval --data WIDER_val/images --ground-truth ground_truth --html

        featherface eval --onnx featherface_v2.onnx --data faces/val --protocol size=640

        featherface eval --predictions detections.zip --ground-truth ground_truth --name mine

        featherface eval --compare runs/v1-eval-1 runs/v2-eval-1

        featherface eval --compare --by-name control-seed* taught-seed* --chart gain.png
    """
    from featherface_cli import render
    from featherface_cli.progress import progress_bar
    from featherface_cli.render_eval import show_comparison, show_eval, show_gate, show_groups

    config = EvalConfig(
        data=data or "",
        ground_truth=str(ground_truth or ""),
        predictions=str(predictions or ""),
        weights=weights or "",
        onnx=str(onnx or ""),
        model=model or "",
        name=name or "",
        protocol=protocol,
        flip=flip,
        score=score,
        nms=nms,
        top_k=top_k,
        landmarks_by=landmarks_by or "",
        batch=batch,
        device=device,
        threads=threads,
        pictures=pictures,
    )
    if compare:
        from featherface_core.evaluation.compare import compare as side_by_side

        _refuse(_given(config), "--compare evaluates nothing")
        if by_name:
            from featherface_core.evaluation.compare import group

            grouped = group(reports or [])
            if chart is not None:
                from featherface_core.evaluation.compare import draw_groups

                draw_groups(grouped, chart)
            render.print_json(grouped, "eval --compare --by-name") if as_json else show_groups(grouped)
            return
        _refuse(["--chart"] * (chart is not None), "--compare draws nothing without --by-name")
        comparison = side_by_side(reports or [], any_protocol)
        render.print_json(comparison, "eval --compare") if as_json else show_comparison(comparison)
        return
    _refuse(["--by-name"] * by_name + ["--chart"] * (chart is not None), "reports are compared by --compare")
    if reports:
        raise ConfigError(
            f"{str(reports[0])!r} is named without an option", "pictures go with --data, reports with --compare"
        )
    from featherface_core.evaluation.compare import read_baseline
    from featherface_core.evaluation.evaluate import Output
    from featherface_core.evaluation.evaluate import evaluate as run

    if max_drop != MAX_DROP and baseline is None:
        raise ConfigError(f"--max-drop {max_drop:g} says nothing without a baseline", "name one with --baseline")
    if predictions is not None:
        _refuse(_given(config, ELSEWHERE), "--predictions were made elsewhere")
    output = Output(resume or out, force, resume is not None, html, save_predictions, peers, command_line())
    if resume is not None:
        config, output = _resumed(config, output, out)
    before = read_baseline(baseline, max_drop) if baseline is not None else None
    detector, subject = _open(config, quiet)
    where: list[Path] = []

    def begin(folder: Path, measured: "Measured") -> None:
        if before is not None:
            before.check(measured, any_protocol)  # before an hour of work, not after it
        where.append(folder)

    try:
        with progress_bar("eval", quiet or as_json) as on_event:
            report = run(config, subject, detector, output, on_event, begin)
    except KeyboardInterrupt:
        if where and detector is not None:
            render.note(f"stopped; go on with: featherface eval --resume {shlex.quote(str(where[0]))}{_gate(before)}")
        raise
    verdict = before.hold(report) if before is not None else None
    if as_json:
        render.print_json(report, "eval", {"gate": verdict.as_dict()} if verdict else None)
    else:
        show_eval(report)
        if verdict:
            show_gate(verdict)
    if verdict and not verdict.passed:
        raise typer.Exit(1)
    if report.broken:
        raise typer.Exit(3)


def _open(config: EvalConfig, quiet: bool) -> "tuple[Detector | None, Subject]":
    """The detector, None for detections made elsewhere, and what there is to say of it."""
    from featherface_cli.detector import open_detector, open_second_look
    from featherface_core.evaluation.report import Subject

    onnx = Path(config.onnx) if config.onnx else None
    if not config.predictions:
        detector, subject = open_detector(
            config.weights or None, onnx, config.model or None, config.device, config.threads, quiet
        )
        detector.second_look = open_second_look(config.landmarks_by, detector, config.device, config.threads)
        return detector, replace(subject, model=config.name or subject.model, landmarks_by=detector.landmarks_by)
    name = config.name or Path(config.predictions).stem
    return None, Subject(name, config.predictions, "", "predictions", "", None)


def _resumed(config: EvalConfig, output: "Output", out: Path | None) -> "tuple[EvalConfig, Output]":
    """What the stopped run was asked for, on the machine that is named now, with all that either command writes."""
    from featherface_core.evaluation.config import load_config
    from featherface_core.files import existing_folder

    folder = output.folder
    assert folder is not None
    others = [f.name for f in fields(config) if f.name not in MACHINE]
    wrong = ["--out"] * (out is not None) + ["--force"] * output.force + _given(config, others)
    _refuse(wrong, f"--resume {folder} takes the evaluation as it was")
    kept = load_config(existing_folder(folder))
    machine = {name: getattr(config, name) for name in MACHINE if _given(config, (name,))}
    written = replace(
        output,
        html=output.html or kept.extras.html,
        predictions=output.predictions or _path(kept.extras.predictions),
        peers=output.peers or _path(kept.extras.peers),
        command=kept.command or output.command,
    )
    return replace(kept.config, **machine), written


def _given(config: EvalConfig, names: Iterable[str] = ()) -> list[str]:
    """The options among ``names`` (all without) that are not at their defaults."""
    chosen = set(names) or {f.name for f in fields(config)}
    return [
        f"--{f.name.replace('_', '-')}"
        for f in fields(config)
        if f.name in chosen and getattr(config, f.name) != f.default
    ]


def _refuse(options: Sequence[str], why: str) -> None:
    """Raise ConfigError for options that have no meaning beside another."""
    if options:
        listed = ", ".join(options)
        raise ConfigError(
            f"{why}; {listed} {'does' if len(options) == 1 else 'do'} not go with it", f"leave {listed} out"
        )


def _path(text: str) -> Path | None:
    return Path(text) if text else None


def _gate(before: "Baseline | None") -> str:
    """The options of a gate, to be named again."""
    if before is None:
        return ""
    drop = "" if before.max_drop == MAX_DROP else f" --max-drop {before.max_drop:g}"
    return f" --baseline {shlex.quote(str(before.path))}{drop}"
