"""How many faces a data set has, how large they are, and how they are spread over its pictures."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featherface_core.data.annotation import Annotation, AnnotationSet, Faces
from featherface_core.data.files import sets_of
from featherface_core.data.joined import set_names
from featherface_core.data.reports import Bin, DataStatsReport, SetStats, SetSummary
from featherface_core.events import Listener, Progress, ignore

SYNTHETIC = "synthetic"
OCTAVES = (0.0, 8, 16, 32, 64, 128, 256, 512)  # pixels
HALF_OCTAVES = (0.0, *(2.0 ** (i / 2) for i in range(2, 21)))  # 2 to 1024 pixels
PER_PICTURE = (0.0, 1, 2, 3, 5, 9, 17, 33, 65, 129, 257)
PERCENTILES = (5, 25, 50, 75, 95)


def data_stats(
    data: str | Path | Sequence[str | Path],
    count: int = 1000,
    seed: int = 0,
    size: int = 256,
    on_event: Listener = ignore,
) -> DataStatsReport:
    """Count what the labels at a path, or at several, hold, of train and val where there are both. No picture is opened.

    The word ``synthetic`` stands for the embedded drawn faces: ``count`` pictures of ``size`` pixels, drawn from ``seed``.
    Raises DataError for a label that cannot be read.
    """
    start = time.perf_counter()
    paths = [Path(data)] if isinstance(data, str | Path) else [Path(path) for path in data]
    sets: dict[str, AnnotationSet] = {}
    for path, called in zip(paths, set_names([path.resolve() for path in paths]), strict=True):
        drawn = str(path) == SYNTHETIC
        found = {SYNTHETIC: _synthetic(count, seed, size, on_event)} if drawn else sets_of(path)
        if not drawn and len(paths) > 1:
            found = {called if part == "data" else f"{called}, {part}": labels for part, labels in found.items()}
        sets |= found
    made = tuple(stats_of(name, labels) for name, labels in sets.items())
    return DataStatsReport(", ".join(map(str, paths)), made, time.perf_counter() - start)


def _synthetic(count: int, seed: int, size: int, on_event: Listener) -> AnnotationSet:
    from featherface_core.data.synthetic import SyntheticFaces

    pictures = SyntheticFaces(count, seed=seed, size=size)
    annotations = []
    for i in range(len(pictures)):
        on_event(Progress(i + 1, count, "drawn faces"))
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
    from featherface_core.data.draw_stats import draw_stats
    from featherface_core.pictures import write_picture

    write_picture(path, draw_stats(report))
    return replace(report, drawn=str(path))
