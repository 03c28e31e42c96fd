"""Export to OpenVINO, and detection with what it wrote. Skipped without the extra ``openvino``."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from command_line import Run, assert_refused
from conftest import randomise
from known_faces import stub_onnx

from featherface_core.config import ExportConfig, PostprocessConfig
from featherface_core.detect.detector import TorchDetector
from featherface_core.detect.open import open_exported
from featherface_core.detect.openvino import OpenVinoNetwork, has_other_choice
from featherface_core.errors import ConfigError, ExportError, WeightsError
from featherface_core.exporting import export as export_module
from featherface_core.exporting.export import export
from featherface_core.exporting.openvino_ir import save_openvino
from featherface_core.machine import flags
from featherface_core.models.variants import build_model
from featherface_core.pictures import PORTRAIT, prepare, read_picture

pytest.importorskip("openvino", reason="the extra openvino is not installed")
pytestmark = pytest.mark.slow  # three exports

SIZES = ((64, 96), (33, 97))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Networks with and without deformable layers, dynamic and static."""
    folder = tmp_path_factory.mktemp("openvino")
    files = {}
    for name, dynamic in (("v1-24", True), ("v2", True), ("v1-24", False)):
        path = folder / f"{name}-{'dynamic' if dynamic else 'static'}.xml"
        config = ExportConfig(dynamic, SIZES[0], SIZES, form="openvino")
        report = export(randomise(build_model(name, seed=0)), path, config)
        assert len(report.checks) == (4 if dynamic else 1)
        assert all(check.passed for check in report.checks)
        assert report.bytes == path.stat().st_size + path.with_suffix(".bin").stat().st_size
        assert "reductions" not in report.rewrites
        files[path.stem] = path
    assert sorted(p.suffix for p in folder.iterdir()) == [".bin"] * 3 + [".xml"] * 3
    return files


@pytest.mark.parametrize("name", ["v1-24-dynamic", "v2-dynamic", "v1-24-static"])
def test_the_same_faces_as_pytorch(exported: dict[str, Path], name: str) -> None:
    theirs = open_exported(exported[name], threads=1)
    assert theirs.backend == "openvino"
    ours = TorchDetector(randomise(build_model(name.rpartition("-")[0], seed=0)))
    picture = read_picture(PORTRAIT)
    post = PostprocessConfig(score=0.3, top_k=20)
    pixels, scale = theirs.prepare(picture, 96)
    found = theirs.run(pixels[None].repeat(2, 0), [scale, scale], post)
    wanted = ours.run(np.ascontiguousarray(pixels)[None], [scale], post)[0]
    assert len(wanted.scores)
    for faces in found:
        np.testing.assert_allclose(faces.scores, wanted.scores, atol=1e-4)
        np.testing.assert_allclose(faces.boxes, wanted.boxes, atol=0.1)


def test_results_outlive_the_next_run(exported: dict[str, Path]) -> None:
    network = open_exported(exported["v2-dynamic"]).network
    pixels = np.random.default_rng(0).normal(0, 50, (1, 3, 64, 64)).astype(np.float32)
    first = network.run(pixels)
    kept = [output.copy() for output in first]
    network.run(-pixels)
    assert all(np.array_equal(a, b) for a, b in zip(first, kept, strict=True))


@pytest.mark.parametrize("name", ["v2-dynamic", "v1-24-static"])
def test_chosen_kernels_give_the_same(exported: dict[str, Path], name: str) -> None:
    if not has_other_choice(flags()):
        pytest.skip("kernels are chosen on processors with AVX2 and without AVX-512")
    pixels = np.random.default_rng(0).normal(0, 50, (1, 3, *SIZES[0])).astype(np.float32)
    chosen, own = (OpenVinoNetwork(exported[name], 1, known) for known in (None, ()))
    assert chosen.description == own.description
    for ours, theirs in zip(chosen.run(pixels), own.run(pixels), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)  # random states magnify rounding
    if name.endswith("static"):  # a dynamic file does not say what runs it

        def runs(network: OpenVinoNetwork, kernel: str) -> int:
            operations = network.request.get_compiled_model().get_runtime_model().get_ops()
            return sum(op.get_rt_info()["primitiveType"].astype(str).startswith(kernel) for op in operations)

        assert runs(chosen, "jit_avx2_dw_f32") > 10
        assert runs(own, "jit_avx2_dw_f32") == 0
        assert runs(chosen, "jit_avx2_1x1") > 20
        assert runs(own, "jit_avx2_1x1") == 0


def test_pixels_lie_as_the_network_wants_them() -> None:
    picture = read_picture(PORTRAIT)
    plain, _ = prepare(picture, 100, canvas=(96, 128))
    turned, _ = prepare(picture, 100, canvas=(96, 128), channels_last=True)
    assert np.array_equal(plain, turned)
    assert plain.flags.c_contiguous
    assert turned.transpose(1, 2, 0).flags.c_contiguous


def test_files_that_cannot_be_used(exported: dict[str, Path], tmp_path: Path) -> None:
    import openvino

    with pytest.raises(ConfigError, match="--device cuda: OpenVINO files run on the CPU here"):
        open_exported(exported["v2-dynamic"], device="cuda")
    with pytest.raises(ConfigError, match="--threads -1 is out of range"):
        open_exported(exported["v2-dynamic"], -1)
    with pytest.raises(WeightsError, match=r"no\.xml does not exist") as caught:
        open_exported(tmp_path / "no.xml")
    assert "--format openvino" in caught.value.hint
    alone = tmp_path / "alone.xml"
    alone.write_bytes(exported["v2-dynamic"].read_bytes())
    with pytest.raises(WeightsError, match=r"alone\.bin does not exist"):
        open_exported(alone)
    alone.with_suffix(".bin").write_bytes(b"")
    with pytest.raises(WeightsError, match="openvino cannot load"):
        open_exported(alone)
    model = openvino.Core().read_model(exported["v2-dynamic"])
    stranger = openvino.Model(model.outputs, model.get_parameters(), "stranger")
    openvino.save_model(stranger, tmp_path / "stranger.xml")
    with pytest.raises(WeightsError, match="not exported by this project"):
        open_exported(tmp_path / "stranger.xml")


def test_a_file_that_differs_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = randomise(build_model("v2", seed=0))
    right = export_module.make_graph

    def wrong(*arguments: object) -> object:
        graph = right(*arguments)  # type: ignore[arg-type]
        bias = next(t for t in graph.graph.initializer if t.name == "heads.levels.0.bias")
        values = np.frombuffer(bias.raw_data, np.float32).copy()
        values[13] += 0.01
        bias.raw_data = values.tobytes()
        return graph

    monkeypatch.setattr(export_module, "make_graph", wrong)
    with pytest.raises(ExportError, match="no file was written"):
        export(model, tmp_path / "a.xml", ExportConfig(False, (64, 64), form="openvino"))
    assert not list(tmp_path.iterdir())


def test_detection_loads_no_torch_and_no_onnxruntime(exported: dict[str, Path]) -> None:
    code = (
        "import sys; from pathlib import Path; from featherface_core.detect.open import open_exported; "
        f"open_exported(Path({str(exported['v2-dynamic'])!r})); "
        "print(sorted({'torch', 'onnxruntime', 'onnx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_signals_are_survived_where_two_detectors_have_gone(exported: dict[str, Path]) -> None:
    code = (
        "import faulthandler, os, signal; from pathlib import Path; from featherface_core.detect.open import open_exported; "
        "faulthandler.enable(); signal.signal(signal.SIGUSR1, lambda *_: None); "
        f"first, second = (open_exported(Path({str(exported['v2-dynamic'])!r})) for _ in range(2)); "
        "del first; del second; os.kill(os.getpid(), signal.SIGUSR1); print('alive')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "alive")


def test_one_core_converts_and_runs(exported: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import openvino

    def another() -> None:
        raise AssertionError("a second core")

    open_exported(exported["v2-dynamic"])
    monkeypatch.setattr(openvino, "Core", another)
    for name in ("a.xml", "b.xml"):
        save_openvino(onnx.load(stub_onnx(tmp_path / "stub.onnx", PostprocessConfig())), tmp_path / name)
        assert open_exported(tmp_path / name).with_postprocess


def test_bench_times_them(run: Run, exported: dict[str, Path]) -> None:
    files = [exported["v2-dynamic"], exported["v1-24-static"]]
    by_size = json.loads(run("bench", "--onnx", *files, "--runs", 3, "--json", "--quiet").out)
    assert [(c["height"], c["width"]) for c in by_size["candidates"]] == [(640, 640), (64, 96)]
    ran = run("bench", "--onnx", *files, "--size", "64x96", "--runs", 3, "--batch", "1,2", "--json")
    assert (ran.code, ran.err) == (0, "")
    said = json.loads(ran.out)
    assert [(c["runtime"], c["height"], c["width"]) for c in said["candidates"]] == [("openvino", 64, 96)] * 2
    assert said["machine"]["openvino"]
    assert said["candidates"][0]["cost"]["parameters"] == 256_156
    for c in said["candidates"]:
        assert c["cost"]["bytes_moved"] is None
        assert c["stages"]["total"] > 0
        assert c["alone"]["problem"] == ""
    free, fixed = said["throughput"][1]["pictures_per_second"]
    assert free > 0
    assert fixed is None
    wrong = run("bench", "--onnx", files[1], "--size", 64)
    assert_refused(wrong, 2, "--size 64x64", "64x96")
    assert_refused(run("bench", "--onnx", files[1], "--device", "cuda"), 2, "--device cuda", "OpenVINO")
