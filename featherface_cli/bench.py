"""The command ``bench``."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from featherface_cli.options import JsonOption, QuietOption
from featherface_core.bench.config import BenchConfig, parse_counts
from featherface_core.config import parse_sizes
from featherface_core.errors import ConfigError

if TYPE_CHECKING:
    from featherface_core.bench.config import Source

WHAT, HOW, OUTPUT = "What is timed", "How", "Output"
ORDER = "featherface.order"


class InOrder(TyperCommand):
    """A command that keeps the order in which its options were given, whichever names they have."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As click's, and the names in their order, once for each time, in ``ctx.meta``."""
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        ctx.meta[ORDER] = [parameter.name for parameter in order]
        return super().parse_args(ctx, args)


def bench(
    ctx: typer.Context,
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILE", help="More ONNX files, so that --onnx peers/*.onnx names them all."),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME|YAML",
            help="A variant in PyTorch, with the weights that ship or random ones; may be repeated.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    onnx: Annotated[
        list[Path] | None,
        typer.Option(
            "--onnx",
            metavar="FILE",
            help="An ONNX file in onnxruntime, ours or any detector's, or our .xml in OpenVINO; may be repeated.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    weights: Annotated[
        list[Path] | None,
        typer.Option(
            "--weights",
            metavar="FILE",
            help="The network of a weights file in PyTorch; may be repeated.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    export: Annotated[
        bool | None,
        typer.Option(
            "--export/--no-export",
            help="Time each --model and --weights in onnxruntime too, exported to a temporary file. "
            "Default: where nothing is named.",
            rich_help_panel=WHAT,
            show_default=False,
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="SIDE|HxW", help="Input size in pixels. Default: a file's own, else 640.", rich_help_panel=HOW
        ),
    ] = None,
    batch: Annotated[
        str,
        typer.Option(
            metavar="N[,N...]", help="Pictures at once; several numbers add a throughput table.", rich_help_panel=HOW
        ),
    ] = ",".join(map(str, BenchConfig.batches)),
    threads: Annotated[
        str,
        typer.Option(
            metavar="N[,N...]", help="CPU threads; several numbers add a throughput table.", rich_help_panel=HOW
        ),
    ] = ",".join(map(str, BenchConfig.threads)),
    device: Annotated[
        str, typer.Option(help="cpu, cuda, cuda:1; mps for PyTorch alone.", rich_help_panel=HOW)
    ] = BenchConfig.device,
    runs: Annotated[
        int, typer.Option(help="Rounds; each runs every network once.", rich_help_panel=HOW)
    ] = BenchConfig.runs,
    picture: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="What the networks see. Default: the portrait that ships.", rich_help_panel=HOW
        ),
    ] = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="List the slowest nodes of each ONNX file.", rich_help_panel=OUTPUT)
    ] = BenchConfig.profile,
    chart: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also draw the times, as .png or .svg.", rich_help_panel=OUTPUT),
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Time networks beside each other: latency with its spread, stages, throughput, memory, and how far from the limit.

    Without arguments: v2 and v1 with the weights that ship, in PyTorch and, exported to temporary files, in onnxruntime.
    The networks run in turns, and the first one named is what the others are held against.

    Examples:

        featherface bench

        featherface bench --onnx featherface_v2.onnx --onnx yunet.onnx --runs 100 --chart times.png

        featherface bench --model v2 --export --batch 1,4,16 --threads 1,2 --json

        featherface bench --onnx featherface_v2.onnx --profile
    """
    from featherface_cli import render
    from featherface_cli.progress import progress_bar
    from featherface_cli.render_bench import show_bench

    sizes = parse_sizes(size) if size is not None else (None,)
    if len(sizes) != 1:
        raise ConfigError(f"--size {size} is more than one", "name one: 640 or 480x640")
    config = BenchConfig(
        sizes[0], parse_counts("--batch", batch), parse_counts("--threads", threads), device, runs, profile
    )
    sources = _sources(ctx.meta[ORDER], model or [], onnx or [], weights or [], files or [], export)
    if profile and all(source.runtime != "onnxruntime" for source in sources):
        raise ConfigError("--profile lists nodes of ONNX files, and none is timed", "add --export, or --onnx FILE")
    if chart is not None:
        from featherface_core.charts import check_chart

        check_chart(chart)  # before the work, not after it
    from featherface_core.bench.benchmark import bench as run
    from featherface_core.pictures import PORTRAIT

    with progress_bar("bench", quiet or as_json) as on_event:
        report = run(sources, config, picture or PORTRAIT, on_event)
    if chart is not None:
        from featherface_core.bench.report import draw_bench

        draw_bench(report, chart)
    render.print_json(report, "bench") if as_json else show_bench(report)


def _sources(
    order: list[str], models: list[str], onnx: list[Path], weights: list[Path], files: list[Path], export: bool | None
) -> "list[Source]":
    """What is to be timed, in the order of the command line. Raises ConfigError."""
    from featherface_core.bench.config import Source
    from featherface_core.models.variants import DEFAULT, SHIPPED

    for path in (*onnx, *files):
        _check_kind(path)
    left = {
        "model": [Source("torch", model=name) for name in models],
        "weights": [Source("torch", weights=str(path)) for path in weights],
        "onnx": [_exported(path) for path in onnx],
        "files": [_exported(path) for path in files],
    }
    named = [source for name in order if name in left for source in _next(name, left[name])]
    if not named:
        shipped = sorted(SHIPPED, key=lambda name: name != DEFAULT)
        named, export = [Source("torch", model=name) for name in shipped], export is not False
    elif export and not models and not weights:
        raise ConfigError("--export takes a --model or --weights to export", "name one, or leave --export out")
    if not export:
        return named
    both = [(s, replace(s, runtime="onnxruntime")) if s.runtime == "torch" else (s,) for s in named]
    return [source for pair in both for source in pair]


def _exported(path: Path) -> "Source":
    from featherface_core.bench.config import Source
    from featherface_core.detect.open import is_openvino

    return Source("openvino" if is_openvino(path) else "onnxruntime", onnx=str(path))


def _next(option: str, left: "list[Source]") -> "list[Source]":
    """One for each time an option was given; all of the arguments, which stand together."""
    taken = len(left) if option == "files" else 1
    return [left.pop(0) for _ in range(taken)]


def _check_kind(path: Path) -> None:
    """Raise ConfigError for what is not meant as an ONNX file."""
    from featherface_core.models.variants import VARIANTS

    if str(path) in VARIANTS:
        raise ConfigError(f"{str(path)!r} is a variant, not an ONNX file", f"use --model {path}")
    if path.suffix.lower() in (".safetensors", ".pth", ".pt", ".tar"):
        raise ConfigError(f"{path} holds weights, it is no ONNX file", f"use --weights {path}")
