"""What a file or a folder holds: which labels, which part of a data set, and which of its pictures."""

import json
from pathlib import Path

import pytest
from label_files import WIDER, boxes, coco, png, put

from featherface_core.data.annotation import PictureSource
from featherface_core.data.formats.recognise import find_labels, read_labels
from featherface_core.data.sets import FilePictures, find_split, missing_pictures
from featherface_core.errors import ConfigError, DataError


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


@pytest.mark.parametrize("val", ["val", "valid", "validation"])
def test_find_split_of_a_label_with_val_below(tmp_path: Path, val: str) -> None:
    """Under any name, train among them, and without swallowing what lies below."""
    for folder in (tmp_path / "more", tmp_path / "train"):
        put(folder / "label.txt", "# a.jpg\n1 2 3 4\n")
        put(folder / "ignore.txt", "# a.jpg\n5 5 6 6\n")
        assert find_split(folder)[1] is None
        put(folder / val / "label.txt", "# b.jpg\n")
        train, other = find_split(folder)
        assert other is not None
        assert [a.name for a in train.annotations] == ["a.jpg"]
        assert train.annotations[0].faces.ignored.tolist() == [False, True]
        assert [a.name for a in other.annotations] == ["b.jpg"]


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
    assert source.sets == ((source.name, 2),)
    picture, faces = source.read(0)
    assert (picture.shape, int(picture.max())) == ((10, 20, 3), 7)
    assert faces.boxes.tolist() == [[1, 2, 4, 6]]
    assert [(p.kind, p.severity) for p in problems] == [("missing-picture", "error")]
    assert "2 faces lost" in problems[0].what
    assert source.shape(0) == (10, 20)
    for look in (source.read, source.shape):
        with pytest.raises(DataError, match="is empty"):
            look(1)
    (tmp_path / "images" / "a.png").unlink()
    assert source.shape(0) == (10, 20)  # found once
