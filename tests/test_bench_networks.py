"""What can be timed, and what it is said to cost: opening files, MACs, traffic, traces, processes of their own."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bench_files import peer, save
from known_faces import stub_onnx
from onnx import TensorProto, helper

from featherface_core.bench import onnx_candidate, run_limit
from featherface_core.bench.benchmark import bench, export_into
from featherface_core.bench.candidate import open_candidate
from featherface_core.bench.children import ChildFailedError, call, measure_alone, measure_limit, measure_rounds
from featherface_core.bench.config import BenchConfig, DoesNotFit, Setting, Source
from featherface_core.bench.onnx_candidate import OnnxCandidate
from featherface_core.bench.rounds import WARM_UP
from featherface_core.bench.stages import measure_throughput
from featherface_core.bench.torch_candidate import TorchCandidate, _Traffic
from featherface_core.bench.trace import Node, bytes_moved, count_floats, macs, node_times, read_trace, trace
from featherface_core.config import ExportConfig
from featherface_core.errors import ConfigError, FeatherFaceError, WeightsError
from featherface_core.events import ignore
from featherface_core.models.params import count, measure
from featherface_core.models.variants import VARIANTS
from featherface_core.pictures import PORTRAIT, read_picture

ANY = Setting(None, 1, 1, "cpu")
PICTURE = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)


def opened(path: Path, setting: Setting = ANY) -> OnnxCandidate:
    made = OnnxCandidate(str(path), setting)
    made.load(PICTURE)
    return made


# --- opening -------------------------------------------------------------------------------------------------------------


def test_a_foreign_file_runs_at_its_own_size_or_at_640(tmp_path: Path) -> None:
    fixed = opened(peer(tmp_path / "fixed.onnx"))
    assert (fixed.height, fixed.width, fixed.pixels.shape) == (32, 48, (1, 3, 32, 48))
    (outputs,) = fixed.run()  # type: ignore[misc, attr-defined]
    assert outputs.shape == (1, 4, 32, 48)
    assert fixed.detector() is None
    free = peer(tmp_path / "free.onnx", ("n", 3, None, "w"))
    assert OnnxCandidate(str(free), ANY).height == 640
    batch = opened(free, Setting((64, 96), 5, 1, "cpu"))
    assert batch.pixels.shape == (5, 3, 64, 96)
    assert batch.pixels.std() > 10  # a picture, not zeros
    assert not np.array_equal(batch.pixels[0], batch.pixels[1])


def test_files_of_one_size(tmp_path: Path) -> None:
    path = peer(tmp_path / "fixed.onnx")
    assert OnnxCandidate(str(path), Setting((32, 48), 1, 1, "cpu")).width == 48
    with pytest.raises(DoesNotFit, match=r"--size 48x32 does not fit .*fixed\.onnx, which takes 32x48"):
        OnnxCandidate(str(path), Setting((48, 32), 1, 1, "cpu"))
    with pytest.raises(DoesNotFit, match="--batch 2 does not fit"):
        OnnxCandidate(str(path), Setting(None, 2, 1, "cpu"))


@pytest.mark.parametrize(
    ("kind", "cast", "shape"),
    [
        (TensorProto.FLOAT, np.float32, (1, 3, 32, 48)),
        (TensorProto.FLOAT16, np.float16, (1, 3, 32, 48)),
        (TensorProto.UINT8, np.uint8, (1, 32, 48, 3)),
    ],
)
def test_layouts_and_types(tmp_path: Path, kind: int, cast: type, shape: tuple[int, ...]) -> None:
    path = save(tmp_path / "a.onnx", [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)], shape, kind=kind)
    made = opened(path)
    assert (made.height, made.width) == (32, 48)
    assert (made.pixels.shape, made.pixels.dtype) == (shape, cast)
    assert len(made.run()[0]) == 1  # type: ignore[index]
    assert made.pixels.astype(np.float32).std() > 10


def test_networks_that_see_no_pictures(tmp_path: Path) -> None:
    cast = [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)]
    grey = save(tmp_path / "grey.onnx", cast, (1, 1, 32, 32))
    with pytest.raises(WeightsError, match=r"grey\.onnx takes pictures of 1 channels"):
        OnnxCandidate(str(grey), ANY)
    flat = save(tmp_path / "flat.onnx", cast, (1, 100))
    with pytest.raises(WeightsError, match=r"flat\.onnx does not take one batch of pictures.*\[1, 100\]"):
        OnnxCandidate(str(flat), ANY)
    more = [helper.make_tensor_value_info("z", TensorProto.FLOAT, [1])]
    two = save(tmp_path / "two.onnx", [helper.make_node("Add", ["x", "z"], ["y"])], (1, 3, 32, 32), more_inputs=more)
    with pytest.raises(WeightsError, match="z tensor"):
        OnnxCandidate(str(two), ANY)


def test_a_shape_that_fails_only_when_it_runs(tmp_path: Path) -> None:
    nodes = [helper.make_node("Reshape", ["x", "s"], ["y"])]
    path = save(tmp_path / "picky.onnx", nodes, (1, 3, "h", "w"))
    import onnx

    model = onnx.load(path)
    model.graph.initializer.append(helper.make_tensor("s", TensorProto.INT64, [2], [3, 1024]))
    onnx.save(model, path)
    opened(path, Setting((32, 32), 1, 1, "cpu")).run()
    with pytest.raises(ConfigError, match=r"picky\.onnx does not run at 64x64, batch 1") as caught:
        opened(path, Setting((64, 64), 1, 1, "cpu")).run()
    assert "\n" not in caught.value.message


# --- MACs and traffic ----------------------------------------------------------------------------------------------------


def traced(path: Path, shape: tuple[int, ...]) -> tuple[Node, ...]:
    nodes = trace(str(path), {"x": np.ones(shape, np.float32)}, ANY, fused=False, packed=False)
    assert nodes is not None
    return nodes


def node(operator: str, *names: str, **attributes: Any) -> Any:
    return helper.make_node(operator, ["x", *names], ["y"], **attributes)


MACS = [
    # operator, input, weights, MACs by hand
    (node("Conv", "w", pads=[1, 1, 1, 1]), (1, 3, 8, 10), {"w": (4, 3, 3, 3)}, 4 * 8 * 10 * 27),
    (node("Conv", "w", "b", strides=[2, 2]), (2, 3, 9, 9), {"w": (4, 3, 3, 3), "b": (4,)}, 2 * 4 * 4 * 4 * 27),
    (node("Conv", "w", group=6), (1, 6, 5, 5), {"w": (6, 1, 1, 1)}, 6 * 25),
    (node("ConvTranspose", "w", strides=[2, 2]), (1, 3, 4, 4), {"w": (3, 5, 2, 2)}, 3 * 16 * 5 * 4),
    (node("DeformConv", "w", "o"), (1, 4, 3, 3), {"w": (6, 4, 1, 1), "o": (1, 2, 3, 3)}, 6 * 9 * 4),
    (node("Gemm", "w"), (2, 7), {"w": (7, 5)}, 2 * 7 * 5),
    (node("Gemm", "w", transA=1, transB=1), (7, 2), {"w": (5, 7)}, 2 * 7 * 5),
    (node("MatMul", "w"), (2, 3, 4, 7), {"w": (7, 5)}, 2 * 3 * 4 * 7 * 5),
    (node("MatMul", "w"), (7,), {"w": (7, 5)}, 7 * 5),
    (node("MatMul", "w"), (2, 4, 7), {"w": (7,)}, 2 * 4 * 7),
    (node("Relu"), (1, 3, 4, 4), {}, 0),
]


@pytest.mark.parametrize(("made", "shape", "weights", "wanted"), MACS, ids=[f"{m[0].op_type}{m[1]}" for m in MACS])
def test_macs_by_hand(
    tmp_path: Path, made: Any, shape: tuple[int, ...], weights: dict[str, tuple[int, ...]], wanted: int
) -> None:
    path = save(tmp_path / "a.onnx", [made], shape, {name: np.ones(size) for name, size in weights.items()})
    assert macs(traced(path, shape)) == wanted


def test_what_multiplies_in_other_ways_is_not_known(tmp_path: Path) -> None:
    path = save(tmp_path / "a.onnx", [node("Einsum", "w", equation="ij,jk->ik")], (2, 3), {"w": np.ones((3, 4))})
    assert macs(traced(path, (2, 3))) is None


def test_traffic_by_hand(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Reshape", ["c", "s"], ["r"]),
        helper.make_node("Sin", ["r"], ["y"]),
    ]
    path = save(tmp_path / "a.onnx", nodes, (1, 3, 8, 8), {"w": np.ones((4, 3, 1, 1))})
    import onnx

    model = onnx.load(path)
    model.graph.initializer.append(helper.make_tensor("s", TensorProto.INT64, [2], [4, 64]))
    onnx.save(model, path)
    convolution, sine = 4 * (3 * 64 + 12 + 4 * 64), 4 * (4 * 64 + 4 * 64)
    assert bytes_moved(traced(path, (1, 3, 8, 8))) == convolution + sine


def test_traffic_of_pytorch_by_hand() -> None:
    x, w = torch.ones(1, 3, 8, 8), torch.ones(4, 3, 1, 1)
    traffic = _Traffic()  # type: ignore[no-untyped-call]
    with torch.inference_mode(), traffic:
        torch.conv2d(x, w).reshape(4, 64).sin()
    assert traffic.bytes == 4 * (3 * 64 + 12 + 4 * 64) + 4 * (4 * 64 + 4 * 64)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_torch_candidate_costs_what_params_says(name: str) -> None:
    made = TorchCandidate(Source("torch", name), Setting((64, 64), 3, 1, "cpu"))
    total = measure(VARIANTS[name], 64).total
    cost = made.cost()
    assert (cost.parameters, cost.macs) == (total.parameters, total.macs + total.deformable_macs)
    assert ("random" in made.note) == (name not in ("v1", "v2"))


def test_params_of_a_rectangle_lie_between_its_squares() -> None:
    wide, tall = (count(VARIANTS["v2"], *size).macs for size in ((64, 128), (128, 64)))
    assert wide == tall
    assert measure(VARIANTS["v2"], 64).total.macs < wide < measure(VARIANTS["v2"], 128).total.macs


@pytest.mark.slow
def test_an_exported_file_costs_what_params_says(tmp_path: Path) -> None:
    """As it is written; what an export's rewrites do to its MACs is theirs."""
    from featherface_core.exporting.export import describe
    from featherface_core.exporting.graph import make_graph
    from featherface_core.models.checkpoint import load_model
    from featherface_core.models.variants import shipped_weights

    model = load_model(str(shipped_weights(VARIANTS["v1"])))
    graph = make_graph(model, ExportConfig(False, (64, 96), optimise=False), describe(model, "v1"))
    (tmp_path / "v1.onnx").write_bytes(graph.SerializeToString())
    total = count(VARIANTS["v1"], 64, 96)
    cost = opened(tmp_path / "v1.onnx").cost()
    assert (cost.parameters, cost.macs) == (total.parameters, total.macs + total.deformable_macs)
    assert cost.bytes_moved is not None
    assert cost.bytes_moved > 4 * total.parameters


@pytest.mark.slow
def test_a_temporary_export_finds_the_face_in_little_memory(tmp_path: Path) -> None:
    source = export_into(tmp_path, Source("onnxruntime", "v2", name="v2"), BenchConfig())
    assert Path(source.onnx).parent == tmp_path
    made = OnnxCandidate(source.onnx, ANY)
    detector = made.detector()
    assert detector is not None
    assert len(detector.detect(read_picture(PORTRAIT))) == 1
    alone = measure_alone(source, ANY, PORTRAIT)
    assert alone.peak_bytes is not None
    assert alone.peak_bytes < 150e6


def test_parameters_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert count_floats(peer(tmp_path / "a.onnx")) == 4 * 3 * 9
    ours = OnnxCandidate(str(stub_onnx(tmp_path / "ours.onnx")), ANY)
    with monkeypatch.context() as patched:  # the open session knows the metadata: no second one
        patched.setattr(onnx_candidate, "OnnxDetector", None)
        assert ours.cost().parameters == 256_156  # of the network in its metadata, not of what the file holds
    assert ours.detector() is not None
    assert count_floats(tmp_path / "none.onnx") is None


# --- traces --------------------------------------------------------------------------------------------------------------


def event(name: str, operator: str, microseconds: int, **more: object) -> dict[str, Any]:
    args = {"op_name": operator, "output_type_shape": [{"float": [1, 2]}], "output_size": "8", **more}
    return {"cat": "Node", "name": f"{name}_kernel_time", "dur": microseconds, "args": args}


def test_node_times_by_hand() -> None:
    events = [
        {"cat": "Session", "name": "model_run", "dur": 9000, "args": {}},
        {"cat": "Node", "name": "conv_fence_before", "dur": 5, "args": {"op_name": "Conv"}},
        event("branch", "If", 8000),
        *(event("conv", "Conv", us) for us in (9000, 3000, 3000)),
        *(event("relu", "Relu", us) for us in (500, 500, 500, 500, 500, 500)),
    ]
    conv, relu = node_times(read_trace(events), runs=3)
    assert (conv.name, conv.operator, conv.milliseconds, conv.shape) == ("conv", "Conv", 3.0, (1, 2))
    assert relu.milliseconds == pytest.approx(1.0)  # twice a run
    assert (conv.share, relu.share) == pytest.approx((0.75, 0.25))
    assert node_times(None, 3) == ()


def test_the_profile_of_a_file(tmp_path: Path) -> None:
    nodes = opened(peer(tmp_path / "a.onnx")).nodes()
    assert "Conv" in {each.operator for each in nodes}
    assert sum(each.share for each in nodes) == pytest.approx(1.0)
    assert [each.milliseconds for each in nodes] == sorted((each.milliseconds for each in nodes), reverse=True)


# --- processes of their own ----------------------------------------------------------------------------------------------


def test_memory_is_that_of_the_candidate_alone(tmp_path: Path) -> None:
    source = Source("onnxruntime", onnx=str(peer(tmp_path / "a.onnx")))
    ballast = np.ones(60_000_000, np.float64)  # 480 MB of this process
    alone = measure_alone(source, ANY, PORTRAIT)
    assert ballast.nbytes > 450e6
    assert alone.problem == ""
    assert alone.peak_bytes is not None
    assert 20e6 < alone.peak_bytes < 150e6
    assert alone.cpu_seconds is not None
    assert alone.cpu_seconds > 0


def test_a_candidate_that_fails_alone_says_why(tmp_path: Path) -> None:
    alone = measure_alone(Source("onnxruntime", onnx=str(tmp_path / "none.onnx")), ANY, PORTRAIT)
    assert (alone.cpu_seconds, alone.peak_bytes) == (None, None)
    assert "none.onnx does not exist" in alone.problem


def test_the_limit_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = measure_limit(1)
    assert limit is not None
    assert limit.macs_per_second > 1e7
    assert limit.bytes_per_second > 1e7
    monkeypatch.setattr("featherface_core.bench.children.sys.executable", "/bin/false")
    assert measure_limit(1) is None


def test_the_best_turn_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    # began; start and end of each of three turns; then the end, after a second
    ticks = iter([0.0, 0.0, 0.3, 0.3, 0.5, 0.5, 1.2, 1.2])
    monkeypatch.setattr(run_limit.time, "perf_counter", lambda: next(ticks))
    assert run_limit.best(lambda: None) == pytest.approx(0.2)


@pytest.mark.parametrize("module", ["featherface_core.bench.benchmark", "featherface_core.bench.onnx_candidate"])
def test_timing_an_onnx_file_loads_no_torch(tmp_path: Path, module: str) -> None:
    program = (
        f"import sys, {module}\n"
        "from pathlib import Path\n"
        "from featherface_core.bench.candidate import Source\n"
        "from featherface_core.bench.config import BenchConfig\n"
        "from featherface_core.bench.benchmark import bench\n"
        "sources = [Source('onnxruntime', onnx=name) for name in sys.argv[1:]]\n"
        "assert len(bench(sources, BenchConfig(runs=3, profile=True)).candidates) == 2\n"
        "print(*sys.modules)"
    )
    files = [str(peer(tmp_path / "a.onnx")), str(stub_onnx(tmp_path / "b.onnx"))]
    done = subprocess.run([sys.executable, "-c", program, *files], capture_output=True, text=True, check=True)
    assert "onnxruntime" in done.stdout.split()
    assert "torch" not in done.stdout.split()


# --- rounds in several processes -----------------------------------------------------------------------------------------


def test_rounds_are_shared_among_new_processes(tmp_path: Path) -> None:
    sources = [Source("onnxruntime", onnx=str(peer(tmp_path / f"{name}.onnx"))) for name in "ab"]
    told: list[tuple[int, int]] = []
    rounds = measure_rounds(sources, ANY, PORTRAIT, 7, lambda done, total: told.append((done, total)))
    assert rounds.seconds.shape == (7, 2)
    assert rounds.seconds.min() > 0
    assert 0 < rounds.cpu_share < 2
    assert told == [(done, 7 + 3 * WARM_UP) for done in range(1, 7 + 3 * WARM_UP + 1)]


def test_how_rounds_are_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def call(script: str, asked: dict[str, Any], **_: object) -> dict[str, Any]:
        calls.append(asked["runs"])
        return {"seconds": [[float(len(calls)), 1.0]] * asked["runs"], "cpu_share": len(calls) / 10}

    monkeypatch.setattr("featherface_core.bench.children.call", call)
    rounds = measure_rounds([], ANY, PORTRAIT, 5)
    assert calls == [2, 2, 1]
    assert rounds.seconds[:, 0].tolist() == [1, 1, 2, 2, 3]
    assert rounds.cpu_share == pytest.approx((2 * 0.1 + 2 * 0.2 + 0.3) / 5)


def test_a_process_that_fails_is_an_error_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(FeatherFaceError, match=r"failed: ONNX file .*none\.onnx does not exist"):
        measure_rounds([Source("onnxruntime", onnx=str(tmp_path / "none.onnx"))], ANY, PORTRAIT, 3)


def test_a_process_that_takes_too_long_is_ended() -> None:
    began = time.monotonic()
    with pytest.raises(ChildFailedError, match="ended by signal 9"):
        call("run_limit.py", {"threads": 1}, patience=0.01)
    assert time.monotonic() - began < 60


def test_an_interruption_ends_the_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    children: list[subprocess.Popen[str]] = []
    popen = subprocess.Popen

    def remember(*arguments: Any, **more: Any) -> Any:
        children.append(popen(*arguments, **more))
        return children[-1]

    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("featherface_core.bench.children.subprocess.Popen", remember)
    asked = {"sources": [{"runtime": "onnxruntime", "onnx": str(peer(tmp_path / "a.onnx"))}], "runs": 10**6}
    asked |= {"setting": {"size": None, "batch": 1, "threads": 1, "device": "cpu"}, "picture": str(PORTRAIT)}
    with pytest.raises(KeyboardInterrupt):
        call("run_rounds.py", asked, patience=None, on_line=interrupt)
    assert children[0].returncode == -9


# --- throughput ----------------------------------------------------------------------------------------------------------


def test_throughput_of_what_fits(tmp_path: Path) -> None:
    free, fixed = peer(tmp_path / "free.onnx", ("n", 3, 32, 32)), peer(tmp_path / "fixed.onnx", (1, 3, 32, 32))
    sources = [Source("onnxruntime", onnx=str(path)) for path in (free, fixed)]
    config = BenchConfig(batches=(1, 2), threads=(1, 2), runs=3)
    rows = measure_throughput(sources, config, PICTURE, ignore)
    assert [(row.batch, row.threads) for row in rows] == [(1, 1), (2, 1), (1, 2), (2, 2)]
    for row in rows:
        ours, theirs = row.pictures_per_second
        assert ours is not None
        assert (theirs is None) == (row.batch == 2)
    assert measure_throughput(sources, BenchConfig(runs=3), PICTURE, ignore) == ()


def test_nothing_to_time() -> None:
    with pytest.raises(ConfigError, match="nothing to time"):
        bench([])


def test_a_source_opens_in_its_runtime(tmp_path: Path) -> None:
    setting = Setting((32, 48), 1, 1, "cpu")
    assert isinstance(
        open_candidate(Source("onnxruntime", onnx=str(peer(tmp_path / "a.onnx"))), setting), OnnxCandidate
    )
    assert isinstance(open_candidate(Source("torch", "v2"), setting), TorchCandidate)
