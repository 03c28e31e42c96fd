"""Which operators exported files are made of: what other runtimes have to know."""

import re
from pathlib import Path

import onnx
import pytest
from conftest import randomise
from onnx import numpy_helper

from featherface_core.config import ExportConfig
from featherface_core.exporting.export import describe, export
from featherface_core.exporting.graph import make_graph
from featherface_core.models.deform import DeformConv2d
from featherface_core.models.variants import build_model

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
LIST = re.compile(r"^- `(v1|v2)`: (.+)\.$", re.MULTILINE)


def operators(graph: onnx.ModelProto) -> set[str]:
    return {node.op_type for node in graph.graph.node}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["v2", "v1"])
def test_the_documented_operators_are_those_of_a_dynamic_file(name: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    section = page.partition("## Other runtimes")[2]
    listed = {model: set(re.findall(r"`(\w+)`", names)) for model, names in LIST.findall(section)}
    model = build_model(name, seed=0)
    assert operators(make_graph(model, ExportConfig(), describe(model, "none"))) == listed[name]


@pytest.mark.slow
def test_no_runtime_takes_the_zeros_of_a_max_pool_for_its_own() -> None:
    """onnxruntime 1.25 to 1.31 would, where the padding is constant as in a static file: zeros would be no maximum then."""
    model = build_model("v1-24", seed=0)
    graph = make_graph(model, ExportConfig(dynamic=False, size=(96, 65)), describe(model, "none")).graph
    known = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    pads = [node for node in graph.node if node.op_type == "Pad"]
    assert len(pads) == 6  # two levels of three cells
    assert [list(known[node.input[1]]) for node in pads] == [[0, 0, 0, 1, 0, 0, 1, 1]] * 6
    assert all(0 < known[node.input[2]] < 1e-30 for node in pads)


@pytest.mark.slow
@pytest.mark.parametrize("dynamic", [True, False])
def test_deformable_layers_are_decomposed_and_proven(dynamic: bool, tmp_path: Path) -> None:
    model = randomise(build_model("v1-24", seed=0))
    config = ExportConfig(dynamic, (64, 96), ((64, 96), (33, 97)), decompose=True)
    report = export(model, tmp_path / "decomposed.onnx", config)
    assert all(check.passed for check in report.checks)
    assert "deformables" not in report.rewrites
    found = operators(onnx.load(tmp_path / "decomposed.onnx"))
    assert "GridSample" in found
    assert "DeformConv" not in found
    layers = [module for module in model.modules() if isinstance(module, DeformConv2d)]
    assert layers
    assert all(layer.opaque for layer in layers)  # the network itself stays as it was
