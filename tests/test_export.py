import json
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from conftest import GOLDEN, GOLDEN_ROUNDING, SIZES, difference, golden_input, golden_outputs, noise, randomise
from onnx import TensorProto, helper, numpy_helper

import featherface_core.exporting.export as export_module
from featherface_core.boxes import count_anchors
from featherface_core.config import ExportConfig, PostprocessConfig
from featherface_core.detect.detector import (
    METADATA_KEY,
    Detector,
    OnnxDetector,
    TorchDetector,
    TorchNetwork,
    default_constants,
)
from featherface_core.errors import ConfigError, ExportError, WeightsError
from featherface_core.exporting.export import export
from featherface_core.models.checkpoint import load_model, load_weights
from featherface_core.models.deform import DeformConv2d
from featherface_core.models.featherface import FeatherFace
from featherface_core.models.variants import build_model
from featherface_core.pictures import read_picture
from featherface_core.results import Detections, ExportReport

OUTPUTS = ["bbox_regressions", "classifications", "landmarks"]
DYNAMIC = ExportConfig(test_sizes=((96, 160), (33, 97)))  # batches 1 and 2 of each
CANVAS = (64, 96)


@pytest.fixture(scope="session")
def exported(reference: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, ExportReport]]:
    """The dynamic ONNX file of a reference file, exported and proven once on each worker that needs it."""
    folder = tmp_path_factory.mktemp("dynamic")

    @cache
    def make(name: str) -> tuple[Path, ExportReport]:
        path = folder / f"{name}.onnx"
        return path, export(load_weights(reference / f"{name}.pth"), path, DYNAMIC)

    return make


@pytest.fixture(scope="session")
def small() -> FeatherFace:
    return randomise(build_model("v1-24", seed=0))


@pytest.fixture(scope="session")
def fixed(small: FeatherFace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file for batch 1 at CANVAS; it needs no reference."""
    path = tmp_path_factory.mktemp("static") / "fixed.onnx"
    report = export(small, path, ExportConfig(dynamic=False, size=CANVAS))
    assert [(c.batch, c.height, c.width, c.passed) for c in report.checks] == [(1, *CANVAS, True)]
    return path


@pytest.fixture(scope="session")
def scene(portrait: Path) -> np.ndarray:
    return read_picture(portrait)


def in_float64(model: FeatherFace, pixels: np.ndarray) -> list[np.ndarray]:
    with torch.inference_mode():
        return [output.numpy() for output in model(torch.from_numpy(pixels).double())]


# ---- the five reference networks ----


@pytest.mark.slow
@pytest.mark.parametrize("name", GOLDEN)
def test_golden_outputs_through_onnxruntime(
    reference: Path, exported: Callable[[str], tuple[Path, ExportReport]], name: str
) -> None:
    path, _ = exported(name)
    network = OnnxDetector(path, threads=1).network
    exact = load_model(reference / f"{name}.pth").double()
    for size in SIZES:
        pixels = golden_input(reference, size)
        outputs = [output[0] for output in network.run(pixels)]
        golden = golden_outputs(reference, name, size)
        truth = [output[0] for output in in_float64(exact, pixels)]
        if name == "v1_489015":
            assert difference(outputs, golden) <= 1e-4, size
        # The golden numbers carry rounding of their own: 6e-5 to 1.3e-3 for the other four, against the same network in
        # float64. A second runtime rounds otherwise, so its distance from them is up to the sum of both errors, 1.6e-4
        # for v1_original. What can be asked of it is to be as near to the truth as they are.
        allowed = max(1e-4, 2 * difference(golden, truth))
        assert difference(outputs, truth) <= allowed, size
        assert allowed <= 2 * max(GOLDEN_ROUNDING[name], 5e-5)
        if name == "v1_original":
            assert difference(outputs, truth) <= 1e-4, size


@pytest.mark.slow
@pytest.mark.parametrize("name", GOLDEN)
def test_what_the_file_holds(reference: Path, exported: Callable[[str], tuple[Path, ExportReport]], name: str) -> None:
    path, report = exported(name)
    graph = onnx.load(path).graph
    kinds = [node.op_type for node in graph.node]
    layers = sum(isinstance(m, DeformConv2d) for m in build_model(GOLDEN[name], device="meta").modules())
    assert layers == (0 if name == "v2" else 15)
    assert kinds.count("DeformConv") == layers == report.deform_nodes
    assert "BatchNormalization" not in kinds
    assert [output.name for output in graph.output] == OUTPUTS
    (given,) = graph.input
    assert [d.dim_param or d.dim_value for d in given.type.tensor_type.shape.dim] == ["batch", 3, "height", "width"]
    assert [d.dim_param or d.dim_value for d in graph.output[2].type.tensor_type.shape.dim] == ["batch", "anchors", 10]
    assert report.nodes == len(kinds)
    assert report.bytes == path.stat().st_size
    assert [(c.batch, c.height, c.width) for c in report.checks] == [
        (1, 96, 160),
        (2, 96, 160),
        (1, 33, 97),
        (2, 33, 97),
    ]
    assert all(c.passed for c in report.checks)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["v1_original", "v2"])
def test_what_the_file_says_of_itself(exported: Callable[[str], tuple[Path, ExportReport]], name: str) -> None:
    path, _ = exported(name)
    model = onnx.load(path)
    assert model.opset_import[0].version == 19
    (entry,) = model.metadata_props
    assert entry.key == METADATA_KEY
    said = json.loads(entry.value)
    constants = said["constants"]
    assert constants["mean"] == [104, 117, 123]
    assert constants["colour_order"] == "BGR"
    assert constants["strides"] == [8, 16, 32]
    assert constants["anchor_sizes"] == [[16, 32], [64, 128], [256, 512]]
    assert constants["variances"] == [0.1, 0.2]
    assert said["postprocess"] == {"score_threshold": 0.5, "nms_iou": 0.4, "top_k": 750}
    assert list(said["outputs"]) == OUTPUTS
    assert said["model"]["name"] == GOLDEN[name]
    assert said["weights"].startswith(f"{name}.pth (sha256 ")


@pytest.mark.slow
@pytest.mark.parametrize("name", GOLDEN)
def test_the_file_tells_nothing_of_the_machine(
    reference: Path, exported: Callable[[str], tuple[Path, ExportReport]], name: str
) -> None:
    path, _ = exported(name)
    data = path.read_bytes()
    places = [
        str(Path.cwd()),
        str(Path.home()),
        str(reference),
        str(path.parent),
        sys.prefix,
        "site-packages",
        'File "',
    ]
    assert [place for place in places if len(place) > 1 and place.encode() in data] == []


@pytest.mark.slow
@pytest.mark.parametrize("size", [None, 320])
def test_both_runtimes_find_the_astronaut(
    reference: Path, exported: Callable[[str], tuple[Path, ExportReport]], scene: np.ndarray, size: int | None
) -> None:
    path, _ = exported("v1_original")
    ours = TorchDetector(load_model(reference / "v1_original.pth")).detect(scene, size)
    theirs = OnnxDetector(path, threads=1).detect(scene, size)
    assert len(ours) == len(theirs) == 1
    assert np.abs(ours.boxes - theirs.boxes).max() < 0.1
    assert np.abs(ours.landmarks - theirs.landmarks).max() < 0.1
    assert abs(ours.scores[0] - theirs.scores[0]) < 1e-3
    for found in (ours, theirs):
        look_like_a_face(found)
        x1, y1, x2, y2 = found.boxes[0]
        # where the face is in the 512-pixel picture, drawn by eye
        assert (np.abs(np.array([x1, y1, x2, y2]) - [180, 60, 270, 178]) < 15).all()


def look_like_a_face(found: Detections) -> None:
    assert found.scores[0] > 0.9
    (x1, y1, x2, y2), points = found.boxes[0], found.landmarks[0]
    assert (points > [x1, y1]).all()
    assert (points < [x2, y2]).all()
    left_eye, right_eye, nose, left_mouth, right_mouth = points
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_mouth[0] < nose[0] < right_mouth[0]


@pytest.mark.slow
def test_a_batch_equals_its_pictures(exported: Callable[[str], tuple[Path, ExportReport]], scene: np.ndarray) -> None:
    path, _ = exported("v1_original")
    detector = OnnxDetector(path, threads=1)
    views = [scene[:200, 100:401], scene[300:100:-1, 100:401]]
    prepared = [detector.prepare(np.ascontiguousarray(view)) for view in views]
    pixels = np.stack([p for p, _ in prepared])
    both = detector.network.run(pixels)
    singles = [detector.network.run(one[None]) for one in pixels]
    assert np.abs(both[0][0] - both[0][1]).max() > 0.1
    assert both[0].shape == (2, count_anchors(200, 301), 4)
    assert difference(both, [np.concatenate(parts) for parts in zip(*singles, strict=True)]) < 1e-4
    found = detector.run(pixels, [scale for _, scale in prepared], PostprocessConfig())
    assert [len(faces) for faces in found] == [len(detector.detect(np.ascontiguousarray(view))) for view in views]


@pytest.mark.slow
def test_a_simplified_file_is_proven_too(small: FeatherFace, tmp_path: Path) -> None:
    path = tmp_path / "simple.onnx"
    # sizes at which these random weights do not magnify rounding into other faces
    report = export(small, path, ExportConfig(simplify=True, test_sizes=((64, 64), (33, 97)), test_batches=(1, 2)))
    assert len(report.checks) == 4
    assert all(check.passed for check in report.checks)
    assert report.deform_nodes == 15
    outputs = OnnxDetector(path, threads=1).network.run(noise(1, 65, 40).numpy())
    assert outputs[2].shape == (1, count_anchors(65, 40), 10)


# ---- a file of fixed size ----


class Canvas(TorchNetwork):
    """PyTorch that pretends to take one size alone."""

    fixed = (1, *CANVAS)


@pytest.mark.slow
def test_a_fixed_file_takes_any_picture(fixed: Path, small: FeatherFace, scene: np.ndarray) -> None:
    dims = onnx.load(fixed).graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_value for d in dims] == [1, 3, *CANVAS]
    theirs = OnnxDetector(fixed, threads=1)
    ours = Detector(Canvas(small), default_constants(), "", "")
    for picture in (scene, scene[:100, :400], scene[:400, :100], scene[:20, :20]):
        pixels, scale = theirs.prepare(picture)
        assert pixels.shape == (3, *CANVAS)
        scores = np.sort(ours.network.run(pixels[None])[1][0, :, 1])[::-1][:40].astype(np.float64)
        gap = int(np.argmax(scores[:-1] - scores[1:]))
        post = PostprocessConfig(score=float(scores[gap : gap + 2].mean()))  # no face hangs on its score's last digit
        found, wanted = theirs.detect(picture, post=post), ours.detect(picture, post=post)
        assert len(found) == len(wanted) > 0
        np.testing.assert_allclose(found.boxes, wanted.boxes, atol=0.1 / min(scale))


@pytest.mark.slow
def test_a_fixed_file_takes_batches_one_by_one(fixed: Path) -> None:
    network = OnnxDetector(fixed, threads=1).network
    pixels = noise(3, *CANVAS).numpy()
    together = network.run(pixels)
    singles = [network.run(one[None]) for one in pixels]
    for i, output in enumerate(together):
        np.testing.assert_array_equal(output, np.concatenate([single[i] for single in singles]))


@pytest.mark.slow
def test_a_fixed_file_refuses_a_larger_size(fixed: Path, scene: np.ndarray) -> None:
    with pytest.raises(ConfigError) as caught:
        OnnxDetector(fixed, threads=1).detect(scene, 640)
    assert caught.value.exit_code == 2
    assert "640" in caught.value.message
    pixels, scale = OnnxDetector(fixed, threads=1).prepare(scene, 64)
    assert pixels.shape == (3, *CANVAS)
    assert scale == (64 / 512, 64 / 512)


# ---- graphs that are wrong ----


def initialiser(graph: onnx.ModelProto, name: str) -> TensorProto:
    return next(t for t in graph.graph.initializer if t.name == name)


def shift_a_landmark(graph: onnx.ModelProto) -> None:
    tensor = initialiser(graph, "heads.levels.0.bias")
    values = numpy_helper.to_array(tensor).copy()
    values[4 + 2 + 7] += 0.01  # after a box and two scores
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def put_nan_into_a_weight(graph: onnx.ModelProto) -> None:
    tensor = initialiser(graph, "heads.levels.0.weight")
    values = numpy_helper.to_array(tensor).copy()
    values[0, 0] = np.nan
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def swap_outputs(graph: onnx.ModelProto) -> None:
    for node in graph.graph.node:
        for i, name in enumerate(node.output):
            node.output[i] = {OUTPUTS[0]: OUTPUTS[2], OUTPUTS[2]: OUTPUTS[0]}.get(name, name)
    first, _, third = (output.type.tensor_type.shape.dim[2] for output in graph.graph.output)
    first.dim_value, third.dim_value = 10, 4


def move_the_taps(graph: onnx.ModelProto) -> None:
    node = next(node for node in graph.graph.node if node.op_type == "DeformConv")
    del node.input[4]  # its mask


def pad_nothing(graph: onnx.ModelProto) -> None:
    pool = next(node for node in graph.graph.node if node.op_type == "Pad")
    pool.attribute.append(helper.make_attribute("mode", "edge"))  # instead of zeros


def name_no_operator(graph: onnx.ModelProto) -> None:
    graph.graph.node[5].op_type = "Convolute"


@pytest.fixture
def wrong(
    fixed: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[Callable[[onnx.ModelProto], None]], None]]:
    """Make every export give the fixed file's graph with a fault."""

    def install(fault: Callable[[onnx.ModelProto], None]) -> None:
        graph = onnx.load(fixed)
        fault(graph)
        monkeypatch.setattr(export_module, "make_graph", lambda *_: graph)

    yield install
    monkeypatch.undo()


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault",
    [shift_a_landmark, put_nan_into_a_weight, swap_outputs, move_the_taps, pad_nothing, name_no_operator],
)
def test_a_wrong_graph_is_not_written(
    wrong: Callable[[Callable[[onnx.ModelProto], None]], None],
    small: FeatherFace,
    tmp_path: Path,
    fault: Callable[[onnx.ModelProto], None],
) -> None:
    wrong(fault)
    path = tmp_path / "a.onnx"
    with pytest.raises(ExportError) as caught:
        export(small, path, ExportConfig(dynamic=False, size=CANVAS))
    assert caught.value.exit_code == 5
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []
    if "checks" in caught.value.message:
        (row,) = caught.value.details
        assert row.startswith("64x96, batch 1: ")


@pytest.mark.slow
def test_the_right_graph_is_written_by_the_same_means(
    wrong: Callable[[Callable[[onnx.ModelProto], None]], None], small: FeatherFace, tmp_path: Path
) -> None:
    wrong(lambda graph: None)
    export(small, tmp_path / "a.onnx", ExportConfig(dynamic=False, size=CANVAS))
    assert [p.name for p in tmp_path.iterdir()] == ["a.onnx"]


@pytest.mark.slow
def test_a_failed_export_leaves_the_earlier_file(
    wrong: Callable[[Callable[[onnx.ModelProto], None]], None], small: FeatherFace, tmp_path: Path
) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(b"the earlier one")
    wrong(shift_a_landmark)
    with pytest.raises(ExportError):
        export(small, path, ExportConfig(dynamic=False, size=CANVAS))
    assert path.read_bytes() == b"the earlier one"
    assert list(tmp_path.iterdir()) == [path]


# ---- files that are not ours ----


def foreign(path: Path, metadata: dict[str, str] | None = None) -> Path:
    """A valid ONNX file with our input and outputs, and one node for each."""
    names = ["batch", 3, "height", "width"]
    pixels = helper.make_tensor_value_info("input", TensorProto.FLOAT, names)
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, names) for name in OUTPUTS]
    nodes = [helper.make_node("Identity", ["input"], [name]) for name in OUTPUTS]
    model = helper.make_model(helper.make_graph(nodes, "foreign", [pixels], outputs))
    model.opset_import[0].version, model.ir_version = 19, 9
    for key, value in (metadata or {}).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.save(model, path)
    return path


def refused(path: Path) -> WeightsError:
    with pytest.raises(WeightsError) as caught:
        OnnxDetector(path)
    assert caught.value.exit_code == 4
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint
    return caught.value


def test_files_that_are_no_onnx(tmp_path: Path) -> None:
    assert "does not exist" in refused(tmp_path / "missing.onnx").message
    for name, data in (("empty.onnx", b""), ("text.onnx", b"hello, world\n" * 50), ("zip.onnx", b"PK\x03\x04" * 9)):
        (tmp_path / name).write_bytes(data)
        refused(tmp_path / name)
    whole = foreign(tmp_path / "cut.onnx").read_bytes()
    (tmp_path / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path / "cut.onnx")


def test_an_onnx_file_of_another_project(tmp_path: Path) -> None:
    assert "not exported by this project" in refused(foreign(tmp_path / "a.onnx", {"author": "someone"})).message


GOOD = {"schema": 1, "constants": default_constants(), "model": {"name": "v2"}, "weights": "untrained"}


def test_our_metadata_is_enough(tmp_path: Path) -> None:
    detector = OnnxDetector(foreign(tmp_path / "a.onnx", {METADATA_KEY: json.dumps(GOOD)}))
    assert detector.strides == (8, 16, 32)


@pytest.mark.parametrize(
    "said",
    [
        "{",
        "[]",
        "{}",
        json.dumps({**GOOD, "schema": 99}),
        json.dumps({"schema": 1}),
        json.dumps({**GOOD, "constants": {"mean": [1, 2, 3]}}),
    ],
)
def test_damaged_metadata(tmp_path: Path, said: str) -> None:
    assert "metadata" in refused(foreign(tmp_path / "a.onnx", {METADATA_KEY: said})).message


@pytest.mark.slow
def test_boxes_far_beyond_the_picture_are_no_fault_of_the_file(tmp_path: Path) -> None:
    """A lively network's boxes reach thousands of pixels beyond the picture, where a tenth of a pixel means nothing."""
    model = randomise(build_model("v2", seed=0))
    report = export(model, tmp_path / "a.onnx", ExportConfig(test_sizes=((96, 160), (33, 97))))
    assert all(check.passed and check.faces[0] > 0 for check in report.checks)
