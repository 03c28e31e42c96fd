"""export as a user meets it: conversions, the README's export, and what it refuses."""

import json
import re
from pathlib import Path

import pytest
from command_line import Run, assert_refused

from featherface_core.models.variants import VARIANTS, build_model


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--opset", "12"], ["12", "19"]),
        (["--test-sizes", "31"], ["31"]),
        (["--test-sizes", "640,abc"], ["'abc'"]),
        (["--test-sizes", "0x0"], ["0"]),
        (["--static", "--size", "20"], ["20"]),
        (["--dynamic", "--size", "640"], ["--size 640", "--static"]),
        (["--static", "--test-sizes"], ["--test-sizes", "--static"]),
        (["--score", "0.5"], ["--score 0.5", "--with-postprocess", "--format onnx"]),
        (["--calibration-pictures", "64"], ["--calibration-pictures without --int8"]),
        (["--format", "tflite"], ["'tflite'"]),
        (["--format", "safetensors", "--model", "v1-24"], ["--weights"]),
        (["--weights", "untrained", "--model", "v9"], ["'v9'"]),
    ],
)
def test_export_refuses(run: Run, tmp_path: Path, arguments: list[str], names: list[str]) -> None:
    assert_refused(run("export", *arguments), 2, *names)
    assert not list(tmp_path.iterdir())


def test_export_converts_weights_both_ways(run: Run, weights: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    assert run("export", "--weights", weights, "--format", "pth", "--out", "up.pth").code == 0
    ran = run("export", "--weights", "up.pth", "--format", "safetensors", "--out", "back.safetensors", "--json")
    assert json.loads(ran.out)["source_layout"] == "upstream"
    before, after = load_file(weights), load_file(tmp_path / "back.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.slow
def test_the_export_of_the_readme_in_an_empty_folder(run: Run, tmp_path: Path) -> None:
    ran = run("export", "--dynamic", "--test-sizes")
    assert ran.code == 0
    assert "random network" not in ran.err
    assert [p.name for p in tmp_path.iterdir()] == ["featherface_v2.onnx"]
    rows = re.findall(r"^ *(\d+x\d+) +([12])x(\d+)x4,2,10 .* same *$", ran.out, re.MULTILINE)
    sizes = ["320x320", "416x416", "640x640", "832x832", "32x32", "97x33", "333x517"]
    assert [(size, batch) for size, batch, _ in rows] == [(size, batch) for size in sizes for batch in "12"]
    assert ("640x640", "1", "16800") in rows


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--format", "pth", "--out", "w.safetensors"], ["w.safetensors", "pth"]),
        (["--format", "safetensors", "--out", "w.safetensors"], ["w.safetensors", "itself"]),
        (["--out", "w.safetensors"], ["w.safetensors", "onnx"]),
        (["--format", "pth", "--package", "deploy"], ["--package"]),
    ],
)
def test_an_export_spares_its_weights(
    run: Run, weights: Path, tmp_path: Path, arguments: list[str], names: list[str]
) -> None:
    (tmp_path / "w.safetensors").write_bytes(weights.read_bytes())
    assert_refused(run("export", "--weights", "w.safetensors", *arguments), 2, *names)
    assert (tmp_path / "w.safetensors").read_bytes() == weights.read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def test_a_conversion_says_what_it_loses(run: Run, tmp_path: Path) -> None:
    from dataclasses import replace

    import torch

    from featherface_core.models.checkpoint import save_weights

    config = replace(VARIANTS["v1-24"], name="mine", shuffle="groups-half")
    save_weights("mine.safetensors", build_model(config, seed=0).state_dict(), config)
    said = json.loads(run("export", "--weights", "mine.safetensors", "--format", "pth", "--out", "a.pth", "--json").out)
    assert "records no network" in said["note"]  # read back alone, it would pass for v1-24
    state = torch.load(tmp_path / "a.pth", weights_only=True)
    torch.save({name: t.double() if t.is_floating_point() else t for name, t in state.items()}, tmp_path / "b.pth")
    said = json.loads(run("export", "--weights", "b.pth", "--format", "safetensors", "--json").out)
    assert said["note"] == "read as float32 from float64"
