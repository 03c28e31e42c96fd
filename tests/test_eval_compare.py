"""What an evaluation leaves behind: a folder to go on in, a report to compare, a bar that later ones are held against."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from eval_scenes import A1, C2, SUBJECT, Scene, draw, figures, score
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from painted import Box, Painted, Stopped, detector

from featherface_core.errors import ConfigError, DataError
from featherface_core.evaluation.compare import Baseline, Change, Difference, compare, differing, read_baseline
from featherface_core.evaluation.config import EvalConfig, Extras, Kept, load_config, save_config
from featherface_core.evaluation.evaluate import Output, evaluate
from featherface_core.evaluation.inference import DetectionStore, PictureFaces
from featherface_core.evaluation.report import EvalReport, Measured, RecallRow, Setting, read_report
from featherface_core.results import Detections, as_json

pytestmark = pytest.mark.usefixtures("no_curves")


# ---- going on ----


@pytest.mark.parametrize("at", [0, 2, 3])
def test_a_resumed_evaluation_is_the_same(album: Path, tmp_path: Path, at: int) -> None:
    whole = score(tmp_path / "whole", album)
    with pytest.raises(KeyboardInterrupt):
        score(tmp_path / "r", album, Stopped(at))
    assert sorted(p.name for p in (tmp_path / "r").iterdir()) == ["config.yaml", "detections.jsonl"]
    network = Painted()
    report = score(tmp_path / "r", album, network, resume=True)
    assert len(network.shapes) == 4 - at
    assert figures(report) == figures(whole)
    assert (tmp_path / "r" / "detections.jsonl").read_text().count("\n") == 4
    network = Painted()
    assert figures(score(tmp_path / "r", album, network, resume=True)) == figures(whole)
    assert network.shapes == []


def test_a_line_that_a_kill_cut_short_is_made_again(album: Path, tmp_path: Path) -> None:
    whole = score(tmp_path / "r", album)
    store = tmp_path / "r" / "detections.jsonl"
    lines = store.read_bytes().splitlines(keepends=True)
    store.write_bytes(b"".join(lines[:2]) + lines[2][:-20])
    network = Painted()
    assert figures(score(tmp_path / "r", album, network, resume=True)) == figures(whole)
    assert len(network.shapes) == 2
    names = [json.loads(line)["name"] for line in store.read_text().splitlines()]
    assert names == ["0--Parade/a", "0--Parade/b", "1--Riot_Police/c", "1--Riot_Police/d"]


@pytest.mark.parametrize(
    "damaged",
    [
        b"\n",
        b"{}\n",
        b"[1]\n",
        b"no JSON\n",
        b'{"name": "x", "ms": [1, 2, 3, 4], "boxes": [[1, 2, 3, 4]], "scores": []}\n',
    ],
)
def test_a_damaged_line_is_named(album: Path, tmp_path: Path, damaged: bytes) -> None:
    score(tmp_path / "r", album)
    store = tmp_path / "r" / "detections.jsonl"
    lines = store.read_bytes().splitlines(keepends=True)
    store.write_bytes(lines[0] + damaged + lines[2])
    with pytest.raises(DataError) as caught:
        score(tmp_path / "r", album, resume=True)
    assert (caught.value.message, caught.value.hint) == (f"{store}:2 is damaged", "begin anew with --force")


def test_another_file_does_not_go_on(album: Path, tmp_path: Path) -> None:
    score(tmp_path / "r", album)
    other = replace(SUBJECT, sha256="cd" * 32)
    with pytest.raises(ConfigError) as caught:
        evaluate(EvalConfig(str(album)), other, detector(), Output(tmp_path / "r", resume=True))
    assert caught.value.message == (
        f"{tmp_path / 'r'} was begun with another file (sha256 abababababab, now cdcdcdcdcdcd)"
    )


numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.data(), st.integers(0, 3), st.booleans())
def test_kept_faces_are_the_same_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, faces: int, landmarks: bool
) -> None:
    folder = tmp_path_factory.mktemp("store")
    shapes = ((faces, 4), (faces,), (faces, 5, 2))
    boxes, scores, points = (data.draw(hnp.arrays(np.float32, shape, elements=numbers)) for shape in shapes)
    names = data.draw(st.lists(st.text(), min_size=1, max_size=3, unique=True))
    with DetectionStore(folder, landmarks) as store:
        for name in names:
            store.add(name, PictureFaces(0, Detections(boxes, scores, points), name, (1.0, 2.5, 3.0, 0.125)))
    with DetectionStore(folder, landmarks) as store:
        assert list(store.done) == names
        for name, kept in store.done.items():
            assert kept.faces.boxes.tobytes() == boxes.tobytes()
            assert kept.faces.scores.tobytes() == scores.tobytes()
            assert kept.faces.landmarks.shape == points.shape
            assert (
                kept.faces.landmarks.tobytes() == points.tobytes()
                if landmarks
                else np.isnan(kept.faces.landmarks).all()
            )
            assert (kept.problem, kept.milliseconds) == (name, (1.0, 2.5, 3.0, 0.125))
            assert kept.faces.boxes.dtype == kept.faces.landmarks.dtype == np.float32


def test_what_was_asked_for_holds_in_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "faces").mkdir()
    monkeypatch.chdir(tmp_path)
    asked = EvalConfig("faces", weights="untrained", model="v2", protocol="vga", flip=True, batch=4, pictures=7)
    save_config(tmp_path, asked, "", "featherface eval --data faces")
    kept = replace(asked, data=str(tmp_path / "faces"))
    assert load_config(tmp_path) == Kept(kept, Extras(), "featherface eval --data faces")


def test_a_folder_that_is_called_as_a_model_is_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``--model v2 --out v2``: the run's own folder is there when what was asked for is kept."""
    monkeypatch.chdir(tmp_path)
    asked = EvalConfig("synthetic", weights="untrained", model="v2")
    for name in ("v2", "untrained", "synthetic"):
        (tmp_path / name).mkdir()
    save_config(tmp_path / "v2", asked, "", "featherface eval")
    assert load_config(tmp_path / "v2").config == asked


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("task: train\nrecipe: {}\n", "holds a run of 'train', not an evaluation"),
        ("name: x\n", "holds a run of None, not an evaluation"),
        ("task: eval\nsubject: ''\nevaluation: {protocl: vga}\n", "unknown key 'protocl'"),
        ("task: eval\nsubject: ''\nevaluation: {protocol: full}\n", "--protocol 'full' is not known"),
        ("task: eval\nsubject: ''\nevaluation: {batch: many}\n", "'many'"),
    ],
)
def test_a_folder_that_is_no_evaluations(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path)
    assert words in caught.value.message
    assert str(tmp_path) in caught.value.message
    assert caught.value.hint


# ---- predictions that are saved ----


def labelled(folder: Path, *rows: tuple[str, Box]) -> Path:
    """A RetinaFace label: the name of a picture and one of its faces, a row each."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [line for name, (x1, y1, x2, y2) in rows for line in (f"# {name}", f"{x1} {y1} {x2 - x1} {y2 - y1}")]
    (folder / "label.txt").write_text("\n".join(lines) + "\n", encoding="utf-8", errors="surrogateescape")
    return folder


def test_saved_predictions_stay_in_their_folder(tmp_path: Path) -> None:
    """The label of a picture elsewhere may lie beside it, under the very name that its predictions would have."""
    draw(tmp_path / "elsewhere", [Scene("b.png", found=[(A1, 250)])])
    (tmp_path / "elsewhere" / "b.txt").write_text("0 0.15 0.2 0.2 0.3\n")
    draw(tmp_path / "album" / "images", [Scene("a.png", found=[(A1, 250)])])
    labelled(tmp_path / "album", ("../../elsewhere/b.png", A1), ("a.png", A1))
    report = score(tmp_path / "r", tmp_path / "album", save=tmp_path / "out" / "p")
    assert report.headline["ap50"] == pytest.approx(1)
    assert (tmp_path / "elsewhere" / "b.txt").read_text() == "0 0.15 0.2 0.2 0.3\n"
    assert len(list((tmp_path / "out" / "p").rglob("*.txt"))) == 2
    again = score(tmp_path / "again", tmp_path / "album", predictions=tmp_path / "out" / "p")
    assert again.headline == report.headline


def test_saved_predictions_of_a_name_that_is_no_utf_8(tmp_path: Path) -> None:
    images = tmp_path / "album" / "images"
    draw(images, [Scene("b.png", found=[(A1, 250)])])
    (images / "b.png").rename(images / "b\udcff.png")
    report = score(tmp_path / "r", labelled(tmp_path / "album", ("b\udcff.png", A1)), save=tmp_path / "p")
    again = score(tmp_path / "again", tmp_path / "album", predictions=tmp_path / "p")
    assert again.headline == report.headline == {"ap50": pytest.approx(1), "ap": pytest.approx(1)}


def test_a_picture_that_is_named_twice_is_one_picture(tmp_path: Path) -> None:
    draw(tmp_path / "album" / "images", [Scene("a.png", found=[(A1, 250), (C2, 200)])])
    report = score(tmp_path / "r", labelled(tmp_path / "album", ("a.png", A1), ("a.png", C2)))
    assert report.headline == {"ap50": pytest.approx(1), "ap": pytest.approx(1)}
    assert (report.detections, report.settings[0].faces, report.worst) == (2, 2, ())


# ---- side by side ----


def protocol(pictures: int = 3226, **changed: Any) -> Measured:
    made = Measured("wider-face", "original", False, 0.02, 0.4, 0, 0.5, None, pictures, 3226, "a" * 64, "in words")
    return replace(made, **changed)


def report(measured: Measured | None = None, aps: Sequence[float | None] = (0.9, 0.8, 0.7)) -> EvalReport:
    names = ("easy", "medium", "hard") if len(aps) == 3 else ("ap50", "ap")
    settings = tuple(Setting(n, ap, 5, (0.1, ap or 0), (1.0, 0.5)) for n, ap in zip(names, aps, strict=True))
    known = [ap for ap in aps if ap is not None]
    mean = sum(known) / 3 if len(known) == 3 else None
    rows = (RecallRow("size", "8-16 px", 4, 3, 2),)
    how = measured or protocol(method="wider-face" if len(aps) == 3 else "plain")
    return EvalReport(
        SUBJECT, "val", "truth", how, settings, mean, 9, rows, None, (), (), None, {"python": "3"}, {}, "eval", 1.5
    )


Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a report into a run folder of its own."""

    def call(name: str, made: EvalReport | None = None) -> str:
        made = made or report()
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.json").write_text(json.dumps(as_json(made, "eval")))
        return str(tmp_path / name)

    return call


def test_reports_of_one_protocol_are_ranked_best_first(write: Write) -> None:
    low, high, middle = (
        write(n, report(aps=(0.9, ap, ap))) for n, ap in (("low", 0.3), ("high", 0.9), ("middle", 0.6))
    )
    found = compare([low, f"{high}/report.json", middle])
    assert found.paths == (f"{high}/report.json", middle, low)
    assert [r.mean for r in found.reports] == pytest.approx([0.9, 0.7, 0.5])
    assert (found.differences, found.ranked) == ((), True)
    assert found.reports[0] == read_report(high)


def test_the_last_figure_ranks(write: Write) -> None:
    plain = {"none": (None, None), "best at 0.5": (0.9, 0.3), "best": (0.8, 0.4)}
    paths = [write(name, report(aps=aps)) for name, aps in plain.items()]
    assert compare(paths).paths == tuple(paths[::-1])


@pytest.mark.parametrize(
    ("changed", "what", "values"),
    [
        ({"method": "plain"}, "method", ("wider-face", "plain")),
        ({"resize": "size=640"}, "resize rule", ("original", "size=640")),
        ({"resize": "unknown", "flip": None}, "resize rule", ("original", "unknown")),
        ({"flip": True}, "flip", ("off", "on")),
        ({"flip": None}, "flip", ("off", "none")),
        ({"canvas": (480, 640)}, "padding", ("none", "640x480")),
        ({"score": 0.5}, "score", ("0.02", "0.5")),
        ({"nms": 0.45}, "nms", ("0.4", "0.45")),
        ({"top_k": 750}, "top-k", ("0", "750")),
        ({"iou": 0.75}, "iou", ("0.5", "0.75")),
    ],
)
def test_what_differs_in_the_protocol_is_said(
    write: Write, changed: dict[str, Any], what: str, values: tuple[str, ...]
) -> None:
    first, second = write("first"), write("second", report(protocol(**changed), (0.9, 0.9, 0.9)))
    found = compare([first, second])
    assert found.differences[0] == Difference(what, values)
    assert len(found.differences) == len(changed)
    assert (found.ranked, found.paths) == (False, (first, second))  # as named
    anyway = compare([first, second], rank_anyway=True)
    assert (anyway.ranked, anyway.paths) == (True, (second, first))
    assert anyway.differences[0] == Difference(what, values[::-1])  # in the order of the reports


def test_other_pictures_are_another_protocol() -> None:
    one, other = protocol(), protocol(202, names="b" * 64)
    values = ("3,226 of 3,226 (aaaaaaaa)", "202 of 3,226 (bbbbbbbb)")
    assert differing([one, other]) == (Difference("pictures and faces", values),)
    assert differing([one, replace(one, text="said otherwise", pictures=3, of=4)]) == ()
    three = differing([one, one, replace(one, flip=True, nms=0.5)])
    assert three == (Difference("flip", ("off", "off", "on")), Difference("nms", ("0.4", "0.4", "0.5")))


@pytest.mark.parametrize("count", [0, 1])
def test_one_report_is_no_comparison(write: Write, count: int) -> None:
    with pytest.raises(ConfigError) as caught:
        compare([write(str(k)) for k in range(count)])
    assert caught.value.message == f"--compare got {count} report{'s' * (count != 1)}"
    assert "two or more" in caught.value.hint


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda said: said.update(schema=2), "has schema 2, this version reads 1"),
        (lambda said: said.pop("schema"), "has schema None, this version reads 1"),
        (lambda said: said.update(command="train"), "is not the report of an evaluation"),
        (lambda said: said["settings"][1].update(ap="high"), ": settings.1.ap: "),
        (lambda said: said["protocol"].pop("nms"), ": protocol.nms: "),
        (lambda said: said["subject"].update(parameters=1.5), ": subject.parameters: "),
        (lambda said: said.update(worst=None), ": worst: "),
        (lambda said: said["recall"].append({}), ": recall.1.group: "),
    ],
)
def test_a_report_that_cannot_be_used(write: Write, change: Callable[[dict[str, Any]], object], words: str) -> None:
    path = Path(write("r")) / "report.json"
    said = json.loads(path.read_text())
    change(said)
    path.write_text(json.dumps(said))
    with pytest.raises(DataError) as caught:
        read_report(path)
    assert caught.value.message.startswith(str(path))
    assert words in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"", "is not JSON"), (b"{", "is not JSON"), (b"[1, 2]", "is not the report"), (b"\xff\xfe", "is not JSON")],
)
def test_a_file_that_is_no_report(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        read_report(path)
    assert f"{path} {words}" in caught.value.message
    for place in (tmp_path, tmp_path / "missing.json"):
        with pytest.raises(DataError, match=r"cannot read the report .*No such file"):
            read_report(place)


# ---- a baseline ----


def held(before: EvalReport, now: EvalReport, max_drop: float = 0.5) -> tuple[bool, dict[str, Change]]:
    gate = Baseline(Path("old.json"), before, max_drop).hold(now)
    assert (gate.baseline, gate.max_drop, gate.as_dict()["passed"]) == ("old.json", max_drop, gate.passed)
    return gate.passed, {change.name: change for change in gate.changes}


def test_a_report_is_held_against_a_baseline() -> None:
    before = report(aps=(0.9, 0.8, 0.7))
    passed, changes = held(before, report(aps=(0.896, 0.81, 0.7)))
    assert passed
    assert list(changes) == ["easy", "medium", "hard", "mean"]
    assert [c.drop for c in changes.values()] == pytest.approx([0.4, -1, 0, -0.2], abs=1e-9)
    assert (changes["easy"].before, changes["easy"].now) == (0.9, 0.896)
    passed, changes = held(before, report(aps=(0.894, 0.95, 0.95)))  # a gain makes up for nothing
    assert not passed
    assert [c.passed for c in changes.values()] == [False, True, True, True]
    assert held(before, report(aps=(0.894, 0.8, 0.7)), 0.7)[0]
    assert held(before, before, 0)[0]
    assert not held(before, report(aps=(0.9, 0.7999, 0.7)), 0)[0]
    assert held(before, report(aps=(0, 0, 0)), 100)[0]


def test_a_figure_that_is_gone_has_fallen_and_a_new_one_has_not() -> None:
    passed, changes = held(report(aps=(0.9, 0.8, 0.7)), report(aps=(0.9, None, 0.7)), 100)
    assert not passed
    assert [c.passed for c in changes.values()] == [True, False, True, False]
    assert changes["medium"].drop == pytest.approx(80)
    passed, changes = held(report(aps=(0.9, None, 0.7)), report(aps=(0.9, 0.8, 0.7)))
    assert passed
    assert (changes["medium"].before, changes["medium"].now, changes["medium"].drop) == (None, 0.8, 0)
    passed, changes = held(report(), report(aps=(0.9, 0.9)))  # of another method
    assert not passed
    assert {c.now for c in changes.values()} == {None}


@pytest.mark.parametrize("drop", [-0.1, 100.5, float("nan"), float("inf")])
def test_a_drop_that_is_none(write: Write, drop: float) -> None:
    with pytest.raises(ConfigError) as caught:
        read_baseline(Path(write("r")), drop)
    assert caught.value.message == f"--max-drop {drop:g} is out of range"
    assert "0 to 100" in caught.value.hint


def test_a_baseline_is_refused_before_the_work(album: Path, tmp_path: Path, write: Write) -> None:
    """What evaluate's caller does with on_begin."""
    old = read_baseline(Path(write("old")), 0.5)
    assert old.report == report()
    network = Painted()
    with pytest.raises(ConfigError) as caught:
        evaluate(
            EvalConfig(str(album)),
            SUBJECT,
            detector(network),
            Output(tmp_path / "r"),
            on_begin=lambda _, now: old.check(now, any_protocol=False),
        )
    assert caught.value.message == f"--baseline {old.path} was measured by another protocol"
    assert "--any-protocol" in caught.value.hint
    assert caught.value.details[0] == "method: wider-face in the baseline, plain now"
    assert caught.value.details[1].startswith("pictures and faces: 3,226 of 3,226 (aaaaaaaa) in the baseline, 4 of 4 (")
    assert network.shapes == []
    assert not (tmp_path / "r").exists()
    old.check(protocol(3), any_protocol=True)
    old.check(protocol(), any_protocol=False)
