"""A teacher that looks through onnxruntime sees what it sees in PyTorch, and is made where it is worth it."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx import numpy_helper
from small_runs import DATA, recipe, silent

from featherface_core.config import with_values
from featherface_core.errors import ConfigError
from featherface_core.events import Note, RunListener
from featherface_core.models.checkpoint import load_model
from featherface_core.models.featherface import FeatherFace
from featherface_core.models.variants import build_model, resolve_model, shipped_weights
from featherface_core.recipe import Recipe
from featherface_core.training import onnx_teacher as module
from featherface_core.training.onnx_teacher import RuntimeTeacher, make_teacher
from featherface_core.training.runs import distill
from featherface_core.training.setup import Where
from featherface_core.training.teacher import Teacher


def trained(name: str) -> FeatherFace:
    weights = shipped_weights(resolve_model(name))
    assert weights is not None
    return load_model(weights)


def assert_same_views(model: FeatherFace) -> None:
    through, plain = RuntimeTeacher(model, threads=1), Teacher(model)
    for shape in ((1, 3, 64, 64), (3, 3, 97, 160)):
        pixels = 50 * torch.randn(shape, generator=torch.Generator().manual_seed(1))
        seen, wanted = through.look(pixels.to(memory_format=torch.channels_last)), plain.look(pixels)
        torch.testing.assert_close(seen.margin, wanted.margin, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(seen.regressions, wanted.regressions, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(seen.landmarks, wanted.landmarks, rtol=1e-3, atol=1e-4)
        for a, b in zip(seen.pyramid, wanted.pyramid, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5 * float(b.abs().max()))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["v2", "v1"])  # without and with deformable layers
def test_it_sees_what_pytorch_sees(name: str) -> None:
    assert_same_views(trained(name))


@pytest.mark.slow
def test_a_teacher_that_onnxruntime_changes_stays_in_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[object] = []
    right = module.trace

    def wrong(*arguments: Any) -> onnx.ModelProto:
        graph = right(*arguments)
        weights = next(tensor for tensor in graph.graph.initializer if len(tensor.dims) == 4)
        weights.CopyFrom(numpy_helper.from_array(1.01 * numpy_helper.to_array(weights), weights.name))
        return graph

    monkeypatch.setattr(module, "trace", wrong)
    made = make_teacher(trained("v2"), _recipe("onnxruntime"), 1, told.append)
    assert type(made) is Teacher
    said, note = told
    assert isinstance(said, Note)
    assert "exported" in said.text
    assert isinstance(note, Note)
    assert note.warning
    assert "v2" in note.text
    assert "PyTorch" in note.text


def _recipe(kind: str, amp: str = "off", size: int = 640) -> Recipe:
    return with_values(Recipe(size=size), {"machine": {"teacher": kind, "amp": amp}}, "the test")


@pytest.mark.parametrize(
    ("kind", "amp", "size", "pictures", "exported"),
    [
        ("auto", "off", 640, 1000, True),
        ("auto", "off", 640, 999, False),
        ("auto", "off", 320, 3999, False),
        ("auto", "off", 320, 4000, True),
        ("auto", "bf16", 640, 100_000, False),
        ("torch", "off", 640, 100_000, False),
        ("onnxruntime", "off", 32, 1, True),
        ("onnxruntime", "bf16", 32, 1, True),
    ],
)
def test_where_it_is_worth_its_export(
    kind: str, amp: str, size: int, pictures: int, exported: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stub(Teacher):
        def __init__(self, model: FeatherFace, threads: int) -> None:
            super().__init__(model)

    monkeypatch.setattr(module, "RuntimeTeacher", Stub)
    made = make_teacher(build_model("v2"), _recipe(kind, amp, size), pictures, silent)
    assert type(made) is (Stub if exported else Teacher)


def test_it_needs_a_cpu() -> None:
    elsewhere = build_model("v2").to("meta")
    with pytest.raises(ConfigError, match=r"machine.teacher onnxruntime does not go with --device meta") as raised:
        make_teacher(elsewhere, _recipe("onnxruntime"), 1, silent)
    assert "machine.teacher=auto" in raised.value.hint
    assert type(make_teacher(elsewhere, _recipe("auto"), 1_000_000, silent)) is Teacher


def test_a_run_that_it_does_not_go_with_makes_no_folder(tmp_path: Path) -> None:
    made = with_values(recipe(), {"machine": {"teacher": "onnxruntime", "device": "meta"}}, "the test")
    weights = shipped_weights(resolve_model("v2"))
    with pytest.raises(ConfigError, match="does not go with --device meta"):
        distill(made, DATA, None, "v2", weights, False, 0, Where(tmp_path / "run"), silent)
    assert not (tmp_path / "run").exists()


def test_it_is_told_how_many_pictures_it_will_look_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def make(model: FeatherFace, made: Recipe, pictures: int, on_event: RunListener) -> Teacher:
        asked.append(pictures)
        return Teacher(model)

    monkeypatch.setattr(module, "make_teacher", make)
    weights = shipped_weights(resolve_model("v2"))
    for repeats in (1, 2):
        where = Where(tmp_path / str(repeats))
        distill(recipe(epochs=2, repeats=repeats), DATA, None, "v2", weights, False, 0, where, silent)
    # 2 epochs of 16 pictures
    assert asked == [32, 16]


@pytest.mark.slow
def test_a_run_learns_the_same_from_it(tmp_path: Path) -> None:
    weights = shipped_weights(resolve_model("v2"))
    losses = {}
    for kind in ("torch", "onnxruntime"):
        made = recipe(epochs=1, pictures_per_epoch=4)  # one step: several magnify rounding
        made = dataclasses.replace(made, machine=dataclasses.replace(made.machine, teacher=kind))
        out = tmp_path / kind
        where = Where(out)
        distill(made, DATA, None, "v2", weights, False, 0, where, silent)
        row = json.loads((out / "metrics.jsonl").read_text().splitlines()[0])
        losses[kind] = {name: value for name, value in row.items() if name.startswith("loss/")}
    assert losses["onnxruntime"].keys() == losses["torch"].keys()
    assert "loss/teacher/feature" in losses["torch"]
    assert losses["onnxruntime"] == pytest.approx(losses["torch"], rel=1e-3)
    assert losses["onnxruntime"] != losses["torch"]  # rounded differently: it did look through onnxruntime
