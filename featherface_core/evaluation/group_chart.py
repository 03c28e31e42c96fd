"""Groups of runs as a chart: a row a group, a dot a run, a line at the mean."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from featherface_core.evaluation.groups import Grouped, Spread
from featherface_core.evaluation.row_chart import Row, draw_rows

TITLES = {"mean": "mean of Easy, Medium and Hard AP", "ap": "AP at IoU 0.5 to 0.95", "ap50": "AP at IoU 0.5"}


def draw_groups(grouped: Grouped, path: Path) -> None:
    """Write a PNG or SVG, by the name's ending. Raises as ``draw_rows``."""
    rows = []
    for group in grouped.groups:
        spread = group.figures[grouped.ranked_by]
        figure = f"{group.gain.points:+.1f}" if group.gain else f"{spread.mean * 100:.1f}"
        rows.append(Row(f"{group.name} ({len(group.paths)})", figure, _marks(spread)))
    draw_rows(rows, TITLES.get(grouped.ranked_by, grouped.ranked_by), grouped.protocol, path)


def _marks(spread: Spread) -> Callable[[Any, int, str], None]:
    def draw(axes: Any, y: int, colour: str) -> None:
        axes.plot(spread.values, [y] * len(spread.values), "o", color=colour, alpha=0.55, markersize=7, mew=0)
        axes.plot([spread.mean] * 2, [y - 0.3, y + 0.3], color=colour, linewidth=2)

    return draw
