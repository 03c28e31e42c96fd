import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from conftest import noise
from data_folders import make_small
from onnx import numpy_helper
from small_network import STAGES, small_network

import featherface_core.int8.export_int8 as run_module
from featherface_core import machine
from featherface_core.bench.rounds import Rounds
from featherface_core.config import ExportConfig
from featherface_core.detect.detector import METADATA_KEY, OnnxDetector
from featherface_core.errors import ConfigError, DataError, ExportError, WeightsError
from featherface_core.int8.calibration import LARGEST, find_pictures, measure_ranges, network_input
from featherface_core.int8.config import Int8Config
from featherface_core.int8.export_int8 import export_int8, quantise
from featherface_core.int8.forms import HeldOut, largest_drop
from featherface_core.int8.quantise import LIMIT, change, find_groups, half, part_of, quantised
from featherface_core.int8.report import Int8Report
from featherface_core.pictures import PORTRAIT, read_picture


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine pieces of the portrait, one of them broken and one hidden, in a folder and one below it."""
    folder = tmp_path_factory.mktemp("album")
    (folder / "below").mkdir()
    portrait = read_picture(PORTRAIT)
    for i in range(8):
        piece = portrait[32 * i : 32 * i + 96, 40 * i : 40 * i + 128]
        cv2.imwrite(str(folder / ("below" if i % 2 else ".") / f"{i}.png"), piece)
    (folder / "broken.jpg").write_bytes(b"no picture")
    (folder / ".hidden.jpg").write_bytes(b"no picture either")
    (folder / "notes.txt").write_text("no picture at all")
    return folder


@pytest.fixture
def untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports without their timing, which starts three processes."""
    monkeypatch.setattr(run_module, "time_forms", lambda *_: Rounds(np.ones((3, 3)), 1.0))


@pytest.fixture(scope="module")
def made(album: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Int8Report]:
    """A small network in float32, the same in int8, and what there was to say."""
    folder = tmp_path_factory.mktemp("made")
    file = small_network(folder / "float32.onnx")
    path = folder / "int8.onnx"
    return file, path, quantise(file, path, Int8Config(str(album), pictures=20, runs=3))


def tensors(graph: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}


def layer(graph: onnx.ModelProto, name: str) -> onnx.NodeProto:
    return next(node for node in graph.graph.node if node.name == name)


def source(graph: onnx.ModelProto, name: str) -> onnx.NodeProto | None:
    return next((node for node in graph.graph.node if name in node.output), None)


# ---- the file ----


def test_quantised_layers_have_a_scale_for_each_channel(made: tuple[Path, Path, Int8Report]) -> None:
    file, path, report = made
    before, graph = onnx.load(file), onnx.load(path)
    constants = tensors(graph)
    assert report.layers[0] > 0
    seen = 0
    for group in find_groups(before):
        written = next(change.quantised for change in report.groups if change.name == group.name)
        for name in (node for node in group.nodes if layer(before, node).op_type == "Conv"):
            node = layer(graph, name)
            reader = source(graph, node.input[1])
            assert (reader is not None) == written, name
            if reader is None:
                assert constants[node.input[1]].dtype == np.float32
                continue
            seen += 1
            weights, scales, zeros = (constants[each] for each in reader.input)
            assert weights.dtype == np.int8
            assert np.abs(weights).max() <= 64  # seven bits: pairs of products fit into 16
            assert scales.shape == (weights.shape[0],)
            assert len(set(scales.tolist())) > 1
            assert not zeros.any()
            original = tensors(before)[layer(before, name).input[1]]
            restored = weights * scales.reshape(-1, 1, 1, 1)
            assert (np.abs(restored - original) <= 0.51 * scales.reshape(-1, 1, 1, 1)).all()
            read = source(graph, node.input[0])
            assert read is not None
            assert read.op_type == "DequantizeLinear"
    assert seen == report.layers[0]


def test_outputs_stay_near(made: tuple[Path, Path, Int8Report]) -> None:
    file, path, _ = made
    ours, theirs = OnnxDetector(file, threads=1), OnnxDetector(path, threads=1)
    pixels = network_input(ours, read_picture(PORTRAIT))
    a, b = ours.network.run(pixels), theirs.network.run(pixels)
    assert [x.shape for x in a] == [x.shape for x in b]
    score, box, _ = change(ours, pixels.shape[2:], a, b)
    assert 0 < score < 2 * LIMIT
    assert 0 < box < 2 * LIMIT
    for batch, height, width in ((2, 64, 96), (1, 33, 97)):  # it is as dynamic as the file it is made from
        assert theirs.network.run(noise(batch, height, width).numpy())[0].shape[0] == batch


def test_the_file_says_what_was_quantised_and_nothing_of_the_machine(
    made: tuple[Path, Path, Int8Report], album: Path
) -> None:
    file, path, report = made
    before, after = (OnnxDetector(each, threads=1).description for each in (file, path))
    said = after.pop("quantised")
    assert after == before
    assert said["layers"] == report.layers[0]
    assert said["of"] == report.layers[1] == 5
    assert set(said["groups"]) | set(said["float32"]) == {"backbone stage 0", "backbone stage 1", "heads"}
    assert said["calibration"] == {"source": album.name, "method": "percentile", "pictures": 8}
    assert len(onnx.load(path).metadata_props) == 1
    assert str(album.parent).encode() not in path.read_bytes()


def test_equal_constants_are_stored_once(made: tuple[Path, Path, Int8Report]) -> None:
    graph = onnx.load(made[1])
    contents = [(t.data_type, tuple(t.dims), tensors(graph)[t.name].tobytes()) for t in graph.graph.initializer]
    assert len(set(contents)) == len(contents)
    names = [t.name for t in graph.graph.initializer]
    assert len(set(names)) == len(names)
    assert f"{STAGES[1]}.weight" in names


def test_the_report_has_all_three_forms(made: tuple[Path, Path, Int8Report]) -> None:
    file, path, report = made
    assert [form.name for form in report.forms] == ["float32", "float16", "int8"]
    assert report.forms[0].bytes == file.stat().st_size
    assert report.forms[2].bytes == path.stat().st_size
    assert report.forms[1].bytes < report.forms[0].bytes
    assert all(len(form.milliseconds.rounds) == 3 for form in report.forms)
    assert report.forms[0].ratio is None
    assert report.drop is None
    assert report.protocol == ""
    assert (report.calibration.pictures, report.calibration.unreadable) == (8, 1)


# ---- which layers ----


@pytest.mark.usefixtures("untimed")
def test_a_group_that_suffers_stays_in_float32(album: Path, tmp_path: Path) -> None:
    file = small_network(tmp_path / "float32.onnx", spoilt=True)
    report = quantise(file, tmp_path / "int8.onnx", Int8Config(str(album), method="minmax", runs=3))
    assert {group.name: group.quantised for group in report.groups} == {
        "backbone stage 0": False,  # writes the channel that drowns the others
        "backbone stage 1": False,  # reads it
        "heads": True,
    }
    assert all(group.quantised == (max(group.score, group.box) <= LIMIT) for group in report.groups)
    graph = onnx.load(tmp_path / "int8.onnx")
    assert tensors(graph)[f"{STAGES[0]}.weight"].dtype == np.float32
    assert layer(graph, "node_conv0").input[0] == "input"


def test_nothing_is_written_where_every_group_suffers(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featherface_core.int8.quantise.LIMIT", 0.0)
    file = small_network(tmp_path / "float32.onnx")
    with pytest.raises(ExportError) as caught:
        quantise(file, tmp_path / "int8.onnx", Int8Config(str(album), runs=3))
    assert "every group" in caught.value.message
    assert [p.name for p in tmp_path.iterdir()] == ["float32.onnx"]


@pytest.mark.parametrize(
    ("weight", "part"),
    [
        ("backbone.stages.2.1.pointwise.conv.weight", "backbone stage 2"),
        ("backbone_attention.channel.0.squeeze.weight", "backbone attention"),
        ("neck_attention.spatial.0.mix.conv.weight", "neck attention"),
        ("neck.project.0.conv.weight", "neck projections"),
        ("neck.project_again.1.conv.weight", "neck projections"),
        ("neck.cells.2.p5_out.conv.pointwise.conv.weight", "BiFPN cell 2"),
        ("context.0.first.places.weight", "deformable offsets"),
        ("context.0.conv5x5_1.conv.offset.weight", "deformable offsets"),
        ("context.1.second.kernels.0.maps.weight", "deformable kernels"),
        ("context.1.conv3x3.1.conv.weight", "SSH"),
        ("shuffle.0.mix.0.conv.weight", "channel mixing"),
        ("heads.levels.0.weight", "heads"),
        ("heads.0.boxes.weight", "heads"),
        ("mine.weight", "other"),
    ],
)
def test_layers_belong_to_their_part(weight: str, part: str) -> None:
    assert part_of(weight) == part


def test_change_is_about_the_anchors_that_matter(made: tuple[Path, Path, Int8Report]) -> None:
    detector = OnnxDetector(made[0], threads=1)
    pixels = noise(1, 64, 96).numpy()
    boxes, scores, points = detector.network.run(pixels)
    assert change(detector, (64, 96), (boxes, scores, points), (boxes, scores, points))[:2] == pytest.approx(
        (0, 0), abs=1e-6
    )
    worst = scores.copy()
    worst[0, scores[0, :, 1].argmin(), 1] += 0.5  # of the weakest anchor: 252 anchors are more than count
    assert change(detector, (64, 96), (boxes, scores, points), (boxes, worst, points))[0] == 0
    moved = scores.copy()
    moved[0, :, 1] -= 0.1
    assert change(detector, (64, 96), (boxes, scores, points), (boxes, moved, points))[0] == pytest.approx(
        0.1, abs=1e-5
    )
    far = boxes + np.array([50, 0, 0, 0], np.float32)
    assert change(detector, (64, 96), (boxes, scores, points), (far, scores, points))[1] > 0.9


# ---- ranges ----


@pytest.mark.parametrize("method", ["percentile", "entropy", "minmax"])
def test_ranges_hold_what_was_seen(tmp_path: Path, method: str) -> None:
    file = small_network(tmp_path / "a.onnx")
    inputs = [noise(1, 64, 96, seed).numpy() for seed in range(3)]
    ranges = measure_ranges(file, iter(inputs), "input", method)
    low, high = (np.ravel(value).item() for value in ranges["input"].range_value)
    seen = np.concatenate([pixels.ravel() for pixels in inputs])
    assert low <= np.percentile(seen, 1)
    assert high >= np.percentile(seen, 99)
    if method == "minmax":
        assert (low, high) == pytest.approx((seen.min(), seen.max()))


def test_calibration_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = small_network(tmp_path / "a.onnx")
    ranges = measure_ranges(file, iter([noise(1, 64, 96).numpy()]), "input", "entropy")
    quantised(onnx.load(file), ranges, ["node_conv0"])
    half(onnx.load(file))
    assert capfd.readouterr() == ("", "")


def test_pictures_are_spread_over_the_folder(album: Path) -> None:
    found = find_pictures(album, 3)
    assert len(found.files) + found.unreadable == 3
    everything = find_pictures(album, 100)
    assert (len(everything.files), everything.unreadable) == (8, 1)
    assert len(set(everything.files)) == 8
    assert all(path.name != ".hidden.jpg" for path in everything.files)


def test_a_dull_picture_does_not_come_first(tmp_path: Path) -> None:
    for name, contrast in (("a", 0), ("b", 9), ("c", 90), ("d", 1)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.tile(np.uint8([100, 100 + contrast]), (48, 24)))
    assert [path.stem for path in find_pictures(tmp_path, 8).files] == ["c", "b", "d", "a"]


def test_large_pictures_are_scaled_down(made: tuple[Path, Path, Int8Report]) -> None:
    detector = OnnxDetector(made[0], threads=1)
    assert network_input(detector, np.zeros((LARGEST * 2, LARGEST, 3), np.uint8)).shape == (1, 3, LARGEST, LARGEST // 2)
    assert network_input(detector, np.zeros((48, 64, 3), np.uint8)).shape == (1, 3, 48, 64)


# ---- what is refused ----


def test_calibration_folders_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.jpg").write_bytes(b"no picture")
    (tmp_path / "file.txt").write_text("")
    for name, what in (
        ("missing", "does not exist"),
        ("empty", "holds no pictures"),
        ("broken", "none of 1 pictures can be read"),
        ("file.txt", "is not a folder"),
    ):
        with pytest.raises(DataError) as caught:
            find_pictures(tmp_path / name, 8)
        assert what in caught.value.message
        assert str(tmp_path / name) in caught.value.message
        assert caught.value.hint


def test_a_file_that_is_not_ours(album: Path, tmp_path: Path) -> None:
    file = small_network(tmp_path / "a.onnx", metadata=False)
    with pytest.raises(WeightsError) as caught:
        quantise(file, tmp_path / "b.onnx", Int8Config(str(album)))
    assert str(file) in caught.value.message
    assert caught.value.exit_code == 4
    assert not (tmp_path / "b.onnx").exists()


def test_held_out_pictures_are_none_of_calibration(tmp_path: Path) -> None:
    data = make_small(tmp_path / "data")
    calibration = find_pictures(data / "val", 8).files
    with pytest.raises(ConfigError) as caught:
        HeldOut(str(data / "val"), None, calibration)
    assert "c.png" in caught.value.message
    assert "1 pictures of" in HeldOut(str(data / "val"), None, find_pictures(data / "train", 8).files).words.replace(
        ",", ""
    )


def test_the_protocol_of_a_fixed_file_is_its_size(tmp_path: Path) -> None:
    data = make_small(tmp_path / "data")
    assert HeldOut(str(data / "val"), (1, 64, 96), ()).config.protocol == "size=96"
    assert HeldOut(str(data / "val"), None, ()).config.protocol == "original"


def test_the_drop_is_that_of_the_figure_that_suffers_most() -> None:
    assert largest_drop({"ap50": 0.9, "ap": 0.5}, {"ap50": 0.91, "ap": 0.47}) == pytest.approx(0.03)
    assert largest_drop({"ap50": 0.9, "ap": 0.5}, {"ap50": 0.91, "ap": 0.51}) == pytest.approx(-0.01)
    assert largest_drop({"ap50": None}, {"ap50": None}) is None


@pytest.fixture
def falling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Int8 costs three percentage points of AP."""
    figures = iter([{"ap50": 0.9}, {"ap50": 0.9}, {"ap50": 0.87}])
    monkeypatch.setattr(HeldOut, "measure", lambda *_: next(figures))


@pytest.mark.usefixtures("falling")
def test_a_model_that_lost_too_much_is_not_written(album: Path, tmp_path: Path) -> None:
    data = make_small(tmp_path / "data")
    file = small_network(tmp_path / "float32.onnx")
    path = tmp_path / "int8.onnx"
    path.write_bytes(b"the earlier one")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ExportError) as caught:
        quantise(file, path, Int8Config(str(album), val=str(data / "val"), runs=3))
    assert caught.value.exit_code == 5
    assert "falls by 3.00 percentage points in int8, 1 may be lost" in caught.value.message
    assert "--max-drop 100" in caught.value.hint
    assert path.read_bytes() == b"the earlier one"
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.usefixtures("falling", "untimed")
def test_unless_told(album: Path, tmp_path: Path) -> None:
    data = make_small(tmp_path / "data")
    file = small_network(tmp_path / "float32.onnx")
    report = quantise(file, tmp_path / "int8.onnx", Int8Config(str(album), val=str(data / "val"), max_drop=3.0, runs=3))
    assert report.drop == pytest.approx(0.03)
    assert (tmp_path / "int8.onnx").is_file()


@pytest.mark.parametrize(
    ("text", "has"),
    [
        ("flags\t\t: fpu avx2 fma\n", False),
        ("flags\t\t: fpu avx2 avx512_vnni\n", True),
        ("Features\t: fp asimd asimddp\n", True),
        ("processor\t: 0\n", None),
        (None, None),
    ],
)
def test_dot_products_of_int8_are_told_by_the_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, has: bool | None
) -> None:
    monkeypatch.setattr(machine, "CPU_INFO", tmp_path / "cpuinfo")
    if text is not None:
        (tmp_path / "cpuinfo").write_text(text)
    assert machine.adds_up_int8() is has


# ---- the weights that ship ----


@pytest.mark.slow
def test_shipped_weights_in_int8_find_the_astronaut(tmp_path: Path) -> None:
    from featherface_core.models.checkpoint import load_weights
    from featherface_core.models.variants import resolve_model, shipped_weights

    portrait = read_picture(PORTRAIT)
    pieces = tmp_path / "pieces"
    pieces.mkdir()
    for i, (y, x) in enumerate(((0, 0), (0, 128), (40, 100), (100, 60), (200, 0), (200, 200))):
        cv2.imwrite(str(pieces / f"{i}.png"), portrait[y : y + 320, x : x + 320])
    weights = shipped_weights(resolve_model("v2"))
    assert weights is not None
    path = tmp_path / "int8.onnx"
    config = ExportConfig(test_sizes=((96, 160),), test_batches=(1,))
    report = export_int8(load_weights(weights), path, config, Int8Config(str(pieces), runs=3))
    assert all(check.passed for check in report.checks)
    quantised = sum(group.weights for group in report.groups if group.quantised)
    assert quantised > 0.5 * sum(group.weights for group in report.groups)
    # each weight takes one byte instead of four; scales and zero points take some of it back
    assert report.forms[0].bytes - report.forms[2].bytes > 2.5 * quantised
    found = OnnxDetector(path, threads=1).detect(portrait)
    assert len(found) == 1
    x1, y1, x2, y2 = found.boxes[0]
    assert (np.abs(np.array([x1, y1, x2, y2]) - [180, 60, 270, 178]) < 15).all()
    assert found.scores[0] > 0.9
    said = json.loads(next(p.value for p in onnx.load(path).metadata_props if p.key == METADATA_KEY))
    assert said["weights"].startswith("v2.safetensors (sha256 ")
    assert report.agreement.faces == (report.agreement.matched,) * 2
