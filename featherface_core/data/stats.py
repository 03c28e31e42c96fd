"""How many faces a data set has, their sizes, how they are spread over its pictures; as numbers and as histograms."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from featherface_core.config import SYNTHETIC
from featherface_core.data.annotation import Annotation, AnnotationSet, Faces, Picture
from featherface_core.data.report import Bin, DataStatsReport, SeenReport, SetStats, SetSummary
from featherface_core.data.sets import is_synthetic, open_one, set_names, sets_of
from featherface_core.events import Listener, Progress, ignore
from featherface_core.pictures import write_picture

OCTAVES = (0.0, 8, 16, 32, 64, 128, 256, 512)  # pixels
HALF_OCTAVES = (0.0, *(2.0 ** (i / 2) for i in range(2, 21)))  # 2 to 1024 pixels
PER_PICTURE = (0.0, 1, 2, 3, 5, 9, 17, 33, 65, 129, 257)
PERCENTILES = (5, 25, 50, 75, 95)
WIDTH, PANEL_HEIGHT, TOP = 1280, 400, 64  # pixels
_FINE = 2  # drawn this much larger and averaged down, for smooth letters
_PAPER, _INK, _GREY, _GRID, _BAR = (255, 255, 255), (45, 40, 35), (125, 120, 115), (230, 228, 225), (176, 118, 58)


def data_stats(
    data: str | Path | Sequence[str | Path], count: int = 1000, on_event: Listener = ignore
) -> DataStatsReport:
    """Count what the labels at a path, or at several, hold, of train and val where there are both. No picture is opened.

    ``synthetic:N`` stands for the N drawn pictures that training draws by this name, ``synthetic`` for the first ``count``.
    Raises DataError for a label that cannot be read, ConfigError for a set that is named twice.
    """
    start = time.perf_counter()
    paths = [Path(data)] if isinstance(data, str | Path) else [Path(path) for path in data]
    sets: dict[str, AnnotationSet] = {}
    for path, called in zip(paths, set_names([path.resolve() for path in paths]), strict=True):
        drawn = is_synthetic(str(path))
        found = {str(path): _drawn(str(path), count, on_event)} if drawn else sets_of(path)
        if not drawn and len(paths) > 1:
            found = {called if part == "data" else f"{called}, {part}": labels for part, labels in found.items()}
        sets |= found
    made = tuple(stats_of(name, labels) for name, labels in sets.items())
    return DataStatsReport(", ".join(map(str, paths)), made, time.perf_counter() - start)


def _drawn(name: str, count: int, on_event: Listener) -> AnnotationSet:
    pictures = open_one(f"{SYNTHETIC}:{count}" if name == SYNTHETIC else name)
    annotations = []
    for i in range(len(pictures)):
        on_event(Progress(i + 1, len(pictures), "drawn faces"))
        annotations.append(Annotation(Path(f"{i}.png"), f"{i}.png", pictures.faces(i)))
    return AnnotationSet(Path(pictures.name), SYNTHETIC, tuple(annotations))


def stats_of(name: str, labels: AnnotationSet) -> SetStats:
    """The statistics of one label."""
    summary = SetSummary.of(name, labels)
    faces = [a.faces for a in labels.annotations]
    sizes = np.concatenate([face_sizes(f.select(~f.ignored)) for f in faces]) if faces else np.zeros(0)
    counts = np.array([(~f.ignored).sum() for f in faces], np.float64)
    percentiles = tuple(np.percentile(sizes, PERCENTILES).round(2).tolist()) if len(sizes) else ()
    return SetStats(summary, percentiles, bins(sizes, OCTAVES), bins(sizes, HALF_OCTAVES), bins(counts, PER_PICTURE))


def face_sizes(faces: Faces) -> NDArray[np.float64]:
    """(n,): the square root of each box's area, pixels: the side of the square anchor that suits it."""
    sides = (faces.boxes[:, 2:] - faces.boxes[:, :2]).astype(np.float64)
    roots: NDArray[np.float64] = np.sqrt(sides.prod(1))
    return roots


def bins(values: NDArray[np.float64], edges: tuple[float, ...]) -> tuple[Bin, ...]:
    """Count values between edges; the last bin has no upper limit.

    >>> [b.count for b in bins(np.array([1.0, 8, 9]), (0, 8, 16))]
    [1, 2, 0]
    """
    counts = np.histogram(values, [*edges, np.inf])[0].tolist()
    highs = (*edges[1:], None)
    total = max(1, len(values))
    return tuple(Bin(low, high, n, n / total) for low, high, n in zip(edges, highs, counts, strict=True))


def with_drawing(report: DataStatsReport, path: Path) -> DataStatsReport:
    """Draw the histograms into ``path`` and note it in the report. Raises DataError."""
    write_picture(path, draw_stats(report))
    return replace(report, drawn=str(path))


@dataclass(frozen=True)
class _Panel:
    """One histogram in a frame. labels: (position in bars, text) below the axis."""

    title: str
    x_axis: str
    y_axis: str
    bars: tuple[Bin, ...]
    labels: tuple[tuple[float, str], ...]


def draw_stats(report: DataStatsReport) -> Picture:
    """Histograms of face sizes and of faces per picture, a row a set: BGR uint8 (64 + 400 a set, 1280, 3)."""
    height = TOP + PANEL_HEIGHT * len(report.sets)
    canvas = np.full((height * _FINE, WIDTH * _FINE, 3), _PAPER, np.uint8)
    pictures = sum(s.summary.pictures for s in report.sets)
    faces = sum(s.summary.faces for s in report.sets)
    _text(canvas, _ascii(f"{report.path}: {faces:,} faces in {pictures:,} pictures", 90), 40, 42, 0.8)
    for row, stats in enumerate(report.sets):
        y = TOP + row * PANEL_HEIGHT
        counted = sum(b.count for b in stats.histogram)
        name = "" if stats.summary.name == "data" else f"{stats.summary.name}: "
        median = f", median {stats.percentiles[2]:.3g} px" if stats.percentiles else ""
        sizes = _Panel(
            f"{name}{counted:,} faces by size{median}",
            "square root of the box's area in pixels, ignored faces left out",
            "faces",
            stats.histogram,
            tuple((i, f"{b.low:g}") for i, b in enumerate(stats.histogram) if b.low == round(b.low)),
        )
        spread = _Panel(
            f"{name}{stats.summary.pictures:,} pictures by faces",
            "faces in a picture, ignored ones left out",
            "pictures",
            stats.per_picture,
            tuple((i + 0.5, range_text(b)) for i, b in enumerate(stats.per_picture)),
        )
        _draw(canvas, sizes, 0, y, 660)
        _draw(canvas, spread, 660, y, WIDTH - 660)
    small = cv2.resize(canvas, (WIDTH, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def draw_seen(report: SeenReport) -> Picture:
    """Histograms of the faces that a recipe shows and of the anchors that learn them: BGR uint8 (464, 1280, 3)."""
    canvas = np.full(((TOP + PANEL_HEIGHT) * _FINE, WIDTH * _FINE, 3), _PAPER, np.uint8)
    faces, positives = (sum(counts) for counts in zip(*((b.faces, b.positives) for b in report.bins), strict=True))
    title = f"{report.data}: {report.pictures:,} pictures of {report.size} px as the network sees them"
    _text(canvas, _ascii(title, 100), 40, 42, 0.8)
    labels = tuple((i, f"{b.low:g}") for i, b in enumerate(report.bins))
    sides = "square root of the box's area in pixels of the network's input, ignored faces left out"
    shown = tuple(Bin(b.low, b.high, b.faces, b.share) for b in report.bins)
    learnt = tuple(Bin(b.low, b.high, b.positives, b.positive_share) for b in report.bins)
    _draw(canvas, _Panel(f"{faces:,} faces by size", sides, "faces", shown, labels), 0, TOP, WIDTH // 2)
    title = f"{positives:,} positive anchors ({report.assign}) by their face's size"
    _draw(canvas, _Panel(title, sides, "anchors", learnt, labels), WIDTH // 2, TOP, WIDTH // 2)
    small = cv2.resize(canvas, (WIDTH, TOP + PANEL_HEIGHT), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def range_text(b: Bin) -> str:
    """A bin of whole numbers in a few letters.

    >>> range_text(Bin(3, 5, 0, 0)), range_text(Bin(1, 2, 0, 0)), range_text(Bin(257, None, 0, 0))
    ('3-4', '1', '257+')
    """
    if b.high is None:
        return f"{b.low:g}+"
    return f"{b.low:g}" if b.high == b.low + 1 else f"{b.low:g}-{b.high - 1:g}"


def _draw(canvas: Picture, panel: _Panel, left: int, top: int, width: int) -> None:
    x0, x1, y0, y1 = left + 84, left + width - 24, top + 52, top + PANEL_HEIGHT - 76
    step = _tick(max(b.count for b in panel.bars))
    ticks = max(1, -(-max(b.count for b in panel.bars) // step))
    _text(canvas, panel.title, x0, top + 26, 0.55)
    for tick in range(ticks + 1):
        y = round(y1 - tick / ticks * (y1 - y0))
        _line(canvas, (x0, y), (x1, y), _GREY if tick == 0 else _GRID)
        _text(canvas, f"{tick * step:,}", x0 - 8, y + 4, 0.4, _GREY, anchor=1)
    _text(canvas, panel.y_axis, x0 - 8, y0 - 14, 0.42, _GREY, anchor=1)
    pitch = (x1 - x0) / len(panel.bars)
    for i, b in enumerate(panel.bars):
        if b.count:
            y = round(y1 - b.count / (ticks * step) * (y1 - y0))
            corner = (round(x0 + i * pitch + 1) * _FINE, y * _FINE)
            cv2.rectangle(canvas, corner, (round(x0 + (i + 1) * pitch - 1) * _FINE, y1 * _FINE), _BAR, -1)
            _text(canvas, _short(b.count), x0 + (i + 0.5) * pitch, y - 5, 0.34, anchor=0.5)
    for position, text in panel.labels:
        x = round(x0 + position * pitch)
        if position == int(position):  # an edge between bars
            _line(canvas, (x, y1), (x, y1 + 5), _GREY)
        _text(canvas, text, x, y1 + 20, 0.36, anchor=0.5)
    _text(canvas, panel.x_axis, (x0 + x1) / 2, y1 + 46, 0.45, _GREY, anchor=0.5)


def _tick(most: int) -> int:
    """A round step, at least 1, that makes at most six of ``most``."""
    step = 1
    while most > 6 * step:
        step = step * 5 // 2 if str(step)[0] == "2" else step * 2
    return step


def _short(count: int) -> str:
    """At most four letters: 999, 1.2k, 12k."""
    if count < 1000:
        return str(count)
    return f"{count / 1000:.1f}k" if count < 9950 else f"{count / 1000:.0f}k"


def _ascii(text: str, most: int) -> str:
    """OpenCV's letters have no others; a long path keeps its end, which says more."""
    plain = "".join(c if " " <= c <= "~" else "?" for c in text)
    return plain if len(plain) <= most else "..." + plain[-most:]


def _line(canvas: Picture, start: tuple[int, int], end: tuple[int, int], colour: tuple[int, int, int]) -> None:
    a, b = ((x * _FINE, y * _FINE) for x, y in (start, end))
    cv2.line(canvas, a, b, colour, _FINE)


def _text(
    canvas: Picture,
    text: str,
    x: float,
    y: float,
    scale: float,
    colour: tuple[int, int, int] = _INK,
    anchor: float = 0.0,
) -> None:
    """Letters on the baseline ``y``; anchor: the share of the text left of ``x``."""
    size, thickness = scale * _FINE, 2 if scale > 0.5 else 1
    (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, thickness)
    place = (round(x * _FINE - anchor * width), round(y * _FINE))
    cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, colour, thickness, cv2.LINE_AA)
