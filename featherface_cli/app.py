"""The Typer app: one short function a command. Each parses, calls the core, and hands the result to ``render``."""

import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from featherface_cli.bench import InOrder, bench
from featherface_cli.data import data_app
from featherface_cli.detector import open_detector, open_second_look
from featherface_cli.eval import evaluate
from featherface_cli.export import export
from featherface_cli.options import (
    JsonOption,
    LandmarksByOption,
    ModelOption,
    OutFolder,
    QuietOption,
    ThreadsOption,
    WeightsOption,
    with_optional_value,
)
from featherface_cli.train import distill, train
from featherface_core import __version__
from featherface_core.config import (
    DEFAULT_TEST_SIZES,
    DetectConfig,
    PostprocessConfig,
    parse_overrides,
)
from featherface_core.errors import ConfigError, FeatherFaceError

UsageError: type[Exception] = typer.BadParameter.__base__  # type: ignore[assignment] # click's, wherever typer keeps it

app = typer.Typer(
    name="featherface",
    help="Tiny face detectors with five landmarks: count them, run them, prove them, ship them.",
    epilog="Exit codes: 0 fine, 1 failed, 2 usage or config, 3 data, 4 weights, 5 export, 130 interrupted.",
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"featherface {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    ctx: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback and all details of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Tiny face detectors with five landmarks: count them, run them, prove them, ship them."""
    if ctx.invoked_subcommand is None:
        print(ctx.get_help())


@app.command()
def params(
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model", "-m", metavar="NAME|YAML", help="A variant or a YAML file; may be repeated. Default: v1."
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Compare all named variants.")] = False,
    size: Annotated[int, typer.Option(help="Side in pixels of the square picture that MACs are counted for.")] = 640,
    depth: Annotated[int, typer.Option(min=1, max=9, help="Levels of parts to show.")] = 1,
    tree: Annotated[bool, typer.Option("--tree", help="Show the parts as a tree with their classes.")] = False,
    target: Annotated[int | None, typer.Option(min=1, help="Parameter budget to hold the total against.")] = None,
    tolerance: Annotated[int, typer.Option(min=0, help="How far from the target is still met.")] = 5_000,
    search: Annotated[bool, typer.Option("--search", help="List the configurations that meet the budget.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Rows of --search to show.")] = 20,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change the model, e.g. width=24; may be repeated."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Count parameters and MACs by component, and search for a parameter budget.

    Examples:

        featherface params --model v1

        featherface params --all

        featherface params --target 489000 --tolerance 5000 --search
    """
    from featherface_cli import render
    from featherface_core.models.budget import BUDGETS, V1_BUDGET
    from featherface_core.models.budget import search as find
    from featherface_core.models.variants import VARIANTS, resolve_model
    from featherface_core.results import Budget

    if every and model:
        raise ConfigError("--all stands for all named variants; --model does not go with it", "leave one of them out")
    names = list(VARIANTS) if every else model or ["v1"]
    configs = [resolve_model(name, parse_overrides(overrides or [])) for name in names]
    budget = Budget(target, tolerance) if target else None
    if search:
        if len(configs) > 1:
            raise ConfigError("--search starts from one model, not several", "name one with --model")
        found = find(configs[0], budget or BUDGETS.get(configs[0].name, V1_BUDGET))
        render.print_json(found, "params --search") if as_json else render.show_search(found, limit)
        return
    from featherface_core.models.params import measure

    reports = [measure(config, size, budget) for config in configs]
    if as_json:
        render.print_json_list(reports, "params", "models")
    elif len(reports) > 1:
        render.show_comparison(reports)
    else:
        render.show_params(reports[0], depth, tree)


@app.command()
def detect(
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH...", help="Pictures, folders, globs, a video or a camera number.")
    ],
    weights: WeightsOption = None,
    onnx: Annotated[
        Path | None,
        typer.Option("--onnx", metavar="FILE", help="An exported file: .onnx by onnxruntime, .xml by OpenVINO."),
    ] = None,
    model: ModelOption = None,
    size: Annotated[
        int | None,
        typer.Option(help="Long side in pixels to scale pictures to; a static file bounds it. Default: original size."),
    ] = None,
    score: Annotated[float, typer.Option(help="Faces with a score above this, 0 to 1.")] = PostprocessConfig.score,
    nms: Annotated[
        float, typer.Option(help="IoU above which the weaker of two boxes goes, 0 to 1.")
    ] = PostprocessConfig.nms,
    top_k: Annotated[int, typer.Option(help="Faces per picture at most; 0 for no limit.")] = PostprocessConfig.top_k,
    landmarks_by: LandmarksByOption = None,
    batch: Annotated[int, typer.Option(help="Pictures of equal shape that run together.")] = DetectConfig.batch,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:1; mps for --weights alone.")] = "cpu",
    threads: ThreadsOption = 0,
    out: OutFolder = Path("detections"),
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Find faces in pictures, videos or a camera, draw them, and write them down as JSON Lines.

    Examples:

        featherface detect photo.jpg

        featherface detect photo.jpg --model v1

        featherface detect photo.jpg --landmarks-by v1

        featherface detect holiday/ 'more/*.png' --onnx featherface_v2.onnx --size 1024 --out found

        featherface detect 0 --onnx featherface_v2.onnx
    """
    import json

    from featherface_cli import render
    from featherface_cli.progress import progress_bar
    from featherface_core.detect.detect_files import as_line, detect_files

    config = DetectConfig(size, batch, PostprocessConfig(score, nms, top_k))
    detector, _ = open_detector(weights, onnx, model, device, threads, quiet)
    detector.second_look = open_second_look(landmarks_by, detector, device, threads)

    def tell(result: Any) -> None:
        if as_json:
            print(json.dumps(as_line(result)), flush=True)
        if result.problem or not (as_json or quiet or result.frame is not None):
            render.show_picture_line(result)

    with progress_bar("detect", quiet or as_json) as on_event:
        report = detect_files(detector, paths, config, out, tell, on_event)
    if not (as_json or quiet):
        render.show_detect(report)
    if report.interrupted and not all(path.isdecimal() for path in paths):
        raise typer.Exit(130)
    if report.broken:
        raise typer.Exit(3)


app.command()(train)
app.command()(distill)
app.command("eval")(evaluate)
app.add_typer(data_app, name="data")


app.command(cls=with_optional_value("--test-sizes", ",".join(DEFAULT_TEST_SIZES)))(export)
app.command(cls=InOrder)(bench)


@app.command()
def doctor(
    weights: Annotated[Path | None, typer.Option(metavar="FILE", help="Check this weights file too.")] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Check this data set too: its labels and pictures.")
    ] = None,
    run: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Look into this training run too: what went wrong in it.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this group or check; may be repeated.")
    ] = None,
    skip: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Not this group or check; may be repeated.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings fail too.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Also write the findings as JSON.")
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Check machine, packages, models, weights and export; say what is wrong and the command that mends it.

    Examples:

        featherface doctor

        featherface doctor --only packages --strict

        featherface doctor --weights v1.safetensors --out validation_results.json

        featherface doctor --data widerface --only data

        featherface doctor --run runs/train-1 --only run
    """
    import json

    from featherface_cli import render
    from featherface_cli.progress import progress_bar
    from featherface_core.doctor import run_doctor
    from featherface_core.files import write_text
    from featherface_core.results import as_json as plain

    with progress_bar("doctor", quiet or as_json) as on_event:
        report = run_doctor(only or (), skip or (), weights, on_event, data, run)
    if out is not None:
        write_text(out, json.dumps({**plain(report, "doctor"), "counts": report.counts}, indent=2) + "\n", ConfigError)
    render.print_json(report, "doctor", {"counts": report.counts}) if as_json else render.show_doctor(report)
    if report.counts["fail"] or (strict and report.counts["warn"]):
        raise typer.Exit(1)


def main() -> None:
    """The ``featherface`` command: runs the app and turns every failure into one line, a hint and an exit code."""
    debug = "--debug" in sys.argv
    signal.signal(signal.SIGTERM, _interrupt)  # so that what is half written goes, and what is done stays
    if "OMP_WAIT_POLICY" not in os.environ:
        # torch's OpenMP threads spin while they wait for each other; beside any other busy process that makes a small
        # network many times slower. A short spin is as fast on an idle machine.
        os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    try:
        code = app(standalone_mode=False, prog_name="featherface")
        sys.stdout.flush()
    except FeatherFaceError as error:
        code = _fail(error, debug)
    except UsageError as usage:
        context = getattr(usage, "ctx", None)
        command = context.command_path if context else "featherface"
        code = _fail(ConfigError(usage.format_message(), f"see: {command} --help"), debug)  # type: ignore[attr-defined]
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except BrokenPipeError:  # the reader of our output has gone; say nothing more, not even at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    except Exception as bug:
        if debug:
            raise
        message = f"unexpected {type(bug).__name__}: {bug}".splitlines()[0]
        code = _fail(FeatherFaceError(message, "please report this with the output of: featherface --debug ..."), debug)
    sys.exit(code if isinstance(code, int) else 0)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _fail(error: FeatherFaceError, debug: bool) -> int:
    from featherface_cli.render import print_error

    if debug:
        import traceback

        traceback.print_exception(error)
    print_error(error, all_details=debug)
    return error.exit_code


if __name__ == "__main__":
    main()
