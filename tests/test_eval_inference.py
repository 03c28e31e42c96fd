"""Finding the faces of many pictures by a protocol: batches, views, broken pictures, and training's use of it."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import randomise
from painted import POINTS, Box, Painted, detector, painting

from featherface_core.boxes import count_anchors
from featherface_core.config import PostprocessConfig
from featherface_core.data.annotation import FLIP_ORDER, Faces, Picture
from featherface_core.data.sets import open_one
from featherface_core.data.synthetic import SyntheticFaces
from featherface_core.detect.detector import OnnxDetector, TorchDetector
from featherface_core.errors import ConfigError, DataError
from featherface_core.evaluation.average_precision import average_precision
from featherface_core.evaluation.config import EvalConfig, Protocol, parse_resize
from featherface_core.evaluation.dataset import open_task
from featherface_core.evaluation.inference import PictureFaces, View, find_faces, run_detector
from featherface_core.models.variants import build_model
from featherface_core.pictures import prepare
from featherface_core.recipe import LossConfig, ValidationConfig
from featherface_core.training import validation
from featherface_core.training.losses import MultiBoxLoss
from featherface_core.training.targets import Targets
from featherface_core.training.validation import validate

ORIGINAL = Protocol()


def faces_of(
    pictures: Sequence[Picture | str], protocol: Protocol = ORIGINAL, batch: int = 1, network: Painted | None = None
) -> list[PictureFaces]:
    """find_faces; a text stands for a picture that cannot be read, and says why."""

    def read(index: int) -> Picture:
        picture = pictures[index]
        if isinstance(picture, str):
            raise DataError(picture, "copy it again")
        return picture

    return list(find_faces(detector(network), read, range(len(pictures)), protocol, batch))


FACE, OTHER = (20, 30, 60, 80), (70, 10, 90, 40)
SMALL = [painting(100, 120, (FACE, 250 - 10 * k), ((80 + k, 50, 100 + k, 70), 150)) for k in range(5)]
TALL = painting(140, 90, ((10, 20, 50, 80), 220))


# ---- batches ----


@pytest.mark.parametrize("protocol", [Protocol(), Protocol("size=96", flip=True)], ids=["original", "two views"])
def test_a_batch_finds_what_single_pictures_do(protocol: Protocol) -> None:
    network = Painted()
    singles, together = faces_of(SMALL, protocol), faces_of(SMALL, protocol, 3, network)
    views = 2 if protocol.flip else 1
    assert [shape[0] for shape in network.shapes] == [3] * views + [2] * views
    assert [one.index for one in together] == [0, 1, 2, 3, 4]
    for one, same, picture in zip(together, singles, SMALL, strict=True):
        for name in ("boxes", "scores", "landmarks"):
            np.testing.assert_array_equal(getattr(one.faces, name), getattr(same.faces, name))
        np.testing.assert_allclose(one.faces.scores, [picture.max() / 255, 150 / 255], rtol=1e-6)


def test_neighbours_of_another_shape_run_apart_and_in_order() -> None:
    network = Painted()
    found = faces_of([SMALL[0], SMALL[1], TALL, SMALL[2], TALL, TALL], batch=2, network=network)
    assert [(s[0], s[2], s[3]) for s in network.shapes] == [
        (2, 100, 120),
        (1, 140, 90),
        (1, 100, 120),
        (2, 140, 90),
    ]
    assert [one.index for one in found] == [0, 1, 2, 3, 4, 5]
    brightest = [250, 240, 220, 230, 220, 220]
    np.testing.assert_allclose([one.faces.scores[0] for one in found], np.array(brightest) / 255, rtol=1e-6)


def test_a_picture_that_cannot_be_read_keeps_its_place() -> None:
    network = Painted()
    found = faces_of([SMALL[0], SMALL[1], "it is cut short", SMALL[2], "it is gone"], batch=4, network=network)
    assert [one.index for one in found] == [0, 1, 2, 3, 4]
    assert [one.problem for one in found] == ["", "", "it is cut short", "", "it is gone"]
    assert [len(one.faces) for one in found] == [2, 2, 0, 2, 0]
    assert (found[2].faces.boxes.shape, found[2].faces.landmarks.shape) == ((0, 4), (0, 5, 2))
    assert found[2].milliseconds[1:] == (0, 0, 0)
    assert sum(shape[0] for shape in network.shapes) == 3


def test_pictures_are_read_as_they_are_asked_for() -> None:
    asked = []

    def read(index: int) -> Picture:
        asked.append(index)
        return SMALL[index]

    found = find_faces(detector(), read, [4, 1, 3], Protocol(), 2)
    assert (next(found).index, asked) == (4, [4, 1, 3])  # the third shows that the batch is full
    assert [one.index for one in found] == [1, 3]


def test_each_stage_is_timed_and_a_batch_shares_evenly() -> None:
    class Slow(Painted):
        def run(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            time.sleep(0.03)
            return super().run(pixels)

    def read(index: int) -> Picture:
        time.sleep(0.02)
        return SMALL[index]

    start = time.perf_counter()
    found = list(find_faces(detector(Slow()), read, range(3), Protocol(flip=True), 3))
    spent = (time.perf_counter() - start) * 1000
    times = np.array([one.milliseconds for one in found])
    assert times.shape == (3, 4)
    assert (times > 0).all()
    assert (times[:, 0] >= 20).all()  # a picture's own
    assert (times[0, 1:] == times[1:, 1:]).all()
    assert times[:, 2].sum() >= 60  # two views
    assert times.sum() <= spent


# ---- views ----


@pytest.mark.parametrize(
    ("height", "width", "base"),
    [
        (768, 1024, 800 / 768),  # the short side decides
        (1024, 768, 800 / 768),
        (400, 1000, 1200 / 1000),  # the long one
        (1000, 400, 1200 / 1000),
        (683, 1024, 800 / 683),
        (800, 1200, 1.0),
    ],
)
def test_multi_scale_is_retinafaces_pyramid(height: int, width: int, base: float) -> None:
    sides = Protocol("multi-scale").sides(height, width)
    assert sides == tuple(round(max(height, width) * base * scale / 800) for scale in (500, 800, 1100, 1400, 1700))
    assert all(isinstance(side, int) for side in sides)


def test_the_sides_of_a_strip_are_at_least_a_pixel() -> None:
    assert Protocol("multi-scale").sides(1, 100_000) == (750, 1200, 1650, 2100, 2550)


def test_other_rules_have_one_side() -> None:
    assert Protocol().sides(300, 400) == (None,)
    assert Protocol("size=640").sides(300, 400) == (640,)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("original", "original"),
        (" Original ", "original"),
        ("MULTI-SCALE", "multi-scale"),
        ("vga", "size=640"),
        ("size=1024", "size=1024"),
        ("800", "size=800"),
        ("size=0032", "size=32"),
        ("32768", "size=32768"),
    ],
)
def test_resize_rules_are_read(text: str, rule: str) -> None:
    assert parse_resize(text) == rule
    assert Protocol(parse_resize(text)).resize == rule


@pytest.mark.parametrize(
    "text", ["", "full", "size=", "size=640x480", "size=-640", "640.0", "size=1e3", "1234567", "vga=640", "size"]
)
def test_a_resize_rule_that_is_none(text: str) -> None:
    with pytest.raises(ConfigError, match="is not known") as caught:
        parse_resize(text)
    assert repr(text) in caught.value.message
    assert all(rule in caught.value.hint for rule in ("original", "vga", "size=N", "multi-scale"))


@pytest.mark.parametrize("size", [0, 31, 32769])
def test_a_side_that_no_network_takes(size: int) -> None:
    for build in (lambda: parse_resize(f"size={size}"), lambda: Protocol(f"size={size}")):
        with pytest.raises(ConfigError, match=f"--protocol size {size} is out of range"):
            build()


class RightHalf(Painted):
    """Blind for what lies in the left half of a picture."""

    def found(self, one: np.ndarray) -> list[tuple[Box, float]]:
        return [(box, score) for box, score in super().found(one) if box[0] + box[2] > one.shape[2]]


@pytest.mark.parametrize("resize", ["original", "size=240"])
def test_what_a_mirrored_picture_shows_is_put_where_it_is(resize: str) -> None:
    picture = painting(100, 121, (FACE, 200))  # an odd width
    assert [len(one.faces) for one in faces_of([picture], Protocol(resize), network=RightHalf())] == [0]
    (one,) = faces_of([picture], Protocol(resize, flip=True), network=RightHalf())
    near = 0.6 if resize != "original" else 1e-3  # resized, an edge is a fraction of a pixel wide
    np.testing.assert_allclose(one.faces.boxes, [FACE], atol=near)
    # as in the mirrored picture, and there its left eye is on the left too
    x1, y1, x2, y2 = FACE
    seen = [(x2 - x * (x2 - x1), y1 + y * (y2 - y1)) for x, y in POINTS]
    np.testing.assert_allclose(one.faces.landmarks[0], [seen[k] for k in FLIP_ORDER], atol=near)
    assert one.faces.landmarks[0, 0, 0] < one.faces.landmarks[0, 1, 0]
    assert one.faces.landmarks[0, 3, 0] < one.faces.landmarks[0, 4, 0]
    assert (one.faces.boxes.dtype, one.faces.landmarks.dtype) == (np.float32, np.float32)


@pytest.mark.parametrize("protocol", [Protocol(flip=True), Protocol("multi-scale"), Protocol("multi-scale", True)])
def test_each_face_of_many_views_comes_once(protocol: Protocol) -> None:
    network = Painted()
    (one,) = faces_of([painting(100, 150, (FACE, 150), (OTHER, 250))], protocol, network=network)
    assert len(network.shapes) == (5 if protocol.resize == "multi-scale" else 1) * (2 if protocol.flip else 1)
    np.testing.assert_allclose(one.faces.boxes, [OTHER, FACE], atol=0.6)  # best first
    np.testing.assert_allclose(one.faces.scores, np.array([250, 150]) / 255, atol=1e-6)


def test_views_add_up_and_the_best_score_wins() -> None:
    class Seesaw(RightHalf):
        """Sees the right half alone, and the face in the middle better in the second view."""

        def found(self, one: np.ndarray) -> list[tuple[Box, float]]:
            middle = [(box, score) for box, score in Painted.found(self, one) if 55 < (box[0] + box[2]) / 2 < 65]
            return [*super().found(one), *((box, score * (0.4 + 0.2 * len(self.shapes))) for box, score in middle)]

    left, middle, right = (5, 10, 35, 40), (45, 50, 75, 90), (85, 10, 115, 40)
    picture = painting(100, 120, (left, 100), (middle, 200), (right, 150))
    (one,) = faces_of([picture], Protocol(flip=True), network=Seesaw())
    np.testing.assert_allclose(one.faces.boxes, [middle, right, left], atol=1e-3)
    np.testing.assert_allclose(one.faces.scores, [200 / 255 * 0.8, 150 / 255, 100 / 255], rtol=1e-5)


def test_top_k_holds_for_a_picture_and_not_for_a_view() -> None:
    marks = [((10 + 30 * k, 10, 30 + 30 * k, 40), 220 - 40 * k) for k in range(4)]
    picture = painting(60, 140, *marks)
    # the first view sees the last two, the second the first two
    (one,) = faces_of([picture], Protocol(flip=True, post=PostprocessConfig(0.02, 0.4, 2)), network=RightHalf())
    np.testing.assert_allclose(one.faces.scores, [220 / 255, 180 / 255], rtol=1e-5)
    (one,) = faces_of([picture], Protocol(flip=True, post=PostprocessConfig(0.5, 0.4, 0)), network=RightHalf())
    np.testing.assert_allclose(one.faces.scores, [220 / 255, 180 / 255, 140 / 255], rtol=1e-5)  # 100 / 255 is below


def test_raw_outputs_are_told_a_view_at_a_time() -> None:
    told: list[View] = []
    list(find_faces(detector(), [*SMALL, TALL].__getitem__, [3, 1, 5], Protocol("size=96", True), 4, told.append))
    assert [view.indices for view in told] == [(3, 1), (3, 1), (5,), (5,)]
    assert [view.shape for view in told] == [(80, 96), (80, 96), (96, 62), (96, 62)]
    assert told[0].scales == ((96 / 120, 80 / 100),) * 2
    assert told[2].scales == ((62 / 90, 96 / 140),)
    for view in told:
        count = count_anchors(*view.shape)
        assert [output.shape for output in view.outputs] == [(len(view.indices), count, n) for n in (4, 2, 10)]
    best = [view.outputs[1][0, :, 1].argmax() for view in told[:2]]
    assert best[0] != best[1]  # the second is mirrored


# ---- files of a fixed size ----


@pytest.mark.parametrize("rule", ["original", "multi-scale", "size=97", "vga"])
def test_a_fixed_size_follows_no_rule_that_exceeds_it(stub: Path, tmp_path: Path, rule: str) -> None:
    config = EvalConfig(data="synthetic:2", protocol=rule)
    with pytest.raises(ConfigError) as caught:
        run_detector(OnnxDetector(stub), open_task(config), config, tmp_path)
    assert caught.value.message == f"--protocol {rule} cannot be followed by a file with the fixed size 96x64"
    assert caught.value.hint == "use --protocol size=96, or export with --dynamic"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("rule", ["size=96", "size=32"])
def test_a_fixed_size_follows_what_fits(stub: Path, tmp_path: Path, rule: str) -> None:
    config = EvalConfig(data="synthetic:3", protocol=rule, batch=2)
    detected = run_detector(OnnxDetector(stub), open_task(config), config, tmp_path)
    assert [len(faces) for faces in detected.faces] == [2, 2, 2]


# ---- validation during training ----


class Album:
    """Pictures in memory, with their faces; a text for one that cannot be read."""

    name = "an album"

    def __init__(self, pictures: Sequence[Picture | str], faces: Sequence[Faces]) -> None:
        self.pictures, self.labels = pictures, faces
        self.sets = ((self.name, len(pictures)),)

    def __len__(self) -> int:
        return len(self.pictures)

    def faces(self, index: int) -> Faces:
        return self.labels[index]

    def read(self, index: int) -> tuple[Picture, Faces]:
        picture = self.pictures[index]
        if isinstance(picture, str):
            raise DataError(picture)
        return picture, self.labels[index]


CPU = torch.device("cpu")


def test_validation_is_an_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "TorchDetector", lambda model, device: detector())
    missed = (100, 10, 130, 40)
    pictures = [painting(100, 150, (FACE, 250), (OTHER, 100 + 20 * k)) for k in range(4)]
    labels = [Faces.of([FACE, missed] if k % 2 else [FACE, OTHER]) for k in range(4)]
    album = Album([*pictures[:3], "gone", pictures[3]], [*labels[:3], Faces.of([FACE]), labels[3]])
    config = ValidationConfig(pictures=0, size=300, small=0)
    found = validate(build_model("v1-24", seed=0), album, config, LossConfig(), CPU)
    protocol = Protocol("size=300", post=PostprocessConfig(0.02, 0.4, 750))
    faces = [one.faces for one in faces_of(album.pictures, protocol, 2)]
    assert found.whole == average_precision(faces, album.labels)
    assert (found.whole.faces, found.whole.recall) == (9, pytest.approx(6 / 9))
    # the faces; then 160 wrong, 140 right, 120 wrong, 100 right
    assert found.whole.ap == pytest.approx((4 + 5 / 6 + 6 / 8) / 9)
    assert protocol.words() in found.protocol
    assert "5 pictures of an album" in found.protocol


def test_validation_equals_eval_on_the_same_pictures(tmp_path: Path) -> None:
    model = randomise(build_model("v1-24", seed=0))
    config = EvalConfig(data="synthetic:7", protocol="96", top_k=validation.TOP_K, batch=validation.BATCH)
    task = open_task(config)
    detected = run_detector(TorchDetector(model), task, config, tmp_path)
    wanted = average_precision(detected.faces, task.faces)
    source = open_one("synthetic:7", held_out=True)
    assert wanted.recall > 0
    assert validate(model, source, ValidationConfig(size=96), LossConfig(), CPU).whole == wanted


def test_the_loss_of_a_validation_is_the_networks() -> None:
    model = randomise(build_model("v1-24", seed=1))
    source = SyntheticFaces(3, size=64)
    prepared = [prepare(source.read(k)[0], 96)[0] for k in range(3)]
    model.heads.training = True  # they give logits then; the rest stays in evaluation mode
    with torch.no_grad():
        outputs = model(torch.from_numpy(np.stack(prepared)))
    faces = [source.faces(k) for k in range(3)]
    larger = [Faces(f.boxes * 1.5, f.landmarks * 1.5, f.ignored, f.weights) for f in faces]
    terms = MultiBoxLoss(LossConfig())(outputs, Targets.of(larger), 96, 96).terms
    found = validate(model, source, ValidationConfig(size=96), LossConfig(), CPU)
    assert found.loss == pytest.approx(float(sum(terms.values())), rel=1e-4)


def test_the_loss_is_a_mean_over_the_pictures_that_could_be_read() -> None:
    model = randomise(build_model("v1-24", seed=0))
    drawn = SyntheticFaces(3, size=64)
    pictures, labels = zip(*(drawn.read(k) for k in range(3)), strict=True)
    wide = painting(64, 96, ((5, 5, 40, 50), 200))  # another shape: a batch of its own
    config = ValidationConfig(size=0)

    def loss(shown: list[Picture | str], faces: list[Faces]) -> float:
        return validate(model, Album(shown, faces), config, LossConfig(), CPU).loss

    same, other = loss([*pictures], [*labels]), loss([wide], [Faces.none()])
    both = loss([*pictures, wide, "broken"], [*labels, Faces.none(), labels[0]])
    assert abs(same - other) > 0.01
    assert both == pytest.approx((3 * same + other) / 4, rel=1e-5)
    assert np.isnan(loss(["broken"], [labels[0]]))
