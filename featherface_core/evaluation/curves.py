"""Precision-recall curves of an evaluation as PNG and SVG, with the protocol printed on them, and other detectors for comparison.

Of other detectors mostly the AP is known, which is drawn as a dot on an axis below. Needs no display, no installed font and no
user settings.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featherface_core.charts import DPI, cut, letters, settings, width_of, wrapped
from featherface_core.evaluation.peers import Peer
from featherface_core.evaluation.report import WIDER_PICTURES, EvalReport, Measured, Setting
from featherface_core.files import replacing, write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLES = {"easy": "Easy", "medium": "Medium", "hard": "Hard", "ap50": "AP at IoU 0.5", "ap": "AP at IoU 0.5 to 0.95"}
NO_FACES = ": no face counts, no AP"
BESIDE = (
    "Below: AP of this run (filled) beside that of other detectors as their sources state it (open), for the same pictures, "
    "resize rule and flips; score threshold and NMS may differ."
)

# inches
EDGE, GAP, PANEL, SINGLE = 0.3, 0.4, 4.3, 6.4  # SINGLE: width of a single panel
LEFT, RIGHT, HEADING, PLOT, AXIS = 0.58, 0.12, 0.62, 3.1, 0.5  # of a panel, around its plot
ROW, STRIP_TOP = 0.37, 0.12
_DASHES = ((0, (5, 2)), (0, (1.5, 1.5)), (0, (7, 2, 1.5, 2)), (0, (3, 1, 1, 1, 1, 1)), (0, (10, 3)))
_MARKERS = ("s", "^", "D", "v", "P", "X", "<")


@dataclass(frozen=True)
class _Look:
    """Colours, from the Okabe-Ito palette where they carry meaning. lines: of other detectors' curves."""

    paper: str
    ink: str
    muted: str
    grid: str
    ours: str
    alarm: str
    lines: tuple[str, ...]


_LIGHT = _Look("#ffffff", "#1b1f24", "#57606a", "#dde1e6", "#0072b2", "#a63c00", ("#d55e00", "#009e73", "#cc79a7"))
_DARK = _Look("#161b22", "#e6e9ed", "#a3acb7", "#363d47", "#56b4e9", "#ff9a5c", ("#e69f00", "#00b386", "#cc79a7"))


def title_of(report: EvalReport) -> str:
    """What was evaluated, in a few words: the network and the name of its file."""
    parts = (report.subject.model, Path(report.subject.weights).name)
    return " · ".join(dict.fromkeys(part for part in parts if part)) or report.subject.backend


def not_benchmark(protocol: Measured) -> str:
    """Why figures of the official method are not the WIDER FACE benchmark; "" where they are, or by another method."""
    if protocol.method != "wider-face" or protocol.benchmark:
        return ""
    if protocol.of == WIDER_PICTURES:
        return f"subset: {protocol.pictures:,} of {protocol.of:,} pictures, not the benchmark"
    part = f"{protocol.pictures:,} of {protocol.of:,}" if protocol.pictures != protocol.of else f"{protocol.of:,}"
    return f"{part} pictures that are not the WIDER FACE validation set: not the benchmark"


def write_curves(report: EvalReport, peers: Sequence[Peer], png: Path, svg: Path) -> None:
    """Draw all settings side by side, under the protocol in words, into both files.

    peers: those that are comparable (peers_of). The same report gives the same bytes. Raises DataError where a file cannot
    be written.
    """
    words = {"Title": letters(title_of(report)), "Description": _description(report)}
    with settings():
        figure = _sheet(report, peers)
        with replacing(png) as temporary:
            figure.savefig(temporary, format="png", dpi=DPI, metadata={**words, "Software": None})
        write_text(svg, _svg(figure, words))


def panels(report: EvalReport, peers: Sequence[Peer], dark: bool) -> list[tuple[str, str]]:
    """(setting, SVG) of each panel alone, on a transparent ground, in light or dark colours."""
    look = _DARK if dark else _LIGHT
    made = []
    with settings():
        for setting in _drawn(report):
            width, height = PANEL + 0.1, _panel_height(peers) + 0.1
            figure = _figure(width, height, look)
            figure.patch.set_alpha(0)
            _panel(figure, (0.02, height - 0.05), PANEL, _Content(report, setting, peers), look)
            words = {"Title": TITLES[setting.name], "Description": _description(report)}
            made.append((setting.name, _svg(figure, words)))
    return made


@dataclass(frozen=True)
class _Content:
    """What one panel shows."""

    report: EvalReport
    setting: Setting
    peers: Sequence[Peer]

    @property
    def name(self) -> str:
        return self.report.subject.model or title_of(self.report)

    @property
    def curves(self) -> list[tuple[Peer, Setting]]:
        """Other detectors whose curve is known in this setting."""
        known = [(p, s) for p in self.peers if p.curve for s in p.curve.settings]
        return [(p, s) for p, s in known if s.name == self.setting.name and s.recall]

    @property
    def ranked(self) -> list[tuple[float, Peer | None]]:
        """AP in this setting, best first; None is this run."""
        rows: list[tuple[float, Peer | None]] = [
            (p.figures[self.setting.name], p) for p in self.peers if self.setting.name in p.figures
        ]
        if self.setting.ap is not None:
            rows.insert(0, (self.setting.ap, None))
        return sorted(rows, key=lambda row: -row[0])


def _drawn(report: EvalReport) -> list[Setting]:
    """COCO's AP is a mean over ten curves, and has none of its own."""
    return [setting for setting in report.settings if setting.name != "ap"]


def _description(report: EvalReport) -> str:
    figures = ", ".join(f"{name} {_ap(value)}" for name, value in report.headline.items())
    return letters(". ".join(filter(None, (report.protocol.text, not_benchmark(report.protocol), f"AP: {figures}"))))


def _ap(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def _panel_height(peers: Sequence[Peer]) -> float:
    strip = STRIP_TOP + ROW * (1 + len(peers)) + AXIS if peers else 0
    return HEADING + PLOT + AXIS + strip


def _sheet(report: EvalReport, peers: Sequence[Peer]) -> "Figure":
    """The title, the protocol and a row of panels."""
    drawn = _drawn(report)
    panel = PANEL if len(drawn) > 1 else SINGLE
    width = 2 * EDGE + len(drawn) * panel + (len(drawn) - 1) * GAP
    look = _LIGHT
    header = [(title_of(report), 15.0, True, look.ink), (report.protocol.text, 10.0, False, look.muted)]
    if warning := not_benchmark(report.protocol):
        header.insert(1, (warning, 12.0, True, look.alarm))
    if peers:
        header.append((BESIDE, 9.0, False, look.muted))
    blocks = [(wrapped(text, width - 2 * EDGE, size, bold), size, bold, ink) for text, size, bold, ink in header]
    heights = [len(lines) * size * 1.4 / 72 + 0.1 for lines, size, _, _ in blocks]
    height = EDGE + sum(heights) + 0.15 + _panel_height(peers) + EDGE / 2
    figure = _figure(width, height, look)
    y = height - EDGE
    for (lines, size, bold, ink), used in zip(blocks, heights, strict=True):
        for number, line in enumerate(lines):
            at = (EDGE, y - number * size * 1.4 / 72)
            _write(figure, at, line, size=size, weight="bold" if bold else "normal", color=ink)
        y -= used
    for number, setting in enumerate(drawn):
        corner = (EDGE + number * (panel + GAP), y - 0.15)
        _panel(figure, corner, panel, _Content(report, setting, peers), look)
    return figure


def _panel(figure: "Figure", corner: tuple[float, float], width: float, content: _Content, look: _Look) -> None:
    """Heading, curves and strip of one setting. corner: the left upper one, in inches from the figure's left lower one."""
    left, top = corner
    inner = width - LEFT - RIGHT
    setting = content.setting
    _write(figure, (left + LEFT, top), TITLES[setting.name], size=13, weight="bold", color=look.ink)
    told = f" AP {setting.ap:.3f}" if setting.ap is not None else NO_FACES
    coco = {s.name: s.ap for s in content.report.settings}.get("ap")
    if setting.name == "ap50" and coco is not None:
        told += f", COCO AP {coco:.3f}"
    name = cut(content.name, inner - width_of(told, 10, True), 10, True)
    _write(figure, (left + LEFT, top - 0.27), name + told, size=10, weight="bold", color=look.ours)
    axes = _axes(figure, (left + LEFT, top - HEADING - PLOT, inner, PLOT))
    _frame(axes, look)
    styles = _styles(content, look)
    for peer, its in content.curves:
        axes.plot(its.recall, its.precision, clip_on=False, markevery=0.12, **styles[id(peer)])
    if setting.ap is not None:
        axes.plot(setting.recall, setting.precision, clip_on=False, color=look.ours, linewidth=2.2, zorder=3)
    if content.peers and content.ranked:
        rows = len(content.ranked)
        bottom = top - HEADING - PLOT - AXIS - STRIP_TOP - ROW * rows
        _strip(_axes(figure, (left + LEFT, bottom, inner, ROW * rows)), content, styles, inner, look)


def _frame(axes: "Axes", look: _Look) -> None:
    ticks = [number / 5 for number in range(6)]
    axes.set(xlim=(0, 1), ylim=(0, 1), xticks=ticks, yticks=ticks)
    axes.set_xlabel("Recall")
    axes.set_ylabel("Precision")
    axes.grid(color=look.grid, linewidth=0.8)
    _quiet(axes, look)


def _styles(content: _Content, look: _Look) -> dict[int, dict[str, Any]]:
    """How each other detector's curve is drawn, by the identity of the peer: also distinct by dashes and markers only."""
    looks = zip(cycle(look.lines), cycle(_DASHES), cycle(_MARKERS), strict=False)
    drawn = [peer for peer in content.peers if peer.curve]
    return {
        id(peer): {
            "color": colour,
            "linestyle": dashes,
            "marker": marker,
            "markersize": 5,
            "markerfacecolor": look.paper,
            "linewidth": 1.4,
        }
        for peer, (colour, dashes, marker) in zip(drawn, islice(looks, len(drawn)), strict=True)
    }


def _strip(axes: "Axes", content: _Content, styles: dict[int, dict[str, Any]], width: float, look: _Look) -> None:
    """A row a detector, best first: its name and AP over a line with its dot. Where curves are drawn it is their legend."""
    rows = content.ranked
    low, high = min(ap for ap, _ in rows), max(ap for ap, _ in rows)
    room = max(0.1 * (high - low), 0.025)
    axes.set(xlim=(max(0.0, low - room), min(1.0, high + room)), ylim=(len(rows), 0), yticks=[])
    axes.locator_params(axis="x", nbins=5)
    axes.set_xlabel("AP")
    _quiet(axes, look)
    axes.spines["left"].set_visible(False)
    indent = 0.42 if styles else 0.0  # inches, for a sample of the line
    for row, (ap, peer) in enumerate(rows):
        ours = peer is None
        weight, ink = ("bold", look.ours) if ours else ("normal", look.ink)
        name = cut(content.name if peer is None else peer.name, width - indent - 0.6, 9, ours)
        _note(axes, (indent / width, row + 0.3), name, size=9, weight=weight, color=ink, va="center")
        _note(axes, (1, row + 0.3), f"{ap:.3f}", size=9, weight=weight, color=ink, va="center", ha="right")
        axes.axhline(row + 0.72, color=look.muted, linewidth=0.5, alpha=0.6)
        style = styles.get(id(peer), {})
        if style or (ours and styles):
            sample = style or {"color": look.ours, "linewidth": 2.2}
            axes.plot(
                [0, 0.17 / width, 0.34 / width],
                [row + 0.3] * 3,
                transform=axes.get_yaxis_transform(),
                clip_on=False,
                markevery=[1],
                **sample,
            )
        axes.plot(
            [ap],
            [row + 0.72],
            marker="o" if ours else style.get("marker", "o"),
            markersize=8 if ours else 6.5,
            color=look.ours if ours else style.get("color", look.ink),
            markerfacecolor=look.ours if ours else look.paper,
            markeredgewidth=1.3,
            clip_on=False,
            zorder=4 if ours else 3,
        )


def _quiet(axes: "Axes", look: _Look) -> None:
    axes.set_axisbelow(True)
    axes.set_facecolor("none")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(look.muted)
    axes.tick_params(colors=look.muted, labelsize=9)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=look.muted, size=9.5)


def _figure(width: float, height: float, look: _Look) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((width, height), facecolor=look.paper)
    FigureCanvasAgg(figure)
    return figure


def _axes(figure: "Figure", box: tuple[float, float, float, float]) -> "Axes":
    """box: left, bottom, width, height, in inches."""
    width, height = figure.get_size_inches()
    return figure.add_axes((box[0] / width, box[1] / height, box[2] / width, box[3] / height))


def _write(figure: "Figure", at: tuple[float, float], text: str, **style: Any) -> None:
    """Text below the point ``at``, in inches."""
    width, height = figure.get_size_inches()
    figure.text(at[0] / width, at[1] / height, letters(text), va="top", **style)


def _note(axes: "Axes", at: tuple[float, float], text: str, **style: Any) -> None:
    """Text at a share of the axes' width, and a height in their own numbers."""
    axes.text(*at, letters(text), transform=axes.get_yaxis_transform(), **style)


def _svg(figure: "Figure", words: dict[str, str]) -> str:
    with io.BytesIO() as stream:
        figure.savefig(stream, format="svg", metadata={**words, "Date": None, "Creator": None})
        return stream.getvalue().decode()
