"""Charts that several reports draw: lettering, and rows of marks. Imports matplotlib only where it is used."""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from featherface_core.errors import ConfigError
from featherface_core.files import replacing

INK, MUTED, GRID, FIRST, OTHER = "#1b1f24", "#57606a", "#dde1e6", "#d55e00", "#0072b2"  # Okabe-Ito
WIDTH, ROW, TOP, AXIS, LINE = 8.0, 0.42, 0.25, 0.55, 0.17  # inches
NAMES, GAP = 3.0, 0.15  # inches at most for the names, and between the axis and the figures
DPI = 150  # of a PNG


@contextmanager
def settings() -> Iterator[None]:
    """Matplotlib's own defaults and ours, whatever the user's matplotlibrc says."""
    from matplotlib import style

    ours: dict[str, Any] = {
        "font.family": ["DejaVu Sans"],  # comes with matplotlib
        "text.parse_math": False,  # a dollar in a file's name is a dollar
        "svg.fonttype": "path",  # looks the same whichever fonts there are
        "svg.hashsalt": "featherface",  # the same report gives the same bytes
    }
    with style.context(["default", ours]):
        yield


@cache
def _font(bold: bool) -> Any:
    from matplotlib.font_manager import FontProperties

    return FontProperties(family=["DejaVu Sans"], weight="bold" if bold else "normal")


def letters(text: str) -> str:
    """``text`` in one line, with a question mark for each character that the font does not have."""
    from matplotlib.font_manager import findfont, get_font

    fonts = [get_font(findfont(_font(bold))) for bold in (False, True)]
    return "".join(c if all(f.get_char_index(ord(c)) for f in fonts) else "?" for c in " ".join(text.split()))


def width_of(text: str, size: float, bold: bool) -> float:
    """Inches that ``text`` takes at ``size`` points."""
    from matplotlib.textpath import TextToPath

    font = _font(bold).copy()
    font.set_size(size)
    width, _, _ = TextToPath().get_text_width_height_descent(letters(text), font, False)
    # the PNG's letters are fitted to pixels and may be a little wider
    return float(width) / 72 * 1.03


def wrapped(text: str, width: float, size: float, bold: bool) -> list[str]:
    """``text`` in lines of at most ``width`` inches; a word that is longer is broken."""
    lines = [""]
    for word in text.split():
        joined = f"{lines[-1]} {word}".strip()
        if width_of(joined, size, bold) <= width:
            lines[-1] = joined
            continue
        lines += [word] if lines[-1] else []
        lines[-1] = word
        while len(lines[-1]) > 1 and width_of(lines[-1], size, bold) > width:
            rest = lines[-1]
            most = max(1, _start(rest, width, size, bold))
            lines[-1:] = [rest[:most], rest[most:]]
    return lines


def cut(text: str, width: float, size: float, bold: bool) -> str:
    """``text``, with its middle left out where it is wider than ``width`` inches."""

    def kept(n: int) -> str:
        return f"{text[: n - n // 2]}…{text[len(text) - n // 2 :]}"

    if width_of(text, size, bold) <= width:
        return text
    return kept(_most(len(text) - 1, lambda n: width_of(kept(n), size, bold) <= width))


def _start(text: str, width: float, size: float, bold: bool) -> int:
    """How many of the first letters of ``text`` go into ``width`` inches, but not all."""
    return _most(len(text) - 1, lambda n: width_of(text[:n], size, bold) <= width)


def _most(high: int, fits: Callable[[int], bool]) -> int:
    """The largest number from 0 to ``high`` that fits, where every smaller one does too."""
    return bisect_left(range(1, high + 1), True, key=lambda n: not fits(n))


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
