"""params as a user meets it: its tables, its search, and networks that it refuses."""

import json
import re
from pathlib import Path

import pytest
from command_line import Run, assert_refused

TOTALS = {"v1": 487_263, "v1-original": 592_371, "v1-24": 321_041, "v1-56": 489_015, "v2": 256_156}
PROFILER = {"v1": 418_788, "v1-original": 488_661, "v1-24": 306_431, "v1-56": 409_615, "v2": 256_136}


def test_params_of_v1(run: Run) -> None:
    ran = run("params", "--model", "v1")
    assert ran.code == 0
    assert ran.err == ""
    assert "v1: 487,263 parameters" in ran.out
    assert "489,000 ± 5,000 met: 1,737 below" in ran.out
    assert "17.7% fewer" in ran.out
    assert "thop would print 418,788" in ran.out
    assert "\x1b" not in ran.out


def test_params_json(run: Run) -> None:
    said = json.loads(run("params", "--all", "--json").out)
    assert (said["schema"], said["command"]) == (1, "params")
    assert {m["model"]: m["total"]["parameters"] for m in said["models"]} == TOTALS
    assert {m["model"]: m["profiler_figure"] for m in said["models"]} == PROFILER
    for m in said["models"]:
        assert sum(part["parameters"] for part in m["total"]["parts"]) == m["total"]["parameters"]


def test_params_all_fits_eighty_columns(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featherface_cli.screens.console.stdout.width", 80)
    out = run("params", "--all").out
    assert max(map(len, out.splitlines())) <= 80
    for name, total in TOTALS.items():
        assert re.search(rf"^ *{name} +{total:,} ", out, re.MULTILINE)
    assert "-167,959" in out


def test_params_depth_and_tree(run: Run) -> None:
    assert "p4_td" not in run("params", "--depth", 3).out
    assert "p4_td" in run("params", "--depth", 4).out
    assert "DeformConv2d" in run("params", "--tree", "--depth", 4).out


def test_params_search(run: Run) -> None:
    arguments = ("params", "--target", 489000, "--tolerance", 5000, "--search")
    said = json.loads(run(*arguments, "--json").out)
    distances = [abs(row["parameters"] - 489_000) for row in said["rows"]]
    assert distances == sorted(distances)
    assert max(distances) <= 5_000
    assert {"v1", "v1-56"} <= {row["same_as"] for row in said["rows"]}
    assert [24, 321_041] in said["near"]
    shown = run(*arguments, "--limit", 3).out
    assert "3 of 22; --limit shows more" in shown
    assert re.search(r"width 24 +321,041 with all else as in v1: -167,959", shown)


def test_params_set_and_yaml(run: Run, tmp_path: Path) -> None:
    assert "321,041 parameters" in run("params", "--set", "width=24").out
    assert "missed: 167,959 below" in run("params", "--set", "width=24").out
    (tmp_path / "mine.yaml").write_text("base: v2\nneck_attention: {kind: none}\n")
    assert "mine: 255,288 parameters" in run("params", "--model", "mine.yaml").out
    assert run("params", "--model", "models/slim.yaml").code == 0  # shipped, found from any folder


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--model", "v3"], ["'v3'", "did you mean"]),
        (["--model", "v1original"], ["did you mean 'v1-original'"]),
        (["--model", "none.yaml"], ["none.yaml", "models/slim.yaml"]),
        (["--size", "31"], ["31", "32"]),
        (["--size", "-640"], ["-640"]),
        (["--set", "widht=24"], ["'widht'", "did you mean 'width'"]),
        (["--set", "width"], ["'width'"]),
        (["--set", "width=wide"], ["'wide'"]),
        (["--target", "100", "--search"], ["100 ± 5,000"]),
        (["--all", "--search"], ["--search"]),
        (["--modle", "v1"], ["--modle", "--model"]),
        (["--depth", "0"], ["--depth"]),
    ],
)
def test_params_refuses(run: Run, arguments: list[str], names: list[str]) -> None:
    assert_refused(run("params", *arguments), 2, *names)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("width: 40\ncellz: 3\n", ["'cellz'", "did you mean 'cells'", "bad.yaml"]),
        ("width: forty\n", ["width", "'forty'", "bad.yaml"]),
        ("width: 40.5\n", ["width", "40.5"]),
        ("width: true\n", ["width", "True"]),
        ("width: 41\n", ["41", "40 or 44"]),
        ("width: 4\n", ["4", "8 to 512"]),
        ("cells: 0\n", ["cells 0"]),
        ("name: 7\n", ["name", "7"]),
        ("context: deformed\n", ["'deformed'", "did you mean 'deformable'"]),
        ("shuffle: group-2\n", ["'group-2'", "did you mean 'groups-2'"]),
        ("neck_attention: cbam\n", ["neck_attention", "'cbam'"]),
        ("neck_attention: {kind: cbam, reduction: 0}\n", ["reduction 0"]),
        ("neck_attention: {kinds: cbam}\n", ["'kinds'", "neck_attention"]),
        ("base: v7\n", ["'v7'"]),
        ("width: [1\n", ["bad.yaml:2"]),
        ("- width\n", ["bad.yaml"]),
        ("", ["bad.yaml"]),
    ],
)
def test_yaml_that_cannot_be_used(run: Run, tmp_path: Path, text: str, names: list[str]) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    assert_refused(run("params", "--model", "bad.yaml"), 2, *names)


@pytest.mark.parametrize("name", ["[/red]", "[bold]", "[link=x]a"])
def test_odd_names_of_networks(run: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / "odd.yaml").write_text(f"name: '{name}'\nwidth: 24\n")
    assert f"{name}: 321,041 parameters" in run("params", "--model", "odd.yaml").out
    assert f"{name}: 321,041 parameters" in run("params", "--model", "odd.yaml", "--tree").out
    assert name in run("params", "--model", "odd.yaml", "--model", "v1").out
    assert run("params", "--model", "odd.yaml", "--search", "--target", 321041).code == 0
