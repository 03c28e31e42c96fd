"""A benchmark as Rich tables."""

from collections import Counter
from collections.abc import Sequence

from rich.text import Text

from featherface_cli.screens.console import facts, giga, heading, stdout, table
from featherface_core.bench.report import BenchReport, CandidateReport
from featherface_core.errors import counted

NODES_SHOWN, OPERATORS_SHOWN = 10, 5
UNKNOWN = "-"


def show_bench(report: BenchReport) -> None:
    """Times, stages, costs, the distance from the limit, and what was asked for besides."""
    names = report.labels
    _show_times(report, names)
    for warning in report.warnings:
        stdout.print(Text.assemble(("warning: ", "bold yellow"), (warning, "yellow")))
    _show_stages(report, names)
    _show_throughput(report, names)
    _show_costs(report, names)
    _show_limits(report, names)
    _show_nodes(report, names)
    stdout.print(facts(_end(report)))


def _show_times(report: BenchReport, names: Sequence[str]) -> None:
    sizes, runtimes = {_size(c) for c in report.candidates}, {c.runtime for c in report.candidates}
    same = [*(sizes if len(sizes) == 1 else ()), *(runtimes if len(runtimes) == 1 else ())]
    runtime = ("runtime",) if len(runtimes) > 1 else ()
    right = [*(("size",) if len(sizes) > 1 else ()), "ms", "p5-p95"]
    several = len(report.candidates) > 1
    right += [*(("pictures/s",) if report.batch > 1 else ()), *(("ratio", "spread") if several else ())]
    what = [*same, f"batch {report.batch}", counted(report.threads, "thread"), report.device]
    heading(f"the network alone: {', '.join(what)}")
    made = table("network", *runtime, *right, right=right)
    for c in report.candidates:
        ms = c.milliseconds
        cells = [c.runtime] if runtime else []
        cells += [_size(c)] if len(sizes) > 1 else []
        cells += [_number(ms.median), f"{_number(ms.p5)}-{_number(ms.p95)}"]
        cells += [f"{c.pictures_per_second:.1f}"] if report.batch > 1 else []
        if several:
            cells += ["1", ""] if c.ratio is None else [f"{c.ratio.median:.2f}", f"{c.ratio.p5:.2f}-{c.ratio.p95:.2f}"]
        made.add_row(c.name, *cells)
    stdout.print(made)
    rounds = f"{report.runs} rounds in {report.starts} processes"
    said = f"ms: of one batch, median of {rounds}, with their 5th to 95th percentile."
    if several:
        said = (
            f"ms: of one batch, median of {rounds}, in which the networks take turns. ratio: time over that of {names[0]} in the "
            "same round, median. spread: its 5th to 95th percentile; expect another run's ratio within."
        )
    _say(said)


def _show_stages(report: BenchReport, names: Sequence[str]) -> None:
    if not any(c.stages for c in report.candidates):
        return
    columns = ("read", "prepare", "forward", "decode", "total", "outside", "faces")
    stdout.print()
    heading("from a file to faces")
    made = table("network", *columns, right=columns)
    for name, c in zip(names, report.candidates, strict=True):
        if c.stages is not None:
            s = c.stages
            times = (s.reading, s.preparing, s.network, s.postprocessing, s.total)
            made.add_row(name, *(_number(ms) for ms in times), f"{1 - s.network / s.total:.0%}", str(s.faces))
    stdout.print(made)
    _say(
        f"ms a picture, medians: {report.picture}, letterboxed to the size. decode: with NMS, scores above 0.5. "
        "outside: all but forward, of the total."
    )


def _show_throughput(report: BenchReport, names: Sequence[str]) -> None:
    if not report.throughput:
        return
    columns = [f"batch {row.batch}\n{counted(row.threads, 'thread')}" for row in report.throughput]
    made = table("pictures a second", *columns, right=columns)
    for i, name in enumerate(names):
        paces = [row.pictures_per_second[i] for row in report.throughput]
        made.add_row(name, *(UNKNOWN if pace is None else f"{pace:.1f}" for pace in paces))
    stdout.print(made)
    if any(pace is None for row in report.throughput for pace in row.pictures_per_second):
        _say("-: the file does not take that batch.")


def _show_costs(report: BenchReport, names: Sequence[str]) -> None:
    columns = ("parameters", "MACs", "peak memory", "start")
    made = table("cost", *columns, right=columns)
    for name, c in zip(names, report.candidates, strict=True):
        alone = c.alone
        made.add_row(
            name,
            UNKNOWN if c.cost.parameters is None else f"{c.cost.parameters:,}",
            UNKNOWN if c.cost.macs is None else giga(c.cost.macs),
            UNKNOWN if alone.peak_bytes is None else f"{alone.peak_bytes / 1e6:.0f} MB",
            UNKNOWN if alone.cpu_seconds is None else f"{alone.cpu_seconds:.2f} s",
        )
    stdout.print(made)
    said = (
        "MACs: of one picture; convolutions and matrix products, deformable ones without their sampling. "
        "peak memory, start: of a Python of its own, libraries included; start: CPU time to its first result."
    )
    foreign = any(c.stages is None and c.cost.parameters is not None for c in report.candidates)
    _say(said + (" parameters: of a foreign file, the numbers stored in it." if foreign else ""))
    for name, c in zip(names, report.candidates, strict=True):
        if c.alone.problem:
            stdout.print(Text.assemble((f"{name} alone: ", "yellow"), (c.alone.problem, "yellow")))


def _show_limits(report: BenchReport, names: Sequence[str]) -> None:
    if report.limit is None:
        return
    columns = ("GMAC/s", "of peak", "GB/s", "of copy")
    made = table("how far from the limit", *columns, right=columns)
    for name, c in zip(names, report.candidates, strict=True):
        a = c.achieved
        made.add_row(name, _giga(a.macs_per_second), _share(a.of_peak), _giga(a.bytes_per_second), _share(a.of_copy))
    made.add_section()
    limit = report.limit
    made.add_row("this machine", _giga(limit.macs_per_second), "100%", _giga(limit.bytes_per_second), "100%")
    stdout.print(made)
    _say(
        f"peak: the fastest of several large float32 matrix products, {counted(limit.threads, 'thread')}; copy: of a large "
        "array in memory. GB/s: all that operations read and write, each tensor once; above 100%, caches held it."
    )


def _show_nodes(report: BenchReport, names: Sequence[str]) -> None:
    for name, c in zip(names, report.candidates, strict=True):
        if not c.nodes:
            continue
        made = table(
            "operator", "output", "ms", "share", "node", title=f"slowest nodes of {name}", right=("ms", "share")
        )
        for node in c.nodes[:NODES_SHOWN]:
            shape = "x".join(map(str, node.shape))
            made.add_row(node.operator, shape, f"{node.milliseconds:.2f}", f"{node.share:.1%}", node.name)
        stdout.print(made)
        shares: Counter[str] = Counter()
        for node in c.nodes:
            shares[node.operator] += node.share  # type: ignore[assignment] # a counter of shares
        most = ", ".join(f"{operator} {share:.0%}" for operator, share in shares.most_common(OPERATORS_SHOWN))
        _say(f"{len(c.nodes)} nodes, as onnxruntime's profiler sees them; by operator: {most}.")


def _end(report: BenchReport) -> list[tuple[str, str | Text]]:
    machine = report.machine
    versions = ", ".join(f"{name} {machine[name]}" for name in ("onnxruntime", "openvino", "torch") if name in machine)
    return [
        (
            "machine",
            f"{machine['processor']}, {counted(machine['cpus'], 'CPU')}, Python {machine['python']}, {versions}",
        ),
        ("time", f"{report.seconds:.1f} s in all; {report.warm_up} rounds more to warm up each process"),
    ]


def _say(text: str) -> None:
    stdout.print(Text(text, style="dim"))


def _size(c: CandidateReport) -> str:
    """As --size has it: height first."""
    return f"{c.height}x{c.width}"


def _number(ms: float) -> str:
    """Three digits or so."""
    return f"{ms:.1f}" if ms >= 10 else f"{ms:.2f}"


def _giga(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value / 1e9:.1f}"


def _share(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.0%}"
