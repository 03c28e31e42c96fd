"""Post-processing as nodes of an ONNX graph, against ``boxes.postprocess``."""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from featherface_core import boxes
from featherface_core.config import PostprocessConfig
from featherface_core.detect.detector import FACES, OUTPUTS, THRESHOLDS, by_picture, default_constants, thresholds
from featherface_core.exporting.graph import describe_in
from featherface_core.exporting.openvino_ir import save_openvino
from featherface_core.exporting.postprocess import add_postprocess

Arrays = tuple[np.ndarray, ...]
Run = Callable[[dict[str, np.ndarray]], list[np.ndarray]]
Find = Callable[[Arrays, tuple[int, int], PostprocessConfig], list[Arrays]]
WIDTHS = (4, 2, 10)
DEFAULTS = PostprocessConfig(score=0.25, nms=0.3, top_k=7)


def network(opset: int = 19) -> onnx.ModelProto:
    """A network whose raw outputs are given with each run."""
    pixels = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, "height", "width"])
    raw = [
        helper.make_tensor_value_info(f"given_{name}", TensorProto.FLOAT, ["batch", "anchors", width])
        for name, width in zip(OUTPUTS, WIDTHS, strict=True)
    ]
    nodes = [helper.make_node("Identity", [f"given_{name}"], [name]) for name in OUTPUTS]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in OUTPUTS]
    made = helper.make_model(helper.make_graph(nodes, "network", [pixels, *raw], outputs))
    made.opset_import[0].version, made.ir_version = opset, 9
    return made


def opened(made: onnx.ModelProto) -> onnxruntime.InferenceSession:
    onnx.checker.check_model(made, full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    return onnxruntime.InferenceSession(made.SerializeToString(), options)


@cache
def session(opset: int = 19) -> onnxruntime.InferenceSession:
    return opened(finding(opset))


def finding(opset: int = 19) -> onnx.ModelProto:
    made = network(opset)
    add_postprocess(made, DEFAULTS, default_constants())
    return made


def through_openvino(path: Path) -> Run:
    openvino = pytest.importorskip("openvino", reason="the extra openvino is not installed")
    made = finding()
    describe_in(made, {})
    save_openvino(made, path)
    request = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}).create_infer_request()

    def run(given: dict[str, np.ndarray]) -> list[np.ndarray]:
        request.infer({**given, "input": np.moveaxis(given["input"], 1, 3)})
        return [np.array(request.get_tensor(name).data) for name in FACES]

    return run


def feeds(raw: Arrays, height: int, width: int) -> dict[str, np.ndarray]:
    pixels = np.zeros((len(raw[0]), 3, height, width), np.float32)
    return {"input": pixels, **{f"given_{name}": array for name, array in zip(OUTPUTS, raw, strict=True)}}


@pytest.fixture(scope="module", params=["onnxruntime", "openvino"])
def in_graph(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Find:
    """The faces of each picture of a batch, by a runtime."""
    if request.param == "openvino":
        run = through_openvino(tmp_path_factory.mktemp("graph") / "graph.xml")
    else:
        run = partial(session().run, FACES)

    def find(raw: Arrays, size: tuple[int, int], post: PostprocessConfig) -> list[Arrays]:
        return sorted_out(run({**feeds(raw, *size), **thresholds(post)}), len(raw[0]))

    return find


def sorted_out(found: list[np.ndarray], batch: int) -> list[Arrays]:
    assert [array.dtype for array in found] == [np.float32] * 3 + [np.int64]
    assert [array.shape[1:] for array in found] == [(4,), (), (5, 2), ()]
    assert (np.diff(found[3]) >= 0).all()  # pictures in turn
    return list(zip(*by_picture(lambda _: found, np.zeros(batch, np.float32), None), strict=True))


def separately(raw: Arrays, size: tuple[int, int], post: PostprocessConfig) -> list[Arrays]:
    anchors = boxes.make_anchors(*size)
    return [boxes.postprocess(*one, anchors, post.score, post.nms, post.top_k) for one in zip(*raw, strict=True)]


def same(found: list[Arrays], wanted: list[Arrays]) -> None:
    assert len(found) == len(wanted)
    for ours, theirs in zip(wanted, found, strict=True):
        np.testing.assert_array_equal(theirs[1], ours[1])
        np.testing.assert_allclose(theirs[0], ours[0], rtol=1e-6, atol=1e-4)
        np.testing.assert_allclose(theirs[2], ours[2], rtol=1e-6, atol=1e-4)


def network_outputs(
    size: tuple[int, int], batch: int, seed: int, levels: int = 0, spoilt: int = 0, spread: float = 1.0
) -> Arrays:
    """Random raw outputs. levels: how many different scores there are, 0 for any; spoilt: anchors that are no numbers."""
    draw, count = np.random.default_rng(seed), boxes.count_anchors(*size)
    regressions, scores, landmarks = (draw.normal(0, spread, (batch, count, n)).astype(np.float32) for n in WIDTHS)
    scores = draw.integers(0, levels + 1, scores.shape) / levels if levels else draw.random(scores.shape)
    for values, what in ((regressions, np.nan), (landmarks, np.inf), (landmarks, -np.inf)):
        for picture in values:
            picture[draw.integers(0, count, spoilt), draw.integers(0, picture.shape[1], spoilt)] = what
    scores = scores.astype(np.float32)
    scores[:, draw.integers(0, count, spoilt), 1] = np.nan
    return regressions, scores, landmarks


side = st.integers(32, 130)
iou = st.sampled_from([0.0, 0.1, 0.35, 0.4, 0.75, 1.0])


@given(
    size=st.tuples(side, side),
    batch=st.integers(1, 3),
    seed=st.integers(0, 2**32 - 1),
    levels=st.sampled_from([0, 1, 4, 20]),
    spoilt=st.sampled_from([0, 3]),
    score=st.sampled_from([0.0, 0.25, 0.5, 0.9, 0.999, 1.0]),
    nms=iou,
    top_k=st.sampled_from([0, 1, 5, 750]),
    spread=st.sampled_from([0.0, 0.3, 1.5]),
)
@settings(max_examples=120)
def test_the_graph_finds_what_boxes_finds(
    in_graph: Find,
    size: tuple[int, int],
    batch: int,
    seed: int,
    levels: int,
    spoilt: int,
    score: float,
    nms: float,
    top_k: int,
    spread: float,
) -> None:
    raw, post = network_outputs(size, batch, seed, levels, spoilt, spread), PostprocessConfig(score, nms, top_k)
    same(in_graph(raw, size, post), separately(raw, size, post))


def faces_at(size: tuple[int, int], scores: dict[int, float], batch: int = 1) -> Arrays:
    """Raw outputs of anchors as they are, all regressions zero, with these scores."""
    count = boxes.count_anchors(*size)
    regressions, face_scores, landmarks = (np.zeros((batch, count, n), np.float32) for n in WIDTHS)
    for anchor, score in scores.items():
        face_scores[:, anchor, 1] = score
    return regressions, face_scores, landmarks


def test_no_face(in_graph: Find) -> None:
    for batch in (1, 3):
        found = in_graph(faces_at((64, 96), {}, batch), (64, 96), PostprocessConfig())
        assert [len(values) for picture in found for values in picture] == [0, 0, 0] * batch


def test_faces_in_some_pictures_alone(in_graph: Find) -> None:
    raw = faces_at((64, 64), {0: 0.9}, batch=3)
    raw[1][:, 0, 1] = 0, 0.9, 0
    found = in_graph(raw, (64, 64), PostprocessConfig())
    assert [len(picture[0]) for picture in found] == [0, 1, 0]
    assert found[1][0].tolist() == [[-4, -4, 12, 12]]
    assert found[1][2].tolist() == [[[4, 4]] * 5]


def test_pictures_do_not_suppress_each_other(in_graph: Find) -> None:
    found = in_graph(faces_at((64, 64), {0: 0.9, 6: 0.8}, batch=2), (64, 64), PostprocessConfig())
    assert [picture[1].tolist() for picture in found] == [[np.float32(0.9), np.float32(0.8)]] * 2


def test_equals_keep_the_earlier_one(in_graph: Find) -> None:
    raw = faces_at((32, 32), {0: 0.75, 2: 0.75, 4: 0.75})
    raw[0][0, [0, 2, 4], 0] = np.array([0, -5, -10])  # all where the first is
    assert in_graph(raw, (32, 32), PostprocessConfig(0.5, 0.4))[0][1].tolist() == [0.75]
    raw[2][0, 2] = 1
    assert in_graph(raw, (32, 32), PostprocessConfig(0.5, 0.4))[0][2].tolist() == [[[4, 4]] * 5]


def test_the_last_pixel_counts(in_graph: Find) -> None:
    # boxes of 16 pixels eight apart share 9 of 17 columns and all 17 rows: 9/25; without the "+ 1" it were 8/24
    raw = faces_at((32, 32), {0: 0.9, 2: 0.8})
    assert len(in_graph(raw, (32, 32), PostprocessConfig(0.5, 0.37))[0][0]) == 2
    assert len(in_graph(raw, (32, 32), PostprocessConfig(0.5, 0.35))[0][0]) == 1


def test_an_overlap_at_the_threshold_itself_keeps(in_graph: Find) -> None:
    size, half = (64, 64), boxes.make_anchors(64, 64)[:, 2:] / 2
    centres = boxes.make_anchors(*size)[:, :2]
    corners = np.concatenate((centres - half, centres + half + 1), 1).astype(np.float64)  # the last pixel counts
    shares = np.triu(boxes.iou(corners, corners), 1)
    tried = {share: pair for pair, share in np.ndenumerate(shares) if 0 < share < 1}
    assert len(tried) > 50
    for share, (first, second) in tried.items():
        post = PostprocessConfig(0.5, float(share))
        found = in_graph(faces_at(size, {first: 0.9, second: 0.8}), size, post)
        assert len(found[0][0]) == 2
        same(found, separately(faces_at(size, {first: 0.9, second: 0.8}), size, post))


def test_scores_at_the_threshold_are_no_faces(in_graph: Find) -> None:
    raw = faces_at((64, 64), {0: 0.5, 40: np.nextafter(np.float32(0.5), np.float32(1))})
    assert len(in_graph(raw, (64, 64), PostprocessConfig(0.5))[0][0]) == 1


def test_top_k_counts_kept_faces_of_each_picture(in_graph: Find) -> None:
    raw = faces_at((64, 64), {0: 0.9, 1: 0.8, 6: 0.7, 12: 0.6}, batch=2)
    for top_k, kept in ((1, 1), (2, 2), (0, 4), (750, 4)):
        post = PostprocessConfig(0.5, 0.4, top_k)
        found = in_graph(raw, (64, 64), post)
        assert [len(picture[0]) for picture in found] == [kept] * 2
        same(found, separately(raw, (64, 64), post))


@pytest.mark.parametrize("opset", [19, 23])
def test_thresholds_that_are_left_out_are_the_files(opset: int) -> None:
    raw = network_outputs((96, 64), 2, seed=3, spread=0.5)
    found = sorted_out(session(opset).run(FACES, feeds(raw, 96, 64)), 2)
    same(found, separately(raw, (96, 64), DEFAULTS))
    assert [len(picture[0]) for picture in found] == [DEFAULTS.top_k] * 2
    assert session(opset).get_inputs()[0].name == "input"
    assert [given.name for given in session(opset).get_overridable_initializers()] == list(THRESHOLDS)


def test_the_constants_are_the_callers() -> None:
    made = network()
    constants = {**default_constants(), "strides": [8, 16], "anchor_sizes": [[10], [40]], "variances": [0.5, 0.1]}
    add_postprocess(made, PostprocessConfig(), constants)
    regressions, scores, landmarks = (np.zeros((1, 4 * 4 + 2 * 2, n), np.float32) for n in WIDTHS)
    scores[0, 17, 1], regressions[0, 17] = 0.9, (1, 0, 0, 10 * np.log(2))
    landmarks[0, 17] = 0.25
    found = opened(made).run(FACES, feeds((regressions, scores, landmarks), 32, 32))
    np.testing.assert_allclose(found[0], [[24 + 20 - 20, 8 - 40, 24 + 20 + 20, 8 + 40]], rtol=1e-6)
    assert found[2].tolist() == [[[24 + 5, 8 + 5]] * 5]
