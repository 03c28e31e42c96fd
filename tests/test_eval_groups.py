"""Runs that differ in their seed, taken together: mean, spread, gain, and the chart of them."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import pytest
from command_line import Run, assert_refused
from eval_reports import protocol, report
from hypothesis import given
from hypothesis import strategies as st

from featherface_core.errors import ConfigError
from featherface_core.evaluation.compare import Gain, Spread, _gain, draw_groups, group
from featherface_core.evaluation.report import Setting
from featherface_core.results import as_json


def put(path: Path, name: str, *aps: float | None, **changed: object) -> Path:
    """A report folder of a network called ``name`` with these APs in Easy, Medium and Hard."""
    made = report(protocol(), **changed)
    settings = tuple(Setting(s, ap, 100) for s, ap in zip(("easy", "medium", "hard"), aps, strict=True))
    known = [ap for ap in aps if ap is not None]
    made = replace(
        made,
        subject=replace(made.subject, model=name),
        settings=settings,
        mean=sum(known) / 3 if len(known) == 3 else None,
    )
    path.mkdir()
    (path / "report.json").write_text(json.dumps(as_json(made, "eval")))
    return path


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    monkeypatch.chdir(tmp_path)
    made = [
        put(tmp_path / "taught-1", "taught", 0.7, 0.6, 0.5),
        put(tmp_path / "control-1", "no teacher", 0.5, 0.4, 0.3),
        put(tmp_path / "control-2", "no teacher", 0.6, 0.5, 0.4),
        put(tmp_path / "taught-2", "taught", 0.8, 0.7, 0.3),
        put(tmp_path / "other", "other", 0.55, 0.45, 0.35),
    ]
    return [Path(path.name) for path in made]


def test_groups_by_hand(runs: list[Path]) -> None:
    control, taught, other = group([runs[1], runs[2], runs[0], runs[4], runs[3]]).groups
    assert (control.name, taught.name, other.name) == ("no teacher", "taught", "other")
    assert control.paths == ("control-1", "control-2")
    assert taught.paths == ("taught-1", "taught-2")
    assert control.figures["easy"].values == (0.5, 0.6)
    assert control.figures["mean"].mean == pytest.approx(0.45)
    assert control.figures["mean"].deviation == pytest.approx(0.1 / 2**0.5)
    assert other.figures["hard"] == Spread((0.35,), 0.35, None)
    assert control.gain is None
    assert taught.gain is not None
    assert taught.gain.points == pytest.approx(15.0)
    assert (taught.gain.above, taught.gain.pairs, taught.gain.beyond_spread) == (4, 4, True)
    assert other.gain is not None
    assert (other.gain.above, other.gain.pairs, other.gain.beyond_spread) == (1, 2, False)


def test_the_first_name_is_what_others_are_held_against(runs: list[Path]) -> None:
    grouped = group(runs)
    assert grouped.groups[0].name == "taught"
    assert grouped.groups[1].gain == Gain(pytest.approx(-15.0), 0, 4)  # type: ignore[arg-type]
    assert grouped.ranked_by == "mean"


SOME = st.lists(st.floats(0, 1), min_size=1, max_size=5)


@given(SOME, SOME)
def test_gains_are_antisymmetric_but_for_ties(here: list[float], there: list[float]) -> None:
    a, b = (Spread(tuple(v), sum(v) / len(v), None) for v in (here, there))
    forth, back = _gain(a, b), _gain(b, a)
    assert forth.points == pytest.approx(-back.points)
    ties = sum(x == y for x in here for y in there)
    assert forth.above + back.above + ties == forth.pairs == len(here) * len(there)
    assert forth.beyond_spread == (min(there) > max(here))


def test_what_cannot_be_grouped(tmp_path: Path) -> None:
    one = put(tmp_path / "one", "a", 0.5, 0.5, 0.5)
    flipped = report(protocol(flip=True))
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "report.json").write_text(json.dumps(as_json(flipped, "eval")))
    with pytest.raises(ConfigError, match="different protocols: flip on and off"):
        group([one, tmp_path / "two"])
    none = put(tmp_path / "none", "a", 0.5, None, 0.5)
    with pytest.raises(ConfigError, match="none has no AP in medium"):
        group([one, none])
    with pytest.raises(ConfigError, match="1 report"):
        group([one])


def test_the_chart(runs: list[Path], tmp_path: Path) -> None:
    grouped = group(runs)
    draw_groups(grouped, tmp_path / "chart.png")
    picture = cv2.imread(str(tmp_path / "chart.png"))
    assert picture.shape[1] == 1200
    assert picture[:5].min() == 255  # nothing is cut off at the edges
    assert picture[-5:].min() == 255
    assert picture[:, :5].min() == 255
    assert picture[:, -5:].min() == 255
    draw_groups(grouped, tmp_path / "a.svg")
    draw_groups(grouped, tmp_path / "b.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    with pytest.raises(ConfigError, match=r"chart\.jpg is neither"):
        draw_groups(grouped, tmp_path / "chart.jpg")


def test_the_command(run: Run, runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featherface_cli.screens.console.stdout.width", 80)
    ran = run("eval", "--compare", "--by-name", *runs, "--chart", "gain.svg")
    assert ran.code == 0
    line = next(line for line in ran.out.splitlines() if line.strip().startswith("no teacher"))
    assert line.split() == [
        "no",
        "teacher",
        "2",
        "55.0±7.1",
        "45.0±7.1",
        "35.0±7.1",
        "45.0±7.1",
        "-15.0",
        "0",
        "of",
        "4",
    ]
    assert max(map(len, ran.out.splitlines())) <= 80
    assert "WIDER FACE evaluation" in ran.out
    assert (tmp_path / "gain.svg").is_file()
    said = json.loads(run("eval", "--compare", "--by-name", *runs, "--json").out)
    assert said["groups"][0]["figures"]["mean"]["mean"] == pytest.approx(0.6)
    assert said["groups"][1]["gain"]["above"] == 0


def test_options_that_go_with_compare_alone(run: Run, runs: list[Path]) -> None:
    assert_refused(run("eval", "--by-name"), 2, "--by-name does not go with it")
    assert_refused(run("eval", "--chart", "a.png"), 2, "--chart does not go with it")
    assert_refused(run("eval", "--compare", *runs, "--chart", "a.png"), 2, "draws nothing without --by-name")
