"""Times of networks as a chart: a row each, a dot at the median, a line from the 5th to the 95th percentile."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from featherface_core.bench.report import BenchReport, Latency
from featherface_core.evaluation.row_chart import Row, draw_rows


def draw_bench(report: BenchReport, path: Path) -> None:
    """Write a PNG or SVG, by the name's ending. Raises as ``draw_rows``."""
    rows = []
    for name, c in zip(_names(report), report.candidates, strict=True):
        figure = f"{c.milliseconds.median:.3g} ms" + (f", {c.ratio.median:.2f}x" if c.ratio else "")
        rows.append(Row(name, figure, _marks(c.milliseconds)))
    title = "milliseconds a batch" if report.batch > 1 else "milliseconds a picture"
    longest = max(c.milliseconds.p95 for c in report.candidates)
    draw_rows(rows, title, _protocol(report), path, (0, 1.04 * longest))


def _marks(ms: Latency) -> Callable[[Any, int, str], None]:
    def draw(axes: Any, y: int, colour: str) -> None:
        axes.plot([ms.p5, ms.p95], [y, y], color=colour, linewidth=2, alpha=0.55, solid_capstyle="round")
        axes.plot([ms.median], [y], "o", color=colour, markersize=7, mew=0)

    return draw


def _names(report: BenchReport) -> list[str]:
    several = len(_sizes(report)) > 1
    return [
        f"{label}, {c.height}x{c.width}" if several else label
        for label, c in zip(report.labels, report.candidates, strict=True)
    ]


def _sizes(report: BenchReport) -> set[str]:
    return {f"{c.height}x{c.width}" for c in report.candidates}


def _protocol(report: BenchReport) -> str:
    threads = "1 thread" if report.threads == 1 else f"{report.threads} threads"
    runtimes = {c.runtime for c in report.candidates}
    same = ", ".join(what for kinds in (_sizes(report), runtimes) if len(kinds) == 1 for what in kinds)
    how = f"{report.runs} rounds in {report.starts} processes, in which the networks took turns"
    return (
        f"The network alone: {same and same + ', '}batch {report.batch}, {threads}, {report.device}, "
        f"{report.machine['processor']}. Median and 5th to 95th percentile of {how}. "
        f"x: time over that of {report.labels[0]} in the same round."
    )
