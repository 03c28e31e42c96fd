import pickle
import random
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featherface_core.boxes import iou
from featherface_core.data.annotation import Faces, Picture, PictureSource
from featherface_core.data.synthetic import LARGEST_FACE, SMALLEST_FACE, SyntheticFaces
from featherface_core.data.synthetic.figure import draw_person
from featherface_core.data.synthetic.person import Person
from featherface_core.errors import ConfigError

HASH = "import sys; sys.path.insert(0, {root!r}); from tests.test_synthetic import fingerprint; print(fingerprint())"


@pytest.fixture(scope="module")
def source() -> SyntheticFaces:
    return SyntheticFaces(1000)


@pytest.fixture(scope="module")
def people(source: SyntheticFaces) -> list[list[Person]]:
    """Who is where, without the drawing: fast enough for every picture."""
    return [source._people(i) for i in range(len(source))]


@pytest.fixture(scope="module")
def samples(source: SyntheticFaces) -> list[tuple[Picture, Faces]]:
    return [source.read(i) for i in range(300)]


def digest(picture: Picture, faces: Faces) -> str:
    return sha256(picture.tobytes() + faces.boxes.tobytes() + faces.landmarks.tobytes()).hexdigest()


def fingerprint() -> str:
    source = SyntheticFaces(40, seed=11)
    return sha256("".join(digest(*source.read(i)) for i in (3, 17, 39)).encode()).hexdigest()


def test_it_is_a_picture_source() -> None:
    source: PictureSource = SyntheticFaces(2000)
    assert len(source) == 2000
    assert source.name == "synthetic (seed 0)"
    assert source.sets == (("synthetic (seed 0)", 2000),)
    assert SyntheticFaces(3, size=96).shape(2) == SyntheticFaces(3, size=96).read(2)[0].shape[:2] == (96, 96)
    with pytest.raises(IndexError):
        source.shape(2000)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(-(2**40), 2**40), index=st.integers(0, 99), size=st.sampled_from([64, 96, 250, 256]))
def test_a_picture_is_well_formed_and_the_same_every_time(seed: int, index: int, size: int) -> None:
    picture, faces = SyntheticFaces(100, seed, size).read(index)
    assert picture.shape == (size, size, 3)
    assert picture.dtype == np.uint8
    assert picture.flags.c_contiguous
    assert faces.boxes.dtype == faces.landmarks.dtype == np.float32
    assert len(faces) <= 6
    assert faces.has_landmarks.all()
    assert not faces.ignored.any()
    assert (faces.weights == 1).all()
    assert (faces.boxes >= 0).all()
    assert (faces.boxes <= size).all()
    sides = faces.boxes[:, 2:] - faces.boxes[:, :2]
    assert (sides > 0).all()
    assert (sides.max(1, initial=0) >= SMALLEST_FACE - 0.01).all()
    assert (sides.max(1, initial=0) <= LARGEST_FACE * size + 0.01).all()
    assert digest(picture, faces) == digest(*SyntheticFaces(500, seed, size).read(index))


def test_large_pictures() -> None:
    picture, faces = SyntheticFaces(9, size=1024).read(np.int64(5))
    assert picture.shape == (1024, 1024, 3)
    assert (faces.boxes <= 1024).all()


def test_order_and_the_global_random_states_do_not_matter() -> None:
    source = SyntheticFaces(30, seed=5)
    first = [digest(*source.read(i)) for i in range(8)]
    random.seed(99)
    np.random.seed(99)
    cv2.setRNGSeed(99)
    other = SyntheticFaces(30, seed=5)
    assert [digest(*other.read(i)) for i in reversed(range(8))][::-1] == first
    before = np.random.get_state()[1].copy()
    state = random.getstate()
    source.read(9)
    assert (np.random.get_state()[1] == before).all()
    assert random.getstate() == state


def test_another_process_draws_the_same(pytestconfig: pytest.Config) -> None:
    code = HASH.format(root=str(pytestconfig.rootpath))
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == fingerprint()


def test_seeds_and_indices_give_other_pictures(samples: list[tuple[Picture, Faces]]) -> None:
    assert len({digest(*s) for s in samples}) == len(samples)
    other = SyntheticFaces(10, seed=1)
    assert all(digest(*other.read(i)) != digest(*samples[i]) for i in range(10))


def test_reading_changes_nothing_that_was_read() -> None:
    source = SyntheticFaces(3)
    picture, faces = source.read(1)
    before = digest(picture, faces)
    picture[:] = 0
    assert digest(*source.read(1)) == before


def test_faces_without_the_picture_are_those_of_the_picture(
    source: SyntheticFaces, samples: list[tuple[Picture, Faces]]
) -> None:
    for index, (_, read) in enumerate(samples):
        faces = source.faces(index)
        for name in ("boxes", "landmarks", "ignored", "weights"):
            np.testing.assert_array_equal(getattr(faces, name), getattr(read, name))


def test_a_source_pickles() -> None:
    """A loader's workers get it so where processes are spawned."""
    source = SyntheticFaces(40, seed=3, size=96)
    copy = pickle.loads(pickle.dumps(source))
    assert (len(copy), copy.name) == (len(source), source.name)
    assert digest(*copy.read(7)) == digest(*source.read(7))


@pytest.mark.parametrize("index", [-1, 7, 100])
def test_beyond_the_last(index: int) -> None:
    with pytest.raises(IndexError, match="of 7"):
        SyntheticFaces(7).read(index)
    with pytest.raises(IndexError, match="of 7"):
        SyntheticFaces(7).faces(index)


@pytest.mark.parametrize(("count", "size", "named"), [(0, 256, "0"), (-3, 256, "-3"), (5, 63, "63"), (5, 2049, "2049")])
def test_bad_arguments_name_the_value_and_the_fix(count: int, size: int, named: str) -> None:
    with pytest.raises(ConfigError, match=named) as caught:
        SyntheticFaces(count, size=size)
    assert caught.value.hint


def test_faces_are_of_every_size_and_number(people: list[list[Person]]) -> None:
    numbers = np.bincount([len(p) for p in people], minlength=7) / len(people)
    assert 0.05 < numbers[0] < 0.12
    assert (numbers[1:] > 0.005).all()
    assert len(numbers) == 7
    sides = np.array([max(p.box[2] - p.box[0], p.box[3] - p.box[1]) for some in people[:300] for p in some])
    assert sides.min() < 1.15 * SMALLEST_FACE
    assert sides.max() > 140
    shares = np.histogram(np.log(sides), np.linspace(np.log(SMALLEST_FACE), np.log(0.6 * 256), 5))[0] / len(sides)
    assert shares.min() > 0.15  # each quarter of the logarithmic range
    assert np.abs([p.roll for some in people for p in some]).max() > np.radians(20)
    assert np.abs([p.yaw for some in people for p in some]).max() > np.radians(25)


def test_faces_hardly_overlap_and_their_middle_is_in_the_picture(people: list[list[Person]]) -> None:
    for some in people:
        boxes = np.array([p.box for p in some], np.float32).reshape(-1, 4)
        middle = (boxes[:, :2] + boxes[:, 2:]) / 2
        assert (middle >= 0).all()
        assert (middle <= 256).all()
        for i in range(1, len(boxes)):
            assert iou(boxes[i : i + 1], boxes[:i]).max() < 0.15


def test_some_faces_are_cut_by_the_border(people: list[list[Person]]) -> None:
    cut = [min(p.box) < 0 or max(p.box) > 256 for some in people for p in some]
    assert 0.01 < np.mean(cut) < 0.2


def test_landmarks_are_where_a_face_has_them(people: list[list[Person]]) -> None:
    for person in (p for some in people for p in some):
        left, right, nose, mouth_left, mouth_right = points = person.landmarks()
        box = np.array(person.box)
        grown = 0.05 * (box[2:] - box[:2])
        assert (points >= box[:2] - grown).all()
        assert (points <= box[2:] + grown).all()
        assert left[0] < right[0]
        assert mouth_left[0] < mouth_right[0]
        if abs(person.roll) < np.radians(15):
            assert max(left[1], right[1]) < min(mouth_left[1], mouth_right[1])
            assert (left[1] + right[1]) / 2 < nose[1] < (mouth_left[1] + mouth_right[1]) / 2


def test_boxes_bound_the_outline(people: list[list[Person]]) -> None:
    for person in (p for some in people[:200] for p in some):
        c, s = np.cos(person.roll), np.sin(person.roll)
        placed = person.outline @ np.array([[c, s], [-s, c]]) * person.scale + person.origin
        np.testing.assert_allclose((*placed.min(0), *placed.max(0)), person.box, atol=1e-6)


def test_what_is_read_is_what_was_planned(source: SyntheticFaces, people: list[list[Person]]) -> None:
    for index in range(20):
        faces = source.read(index)[1]
        assert len(faces) == len(people[index])
        for box, points, person in zip(faces.boxes, faces.landmarks, people[index], strict=True):
            np.testing.assert_allclose(box, np.clip(person.box, 0, 256), atol=1e-3)
            np.testing.assert_allclose(points, person.landmarks(), atol=1e-3)


def test_faces_are_drawn_in_their_boxes(source: SyntheticFaces) -> None:
    """Against the same picture without people: nearly all of a box differs, little of the rest does."""
    inside, outside = [], []
    for index in range(60):
        picture, faces = source.read(index)
        changed = np.abs(picture.astype(int) - source._picture(index, [])).max(2) > 12
        mask = np.zeros(changed.shape, bool)
        for x1, y1, x2, y2 in faces.boxes.round().astype(int):
            mask[y1:y2, x1:x2] = True
            inside.append(changed[y1:y2, x1:x2].mean())
        outside.append(changed[~mask].mean())
    assert np.mean(inside) > 0.85
    assert np.mean(outside) < 0.35


def test_eyes_and_mouths_are_drawn_at_the_landmarks(samples: list[tuple[Picture, Faces]]) -> None:
    """Where nothing hides them, eyes and mouths are darker than the cheeks, so they are so in the middle of many."""
    eyes, mouths = [], []
    for picture, faces in samples:
        grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY).astype(np.float32)
        for box, points in zip(faces.boxes, faces.landmarks, strict=True):
            if max(box[2:] - box[:2]) < 30 or points.min() < 2 or points.max() > 253:
                continue
            cheeks = (points[:2] + points[3:]) / 2
            middle = points[3:].mean(0, keepdims=True)
            at = np.concatenate([points[:2], cheeks, middle]) - 0.5
            values = cv2.remap(grey, at[:, 0], at[:, 1], cv2.INTER_LINEAR).ravel()
            eyes.extend(values[:2] / (values[2:4] + 8))
            mouths.append(values[4] / (values[2:4].mean() + 8))
    assert len(mouths) > 150
    assert np.median(eyes) < 0.75
    assert np.median(mouths) < 0.9


def test_drawing_a_small_head_leaves_the_rest_as_it_was(people: list[list[Person]]) -> None:
    """Small heads are drawn enlarged; what is behind them comes back from that unchanged."""
    before = SyntheticFaces(1).read(0)[0]
    small = [p for some in people for p in some if p.scale < 12 and max(p.box) < 200 and min(p.box) > 20]
    assert len(small) > 100
    for person in small[:60]:
        picture = before.copy()
        draw_person(picture, replace(person, body=False))
        changed = (picture != before).any(2)
        x1, y1, x2, y2 = np.round(person.box).astype(int)
        assert changed[y1:y2, x1:x2].mean() > 0.7
        margin = int(2 * person.scale)
        changed[max(0, y1 - margin) : y2 + margin, max(0, x1 - margin) : x2 + margin] = False
        assert not changed.any()


def test_no_face_is_hidden_behind_another_person(source: SyntheticFaces, people: list[list[Person]]) -> None:
    hidden = []
    for some in people[:120]:
        canvas = np.zeros((256, 256, 3), np.uint8)
        seen = []
        for person in some[::-1]:
            before = canvas.copy()
            draw_person(canvas, person)
            changed = (canvas != before).any(2)
            for box, mask in seen:
                mask |= changed[box[1] : box[3], box[0] : box[2]]
            box = np.clip(np.round(person.box), 0, 256).astype(int)
            seen.append((box, np.zeros((box[3] - box[1], box[2] - box[0]), bool)))
        hidden.extend(mask.mean() for _, mask in seen)
    assert max(hidden) < 0.4
    assert np.mean(np.array(hidden) < 0.1) > 0.95
