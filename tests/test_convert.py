"""data convert: pictures linked or copied, what is lost, and what is never written over."""

from pathlib import Path

import pytest
from data_folders import line, make

from featherface_core.data.convert import convert
from featherface_core.data.formats.recognise import read_labels
from featherface_core.errors import ConfigError, DataError


def test_convert_links_or_copies(small: Path, tmp_path: Path) -> None:
    report = convert(small, tmp_path / "linked", "coco")
    assert (report.pictures, report.faces, report.linked, report.copied) == (3, 4, 3, 0)
    assert (report.source_form, report.form) == ("retinaface", "coco")
    link = tmp_path / "linked" / "train" / "images" / "s" / "a.png"
    assert link.is_symlink()
    assert link.resolve() == (small / "train" / "images" / "s" / "a.png").resolve()
    report = convert(small, tmp_path / "copied", "voc", copy_pictures=True)
    assert (report.linked, report.copied) == (0, 3)
    copy = tmp_path / "copied" / "train" / "JPEGImages" / "s" / "a.png"
    assert not copy.is_symlink()
    assert copy.read_bytes() == link.read_bytes()
    assert [s.name for s in report.sets] == ["train", "val"]
    assert not list(tmp_path.rglob(".*"))


def test_convert_says_what_is_lost(small: Path, tmp_path: Path) -> None:
    lost = {form: "; ".join(convert(small, tmp_path / form, form).lost) for form in ("voc", "yolo", "wider", "coco")}
    assert "landmarks of 1 face: voc" in lost["voc"]
    assert "landmarks of 1 face: wider" in lost["wider"]
    assert "1 ignored face left out" in lost["yolo"]
    assert "1 box reaches outside the picture" in lost["yolo"]
    assert "landmarks of 1" not in lost["coco"] + lost["yolo"]
    assert "attributes" not in lost["coco"]
    assert "attributes: coco" in "; ".join(convert(tmp_path / "wider", tmp_path / "again", "coco").lost)
    assert (tmp_path / "yolo" / "data.yaml").read_text().splitlines()[1:3] == ["train: train/images", "val: val/images"]


def test_convert_keeps_attributes_of_wider(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    text = "a.jpg\n2\n1 2 3.25 4 1 0 1 0 2 1\n5 5 8 8 2 0 0 1 0 0\nb.jpg\n0\n0 0 0 0 0 0 0 0 0 0\n"
    (tmp_path / "in" / "x_bbx_gt.txt").write_text(text)
    convert(tmp_path / "in", tmp_path / "out", "wider")
    assert (tmp_path / "out" / "wider_face_bbx_gt.txt").read_text() == text


def test_convert_without_pictures(tmp_path: Path) -> None:
    train = make(tmp_path / "in", {"a.png": [line(1, 1, 9)], "b.png": [line(1, 1, 9)]})
    (train / "images" / "a.png").unlink()
    report = convert(train, tmp_path / "r", "retinaface")
    assert (report.pictures, report.linked) == (2, 1)
    assert "1 missing picture: labelled, but without a picture" in report.lost
    report = convert(train, tmp_path / "y", "yolo")
    assert (report.pictures, report.linked) == (1, 1)
    assert "1 missing picture: left out" in report.lost
    (train / "images" / "b.png").write_bytes(b"")
    report = convert(train, tmp_path / "c", "coco")
    assert report.pictures == 0
    assert any("cannot be read" in line for line in report.lost)
    (train / "images" / "b.png").unlink()
    with pytest.raises(DataError, match="none of its 2 pictures"):
        convert(train, tmp_path / "v", "voc")
    assert convert(train, tmp_path / "w", "wider").pictures == 2


def test_convert_refuses(small: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'yolov8' is not known") as refused:
        convert(small, tmp_path / "out", "yolov8")
    assert "did you mean 'yolo'" in refused.value.hint
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is not empty") as refused:
        convert(small, tmp_path / "full", "coco")
    assert "--force" in refused.value.hint
    convert(small, tmp_path / "full", "coco", force=True)
    convert(small, tmp_path / "full", "coco", force=True, copy_pictures=True)  # over its own links
    assert (tmp_path / "full" / "mine.txt").read_text() == "mine"
    assert not (tmp_path / "full" / "val" / "images" / "c.png").is_symlink()
    for folder in (small, small / "train"):
        with pytest.raises(ConfigError, match="is the folder that is read"):
            convert(small, folder, "retinaface", force=True)
    with pytest.raises(ConfigError, match="is not a folder"):
        convert(small, tmp_path / "full" / "mine.txt", "coco")
    with pytest.raises(DataError):
        convert(tmp_path / "missing", tmp_path / "out", "coco")
    assert not (tmp_path / "out").exists()


def test_originals_are_never_linked_to_themselves(tmp_path: Path) -> None:
    make(tmp_path, {"a.png": [line(1, 1, 9)]})
    before = (tmp_path / "images" / "a.png").read_bytes()
    (tmp_path / "labels.txt").write_text((tmp_path / "label.txt").read_text())
    (tmp_path / "label.txt").unlink()
    other = tmp_path / "other"
    other.mkdir()
    (other / "images").symlink_to(tmp_path / "images")
    convert(tmp_path, other, "yolo", force=True)
    assert (tmp_path / "images" / "a.png").read_bytes() == before
    assert not (tmp_path / "images" / "a.png").is_symlink()


def test_convert_keeps_names_apart_and_inside(tmp_path: Path) -> None:
    make(tmp_path / "elsewhere", {"z.png": []})
    data = make(tmp_path / "in", {"a.png": [line(1, 1, 9)], "a.jpg": [line(2, 2, 9)]})
    with (data / "label.txt").open("a") as label:
        label.write("# ../../elsewhere/images/z.png\n3 3 9 9\n")
        label.write(f"# {data.resolve() / 'images' / 'a.png'}\n4 4 9 9\n# a.png\n5 5 9 9\n")
    report = convert(data, tmp_path / "out", "yolo")
    names = sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.*"))
    stems = ("a", "a-2", "elsewhere/images/z")
    pictures = (f"images/{stem}.{'jpg' if stem == 'a-2' else 'png'}" for stem in stems)
    assert names == sorted(["data.yaml", *pictures, *(f"labels/{stem}.txt" for stem in stems)])
    faces = {a.name: a.faces.boxes[:, 0].round().tolist() for a in read_labels(tmp_path / "out").annotations}
    assert faces == {"a.png": [1, 4, 5], "a-2.jpg": [2], "elsewhere/images/z.png": [3]}
    assert "2 further entries of a picture joined with its first" in report.lost
