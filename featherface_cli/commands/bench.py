"""The command ``bench``."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import typer

from featherface_cli import options as o
from featherface_cli.parser import ORDER, grouped
from featherface_core.bench.config import BenchConfig, parse_counts
from featherface_core.config import parse_sizes
from featherface_core.errors import ConfigError

BATCHES, THREADS = (",".join(map(str, numbers)) for numbers in (BenchConfig.batches, BenchConfig.threads))


@grouped
def bench(
    ctx: typer.Context,
    *,
    files: o.BenchFiles = None,
    model: o.BenchModels = None,
    onnx: o.BenchOnnx = None,
    weights: o.BenchWeights = None,
    export: o.BenchExport = None,
    size: o.BenchSize = None,
    batch: o.BenchBatch = BATCHES,
    threads: o.BenchThreads = THREADS,
    config: o.Benchmark,
    picture: o.BenchPicture = None,
    chart: o.BenchChart = None,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
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
    from featherface_cli.progress import progress_bar
    from featherface_cli.screens.bench_screen import show_bench
    from featherface_cli.screens.console import print_json
    from featherface_core.bench.benchmark import bench as core_bench
    from featherface_core.bench.benchmark import sources_of
    from featherface_core.charts import check_chart
    from featherface_core.pictures import PORTRAIT

    sizes = parse_sizes(size) if size is not None else (None,)
    if len(sizes) != 1:
        raise ConfigError(f"--size {size} is more than one", "name one: 640 or 480x640")
    batches, counts = parse_counts("--batch", batch), parse_counts("--threads", threads)
    config = replace(config, size=sizes[0], batches=batches, threads=counts)
    named: dict[str, Sequence[str | Path]] = {
        "model": model or [],
        "weights": weights or [],
        "onnx": onnx or [],
        "files": files or [],
    }
    sources = sources_of(_in_order(ctx.meta[ORDER], named), export, config.profile)
    if chart is not None:
        check_chart(chart)  # before the work, not after it
    with progress_bar("bench", quiet or as_json) as on_event:
        report = core_bench(sources, config, picture or PORTRAIT, on_event)
    if chart is not None:
        from featherface_core.bench.report import draw_bench

        draw_bench(report, chart)
    print_json(report, "bench") if as_json else show_bench(report)


def _in_order(order: Iterable[str], values: Mapping[str, Sequence[str | Path]]) -> list[tuple[str, str | Path]]:
    """Names of options and their values, in the order of the command line, where FILE is one more --onnx.

    order: an option's name for each time that it was given; the arguments' name once for all of them, which stand together.
    """
    left = {name: list(given) for name, given in values.items()}
    pairs: list[tuple[str, str | Path]] = []
    for name in order:
        if name == "files":
            pairs += [("onnx", path) for path in left[name]]
        elif name in left:
            pairs.append((name, left[name].pop(0)))
    return pairs
