"""Groups of runs as a chart: a row a group, a dot a run, a line at the mean."""

from pathlib import Path

from featherface_core.errors import ConfigError
from featherface_core.evaluation.groups import Grouped
from featherface_core.evaluation.lettering import letters, settings, width_of, wrapped
from featherface_core.files import replacing

TITLES = {"mean": "mean of Easy, Medium and Hard AP", "ap": "AP at IoU 0.5 to 0.95", "ap50": "AP at IoU 0.5"}
INK, MUTED, GRID, FIRST, OTHER = "#1b1f24", "#57606a", "#dde1e6", "#d55e00", "#0072b2"  # Okabe-Ito
WIDTH, ROW, TOP, AXIS, LINE = 8.0, 0.42, 0.25, 0.55, 0.17  # inches
DPI = 150


def draw_groups(grouped: Grouped, path: Path) -> None:
    """Write a PNG or SVG, by the name's ending. Raises ConfigError for another ending, DataError where it cannot be written."""
    kind = path.suffix.lower().removeprefix(".")
    if kind not in ("png", "svg"):
        raise ConfigError(f"--chart {path} is neither .png nor .svg", "end its name in one of these")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with settings():
        names = [letters(f"{group.name} ({len(group.paths)})") for group in grouped.groups]
        left = 0.3 + max(width_of(name, 9, bold=False) for name in names)
        said = wrapped(grouped.protocol, WIDTH - 0.4, 7, bold=False)
        rows = ROW * len(names)
        height = TOP + rows + AXIS + LINE * len(said) + 0.1
        figure = Figure(figsize=(WIDTH, height), dpi=DPI)
        FigureCanvasAgg(figure)
        axes = figure.add_axes((left / WIDTH, 1 - (TOP + rows) / height, 1 - (left + 0.9) / WIDTH, rows / height))
        for y, group in enumerate(grouped.groups):
            spread = group.figures[grouped.ranked_by]
            colour = OTHER if y else FIRST
            axes.plot(spread.values, [y] * len(spread.values), "o", color=colour, alpha=0.55, markersize=7, mew=0)
            axes.plot([spread.mean] * 2, [y - 0.3, y + 0.3], color=colour, linewidth=2)
            gain = f"{group.gain.points:+.1f}" if group.gain else f"{spread.mean * 100:.1f}"
            axes.annotate(gain, (1.02, y), xycoords=("axes fraction", "data"), va="center", fontsize=9, color=INK)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_yticks(range(len(names)), names, fontsize=9, color=INK)
        axes.tick_params(length=0, labelsize=9, colors=MUTED)
        for label in axes.get_yticklabels():
            label.set_color(INK)
        axes.grid(axis="x", color=GRID)
        axes.set_axisbelow(True)
        for side in axes.spines.values():
            side.set_visible(False)
        axes.set_xlabel(TITLES.get(grouped.ranked_by, grouped.ranked_by), fontsize=9, color=INK)
        for i, line in enumerate(said):
            figure.text(0.2 / WIDTH, (0.1 + LINE * (len(said) - 1 - i)) / height, line, fontsize=7, color=MUTED)
        with replacing(path) as temporary:
            figure.savefig(temporary, format=kind, metadata={"Date": None} if kind == "svg" else {"Software": None})
