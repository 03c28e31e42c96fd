"""An evaluation as a page: what it shows, that it is well made, and that it asks for nothing."""

import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from eval_reports import AP, beside, plain_report, protocol, report, with_curve

from featherface_core.errors import DataError
from featherface_core.evaluation.page import write_page
from featherface_core.evaluation.peers import Peer
from featherface_core.evaluation.report import (
    BrokenPicture,
    EvalReport,
    RecallRow,
    Setting,
    Subject,
    Timing,
    WorstPicture,
)


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
