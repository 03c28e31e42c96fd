"""Which results of other detectors may stand beside an evaluation, and how their file is read."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from eval_reports import AP, NAMES, beside, protocol, report, with_curve

from featherface_core.errors import ConfigError
from featherface_core.evaluation.peers import SHIPPED, Peer, load_peers, peers_of
from featherface_core.results import as_json


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
