"""An evaluation as curves: what is drawn, where, and that all of it fits."""

import subprocess
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import pytest
from eval_reports import beside, plain_report, protocol, report, with_curve
from hypothesis import given
from hypothesis import strategies as st

from featherface_core.charts import cut, settings, width_of, wrapped
from featherface_core.evaluation import curves
from featherface_core.evaluation.curves import not_benchmark, panels, write_curves
from featherface_core.evaluation.page import write_page
from featherface_core.evaluation.peers import Peer
from featherface_core.evaluation.report import (
    Measured,
    Setting,
)


def drawn(measured: Measured | None = None, peers: Sequence[Peer] = ()) -> Any:
    with settings():
        figure = curves._sheet(report(measured), peers)
        figure.canvas.draw()
    return figure


def test_curves_are_the_same_bytes_twice_and_say_what_was_measured(tmp_path: Path) -> None:
    peers = (*beside(2), with_curve())
    for name in ("a", "b"):
        write_curves(report(protocol(202)), peers, tmp_path / f"{name}.png", tmp_path / f"{name}.svg")
    for kind in ("png", "svg"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()
    text = (tmp_path / "a.svg").read_text()
    assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
    said = "".join(ElementTree.fromstring(text).itertext())
    for part in (protocol(202).text, "easy 0.859", "hard 0.683", "mean 0.791", "not the benchmark", "v1_original.pth"):
        assert part in said
    assert "<text" not in text  # letters are outlines, and need no font
    picture = cv2.imread(str(tmp_path / "a.png"))
    assert picture is not None
    assert picture.shape[1] > 1800
    assert picture.std() > 10


def texts(figure: Any) -> list[Any]:
    """Every text that is drawn: matplotlib keeps labels of ticks beyond the axis, too."""
    found = [*figure.texts]
    for axes in figure.axes:
        found += [*axes.texts, axes.xaxis.label, axes.yaxis.label]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            found += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    return [text for text in found if text.get_text().strip()]


def words(figure: Any) -> list[str]:
    return [text.get_text() for text in texts(figure)]


def test_curves_show_protocol_and_ap_and_the_peers_in_order() -> None:
    figure = drawn(peers=beside(3))
    text = " ".join(words(figure))
    assert "v1-original AP 0.859" in words(figure)
    assert "score above 0.02, NMS 0.4, no top-k" in text
    assert "not the benchmark" not in text
    strip = figure.axes[1]
    assert [t.get_text() for t in strip.texts][::2] == ["v1-original", "Detector 1", "Detector 2", "Detector 3"]
    assert [t.get_text() for t in strip.texts][1::2] == ["0.859", "0.849", "0.839", "0.829"]
    dots = [line for line in strip.lines if len(line.get_xdata()) == 1]
    assert [round(float(line.get_xdata()[0]), 3) for line in dots] == [0.859, 0.849, 0.839, 0.829]
    filled = [line.get_markerfacecolor() == line.get_color() for line in dots]
    assert filled == [True, False, False, False]
    assert len(figure.axes[0].lines) == 1  # an AP is no curve
    assert len(drawn(peers=[with_curve()]).axes[0].lines) == 2
    assert "subset: 202 of 3,226 pictures, not the benchmark" in words(drawn(protocol(202)))


def test_without_peers_there_is_no_strip() -> None:
    assert len(drawn().axes) == 3
    assert len(drawn(peers=beside(1)).axes) == 6


def test_everything_fits_and_nothing_overlaps() -> None:
    long = report(protocol(202, text=protocol(202).text * 5))
    subject = replace(long.subject, model="W" * 90, weights="runs/" + "best_checkpoint_" * 20 + ".pth")
    peers = (*beside(8, name="M" * 60), *(replace(with_curve(d), name="a name " * 12) for d in (0.1, 0.2)))
    with settings():
        figure = curves._sheet(replace(long, subject=subject), peers)
        figure.canvas.draw()
    width, height = figure.canvas.get_width_height()
    boxes = [(t.get_text(), t.get_window_extent()) for t in texts(figure)]
    assert len(boxes) > 80
    for text, box in boxes:
        assert box.x0 >= 0, text
        assert box.y0 >= 0, text
        assert box.x1 <= width, text
        assert box.y1 <= height, text
    for i, (text, box) in enumerate(boxes):
        for other, its in boxes[:i]:
            shared = min(box.x1, its.x1) - max(box.x0, its.x0), min(box.y1, its.y1) - max(box.y0, its.y0)
            assert min(shared) <= 1.5, (text, other)  # pixels; a line's box holds room for accents


def test_a_setting_without_faces_says_so() -> None:
    with settings():
        none = report(settings=(Setting("easy", None, 0), *report().settings[1:]), mean=None)
        figure = curves._sheet(none, beside(1))
    assert any("no face counts" in text for text in words(figure))
    assert len(figure.axes[0].lines) == 0


def test_the_plain_method_has_one_panel(tmp_path: Path) -> None:
    with settings():
        figure = curves._sheet(plain_report(), ())
    assert len(figure.axes) == 1
    assert "v1-original AP 0.741, COCO AP 0.412" in words(figure)
    assert [name for name, _ in panels(plain_report(), (), False)] == ["ap50"]


def test_panels_are_transparent_and_differ_by_theme() -> None:
    light, dark = (panels(report(), beside(2), dark) for dark in (False, True))
    assert [name for name, _ in light] == [name for name, _ in dark] == ["easy", "medium", "hard"]
    for (_, a), (_, b) in zip(light, dark, strict=True):
        assert a != b
        assert ElementTree.fromstring(a).tag.endswith("svg")
        assert "#0072b2" in a
        assert "#56b4e9" in b
        assert "fill: none; opacity: 0" in a  # the ground
    assert light == panels(report(), beside(2), False)


def test_any_name_can_be_drawn(tmp_path: Path) -> None:
    odd = replace(report().subject, model="$x^$ <&> \x1b\udcff 人", weights="\n\\frac{1}{$.pth")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_curves(report(subject=odd), beside(1, name="$\\alpha$ 人"), tmp_path / "a.png", tmp_path / "a.svg")
        write_page(report(subject=odd), beside(1), None, tmp_path / "a.html")
    ElementTree.fromstring((tmp_path / "a.svg").read_bytes())
    assert "$x^$" in (tmp_path / "a.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("pictures", "of", "said"),
    [
        (3_226, 3_226, ""),
        (202, 3_226, "subset: 202 of 3,226 pictures, not the benchmark"),
        (500, 500, "500 pictures that are not the WIDER FACE validation set: not the benchmark"),
        (50, 500, "50 of 500 pictures that are not the WIDER FACE validation set: not the benchmark"),
    ],
)
def test_what_is_not_the_benchmark_is_called_so(pictures: int, of: int, said: str) -> None:
    assert not_benchmark(protocol(pictures, of=of)) == said
    assert not_benchmark(protocol(pictures, of=of, method="plain")) == ""


@given(st.text(max_size=80), st.floats(0.5, 8))
def test_lines_hold_all_words_and_fit(text: str, width: float) -> None:
    lines = wrapped(text, width, 10, False)
    assert "".join(lines).replace(" ", "") == "".join(text.split())
    assert all(len(line) == 1 or width_of(line, 10, False) <= width for line in lines if line)
    assert width_of(cut(text, width, 10, True), 10, True) <= width


def test_neither_help_nor_a_report_loads_matplotlib_or_jinja() -> None:
    code = (
        "import sys, featherface_core.evaluation.curves, featherface_core.evaluation.page, featherface_core.evaluation.peers;"
        "print([name for name in ('matplotlib', 'jinja2', 'torch', 'yaml') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_the_users_matplotlib_settings_change_nothing(tmp_path: Path) -> None:
    import matplotlib

    write_curves(report(), (), tmp_path / "a.png", tmp_path / "a.svg")
    with matplotlib.rc_context({"axes.facecolor": "red", "font.size": 30, "text.usetex": True, "lines.linewidth": 9}):
        write_curves(report(), (), tmp_path / "b.png", tmp_path / "b.svg")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
