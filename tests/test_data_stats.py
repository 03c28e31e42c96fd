"""data stats: counts that add up, and their drawing."""

from pathlib import Path

import numpy as np
import pytest
from data_folders import line, make
from hypothesis import given
from hypothesis import strategies as st

from featherface_core.data.annotation import Annotation, AnnotationSet, Faces
from featherface_core.data.sets import open_data
from featherface_core.data.stats import bins, data_stats, draw_stats, stats_of
from featherface_core.errors import ConfigError


def test_bins() -> None:
    made = bins(np.array([0.0, 7.9, 8, 15, 16, 1e6]), (0.0, 8, 16))
    assert [(b.low, b.high, b.count) for b in made] == [(0, 8, 2), (8, 16, 2), (16, None, 2)]
    assert sum(b.share for b in made) == pytest.approx(1)
    assert [b.share for b in bins(np.zeros(0), (0.0, 8))] == [0, 0]


@given(
    counts=st.lists(st.integers(0, 300), max_size=5), ignored=st.booleans(), side=st.floats(0, 5000, allow_nan=False)
)
def test_statistics_add_up(counts: list[int], ignored: bool, side: float) -> None:
    annotations = tuple(
        Annotation(Path("a"), "a", Faces.of(np.tile([0, 0, side, side], (n, 1)), ignored=[ignored] * n)) for n in counts
    )
    stats = stats_of("data", AnnotationSet(Path("x"), "coco", annotations))
    total = 0 if ignored else sum(counts)
    assert sum(b.count for b in stats.sizes) == sum(b.count for b in stats.histogram) == total
    assert sum(b.count for b in stats.per_picture) == len(counts)
    assert stats.summary.faces == sum(counts)
    if total:
        assert stats.percentiles[2] == pytest.approx(side, abs=0.01, rel=1e-6)


def test_stats_of_several_sets(small: Path, tmp_path: Path) -> None:
    other = make(tmp_path / "other", {"d.png": [line(3, 3, 20), line(30, 30, 40)]})
    report = data_stats([small, other, "synthetic"], count=4)
    found = [(s.summary.name, s.summary.pictures, s.summary.faces) for s in report.sets]
    train, val = f"{small.name}, train", f"{small.name}, val"
    assert found[:3] == [(train, 2, 3), (val, 1, 1), ("other", 1, 2)]
    assert found[3][:2] == ("synthetic", 4)
    assert draw_stats(report).shape[0] == 64 + 4 * 400
    with pytest.raises(ConfigError, match="named twice"):
        data_stats([small, small])


@pytest.mark.parametrize(("name", "count", "drawn"), [("synthetic", 5, 5), ("synthetic:7", 5, 7)])
def test_stats_of_drawn_faces_are_of_those_that_training_draws(name: str, count: int, drawn: int) -> None:
    (stats,) = data_stats(name, count).sets
    trained = open_data(name)[0]
    faces = [trained.read(i)[1] for i in range(drawn)]
    sides = np.concatenate([np.sqrt((f.boxes[:, 2:] - f.boxes[:, :2]).prod(1)) for f in faces])
    assert (stats.summary.name, stats.summary.pictures, stats.summary.faces) == (name, drawn, len(sides))
    assert stats.percentiles == pytest.approx(np.percentile(sides, (5, 25, 50, 75, 95)), abs=0.01)


def test_draw_stats(small: Path) -> None:
    report = data_stats(small)
    assert [s.summary.name for s in report.sets] == ["train", "val"]
    picture = draw_stats(report)
    assert (picture.dtype, picture.shape) == (np.uint8, (864, 1280, 3))
    assert picture.mean() > 230
    assert draw_stats(data_stats(small / "val")).shape == (464, 1280, 3)
    none = make(small / "ünï none", {"a.png": []})
    assert draw_stats(data_stats(none)).shape == (464, 1280, 3)
