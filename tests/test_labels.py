"""Labels as they are found in the wild: every format, every odd entry, and what is refused."""

import json
import struct
import tempfile
import time
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featherface_core.data.annotation import AnnotationSet, Faces, PictureSource
from featherface_core.data.convert import WRITERS, convert
from featherface_core.data.files import FilePictures, find_split, missing_pictures
from featherface_core.data.labels import FORMS, find_labels, read_labels
from featherface_core.data.picture_size import picture_size
from featherface_core.errors import ConfigError, DataError, FeatherFaceError
from featherface_core.pictures import read_picture

DATA = Path(__file__).parents[2] / "shared" / "data"
LANDMARKS = "12 14 0.0 28 14 0.0 20 20 1.0 14 28 0.0 26 28 0.0"
UNKNOWN = " ".join(["-1.0"] * 15)


@cache
def png(width: int, height: int, shade: int = 0) -> bytes:
    """A small file of any size."""
    return bytes(cv2.imencode(".png", np.full((height, width, 3), shade, np.uint8))[1])


def put(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def boxes(labels: AnnotationSet, index: int = 0) -> list[list[float]]:
    return labels.annotations[index].faces.boxes.tolist()


def kinds(labels: AnnotationSet) -> list[str]:
    return [problem.kind for problem in labels.problems]


def voc_xml(name: str, *objects: str) -> str:
    return f"<annotation><filename>{name}</filename>{''.join(objects)}</annotation>"


def voc_object(name: str, *corners: object, difficult: int = 0) -> str:
    values = "".join(
        f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True) if v is not None
    )
    return f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>{values}</bndbox></object>"


def coco(*annotations: object, categories: object = ()) -> dict[str, object]:
    return {
        "images": [{"id": 7, "file_name": "a.jpg"}, {"id": 3, "file_name": "b/c.jpg"}],
        "annotations": list(annotations),
        "categories": list(categories),  # type: ignore[call-overload]
    }


# --- RetinaFace ---------------------------------------------------------------------------------------------------------


def test_retinaface(tmp_path: Path) -> None:
    text = f"# a/1.jpg\n10 10 20 24.5 {LANDMARKS} 0.9\n-3 5 8 9 {UNKNOWN} 0.0\n\n# b.jpg\n# a/c d.jpg\n1 2 3 4\n"
    labels = read_labels(put(tmp_path / "anything.txt", text))
    assert (labels.form, labels.source, labels.problems) == ("retinaface", tmp_path / "anything.txt", ())
    assert [a.name for a in labels.annotations] == ["a/1.jpg", "b.jpg", "a/c d.jpg"]
    assert labels.annotations[0].path == tmp_path / "images" / "a/1.jpg"
    assert boxes(labels) == [[10, 10, 30, 34.5], [-3, 5, 5, 14]]
    assert (boxes(labels, 1), boxes(labels, 2)) == ([], [[1, 2, 4, 6]])
    first = labels.annotations[0].faces
    assert first.has_landmarks.tolist() == [True, False]
    assert first.landmarks[0].tolist() == [[12, 14], [28, 14], [20, 20], [14, 28], [26, 28]]
    assert first.landmarks.dtype == first.boxes.dtype == np.float32
    assert not first.ignored.any()
    assert (first.weights == 1).all()


def test_retinaface_from_windows(tmp_path: Path) -> None:
    labels = read_labels(put(tmp_path / "label.txt", "\ufeff# a.jpg\r\n1 2 3 4\r\n\t# b.jpg \r\n 5  6\t7 8 \r\n"))
    assert [a.name for a in labels.annotations] == ["a.jpg", "b.jpg"]
    assert boxes(labels, 1) == [[5, 6, 12, 14]]


def test_retinaface_pictures_beside_the_label(tmp_path: Path) -> None:
    put(tmp_path / "a.jpg", png(8, 8))
    assert read_labels(put(tmp_path / "label.txt", "# a.jpg\n")).annotations[0].path == tmp_path / "a.jpg"
    put(tmp_path / "images" / "a.jpg", png(8, 8))
    assert read_labels(tmp_path).annotations[0].path == tmp_path / "images" / "a.jpg"


def test_retinaface_ignored_faces(tmp_path: Path) -> None:
    put(tmp_path / "label.txt", "# a.jpg\n1 1 5 5\n# b.jpg\n")
    put(tmp_path / "ignore.txt", f"# b.jpg\n2 2 6 6 {LANDMARKS} 1\n# a.jpg\n3 3 7 7\n# other.jpg\n1 1 1 1\n1 1 2 2\n")
    labels = read_labels(tmp_path)
    assert boxes(labels) == [[1, 1, 6, 6], [3, 3, 10, 10]]
    assert labels.annotations[0].faces.ignored.tolist() == [False, True]
    assert labels.annotations[1].faces.ignored.tolist() == [True]
    assert labels.annotations[1].faces.has_landmarks.tolist() == [True]
    assert kinds(labels) == ["ignored-elsewhere"]
    assert "2 ignored faces" in labels.problems[0].what


def test_retinaface_odd_faces_are_kept_and_reported(tmp_path: Path) -> None:
    partly = LANDMARKS.replace("20 20 1.0", "-1 -1 -1")
    near_border = LANDMARKS.replace("12 14", "-0.4 14")
    lines = [f"1 1 0 9 {LANDMARKS} 1", f"9 9 -4 5 {UNKNOWN} 1", f"1 1 9 9 {partly} 1", f"0 0 9 9 {near_border} 1"]
    labels = read_labels(put(tmp_path / "label.txt", "\n".join(["# a.jpg", *lines])))
    faces = labels.annotations[0].faces
    assert faces.ignored.tolist() == [True, True, False, False]
    assert faces.boxes[:2].tolist() == [[1, 1, 1, 10], [9, 9, 9, 14]]
    assert faces.has_landmarks.tolist() == [True, False, False, True]
    assert np.isnan(faces.landmarks[2]).all()
    assert kinds(labels) == ["zero-area", "zero-area", "landmarks-incomplete"]
    assert labels.problems[1].where == f"{tmp_path / 'label.txt'}:3"
    assert "-4 x 5 px" in labels.problems[1].what


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("1 2 3 4\n# a.jpg\n", 1, "a face before any picture"),
        ("# a.jpg\n1 2 3\n", 2, "3 columns, not 4 or 20"),
        ("# a.jpg\n1 2 3 4\n1 2 3 4 5\n", 3, "5 columns"),
        ("# a.jpg\n1\n", 2, "1 column, not"),
        ("# a.jpg\n\n1 2 x 4\n", 3, "'x' in column 3 is not a number"),
        ("# a.jpg\n1 1_0 3 4\n", 2, "'1_0' in column 2 is not a number"),
        ("# a.jpg\n1 2 3 4\n1 2 nan 4\n", 3, "nan in column 3"),
        ("# a.jpg\n1 2 3 -inf\n", 2, "-inf in column 4"),
        (f"# a.jpg\n1 2 3 4\n1 2 3 4 {UNKNOWN} 1e9\n", 3, "1e+09 in column 20"),
        ("# a.jpg\n#\n", 2, "'#' without the name"),
        ("# a.jpg\nb.jpg\n", 2, "'b.jpg' in column 1"),
    ],
)
def test_retinaface_refuses(tmp_path: Path, text: str, line: int, says: str) -> None:
    path = put(tmp_path / "label.txt", text)
    with pytest.raises(DataError) as refused:
        read_labels(tmp_path)
    assert refused.value.message.startswith(f"{path}:{line}: ")
    assert says in refused.value.message
    assert refused.value.hint


def test_names_that_are_no_utf8(tmp_path: Path) -> None:
    put(tmp_path / "label.txt", b"# b\xff.jpg\n1 2 3 4\n")
    (annotation,) = read_labels(tmp_path).annotations
    annotation.path.parent.mkdir()
    annotation.path.write_bytes(png(8, 8))
    convert(tmp_path, tmp_path / "out", "coco")
    convert(tmp_path, tmp_path / "again", "wider")
    for folder in ("out", "again"):
        (again,) = read_labels(tmp_path / folder).annotations
        assert again.name == "b\udcff.jpg"
        assert again.path.exists()


# --- WIDER FACE ---------------------------------------------------------------------------------------------------------

WIDER = """a/1.jpg
2
10 20 30 40 1 0 1 0 2 1
5 5 8 8 2 0 0 1 0 0
b.jpg
0
0 0 0 0 0 0 0 0 0 0
2 c.jpg
1
1 1 0 9 0 0 0 0 0 0
"""


def test_wider(tmp_path: Path) -> None:
    labels = read_labels(put(tmp_path / "some_bbx_gt.txt", WIDER))
    assert labels.form == "wider"
    assert [a.name for a in labels.annotations] == ["a/1.jpg", "b.jpg", "2 c.jpg"]
    assert labels.annotations[1].path == tmp_path / "images" / "b.jpg"
    assert boxes(labels) == [[10, 20, 40, 60], [5, 5, 13, 13]]
    assert labels.annotations[0].faces.ignored.tolist() == [False, True]
    assert labels.annotations[0].attributes["blur"].tolist() == [1, 2]
    assert labels.annotations[0].attributes["pose"].tolist() == [1, 0]
    assert not len(labels.annotations[1].faces)
    assert labels.annotations[2].faces.ignored.tolist() == [True]
    assert kinds(labels) == ["zero-area"]
    assert labels.problems[0].where.endswith(":10")


def test_wider_variants(tmp_path: Path) -> None:
    bare = read_labels(put(tmp_path / "a.txt", "a.jpg\n0\nb.jpg\n1\n1 2 3 4\n"))  # no line of zeros, boxes alone
    assert [len(a.faces) for a in bare.annotations] == [0, 1]
    put(tmp_path / "WIDER_val" / "images" / "a" / "1.jpg", png(8, 8))
    nested = read_labels(put(tmp_path / "wider_face_split" / "wider_face_val_bbx_gt.txt", WIDER))
    assert nested.annotations[0].path == tmp_path / "WIDER_val" / "images" / "a" / "1.jpg"


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("1 2 3 4 0 0 0 0 0 0\na.jpg\n0\n", 1, "a face before any picture"),
        ("a.jpg\n1\n1 2 3 4\n5 6 7 8\n", 4, "more faces than the count of 'a.jpg'"),
        ("a.jpg\n2\n1 2 3 4\nb.jpg\n0\n", 4, "'a.jpg' announces 2 faces"),
        ("a.jpg\n0\n0 0 0 0 0 0 0 0 0 0\nb.jpg\nx\n", 5, "'x' is not the count of faces of 'b.jpg'"),
        ("a.jpg\n0\nb.jpg\n-1\n", 4, "'-1' is not the count"),
        ("a.jpg\n3\n1 2 3 4\n", 3, "ends before the 3 faces"),
        ("a.jpg\n0\nb.jpg\n", 3, "ends after the name 'b.jpg'"),
        ("a.jpg\n1\n1 2 3 4 5\n", 3, "5 columns, not 4 or 10"),
        ("a.jpg\n1\n1 2 y 4\n", 3, "'y' in column 3"),
        ("a.jpg\n1\n1 inf 3 4\n", 3, "inf in column 2"),
    ],
)
def test_wider_refuses(tmp_path: Path, text: str, line: int, says: str) -> None:
    path = put(tmp_path / "x_bbx_gt.txt", text)
    with pytest.raises(DataError) as refused:
        read_labels(path)
    assert refused.value.message.startswith(f"{path}:{line}: ")
    assert says in refused.value.message


# --- COCO ---------------------------------------------------------------------------------------------------------------


def test_coco(tmp_path: Path) -> None:
    points = [v for x, y in ((2, 2), (8, 2), (5, 5), (3, 8), (7, 8)) for v in (x, y, 2)]
    hidden = [*points[:3], 5, 5, 0, *points[6:]]
    data = coco(
        {"id": 1, "image_id": 3, "bbox": [1, 2, 10.5, 20], "keypoints": points, "category_id": 1},
        {"id": 2, "image_id": 7, "bbox": [5, 5, 9, 9], "iscrowd": 1, "category_id": 1},
        {"id": 3, "image_id": 3, "bbox": [0, 0, 0, 9], "keypoints": hidden, "category_id": 1},
        {"id": 4, "image_id": 99, "bbox": [0, 0, 3, 9], "category_id": 1},
        {"id": 5, "image_id": 3, "bbox": [0, 0, 3, 9], "category_id": 2},
        {"id": 6, "image_id": 7, "bbox": [0, 0, 3, 9], "keypoints": [0] * 51, "category_id": 1},
        categories=[{"id": 1, "name": "Face"}, {"id": 2, "name": "cat"}],
    )
    labels = read_labels(put(tmp_path / "x.json", json.dumps(data)))
    assert (labels.form, [a.name for a in labels.annotations]) == ("coco", ["a.jpg", "b/c.jpg"])
    assert (boxes(labels), boxes(labels, 1)) == ([[5, 5, 14, 14], [0, 0, 3, 9]], [[1, 2, 11.5, 22], [0, 0, 0, 9]])
    assert labels.annotations[0].faces.ignored.tolist() == [True, False]
    assert labels.annotations[1].faces.has_landmarks.tolist() == [True, False]
    assert sorted(kinds(labels)) == ["landmarks-incomplete", "landmarks-incomplete", "unknown-picture", "zero-area"]


def test_coco_without_a_face_category_reads_all(tmp_path: Path) -> None:
    both = [{"image_id": 3, "bbox": [0, 0, 3, 9], "category_id": i} for i in (1, 2)]
    data = coco(*both, categories=[{"id": 1, "name": "mask"}, {"id": 2, "name": "bare"}])
    labels = read_labels(put(tmp_path / "x.json", json.dumps(data)))
    assert len(labels.annotations[1].faces) == 2
    assert kinds(labels) == ["several-classes"]


def test_coco_in_its_own_folders(tmp_path: Path) -> None:
    put(tmp_path / "annotations" / "instances_val2017.json", json.dumps(coco()))
    put(tmp_path / "val2017" / "a.jpg", png(8, 8))
    assert read_labels(tmp_path).annotations[0].path == tmp_path / "val2017" / "a.jpg"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ('{"images": [', "is no JSON"),
        ({"images": 3}, "no list of 'images'"),
        ({"images": [], "info": {}}, "no list of 'annotations'"),
        ({"images": [{"id": 1}], "annotations": []}, "image number 1 has no usable 'file_name'"),
        (coco({"id": 5, "image_id": 3}), "annotation number 1 has no usable 'bbox'"),
        (coco({"id": 5, "bbox": [1, 2, 3, 4]}), "no usable 'image_id'"),
        (coco({"id": 5, "image_id": 3, "bbox": [1, 2, 3]}), "annotation 5: bbox [1, 2, 3] is not a list of 4 numbers"),
        (coco({"id": 5, "image_id": 3, "bbox": [1, 2, "x", 4]}), "annotation 5: 'x' in bbox"),
        (coco({"id": 5, "image_id": 3, "bbox": [1, 2, float("nan"), 4]}), "annotation 5: nan in bbox"),
        (coco({"id": 5, "image_id": 3, "bbox": [1, 2, 3, 4], "keypoints": 3}), "annotation 5: keypoints 3"),
        (coco({"image_id": 3, "bbox": [1, 2, True, 4]}), "annotation number 1: True in bbox"),
        (coco([]), "annotation number 1"),
    ],
)
def test_coco_refuses(tmp_path: Path, data: object, says: str) -> None:
    path = put(tmp_path / "x.json", data if isinstance(data, str) else json.dumps(data))
    with pytest.raises(DataError) as refused:
        read_labels(path)
    assert refused.value.message.startswith(str(path))
    assert says in refused.value.message
    assert len(refused.value.message.splitlines()) == 1


# --- YOLO ---------------------------------------------------------------------------------------------------------------


def test_yolo(tmp_path: Path) -> None:
    for name in ("a.png", "sub/b.png", "empty.png"):
        put(tmp_path / "images" / name, png(200, 100))
    xy = "0.4 0.4 0.6 0.4 0.5 0.5 0.45 0.6 0.55 0.6"
    xyv = "0.4 0.4 2 0.6 0.4 1 0.5 0.5 2 0.45 0.6 2 0.55 0.6 2"
    lines = ["0 0.5 0.5 0.25 0.5", f"0 0.5 0.5 0.1 0.1 {xy}", f"0 0.5 0.5 0.1 0.1 {xyv}"]
    lines += ["0 0.5 0.5 0.1 0.1" + " -1" * 10, "0 0.5 0.5 0.1 0.1" + " 0" * 15, "1 0.5 0.5 0 0.1"]
    put(tmp_path / "labels" / "a.txt", "\n".join(lines))
    put(tmp_path / "labels" / "sub" / "b.txt", "")
    put(tmp_path / "labels" / "classes.txt", "face\n")
    labels = read_labels(tmp_path)
    assert (labels.form, [a.name for a in labels.annotations]) == ("yolo", ["a.png", "empty.png", "sub/b.png"])
    assert boxes(labels)[0] == [75, 25, 125, 75]
    faces = labels.annotations[0].faces
    assert faces.has_landmarks.tolist() == [False, True, True, False, False, False]
    np.testing.assert_allclose(faces.landmarks[1], faces.landmarks[2])
    np.testing.assert_allclose(faces.landmarks[1][0], [80, 40])
    assert faces.ignored.tolist() == [False] * 5 + [True]
    assert [len(a.faces) for a in labels.annotations] == [6, 0, 0]
    assert sorted(kinds(labels)) == ["several-classes", "zero-area"]


def test_yolo_needs_its_pictures(tmp_path: Path) -> None:
    put(tmp_path / "labels" / "a.txt", "0 0.5 0.5 0.25 0.5")
    put(tmp_path / "labels" / "b.txt", "0 0.5 0.5 0.25 0.5")
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match="none of the 2 labels"):
        read_labels(tmp_path)
    put(tmp_path / "images" / "a.jpg", png(8, 8))
    put(tmp_path / "images" / "c.jpg", b"no picture")
    put(tmp_path / "labels" / "c.txt", "")
    labels = read_labels(tmp_path)
    assert [a.name for a in labels.annotations] == ["a.jpg"]
    assert sorted(kinds(labels)) == ["missing-picture", "unreadable-picture"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("0 0.5 0.5 0.25", "4 columns, not 5 or 15 or 20"),
        ("0 0.5 0.5 x 0.1", "'x' in column 4"),
        ("0 0.5 0.5 nan 0.1", "nan in column 4"),
        ("0 120 80 30 40", "not in shares of the picture"),
    ],
)
def test_yolo_refuses(tmp_path: Path, text: str, says: str) -> None:
    put(tmp_path / "images" / "a.png", png(200, 100))
    path = put(tmp_path / "labels" / "a.txt", f"0 0.5 0.5 0.2 0.2\n{text}\n")
    with pytest.raises(DataError) as refused:
        read_labels(tmp_path)
    assert refused.value.message.startswith(f"{path}:2: ")
    assert says in refused.value.message


# --- Pascal VOC ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["JPEGImages", "images", "Annotations"])
def test_voc(tmp_path: Path, folder: str) -> None:
    put(tmp_path / folder / "s" / "a.jpg", png(8, 8))
    odd = voc_object("face", 9, 9, 4, 12)
    put(
        tmp_path / "Annotations" / "s" / "a.xml",
        voc_xml("a.jpg", voc_object("face", 1, 2.5, 11, 12, difficult=1), odd, voc_object("cat", 1, 1, 2, 2)),
    )
    put(tmp_path / "Annotations" / "b.xml", voc_xml("b.jpg"))
    labels = read_labels(tmp_path)
    assert (labels.form, [a.name for a in labels.annotations]) == ("voc", ["b.jpg", "s/a.jpg"])
    assert labels.annotations[1].path == tmp_path / folder / "s" / "a.jpg"
    assert boxes(labels, 1) == [[1, 2.5, 11, 12], [9, 9, 9, 12]]
    assert labels.annotations[1].faces.ignored.tolist() == [True, True]
    assert kinds(labels) == ["zero-area"]


def test_voc_with_other_classes(tmp_path: Path) -> None:
    path = put(tmp_path / "a.xml", voc_xml("a.jpg", voc_object("mask", 1, 1, 2, 2), voc_object("bare", 1, 1, 3, 3)))
    for place in (path, tmp_path):
        labels = read_labels(place)
        assert len(labels.annotations[0].faces) == 2
        assert kinds(labels) == ["several-classes"]


@pytest.mark.parametrize(
    ("xml", "says"),
    [
        ("<annotation>", "is no XML"),
        (voc_xml("a.jpg", voc_object("face", 1, 2, 3, None)), "object 1: ymax ''"),
        (voc_xml("a.jpg", voc_object("face", 1, 2, 3, 4), voc_object("face", 1, "y", 3, 4)), "object 2: ymin 'y'"),
        (voc_xml("a.jpg", voc_object("face", "nan", 2, 3, 4)), "object 1: xmin 'nan'"),
    ],
)
def test_voc_refuses(tmp_path: Path, xml: str, says: str) -> None:
    path = put(tmp_path / "Annotations" / "a.xml", xml)
    with pytest.raises(DataError) as refused:
        read_labels(tmp_path)
    assert refused.value.message.startswith(str(path))
    assert says in refused.value.message


# --- what a file or a folder holds --------------------------------------------------------------------------------------


def test_files_that_are_no_labels(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_labels(tmp_path / "missing.txt")
    with pytest.raises(DataError, match="is empty"):
        read_labels(put(tmp_path / "empty.txt", ""))
    for name, content in (
        ("a.png", png(8, 8)),
        ("notes.txt", "hello\nworld\n"),
        ("yolo.txt", "0 0.5 0.5 0.1 0.1\n"),
        ("x.json", '{"a": 1}'),
        ("x.xml", "<html/>"),
        ("list.json", "[1, 2]"),
        ("req.txt", "# packages\nnumpy\n"),
        ("blank.txt", " \n"),
    ):
        with pytest.raises(DataError, match="no label that is known") as refused:
            read_labels(put(tmp_path / name, content))
        assert refused.value.hint.startswith("expected: label.txt")
    with pytest.raises(DataError, match="names no pictures"):
        read_labels(put(tmp_path / "label.txt", ""))


def test_folders_without_labels(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the folder .* is empty"):
        read_labels(tmp_path)
    put(tmp_path / "notes.txt", "hello\n")
    with pytest.raises(DataError, match="holds no labels") as refused:
        read_labels(tmp_path)
    assert "Annotations/*.xml" in refused.value.hint
    put(tmp_path / "deep" / "label.txt", "# a.jpg\n")
    with pytest.raises(DataError, match="its folders deep do"):
        read_labels(tmp_path)


def test_a_folder_with_several_labels(tmp_path: Path) -> None:
    put(tmp_path / "label.txt", "# a.jpg\n")
    put(tmp_path / "notes.txt", "hello\n")
    assert read_labels(tmp_path).form == "retinaface"
    put(tmp_path / "b.json", json.dumps(coco()))
    put(tmp_path / "images" / "a.png", png(8, 8))
    put(tmp_path / "labels" / "a.txt", "")
    with pytest.raises(ConfigError) as refused:
        read_labels(tmp_path)
    for name in ("retinaface (label.txt)", "coco (b.json)", "yolo (images/ and labels/)"):
        assert name in refused.value.message
    assert len(find_labels(tmp_path)) == 3
    assert read_labels(tmp_path / "b.json").form == "coco"


@pytest.mark.parametrize("val", ["val", "valid", "validation"])
def test_find_split(tmp_path: Path, val: str) -> None:
    put(tmp_path / "train" / "label.txt", "# a.jpg\n")
    assert find_split(tmp_path)[1] is None
    put(tmp_path / val / "label.txt", "# b.jpg\n")
    for place in (tmp_path, tmp_path / "train"):
        train, other = find_split(place)
        assert other is not None
        assert (train.annotations[0].name, other.annotations[0].name) == ("a.jpg", "b.jpg")
    alone, none = find_split(tmp_path / val)
    assert (alone.annotations[0].name, none) == ("b.jpg", None)
    assert find_split(tmp_path / "train" / "label.txt")[1] is None


def test_find_split_of_yolo(tmp_path: Path) -> None:
    for part, width in (("train", 100), ("val", 200)):
        put(tmp_path / "images" / part / "a.png", png(width, 50))
        put(tmp_path / "labels" / part / "a.txt", "0 0.5 0.5 0.5 0.5")
    train, val = find_split(tmp_path)
    assert val is not None
    assert (boxes(train), boxes(val)) == ([[25, 12.5, 75, 37.5]], [[50, 12.5, 150, 37.5]])
    assert (train.annotations[0].name, train.source) == ("a.png", tmp_path / "labels" / "train")


def test_find_split_of_two_label_files(tmp_path: Path) -> None:
    put(tmp_path / "wider_face_train_bbx_gt.txt", WIDER)
    put(tmp_path / "wider_face_val_bbx_gt.txt", "v.jpg\n0\n")
    train, val = find_split(tmp_path)
    assert val is not None
    assert (len(train.annotations), len(val.annotations)) == (3, 1)
    put(tmp_path / "label.txt", "# a.jpg\n")
    with pytest.raises(ConfigError, match="holds 3 labels"):
        find_split(tmp_path)


# --- pictures -----------------------------------------------------------------------------------------------------------


def test_file_pictures(tmp_path: Path) -> None:
    put(tmp_path / "label.txt", "# a.png\n1 2 3 4\n# s/b.png\n1 2 3 4\n1 2 5 5\n# c.png\n")
    with pytest.raises(DataError, match="a label without its pictures: none of 3"):
        FilePictures.checked(read_labels(tmp_path))
    put(tmp_path / "images" / "a.png", png(20, 10, 7))
    put(tmp_path / "images" / "c.png", b"")
    (tmp_path / "images" / "s").mkdir()
    (tmp_path / "images" / "s" / "b.png").symlink_to(tmp_path / "nowhere.png")
    labels = read_labels(tmp_path)
    assert [a.name for a in missing_pictures(labels.annotations)] == ["s/b.png"]
    pictures, problems = FilePictures.checked(labels)
    source: PictureSource = pictures
    assert (len(source), source.name) == (2, str(tmp_path / "label.txt"))
    picture, faces = source.read(0)
    assert (picture.shape, int(picture.max())) == ((10, 20, 3), 7)
    assert faces.boxes.tolist() == [[1, 2, 4, 6]]
    assert [(p.kind, p.severity) for p in problems] == [("missing-picture", "error")]
    assert "2 faces lost" in problems[0].what
    with pytest.raises(DataError, match="is empty"):
        source.read(1)


def exif(orientation: int, order: str) -> bytes:
    """An APP1 segment with one tag."""
    mark = {"<": b"II*\0", ">": b"MM\0*"}[order]
    tiff = mark + struct.pack(order + "IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    return b"\xff\xe1" + struct.pack(">H", len(tiff) + 8) + b"Exif\0\0" + tiff


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_picture_size_of_turned_photographs(tmp_path: Path, orientation: int, order: str) -> None:
    plain = bytes(cv2.imencode(".jpg", np.zeros((20, 30, 3), np.uint8))[1])
    path = put(tmp_path / "a.jpg", plain[:2] + exif(orientation, order) + plain[2:])
    assert picture_size(path) == read_picture(path).shape[1::-1]
    assert picture_size(path) == ((20, 30) if orientation > 4 else (30, 20))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".tiff"])
def test_picture_size(tmp_path: Path, suffix: str) -> None:
    for shape in ((21, 33, 3), (40, 7)):
        assert cv2.imwrite(str(tmp_path / f"a{suffix}"), np.zeros(shape, np.uint8))
        assert picture_size(tmp_path / f"a{suffix}") == (shape[1], shape[0])


def test_picture_size_of_broken_files(tmp_path: Path) -> None:
    for content in (b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe1\0", b"\xff\xd8" + b"\xff" * 40, b"text"):
        with pytest.raises(DataError):
            picture_size(put(tmp_path / "a.jpg", content))
    with pytest.raises(DataError):
        picture_size(tmp_path / "missing.png")


# --- there and back -----------------------------------------------------------------------------------------------------

SIZES = ((64, 48), (333, 517), (4000, 3000))


@st.composite
def labelled(draw: st.DrawFn) -> list[tuple[str, tuple[int, int], Faces]]:
    """A few pictures with faces, also across the border, with and without landmarks, some ignored."""
    pictures = []
    for i in range(draw(st.integers(1, 3))):
        width, height = draw(st.sampled_from(SIZES))
        count = draw(st.integers(0, 4))
        seed = draw(st.integers(0, 2**32 - 1))
        rng = np.random.default_rng(seed)
        corner = rng.uniform((-20, -20), (width, height), (count, 2))
        found = np.concatenate([corner, corner + rng.uniform(0.5, 300, (count, 2))], 1)
        points = rng.uniform(-5, 600, (count, 5, 2))
        points[rng.random(count) < 0.4] = np.nan
        faces = Faces.of(found, points, rng.random(count) < 0.3)
        pictures.append((f"{draw(st.sampled_from(['', 'a/', 'a b/']))}{i}.png", (width, height), faces))
    return pictures


def retinaface_text(pictures: list[tuple[str, tuple[int, int], Faces]]) -> tuple[str, str]:
    """Written here in full, without the package's writer."""
    texts = ["", ""]
    for name, _, faces in pictures:
        for ignored in (0, 1):
            texts[ignored] += f"# {name}\n"
            for i in np.flatnonzero(faces.ignored == ignored):
                x1, y1, x2, y2 = faces.boxes[i].astype(float)
                points = np.nan_to_num(faces.landmarks[i].astype(float), nan=-1)
                middle = " ".join(f"{x:.6f} {y:.6f} 0" for x, y in points)
                texts[ignored] += f"{x1:.6f} {y1:.6f} {x2 - x1:.6f} {y2 - y1:.6f} {middle} 1\n"
    return texts[0], texts[1]


@settings(max_examples=25)
@given(pictures=labelled(), form=st.sampled_from(sorted(WRITERS)))
def test_there_and_back(pictures: list[tuple[str, tuple[int, int], Faces]], form: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for text, file in zip(retinaface_text(pictures), ("label.txt", "ignore.txt"), strict=True):
            put(root / "in" / file, text)
        for picture, size, _ in pictures:
            put(root / "in" / "images" / picture, png(*size))
        convert(root / "in", root / "out", form)
        again = {a.name: a for a in read_labels(root / "out").annotations}
        assert again.keys() == {picture for picture, _, _ in pictures}
        for picture, size, faces in pictures:
            assert read_picture(again[picture].path).shape[1::-1] == size
            order = np.argsort(faces.ignored, kind="stable")  # ignored faces stand in a file of their own
            wanted, found = faces.select(order), again[picture].faces
            if form == "yolo":
                wanted = wanted.select(~wanted.ignored)
            np.testing.assert_allclose(found.boxes, wanted.boxes, atol=0.01)
            assert found.ignored.tolist() == wanted.ignored.tolist()
            if form in ("voc", "wider"):
                assert not found.has_landmarks.any()
            else:
                np.testing.assert_allclose(found.landmarks, wanted.landmarks, atol=0.01)


VALID = {
    "label.txt": f"# a.jpg\n10 10 20 24.5 {LANDMARKS} 0.9\n# b.jpg\n1 2 3 4\n".encode(),
    "x_bbx_gt.txt": WIDER.encode(),
    "x.json": json.dumps(coco({"id": 1, "image_id": 3, "bbox": [1, 2, 3, 4], "keypoints": [1] * 15})).encode(),
    "x.xml": voc_xml("a.jpg", voc_object("face", 1, 2, 3, 4)).encode(),
    "labels/a.txt": b"0 0.5 0.5 0.1 0.1\n0 0.5 0.5 0.1 0.1 0.4 0.4 0.6 0.4 0.5 0.5 0.45 0.6 0.55 0.6\n",
}


@settings(max_examples=150)
@given(
    name=st.sampled_from(sorted(VALID)),
    place=st.integers(0, 200),
    length=st.integers(0, 60),
    junk=st.binary(max_size=8)
    | st.sampled_from([b"nan", b"1e999", b"#", b"\n", b" ", b"-", b"null", b"[", b"0x1", b"\0"]),
)
def test_damaged_labels_are_read_or_refused(name: str, place: int, length: int, junk: bytes) -> None:
    whole = VALID[name]
    with tempfile.TemporaryDirectory() as folder:
        path = put(Path(folder) / name, whole[:place] + junk + whole[place + length :])
        put(Path(folder) / "images" / "a.jpg", png(8, 8))
        try:
            labels = read_labels(Path(folder) if "/" in name else path)
        except FeatherFaceError as problem:
            refused = problem
        else:
            assert labels.form in FORMS
            for annotation in labels.annotations:
                assert np.isfinite(annotation.faces.boxes).all()
                assert (annotation.faces.boxes[:, 2:] >= annotation.faces.boxes[:, :2]).all()
            return
    assert refused.hint
    assert len(refused.message.split("\n")) == 1


# --- the real files -----------------------------------------------------------------------------------------------------


def real(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"the annotations of WIDER FACE are not part of the repository, and {path} does not exist")
    return path


@pytest.mark.parametrize(
    ("name", "pictures", "faces", "landmarks", "ignored", "problems"),
    [
        ("annotations/wider_train_label.txt", 12_876, 159_393, 72_857, 0, 0),
        ("annotations/wider_face_train_bbx_gt.txt", 12_880, 159_420, 0, 2_426, 27),
        ("annotations/wider_face_val_bbx_gt.txt", 3_226, 39_708, 0, 596, 11),
        ("train", 3_499, 7_936 + 1_047, 8_323, 1_047, 0),
    ],
)
def test_real_labels(name: str, pictures: int, faces: int, landmarks: int, ignored: int, problems: int) -> None:
    path = real(name)
    seconds = []
    for _ in range(2):  # the better of two: a neighbour's work slows a core down
        start = time.process_time()
        labels = read_labels(path)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 3
    found = [a.faces for a in labels.annotations]
    assert (len(found), sum(map(len, found))) == (pictures, faces)
    assert sum(int(f.has_landmarks.sum()) for f in found) == landmarks
    assert sum(int(f.ignored.sum()) for f in found) == ignored
    assert len(labels.problems) == problems


def test_the_two_labels_of_wider_agree() -> None:
    ours = {a.name: a.faces for a in read_labels(real("annotations/wider_train_label.txt")).annotations}
    for annotation in read_labels(real("annotations/wider_face_train_bbx_gt.txt")).annotations:
        if annotation.name in ours:
            official = annotation.faces.boxes
            sides = official[:, 2:] - official[:, :2]
            np.testing.assert_array_equal(ours[annotation.name].boxes, official[(sides > 0).all(1)])
