"""An evaluation as curves and as a page: what is drawn, what is written, and what may stand beside it."""

import json
import re
import subprocess
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from featherface_core.errors import ConfigError, DataError
from featherface_core.evaluation import curves
from featherface_core.evaluation.curves import not_benchmark, panels, write_curves
from featherface_core.evaluation.lettering import cut, settings, width_of, wrapped
from featherface_core.evaluation.page import write_page
from featherface_core.evaluation.peers import SHIPPED, Peer, load_peers, peers_of
from featherface_core.evaluation.report import (
    WIDER_PICTURES,
    BrokenPicture,
    EvalReport,
    LandmarkError,
    Measured,
    RecallRow,
    Setting,
    Subject,
    Timing,
    WorstPicture,
)
from featherface_core.results import as_json

NAMES = "a" * 64
AP = {"easy": 0.8588, "medium": 0.8322, "hard": 0.6830}
GROUPS = {
    "size": ("under 8 px", "8-16 px", "16-32 px", "32-64 px", "64-128 px", "128-256 px", "256 px and more"),
    "blur": ("clear", "normal", "heavy"),
    "occlusion": ("none", "partial", "heavy"),
    "pose": ("typical", "atypical"),
    "expression": ("typical", "exaggerated"),
    "illumination": ("normal", "extreme"),
    "event": ("Parade", "Handshaking", "Soldier Firing", "People Driving Car", *(f"Event {i}" for i in range(4, 61))),
}


def protocol(pictures: int = WIDER_PICTURES, **changed: Any) -> Measured:
    """Of the benchmark, unless there are fewer pictures."""
    text = (
        f"WIDER FACE evaluation, {pictures:,} of 3,226 pictures, original size, no flip, score above 0.02, NMS 0.4, "
        "no top-k, IoU 0.5"
    )
    made = Measured("wider-face", "original", False, 0.02, 0.4, 0, 0.5, None, pictures, WIDER_PICTURES, NAMES, text)
    return replace(made, **changed)


def curve(ap: float, points: int = 1000) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Recall and precision of a curve with about that AP, without a detection at first as in the official code."""
    recall = np.linspace(0, min(1, ap * 1.04), points)
    precision = 1 - 0.9 * (recall / recall[-1]) ** 14
    precision[:3] = np.nan
    return tuple(recall.tolist()), tuple(precision.tolist())


def report(measured: Measured | None = None, **changed: Any) -> EvalReport:
    """An evaluation by the official method."""
    faces = {"easy": 7_211, "medium": 13_319, "hard": 31_958}
    settings = tuple(Setting(name, ap, faces[name], *curve(ap)) for name, ap in AP.items())
    rows = []
    for group, names in GROUPS.items():
        for number, name in enumerate(names):
            total = 90 + 531 * number % 4000
            found = round(total * (0.3 + 0.65 * (number + 1) / len(names)))
            rows.append(RecallRow(group, name, total, found, round(found * 0.8)))
    made = EvalReport(
        subject=Subject("v1-original", "weights/v1_original.pth", "c0ffee" + 58 * "0", "torch", "cpu", 592_371),
        data="data/widerface/val",
        ground_truth="data/widerface/ground_truth",
        protocol=measured or protocol(),
        settings=settings,
        mean=sum(AP.values()) / 3,
        detections=1_243_122,
        recall=tuple(rows),
        landmarks=LandmarkError(0.0412, 0.0333, 4_021, 40.0),
        worst=(
            WorstPicture("0--Parade/0_Parade_marchingband_1_465.jpg", 212, 140, 3),
            WorstPicture("13--Interview/13_Interview_Interview_On_Location_13_513.jpg", 2, 0, 9),
        ),
        broken=(BrokenPicture("5--Car_Accident/5_Car_Accident_Accident_5_10.jpg", "the file ends too early"),),
        timing=Timing(6.1, 2.3, 61.4, 3.9, 1, 2),
        versions={"featherface": "0.4.0", "python": "3.11.7", "torch": "2.9.1", "opencv-python": "4.12.0.88"},
        machine={"system": "Linux x86_64", "cpu": "a processor with 2 cores", "memory": "8 GiB"},
        command_line="featherface eval --weights weights/v1_original.pth --data data/widerface/val --html",
        seconds=251.3,
    )
    return replace(made, **changed)


def plain_report(**changed: Any) -> EvalReport:
    """An evaluation by the plain method, on somebody's own pictures."""
    measured = protocol(120, method="plain", of=120, text="Plain AP, all 120 pictures, long side 640 px, IoU 0.5")
    settings = (Setting("ap50", 0.7412, 511, *curve(0.7412)), Setting("ap", 0.4123, 511))
    return report(measured, settings=settings, mean=None, **changed)


def beside(count: int, **changed: Any) -> tuple[Peer, ...]:
    """Peers with an AP alone."""
    figures = [{name: ap - 0.01 * i for name, ap in AP.items()} for i in range(1, count + 1)]
    return tuple(
        replace(Peer(f"Detector {i}", its, "original", False, f"source {i}", 1000 * i), **changed)
        for i, its in enumerate(figures, 1)
    )


def with_curve(drop: float = 0.05) -> Peer:
    """A peer whose evaluation is known."""
    settings_ = tuple(Setting(name, ap - drop, 10, *curve(ap - drop)) for name, ap in AP.items())
    its = report(settings=settings_)
    figures = {s.name: s.ap for s in settings_ if s.ap is not None}
    return Peer("A run of ours", figures, "original", False, "here", 5, NAMES, its)


# ---- which peers may stand beside a result


def test_shipped_peers_are_those_of_the_two_published_protocols() -> None:
    peers = load_peers()
    original, vga = (peers_of(protocol(resize=resize), peers) for resize in ("original", "size=640"))
    assert {p.name: p.figures["hard"] for p in original} == {
        "FeatherFace (paper)": 0.783,
        "FeatherFace fork (v1-original)": 0.7589,
        "FeatherFace fork (v1-56)": 0.7716,
        "RetinaFace-MobileNet0.25": 0.7382,
        "YuNet_n": 0.811,
        "SCRFD-0.5GF": 0.8203,
    }
    assert {p.name: p.figures["easy"] for p in vga} == {
        "RetinaFace-MobileNet0.25": 0.8778,
        "FaceBoxes": 0.7617,
        "MobileNet-0.5GF": 0.9038,
        "SCRFD-0.5GF": 0.9057,
        "SCRFD-2.5GF": 0.9378,
    }
    assert len(original) + len(vga) == len(peers)
    assert all(peer.source for peer in peers)
    assert SHIPPED.read_text().startswith("#")
    assert "None of them was measured by this project" in SHIPPED.read_text()


@pytest.mark.parametrize(
    "changed",
    [
        {"resize": "size=800"},
        {"resize": "unknown", "flip": None},
        {"flip": True},
        {"canvas": (640, 640)},
        {"pictures": 202},
        {"pictures": 202, "of": 202},
        {"method": "plain"},
    ],
    ids=str,
)
def test_another_protocol_has_no_published_peers(changed: dict[str, Any]) -> None:
    assert peers_of(protocol(**changed), load_peers()) == ()


def test_a_peer_on_named_pictures_stands_beside_those_alone() -> None:
    peer = replace(beside(1)[0], names=NAMES)
    assert peers_of(protocol(202), [peer]) == (peer,)
    assert peers_of(protocol(202, names="b" * 64), [peer]) == ()
    assert peers_of(protocol(202, method="plain"), [peer]) == ()
    plain = replace(peer, figures={"ap50": 0.7})
    assert peers_of(protocol(202), [plain]) == ()
    assert peers_of(protocol(202, method="plain"), [plain]) == (plain,)


@pytest.mark.parametrize(
    ("changed", "stands"),
    [
        ({}, True),
        ({"nms": 0.3}, False),
        ({"score": 0.5}, False),
        ({"top_k": 750}, False),
        ({"names": "b" * 64}, False),
        ({"canvas": (640, 640)}, False),
        ({"iou": 0.4}, False),
    ],
    ids=str,
)
def test_a_curve_has_to_follow_the_whole_protocol(changed: dict[str, Any], stands: bool) -> None:
    peer = with_curve()
    assert peers_of(protocol(**changed), [peer]) == ((peer,) if stands else ())


def write_peers(folder: Path, *entries: Any, **more: Any) -> Path:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({"peers": list(entries), **more}))
    return path


GOOD = {"name": "Mine", "easy": 0.9, "medium": 0.8, "hard": 0.7, "resize": "vga", "source": "a notebook"}


def test_own_peers_are_read(tmp_path: Path) -> None:
    own = {"name": "Other", "ap50": 0.7, "resize": "size=640", "flip": False, "names": NAMES, "parameters": None}
    first, second = load_peers(write_peers(tmp_path, GOOD, own))
    assert first == Peer("Mine", {"easy": 0.9, "medium": 0.8, "hard": 0.7}, "size=640", False, "a notebook")
    assert second == Peer("Other", {"ap50": 0.7}, "size=640", False, names=NAMES)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"easy": 91.2}, "easy"),
        ({"easy": "much"}, "easy"),
        ({"hard": None}, "hard"),
        ({"easy": None, "medium": None, "hard": None, "ap50": 0.5}, "names"),
        ({"resize": None}, "resize"),
        ({"resize": "large"}, "resize"),
        ({"flip": "sometimes"}, "flip"),
        ({"parameters": 1.5}, "parameters"),
        ({"parameters": -1}, "parameters"),
        ({"names": "abc"}, "names"),
        ({"esay": 0.9}, "'esay'"),
        ({"curve": "nowhere.json"}, "curve"),
    ],
    ids=str,
)
def test_a_bad_entry_is_named_with_its_file_and_key(tmp_path: Path, entry: dict[str, Any], said: str) -> None:
    path = write_peers(tmp_path, {**GOOD, "name": "First"}, {**GOOD, **entry})
    with pytest.raises(ConfigError) as caught:
        load_peers(path)
    assert f"{path}: entry 2 (Mine)" in caught.value.message
    assert said in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("peers: 3", "not a list"),
        ("peers: []", "not a list"),
        ("peers: [3]", "entry 1"),
        ("peers: [{easy: 0.5}]", "name"),
        ("piers: []", "'piers'"),
        ("peers: [", "not YAML"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(said)) as caught:
        load_peers(path)
    assert str(path) in caught.value.message
    with pytest.raises(ConfigError, match="does not exist"):
        load_peers(tmp_path / "none.yaml")


def test_a_curve_tells_what_its_entry_leaves_out(tmp_path: Path) -> None:
    its = report(protocol(202))
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "report.json").write_text(json.dumps(as_json(its, "eval")))
    entry = {"name": "Before", "curve": "runs/report.json"}
    (peer,) = load_peers(write_peers(tmp_path, entry))
    assert (peer.figures, peer.resize, peer.flip, peer.names) == (AP, "original", False, NAMES)
    assert peer.parameters == 592_371
    assert peer.curve is not None
    assert len(peer.curve.settings[0].recall) == 1000
    assert load_peers(write_peers(tmp_path, {**entry, "easy": 0.859}))[0].figures == AP  # rounded, and the same
    for key, value in (("easy", 0.9), ("resize", "vga"), ("flip", True), ("names", "b" * 64), ("ap50", 0.5)):
        with pytest.raises(ConfigError, match=f"{key} .* is not its curve's"):
            load_peers(write_peers(tmp_path, {**entry, key: value}))


# ---- curves


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


# ---- the page


class Page(HTMLParser):
    """Elements, attributes and text of a page; raises where a tag is not closed, or another is."""

    VOID = ("meta", "img", "source", "br", "hr", "link", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs)
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str, **wanted: str) -> list[dict[str, str | None]]:
        return [a for t, a in self.elements if t == tag and wanted.items() <= a.items()]


@pytest.fixture
def sheet(tmp_path: Path) -> Path:
    path = tmp_path / "worst.jpg"
    cv2.imwrite(str(path), np.full((60, 90, 3), 128, np.uint8))
    return path


def page_of(folder: Path, made: EvalReport, peers: Sequence[Peer] = (), worst: Path | None = None) -> Page:
    path = folder / "report.html"
    write_page(made, peers, worst, path)
    return Page(path.read_text(encoding="utf-8"))


def test_the_page_shows_every_figure(tmp_path: Path, sheet: Path) -> None:
    page = page_of(tmp_path, report(), beside(2), sheet)
    for part in (
        *("0.859", "0.832", "0.683", "0.791", "7,211 faces", "1,243,122 detections", "4 min 11 s"),
        protocol().text,
        *("Detector 1", "0.849", "source 2", "2,000", "592,371", "this run"),
        *("under 8 px", "38.9 %", "31.1 %", "3,276", "95.0 %", "exaggerated", "Soldier Firing", "By event, 61 of them"),
        *("4.12 % of the distance between the eyes", "median 3.33 %", "4,021 faces"),
        *("73.7 ms · 13.6 fps", "61.4", "83.3 %", "batch 1, 2 threads"),
        *("0_Parade_marchingband_1_465.jpg", "140", "5_Car_Accident_Accident_5_10.jpg", "the file ends too early"),
        *("c0ffee", "torch 2.9.1", "a processor with 2 cores", "data/widerface/ground_truth"),
        "featherface eval --weights weights/v1_original.pth --data data/widerface/val --html",
    ):
        assert part in page.text, part
    assert len(page.all("picture")) == 3
    alts = [a["alt"] for a in page.all("img")]
    assert [alt.split(":")[0] for alt in alts[:3] if alt] == [
        "Precision against recall, Easy",
        "Precision against recall, Medium",
        "Precision against recall, Hard",
    ]
    assert len(alts) == 4
    assert all(alts)
    assert page.all("img")[3]["src"].startswith("data:image/jpeg;base64,")  # type: ignore[union-attr]


def test_the_page_is_well_made_and_asks_for_nothing(tmp_path: Path, sheet: Path) -> None:
    page = page_of(tmp_path, report(), (*beside(1), with_curve()), sheet)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.all("html") == [{"lang": "en"}]
    assert page.all("meta", name="viewport")
    assert page.all("meta", name="color-scheme", content="light dark")
    assert not page.all("script")
    assert not page.all("link")
    for _, attributes in page.elements:
        for name in ("src", "href", "srcset", "action", "poster"):
            assert (attributes.get(name) or "data:").startswith("data:")
        assert not any(name.startswith("on") for name in attributes)
    assert "url(" not in text
    assert "@import" not in text
    policy = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
    assert "default-src 'none'" in str(policy[0]["content"])
    heads = [a for t, a in page.elements if t == "th"]
    assert heads
    assert all(a.get("scope") in ("row", "col") for a in heads)
    assert len(page.all("h1")) == 1
    assert text.count("prefers-color-scheme: dark") == 4  # of the style, and of each panel


def test_what_people_name_things_is_escaped(tmp_path: Path) -> None:
    bad = "<script>alert(1)</script>"
    made = report(
        protocol(202, text=bad),
        subject=Subject(bad, f"a/{bad}", bad, bad, bad, None),
        data=bad,
        ground_truth=bad,
        recall=(RecallRow(bad, bad, 3, 2, 1),),
        worst=(WorstPicture(bad, 1, 1, 1),),
        broken=(BrokenPicture(bad, bad),),
        versions={bad: bad},
        machine={bad: bad},
        command_line=bad,
        warnings=(bad,),
    )
    page = page_of(tmp_path, made, beside(1, name=bad, source=bad))
    assert not page.all("script")
    assert page.text.count("alert(1)") > 15


@pytest.mark.parametrize(
    ("made", "banner"),
    [
        (report(), False),
        (report(protocol(202)), True),
        (plain_report(), False),
        (report(warnings=("the network is untrained",)), True),
    ],
    ids=["benchmark", "subset", "plain", "warned"],
)
def test_the_banner_is_there_when_it_has_to_be(tmp_path: Path, made: EvalReport, banner: bool) -> None:
    page = page_of(tmp_path, made)
    assert bool(page.all("div", role="note")) == banner
    assert ("Subset: 202 of 3,226 pictures, not the benchmark" in page.text) == (made.protocol.pictures == 202)
    assert all(warning in page.text for warning in made.warnings)


def test_peers_stand_in_order_with_ours_among_them(tmp_path: Path) -> None:
    better = Peer("Better", {name: ap + 0.05 for name, ap in AP.items()}, "original", False, "a paper")
    page = page_of(tmp_path, report(), (*beside(1), better))
    table = page.text[page.text.index("Detector Parameters") :]
    assert table.index("Better") < table.index("v1-original") < table.index("Detector 1")
    assert "Better unknown 0.909 0.882 0.733 a paper" in table
    assert len(page.all("tr", **{"class": "ours"})) == 1
    assert len([a for _, a in page.elements if "best" in (a.get("class") or "").split()]) == 3
    alone = page_of(tmp_path, report())
    assert "There are no published results by this protocol" in alone.text
    assert not alone.all("tr", **{"class": "ours"})


def test_what_was_not_measured_is_left_out(tmp_path: Path) -> None:
    bare = report(
        settings=tuple(Setting(name, None, 0) for name in AP),
        mean=None,
        recall=(),
        landmarks=None,
        worst=(),
        broken=(),
        timing=None,
        subject=Subject("", "found/", "", "predictions", "", None),
        versions={},
        machine={},
    )
    for peers in ((), beside(2), (with_curve(),)):
        page = page_of(tmp_path, bare, peers)
        assert "Not measured: the detections were made elsewhere." in page.text
        assert page.text.count("no face counts") >= 3
        for heading in ("Which faces", "Landmarks", "Worst pictures", "could not be read"):
            assert heading not in page.text
        assert len(page.all("img")) == 3


def test_times_of_nothing_and_bars_of_nothing_do_not_fail(tmp_path: Path) -> None:
    page = page_of(tmp_path, report(timing=Timing(0, 0, 0, 0, 1, 0), recall=(RecallRow("size", "none", 0, 0, 0),)))
    assert "0.0 ms" in page.text
    assert "fps" not in page.text
    assert "as many threads as the runtime chose" in page.text


def test_many_broken_pictures_are_folded(tmp_path: Path) -> None:
    few, many = (
        page_of(tmp_path, report(recall=(), broken=tuple(BrokenPicture(str(i), "torn") for i in range(n))))
        for n in (20, 21)
    )
    assert few.all("details") == [{"open": None}]
    assert many.all("details") == [{}]


def test_a_sheet_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.jpg"):
        write_page(report(), (), tmp_path / "gone.jpg", tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_text_has_the_contrast_of_wcag_aa(tmp_path: Path) -> None:
    page_of(tmp_path, report())
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    themes = [
        dict(re.findall(r"--([\w-]+): (#\w{6})", block)) for block in re.findall(r":root \{(.*?)\}", text, re.S)[:2]
    ]
    pairs = [("ink", g) for g in ("page", "card", "soft", "mark")] + [("muted", "page"), ("muted", "card")]
    for theme in themes:
        for ink, ground in [*pairs, ("alarm", "alarm-ground")]:
            low, high = sorted(luminance(theme[name]) for name in (ink, ground))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, ground)
