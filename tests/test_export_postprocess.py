"""Exported files with post-processing: detection, evaluation, benchmarks and packages with them, and their proof."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from command_line import Run, assert_refused, words_of
from conftest import PORTRAIT, randomise
from known_faces import CANVAS, FACES, stub_onnx
from onnx import numpy_helper
from scipy.optimize import linear_sum_assignment
from test_package import FILES, REPORT, alone, check_sums, equal, pack

from featherface_core.config import ExportConfig, PostprocessConfig
from featherface_core.detect.detector import METADATA_KEY, Detector, OnnxDetector, TorchDetector
from featherface_core.detect.open_exported import open_exported
from featherface_core.errors import ExportError
from featherface_core.exporting import export as export_module
from featherface_core.exporting.export import export
from featherface_core.models.checkpoint import load_model
from featherface_core.models.featherface import FeatherFace
from featherface_core.models.variants import VARIANTS, build_model, shipped_weights
from featherface_core.pictures import read_picture
from featherface_core.results import Detections, SizeCheck

POST = PostprocessConfig(score=0.6, nms=0.35, top_k=20)
SIZES = ((64, 96), (33, 97))


@pytest.fixture(scope="module")
def finder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``stub`` with post-processing."""
    return stub_onnx(tmp_path_factory.mktemp("finder") / "finder.onnx", POST)


def same(found: Detections, wanted: Detections) -> None:
    """The same faces, best first; those whose scores differ by less than rounding may change places."""
    np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-4)
    apart = np.abs(wanted.boxes[:, None] - found.boxes[None]).sum(axis=2)
    ours, theirs = linear_sum_assignment(apart)
    for name, atol in (("scores", 1e-4), ("boxes", 1e-2), ("landmarks", 1e-2)):
        np.testing.assert_allclose(getattr(found, name)[theirs], getattr(wanted, name)[ours], atol=atol)


# ---- what such a file is good for ----


@pytest.mark.parametrize("score", [0.3, 0.8, 0.95])
def test_detection_is_that_of_the_separate_path(stub: Path, finder: Path, score: float) -> None:
    picture, post = read_picture(PORTRAIT), PostprocessConfig(score=score)
    found, wanted = (OnnxDetector(path).detect(picture, post=post) for path in (finder, stub))
    assert len(wanted) == sum(value > score for value in FACES.values())
    same(found, wanted)


def test_a_fixed_file_takes_batches_one_by_one(stub: Path, finder: Path) -> None:
    detector = OnnxDetector(finder)
    pixels, scale = detector.prepare(read_picture(PORTRAIT))
    found = detector.run(np.stack([pixels] * 3), [scale, (2.0, 1.0), scale], PostprocessConfig())
    wanted = OnnxDetector(stub).run(np.stack([pixels] * 3), [scale, (2.0, 1.0), scale], PostprocessConfig())
    assert len(found) == 3
    for faces, others in zip(found, wanted, strict=True):
        assert len(faces) == len(FACES)
        same(faces, others)


def test_what_the_file_says_of_itself(finder: Path) -> None:
    model = onnx.load(finder)
    (entry,) = model.metadata_props
    said = json.loads(entry.value)
    assert entry.key == METADATA_KEY
    assert said["with_postprocess"] is True
    assert said["postprocess"] == {"score_threshold": 0.6, "nms_iou": 0.35, "top_k": 20}
    assert list(said["outputs"]) == [output.name for output in model.graph.output]
    assert [given.name for given in model.graph.input] == ["input", *said["postprocess"]]


def test_the_commands_take_it(run: Run, finder: Path, stub: Path, picture: Path, album: Path) -> None:
    lines = []
    for path in (finder, stub):
        ran = run("detect", picture, "--onnx", path, "--score", 0.2, "--json")
        assert (ran.code, ran.err) == (0, "")
        lines.append(json.loads(ran.out)["faces"])
    assert lines[0] == lines[1]
    assert len(lines[0]) == 2
    reports = []
    for path in (finder, stub):
        ran = run("eval", "--onnx", path, "--data", album, "--protocol", "size=96", "--flip", "--json", "--quiet")
        assert ran.code == 0, ran.err
        reports.append(json.loads(ran.out))
    assert reports[0]["settings"] == reports[1]["settings"]
    said = json.loads(run("bench", "--onnx", finder, "--onnx", stub, "--runs", 3, "--json", "--quiet").out)
    assert [c["stages"]["faces"] for c in said["candidates"]] == [2, 2]
    assert [c["cost"]["parameters"] for c in said["candidates"]] == [256_156] * 2


def test_it_needs_no_torch(finder: Path) -> None:
    code = (
        "import sys; from featherface_core import OnnxDetector, read_picture; "
        f"found = OnnxDetector({str(finder)!r}).detect(read_picture({str(PORTRAIT)!r})); "
        "print(len(found), sorted({'torch', 'onnx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "2 []"


def test_its_package_stands_alone(finder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "deploy"
    assert sorted(pack(folder, finder, replace(REPORT, post=POST))) == FILES
    check_sums(folder)
    text = (folder / "usage_example.py").read_text()
    assert "featherface_core" not in text
    assert "def nms" not in text
    assert "`score_threshold` (0.6), `nms_iou` (0.35), `top_k` (20)" in (folder / "README.md").read_text()
    ran = alone(folder, tmp_path / "away", str(PORTRAIT))
    assert (ran.returncode, ran.stderr) == (0, "")
    equal(ran.stdout, OnnxDetector(finder).detect(read_picture(PORTRAIT)))
    ran = alone(folder, tmp_path / "away", str(PORTRAIT), "--score", "0.8")
    assert [json.loads(line)["score"] for line in ran.stdout.splitlines()] == [0.9]


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--score", 0.3], ["--score 0.3", "--with-postprocess"]),
        (["--top-k", 3, "--static"], ["--top-k 3", "--with-postprocess"]),
        (["--with-postprocess", "--nms", 1.5], ["--nms 1.5", "0.0 to 1.0"]),
        (["--with-postprocess", "--top-k", -1], ["--top-k -1"]),
        (["--with-postprocess", "--format", "openvino", "--nms", 0.3], ["--nms 0.3", "--format onnx"]),
        (["--with-postprocess", "--format", "pth"], ["--format pth", "--with-postprocess"]),
    ],
)
def test_export_refuses(run: Run, tmp_path: Path, arguments: list[object], names: list[str]) -> None:
    assert_refused(run("export", *arguments), 2, *names)
    assert not list(tmp_path.iterdir())


# ---- the proof ----


def alike(theirs: Detector, ours: Detector) -> None:
    picture = read_picture(PORTRAIT)
    for post in (PostprocessConfig(0.01, 0.4, 0), PostprocessConfig(0.01, 0.0, 2), PostprocessConfig(0.5, 1.0, 5)):
        wanted = ours.detect(picture, post=post)
        assert len(wanted) > 1
        same(theirs.detect(picture, post=post), wanted)


@pytest.fixture(scope="module")
def trained() -> FeatherFace:
    return load_model(shipped_weights(VARIANTS["v2"]))


@pytest.fixture(scope="module")
def lively() -> FeatherFace:
    return randomise(build_model("v2", seed=0))


def proven(checks: tuple[SizeCheck, ...], count: int) -> None:
    assert len(checks) == count
    for check in checks:
        assert check.passed
        assert check.faces[0] == check.faces[1] > 0
        assert check.post_faces > 0
        assert check.post_error <= 1e-2


@pytest.mark.slow
def test_a_dynamic_file_is_proven_at_every_size_and_batch(trained: FeatherFace, tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    report = export(trained, path, ExportConfig(test_sizes=SIZES, post=POST))
    proven(report.checks, 4)
    assert report.post == POST
    alike(OnnxDetector(path, 1), TorchDetector(trained))


@pytest.mark.slow
def test_static_plain_and_simplified(run: Run, weights: Path, tmp_path: Path) -> None:
    ran = run(
        *("export", "--weights", weights, "--static", "--size", "64x96", "--plain", "--simplify"),
        *("--with-postprocess", "--score", 0.6, "--package", "deploy", "--out", "a.onnx"),
    )
    assert ran.code == 0, ran.err
    words = words_of(ran.out)
    assert "found in the graph, by score 0.6, NMS 0.4, top-k 750 unless a run gives others" in words
    assert " of those of the separate post-processing" in words
    detector = OnnxDetector(tmp_path / "deploy" / "model.onnx")
    assert detector.with_postprocess
    assert detector.network.fixed == (1, 64, 96)
    ran = alone(tmp_path / "deploy", tmp_path, str(PORTRAIT), "--score", "0.2")
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.slow
def test_openvino_finds_the_same(trained: FeatherFace, tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    path = tmp_path / "a.xml"
    proven(export(trained, path, ExportConfig(test_sizes=SIZES, form="openvino", post=POST)).checks, 4)
    alike(open_exported(path, 1), TorchDetector(trained))


def count_no_pixel(graph: onnx.ModelProto) -> None:
    node = next(node for node in graph.graph.node if node.output[0] == "post.pixel")
    node.attribute[0].f = 0.0


def swap_variances(graph: onnx.ModelProto) -> None:
    node = next(node for node in graph.graph.node if node.output[0] == "post.size_variance")
    node.attribute[0].f = 0.1


def move_the_points(graph: onnx.ModelProto) -> None:
    node = next(node for node in graph.graph.node if node.output[0] == "landmarks")
    node.input[0] = "post.five_small"


def hear_no_threshold(graph: onnx.ModelProto) -> None:
    graph.graph.initializer.append(numpy_helper.from_array(np.array(POST.nms, np.float32), "fixed"))
    node = next(node for node in graph.graph.node if node.op_type == "NonMaxSuppression")
    node.input[3] = "fixed"


@pytest.mark.slow
@pytest.mark.parametrize("fault", [count_no_pixel, swap_variances, move_the_points, hear_no_threshold])
def test_a_graph_that_finds_other_faces_is_not_written(
    lively: FeatherFace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: Callable[[onnx.ModelProto], None],
) -> None:
    right = export_module.add_postprocess

    def wrong(graph: onnx.ModelProto, *arguments: object) -> None:
        right(graph, *arguments)  # type: ignore[arg-type]
        fault(graph)

    monkeypatch.setattr(export_module, "add_postprocess", wrong)
    with pytest.raises(ExportError, match="no file was written") as caught:
        export(lively, tmp_path / "a.onnx", ExportConfig(dynamic=False, size=CANVAS, post=POST))
    assert caught.value.details[0].startswith("64x96, batch 1: ")
    assert not list(tmp_path.iterdir())
