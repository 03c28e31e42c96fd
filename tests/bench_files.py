"""Tiny ONNX files to time, made without an export, and reports that nothing was run for."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from featherface_core.bench.report import (
    Achieved,
    Alone,
    BenchReport,
    CandidateReport,
    Cost,
    Latency,
    Limit,
    Ratio,
    Stages,
)

SHARED = Path(__file__).parents[2] / "shared"


def save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    shape: Sequence[int | str | None],
    weights: dict[str, Any] | None = None,
    kind: int = TensorProto.FLOAT,
    more_inputs: Sequence[onnx.ValueInfoProto] = (),
    opset: int = 19,
) -> Path:
    """A graph from the input ``x`` of ``shape`` to the output ``y``, of nodes over ``weights``."""
    graph = helper.make_graph(
        list(nodes),
        "tiny",
        [helper.make_tensor_value_info("x", kind, list(shape)), *more_inputs],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in (weights or {}).items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9), path)
    return path


def peer(path: Path, shape: Sequence[int | str | None] = (1, 3, 32, 48), channels: int = 4) -> Path:
    """A foreign detector of one 3x3 convolution, that takes pictures of ``shape``."""
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])]
    return save(path, nodes, shape, {"w": np.ones((channels, 3, 3, 3))})


def candidate(name: str, median: float, runtime: str = "onnxruntime", ratio: float | None = None) -> CandidateReport:
    """A report on a network that takes ``median`` milliseconds."""
    return CandidateReport(
        name,
        runtime,
        f"{name}.onnx",
        640,
        640,
        Latency(median, median * 0.9, median * 1.2, (median,) * 3),
        1000 / median,
        None if ratio is None else Ratio(ratio, ratio * 0.9, ratio * 1.1),
        Cost(1000, 2_000_000, 3_000_000),
        Achieved(2e9, 0.25, 3e9, 0.5),
        Stages(1.0, 2.0, median, 3.0, 6.0 + median, 1),
        Alone(0.5, 120_000_000),
        (),
    )


def report(*candidates: CandidateReport, **changed: Any) -> BenchReport:
    """A report on these networks, two of them where none are given."""
    made = BenchReport(
        1, 1, "cpu", 30, 3, 3, 1.0, "astronaut.png", candidates or (candidate("a", 10.0), candidate("b", 25.0, ratio=2.5)),
        Limit(1, 8e9, 6e9), (), {"processor": "P", "cpus": 2, "python": "3.11", "onnxruntime": "1.2"}, (), 4.0,
    )  # fmt: skip
    return replace(made, **changed)
