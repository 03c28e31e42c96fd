"""A chart of rows: a name at the left, marks on a common axis, a figure at the right, and the protocol below."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featherface_core.errors import ConfigError
from featherface_core.evaluation.lettering import cut, letters, settings, width_of, wrapped
from featherface_core.files import replacing

INK, MUTED, GRID, FIRST, OTHER = "#1b1f24", "#57606a", "#dde1e6", "#d55e00", "#0072b2"  # Okabe-Ito
WIDTH, ROW, TOP, AXIS, LINE = 8.0, 0.42, 0.25, 0.55, 0.17  # inches
NAMES, GAP = 3.0, 0.15  # inches at most for the names, and between the axis and the figures
DPI = 150


@dataclass(frozen=True)
class Row:
    """name, figure: what stands at the left and at the right. draw: puts the marks onto axes, at a height, in a colour."""

    name: str
    figure: str
    draw: Callable[[Any, int, str], None]


def check_chart(path: Path) -> str:
    """The kind of a chart, png or svg, from its name's ending. Raises ConfigError for another."""
    kind = path.suffix.lower().removeprefix(".")
    if kind not in ("png", "svg"):
        raise ConfigError(f"--chart {path} is neither .png nor .svg", "end its name in one of these")
    return kind


def draw_rows(
    rows: Sequence[Row], title: str, protocol: str, path: Path, limits: tuple[float, float] | None = None
) -> None:
    """Write a PNG or SVG, by the name's ending; the first row has a colour of its own.

    title: of the axis. limits: its ends, None for what the marks need. Raises ConfigError for another ending, DataError where it
    cannot be written.
    """
    kind = check_chart(path)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with settings():
        names = [cut(letters(row.name), NAMES, 9, bold=False) for row in rows]
        left = 0.3 + max(width_of(name, 9, bold=False) for name in names)
        right = 0.3 + GAP + max(width_of(row.figure, 9, bold=False) for row in rows)
        said = wrapped(letters(protocol), WIDTH - 0.4, 7, bold=False)
        room, below = ROW * len(rows), AXIS + LINE * len(said) + 0.1
        height = TOP + room + below
        figure = Figure(figsize=(WIDTH, height), dpi=DPI)
        FigureCanvasAgg(figure)
        across = WIDTH - left - right
        axes = figure.add_axes((left / WIDTH, below / height, across / WIDTH, room / height))
        for y, row in enumerate(rows):
            row.draw(axes, y, OTHER if y else FIRST)
            place = (1 + GAP / across, y)
            axes.annotate(row.figure, place, xycoords=("axes fraction", "data"), va="center", fontsize=9, color=INK)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        if limits:
            axes.set_xlim(*limits)
        axes.set_yticks(range(len(rows)), names, fontsize=9, color=INK)
        axes.tick_params(length=0, labelsize=9, colors=MUTED)
        for label in axes.get_yticklabels():
            label.set_color(INK)
        axes.grid(axis="x", color=GRID)
        axes.set_axisbelow(True)
        for side in axes.spines.values():
            side.set_visible(False)
        axes.set_xlabel(title, fontsize=9, color=INK)
        for i, line in enumerate(said):
            figure.text(0.2 / WIDTH, (0.1 + LINE * (len(said) - 1 - i)) / height, line, fontsize=7, color=MUTED)
        with replacing(path) as temporary:
            figure.savefig(temporary, format=kind, metadata={"Date": None} if kind == "svg" else {"Software": None})
