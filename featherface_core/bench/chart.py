"""Times of networks as a chart: a row each, a dot at the median, a line from the 5th to the 95th percentile."""

from pathlib import Path

from featherface_core.bench.report import BenchReport
from featherface_core.errors import ConfigError
from featherface_core.evaluation.lettering import cut, letters, settings, width_of, wrapped
from featherface_core.files import replacing

INK, MUTED, GRID, FIRST, OTHER = "#1b1f24", "#57606a", "#dde1e6", "#d55e00", "#0072b2"  # Okabe-Ito
WIDTH, ROW, TOP, AXIS, LINE = 8.0, 0.42, 0.25, 0.55, 0.17  # inches
NAMES, TIMES = 3.0, 2.0  # inches at most for the names, and for the figures at the right
DPI = 150


def check_name(path: Path) -> str:
    """The kind of a chart, png or svg, from its name's ending. Raises ConfigError for another."""
    kind = path.suffix.lower().removeprefix(".")
    if kind not in ("png", "svg"):
        raise ConfigError(f"--chart {path} is neither .png nor .svg", "end its name in one of these")
    return kind


def draw_bench(report: BenchReport, path: Path) -> None:
    """Write a PNG or SVG, by the name's ending. Raises ConfigError for another ending, DataError where it cannot be written."""
    kind = check_name(path)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with settings():
        names = [cut(letters(name), NAMES, 9, bold=False) for name in _names(report)]
        left = 0.3 + max(width_of(name, 9, bold=False) for name in names)
        said = wrapped(_protocol(report), WIDTH - 0.4, 7, bold=False)
        rows = ROW * len(names)
        height = TOP + rows + AXIS + LINE * len(said) + 0.1
        figure = Figure(figsize=(WIDTH, height), dpi=DPI)
        FigureCanvasAgg(figure)
        axes = figure.add_axes((left / WIDTH, 1 - (TOP + rows) / height, 1 - (left + TIMES) / WIDTH, rows / height))
        for y, c in enumerate(report.candidates):
            ms, colour = c.milliseconds, OTHER if y else FIRST
            axes.plot([ms.p5, ms.p95], [y, y], color=colour, linewidth=2, alpha=0.55, solid_capstyle="round")
            axes.plot([ms.median], [y], "o", color=colour, markersize=7, mew=0)
            figures = f"{ms.median:.3g} ms" + (f", {c.ratio.median:.2f}x" if c.ratio else "")
            axes.annotate(figures, (1.03, y), xycoords=("axes fraction", "data"), va="center", fontsize=9, color=INK)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlim(0, 1.04 * max(c.milliseconds.p95 for c in report.candidates))
        axes.set_yticks(range(len(names)), names, fontsize=9, color=INK)
        axes.tick_params(length=0, labelsize=9, colors=MUTED)
        for label in axes.get_yticklabels():
            label.set_color(INK)
        axes.grid(axis="x", color=GRID)
        axes.set_axisbelow(True)
        for side in axes.spines.values():
            side.set_visible(False)
        axes.set_xlabel("milliseconds a batch" if report.batch > 1 else "milliseconds a picture", fontsize=9, color=INK)
        for i, line in enumerate(said):
            figure.text(0.2 / WIDTH, (0.1 + LINE * (len(said) - 1 - i)) / height, line, fontsize=7, color=MUTED)
        with replacing(path) as temporary:
            figure.savefig(temporary, format=kind, metadata={"Date": None} if kind == "svg" else {"Software": None})


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
    return letters(
        f"The network alone: {same and same + ', '}batch {report.batch}, {threads}, {report.device}, "
        f"{report.machine['processor']}. Median and 5th to 95th percentile of {how}. "
        f"x: time over that of {report.labels[0]} in the same round."
    )
