"""Labels as they are found in the wild: every format, every odd entry, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from label_files import LANDMARKS, UNKNOWN, WIDER, boxes, coco, kinds, png, put, voc_object, voc_xml

from featherface_core.data.convert import convert
from featherface_core.data.formats.recognise import read_labels
from featherface_core.errors import DataError

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
        (f"a.jpg\n0\nb.jpg\n{'9' * 5000}\n", 4, "'999999"),  # int() takes 4,300 digits
        (f"a.jpg\n1\n1 2 3 {'9' * 5000}\n", 3, "inf in column 4"),
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


def test_problems_of_yolo_come_in_the_order_of_the_names(tmp_path: Path) -> None:
    put(tmp_path / "images" / "a.png", png(8, 8))
    names = [f"{i:03}.txt" for i in range(40)]
    for name in ("a.txt", *names):
        put(tmp_path / "labels" / name, "0 0.5 0.5 0.25 0.5")
    places = [problem.where for problem in read_labels(tmp_path).problems]
    assert places == [str(tmp_path / "labels" / name) for name in names]


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
