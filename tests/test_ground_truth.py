"""The faces that detections are held against: the official files, files like them, what is refused, and parts of it all."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from featherface_core.data.annotation import Faces
from featherface_core.errors import DataError
from featherface_core.evaluation.truth import (
    ATTRIBUTES,
    FACES,
    Found,
    Truth,
    find_ground_truth,
    read_ground_truth,
    truth_of,
)

SETTINGS = ("easy", "medium", "hard")
LISTS = [(setting, key) for setting in ("face", "hard") for key in ("event_list", "file_list", "face_bbx_list")]
LISTS += [("hard", "gt_list")]
Box = tuple[int, int, int, int]


class Picture(NamedTuple):
    event: str
    name: str
    faces: list[Box]  # x, y, width, height
    counted: dict[str, list[int]]  # by setting, from 1


PICTURES = [
    Picture(
        "0--Parade", "a", [(1, 2, 3, 4), (50, 60, 7, 8), (9, 9, 9, 9)], {"easy": [2], "medium": [2, 3], "hard": [3]}
    ),
    Picture("0--Parade", "b_1.2", [], {"easy": [], "medium": [], "hard": []}),
    Picture("1--Handshaking", "a", [(0, 0, 1, 1)], {"easy": [], "medium": [], "hard": [1]}),
]


def cells(items: Iterable[Any]) -> np.ndarray:
    """A column of MATLAB cells."""
    column = np.array([None, *items, None], object)[1:-1]
    return column.reshape(-1, 1)


def by_event(pictures: list[Picture], of: Callable[[Picture], Any]) -> np.ndarray:
    events = dict.fromkeys(p.event for p in pictures)
    return cells(cells(of(p) for p in pictures if p.event == event) for event in events)


def blur(box: Box) -> int:
    """A number for each face, to tell them apart."""
    return box[0] % 3


def content(pictures: list[Picture], setting: str = "") -> dict[str, Any]:
    """What an official file holds."""
    whole = {
        "event_list": cells(dict.fromkeys(p.event for p in pictures)),
        "file_list": by_event(pictures, lambda p: p.name),
        "face_bbx_list": by_event(pictures, lambda p: np.array(p.faces, np.int32).reshape(-1, 4)),
    }
    for attribute in ATTRIBUTES:
        whole[f"{attribute}_label_list"] = by_event(
            pictures, lambda p: np.array([[blur(box)] for box in p.faces], np.uint8).reshape(-1, 1)
        )
    if setting:
        whole["gt_list"] = by_event(pictures, lambda p: np.array(p.counted[setting], np.uint8).reshape(-1, 1))
    return whole


def name_of(setting: str) -> str:
    return f"wider_{setting}_val.mat"


def write(folder: Path, pictures: list[Picture] = PICTURES, **changes: Mapping[str, Any]) -> Path:
    """The four official files. changes: by ``face`` or setting, keys with other content, None for a key that is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    for setting in ("face", *SETTINGS):
        whole = {**content(pictures, setting if setting in SETTINGS else ""), **changes.get(setting, {})}
        kept = {key: value for key, value in whole.items() if value is not None}
        savemat(folder / name_of(setting), kept, do_compression=True)
    return folder


def refused(folder: Path, path: Path) -> DataError:
    """The error that reading ends with: one line that names ``path``, and a hint of one line."""
    with pytest.raises(DataError) as caught:
        read_ground_truth(folder)
    assert caught.value.exit_code == 3
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message + caught.value.hint
    assert FACES in caught.value.hint
    return caught.value


# ---- the official files ----


def test_the_official_ground_truth(reference: Path) -> None:
    truth = read_ground_truth(reference / "wider_eval")
    assert len(truth.names) == len(set(truth.names)) == len(truth.ends) == 3226
    assert len(set(truth.events)) == 61
    assert truth.boxes.shape == (39708, 4)
    assert truth.ends[-1] == 39708
    assert {name: int(flags.sum()) for name, flags in truth.counted.items()} == {
        "easy": 7211,
        "medium": 13319,
        "hard": 31958,
    }
    assert {flags.shape for flags in truth.counted.values()} == {(39708,)}
    assert truth.attributes.keys() == set(ATTRIBUTES)
    assert {values.shape for values in truth.attributes.values()} == {(39708,)}
    assert truth.names[0] == "0--Parade/0_Parade_marchingband_1_465"
    assert truth.boxes[0].tolist() == [345, 211, 349, 215]  # 345 211 4 4
    first = {name: int(values[0]) for name, values in truth.attributes.items()}
    assert first == {"blur": 2, "expression": 0, "illumination": 0, "invalid": 0, "occlusion": 2, "pose": 0}
    # what is easy is medium too, and what is medium is hard
    assert (truth.counted["easy"] <= truth.counted["medium"]).all()
    assert (truth.counted["medium"] <= truth.counted["hard"]).all()


# ---- files in the official layout ----


def test_what_was_written_is_read(tmp_path: Path) -> None:
    truth = read_ground_truth(write(tmp_path))
    assert truth.names == ("0--Parade/a", "0--Parade/b_1.2", "1--Handshaking/a")
    assert truth.boxes.tolist() == [[1, 2, 4, 6], [50, 60, 57, 68], [9, 9, 18, 18], [0, 0, 1, 1]]
    assert truth.ends.tolist() == [3, 3, 4]
    assert {name: flags.tolist() for name, flags in truth.counted.items()} == {
        "easy": [False, True, False, False],
        "medium": [False, True, True, False],
        "hard": [False, False, True, True],
    }
    assert {name: values.tolist() for name, values in truth.attributes.items()} == {
        name: [1, 2, 0, 0] for name in ATTRIBUTES
    }


@st.composite
def datasets(draw: st.DrawFn) -> list[Picture]:
    number = st.integers(0, 3000)
    pictures = []
    for event in range(draw(st.integers(1, 3))):
        for name in range(draw(st.integers(1, 3))):
            faces = draw(st.lists(st.tuples(number, number, number, number), max_size=4))
            some = st.lists(st.sampled_from(range(1, len(faces) + 1)), unique=True) if faces else st.just([])
            pictures.append(Picture(f"{event}--E", f"p{name}", faces, {setting: draw(some) for setting in SETTINGS}))
    return pictures


@given(datasets())
@settings(max_examples=30)
def test_any_faces_are_read(tmp_path_factory: pytest.TempPathFactory, pictures: list[Picture]) -> None:
    truth = read_ground_truth(write(tmp_path_factory.mktemp("truth"), pictures))
    assert truth.names == tuple(f"{p.event}/{p.name}" for p in pictures)
    faces = [[x, y, x + width, y + height] for p in pictures for x, y, width, height in p.faces]
    assert truth.boxes.tolist() == faces
    assert truth.boxes.shape == (len(faces), 4)
    assert np.diff(truth.ends, prepend=0).tolist() == [len(p.faces) for p in pictures]
    for setting in SETTINGS:
        flags = [number in p.counted[setting] for p in pictures for number in range(1, len(p.faces) + 1)]
        assert truth.counted[setting].tolist() == flags
    assert truth.attributes["blur"].tolist() == [blur(box) for p in pictures for box in p.faces]


def test_other_types_of_numbers_and_empty_lists(tmp_path: Path) -> None:
    """As MATLAB writes them by default: doubles, rows, and [] of no row and no column."""
    doubles = by_event(PICTURES, lambda p: np.array(p.faces, np.float64) + 0.5 if p.faces else np.zeros((0, 0)))
    rows = by_event(PICTURES, lambda p: np.array([p.counted["easy"]], np.float64) if p.faces else np.zeros((0, 0)))
    truth = read_ground_truth(write(tmp_path, face={"face_bbx_list": doubles}, easy={"gt_list": rows}))
    assert truth.boxes[:2].tolist() == [[1.5, 2.5, 5, 7], [50.5, 60.5, 58, 69]]
    assert truth.ends.tolist() == [3, 3, 4]
    assert truth.counted["easy"].tolist() == [False, True, False, False]


def test_attributes_may_be_absent(tmp_path: Path) -> None:
    missing = dict.fromkeys((f"{name}_label_list" for name in ATTRIBUTES if name != "pose"), None)
    assert read_ground_truth(write(tmp_path, face=missing)).attributes.keys() == {"pose"}


def test_where_the_files_are_looked_for(tmp_path: Path) -> None:
    assert find_ground_truth(tmp_path) is None
    assert find_ground_truth(tmp_path / "none") is None
    (tmp_path / "folder" / FACES).mkdir(parents=True)
    assert find_ground_truth(tmp_path / "folder") is None
    inside = write(tmp_path / "ground_truth")
    assert find_ground_truth(tmp_path) == find_ground_truth(inside) == inside
    assert read_ground_truth(str(tmp_path)).names == read_ground_truth(inside).names
    write(tmp_path, PICTURES[:1])
    assert find_ground_truth(tmp_path) == tmp_path
    assert len(read_ground_truth(tmp_path).names) == 1


# ---- what is refused ----


def test_a_folder_that_does_not_exist_or_holds_something_else(tmp_path: Path) -> None:
    assert refused(tmp_path / "none", tmp_path / "none").message == f"--ground-truth {tmp_path / 'none'} is no folder"
    path = write(tmp_path / "truth") / FACES
    assert refused(path, path).message == f"--ground-truth {path} is no folder"
    (tmp_path / "other").mkdir()
    assert refused(tmp_path / "other", tmp_path / "other").message.endswith(f"other holds no {FACES}")


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_without_its_file(tmp_path: Path, setting: str) -> None:
    (write(tmp_path) / name_of(setting)).unlink()
    error = refused(tmp_path, tmp_path / name_of(setting))
    assert error.message == f"the ground truth {tmp_path / name_of(setting)} does not exist"


@pytest.mark.parametrize(("setting", "key"), LISTS)
def test_a_file_without_one_of_its_lists(tmp_path: Path, setting: str, key: str) -> None:
    write(tmp_path, **{setting: {key: None}})
    assert f"has no {key!r}" in refused(tmp_path, tmp_path / name_of(setting)).message


@pytest.mark.parametrize("setting", ["face", "medium"])
def test_a_file_of_another_data_set(tmp_path: Path, setting: str) -> None:
    path = write(tmp_path) / name_of(setting)
    savemat(path, {"images": np.eye(3), "labels": np.arange(4)})
    assert refused(tmp_path, path).message == f"{path} has no 'event_list': it holds images, labels"
    savemat(path, {})
    assert refused(tmp_path, path).message == f"{path} has no 'event_list': it holds nothing"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"0--Parade/a.jpg\n1\n1 2 3 4\n" * 20,
        bytes(range(256)) * 4,
        b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM" + bytes(400),
    ],
    ids=["empty", "text", "noise", "HDF5"],
)
@pytest.mark.parametrize("setting", ["face", "easy"])
def test_a_file_that_is_no_mat(tmp_path: Path, setting: str, data: bytes) -> None:
    path = write(tmp_path) / name_of(setting)
    path.write_bytes(data)
    assert refused(tmp_path, path).message.startswith(f"{path} is not a MATLAB file that can be read: ")


@pytest.mark.parametrize("setting", ["face", "easy"])
@pytest.mark.parametrize("share", [0.05, 0.2, 0.4])
def test_a_file_that_was_cut_off(tmp_path: Path, setting: str, share: float) -> None:
    path = write(tmp_path) / name_of(setting)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    refused(tmp_path, path)


def test_settings_of_other_pictures(tmp_path: Path) -> None:
    write(tmp_path)
    for others in (PICTURES[::-1], PICTURES[:2], [p._replace(name=p.name + "x") for p in PICTURES]):
        savemat(tmp_path / name_of("medium"), content(others, "medium"))
        message = refused(tmp_path, tmp_path / name_of("medium")).message
        assert message == f"{tmp_path / name_of('medium')} names other pictures than {tmp_path / FACES}"


def test_as_many_lists_as_pictures_are_needed(tmp_path: Path) -> None:
    write(tmp_path, hard={"gt_list": content(PICTURES[:2], "hard")["gt_list"]})
    assert "gt_list has 2 pictures where there are 3" in refused(tmp_path, tmp_path / name_of("hard")).message
    write(tmp_path, face={"face_bbx_list": content(PICTURES[:2])["face_bbx_list"]})
    assert "faces of 2 pictures and names of 3" in refused(tmp_path, tmp_path / FACES).message
    write(tmp_path, face={"file_list": content(PICTURES[:2])["file_list"]})
    refused(tmp_path, tmp_path / FACES)


@pytest.mark.parametrize(("numbers", "wrong"), [([4], 4), ([1, 200, 3], 200), ([0, 2], 0), ([-1, 2], -1), ([-7], -7)])
def test_numbers_of_faces_that_a_picture_does_not_have(tmp_path: Path, numbers: list[int], wrong: int) -> None:
    lists = by_event(PICTURES, lambda p: np.array(numbers if p is PICTURES[0] else [], np.int32).reshape(-1, 1))
    write(tmp_path, easy={"gt_list": lists})
    message = refused(tmp_path, tmp_path / name_of("easy")).message
    assert f"0--Parade/a counts face {wrong} of 3" in message


def test_a_number_of_a_face_in_a_picture_without_faces(tmp_path: Path) -> None:
    lists = by_event(PICTURES, lambda p: np.array([] if p.faces else [1], np.uint8).reshape(-1, 1))
    message = refused(write(tmp_path, hard={"gt_list": lists}), tmp_path / name_of("hard")).message
    assert "0--Parade/b_1.2 counts face 1 of 0" in message


@pytest.mark.parametrize("numbers", ["words", np.array([[np.nan]]), np.array([[np.inf]])], ids=["text", "NaN", "inf"])
def test_numbers_of_faces_that_are_none(tmp_path: Path, numbers: Any) -> None:
    lists = by_event(PICTURES, lambda p: numbers if p is PICTURES[0] else np.zeros((0, 1)))
    refused(write(tmp_path, easy={"gt_list": lists}), tmp_path / name_of("easy"))


@pytest.mark.parametrize(("setting", "key"), LISTS)
@pytest.mark.parametrize("value", [5, "text", {"x": 1}], ids=["number", "text", "struct"])
def test_lists_laid_out_otherwise(tmp_path: Path, setting: str, key: str, value: Any) -> None:
    refused(write(tmp_path, **{setting: {key: value}}), tmp_path / name_of(setting))


@pytest.mark.parametrize("faces", [1, 2, 4], ids="{} faces".format)
@pytest.mark.parametrize("kept", [ATTRIBUTES, ()], ids=["with attributes", "without"])
def test_boxes_of_three_columns(tmp_path: Path, faces: int, kept: tuple[str, ...]) -> None:
    boxes = by_event(PICTURES, lambda p: np.ones((faces if p is PICTURES[0] else 0, 3)))
    missing = {f"{name}_label_list": None for name in ATTRIBUTES if name not in kept}
    refused(write(tmp_path, face={"face_bbx_list": boxes, **missing}), tmp_path / FACES)


def test_boxes_that_are_text(tmp_path: Path) -> None:
    boxes = by_event(PICTURES, lambda p: "text")
    message = refused(write(tmp_path, face={"face_bbx_list": boxes}), tmp_path / FACES).message
    assert "does not have 4 columns" in message


def test_attributes_of_other_faces(tmp_path: Path) -> None:
    lists = by_event(PICTURES, lambda p: np.zeros((len(p.faces) + 1, 1)))
    message = refused(write(tmp_path, face={"occlusion_label_list": lists}), tmp_path / FACES).message
    assert message == f"{tmp_path / FACES}: faces and occlusion are not of one length"


# ---- some of it, and what it is known by ----

A, B, C, D = (0, 0, 9, 9), (20, 0, 29, 9), (40, 0, 49, 9), (60, 0, 69, 9)


def some_truth(**changes: object) -> Truth:
    values = {
        "names": ("e/b", "e/a", "f/c"),
        "boxes": np.array([A, B, C, D], np.float64),
        "ends": np.array([2, 2, 4]),
        "counted": {"easy": np.array([1, 0, 0, 1], bool), "hard": np.array([1, 1, 0, 1], bool)},
        "attributes": {"blur": np.array([0, 1, 2, 1])},
    }
    return Truth(**{**values, **changes})


def test_some_of_the_pictures() -> None:
    part = some_truth().select([2, 0])
    assert part.names == ("f/c", "e/b")
    assert part.boxes.tolist() == [list(box) for box in (C, D, A, B)]
    assert part.ends.tolist() == [2, 4]
    assert part.picture.tolist() == [0, 0, 1, 1]
    assert {name: flags.tolist() for name, flags in part.counted.items()} == {
        "easy": [False, True, True, False],
        "hard": [False, True, True, True],
    }
    assert part.attributes["blur"].tolist() == [2, 1, 0, 1]
    assert part.events == ("f", "e")
    without = some_truth().select([1])
    assert (without.names, without.boxes.shape, without.ends.tolist()) == (("e/a",), (0, 4), [0])
    nothing = some_truth().select([])
    assert (nothing.names, nothing.boxes.shape, nothing.ends.tolist()) == ((), (0, 4), [])


def test_the_fingerprint_is_of_the_pictures_and_faces_and_not_of_their_order() -> None:
    print_ = some_truth().fingerprint()
    assert some_truth().select([1, 2, 0]).fingerprint() == print_
    assert some_truth(counted=dict(reversed(some_truth().counted.items()))).fingerprint() == print_
    others = [
        some_truth().select([0, 1]),
        some_truth(names=("e/b", "e/a", "f/d")),
        some_truth(boxes=np.array([A, B, C, (60, 0, 69, 8)], np.float64)),
        some_truth(counted={**some_truth().counted, "hard": np.array([1, 1, 1, 1], bool)}),
        some_truth(ends=np.array([1, 2, 4])),  # the second face is in the next picture
    ]
    assert len({print_, *(other.fingerprint() for other in others)}) == 1 + len(others)


def test_detections_of_some_pictures_and_of_none() -> None:
    none = (np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
    one = (np.array([A], np.float32), np.array([0.5], np.float32))
    found = Found.of([none, one, none, one])
    assert (len(found), found.ends.tolist(), found.picture.tolist()) == (2, [0, 1, 1, 2], [1, 3])
    assert found.boxes.dtype == found.scores.dtype == np.float64
    for empty, pictures in (Found.of([none, none]), 2), (Found.of([]), 0):
        assert (len(empty), empty.boxes.shape, empty.ends.tolist()) == (0, (0, 4), [0] * pictures)


def test_the_truth_of_labelled_pictures() -> None:
    faces = [Faces.of([A, B], ignored=[True, False]), Faces.none(), Faces.of([C])]
    blur, pose = {"blur": np.array([1, 2])}, {"pose": np.array([0])}
    none = {"blur": np.zeros(0, np.int64)}
    truth = truth_of(["a", "e/b", "e/f/c"], faces, [blur, none, {"blur": np.array([0]), **pose}])
    assert truth.events == ("", "e", "e/f")
    assert truth.counted["all"].tolist() == [False, True, True]
    assert truth.ends.tolist() == [2, 2, 3]
    assert {name: values.tolist() for name, values in truth.attributes.items()} == {"blur": [1, 2, 0]}  # all have it
    assert truth_of([], []).boxes.shape == (0, 4)


def test_boxes_that_are_not_numbers_and_half_a_face(tmp_path: Path) -> None:
    boxes = by_event(PICTURES, lambda p: np.full((len(p.faces), 4), np.nan))
    message = refused(write(tmp_path, face={"face_bbx_list": boxes}), tmp_path / FACES).message
    assert "is not finite" in message
    lists = by_event(PICTURES, lambda p: np.array([[1.5]] if p is PICTURES[0] else np.zeros((0, 1))))
    message = refused(write(tmp_path, easy={"gt_list": lists}), tmp_path / name_of("easy")).message
    assert "counts face 1.5 of 3" in message
