"""From --data to pictures: drawn ones, folders with and without a validation part; and the sheets that show them."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from featherface_core.data.annotation import Annotation, Faces, Picture
from featherface_core.data.contact_sheet import COLOURS, FACE, GAP, IGNORED, contact_sheet, draw_labels
from featherface_core.data.sets import (
    SYNTHETIC_HELD_OUT,
    SYNTHETIC_PICTURES,
    SYNTHETIC_SIDE,
    open_data,
    open_one,
    split_by_name,
)
from featherface_core.data.synthetic import SyntheticFaces
from featherface_core.errors import ConfigError, DataError
from featherface_core.events import Note, RunEvent
from featherface_core.pictures import read_picture
from featherface_core.recipe import AugmentConfig, Recipe
from featherface_core.training.loader import TrainingPictures
from featherface_core.training.preview import preview, training_samples

PIXELS = bytes(cv2.imencode(".png", np.full((40, 50, 3), 90, np.uint8))[1])
POINTS = "12 14 0.0 28 14 0.0 20 20 0.0 14 28 0.0 26 28 0.0"


def names(count: int, start: int = 0) -> list[str]:
    return [f"p{number}.png" for number in range(start, start + count)]


def labelled(folder: Path, pictures: list[str], missing: tuple[str, ...] = ()) -> Path:
    """A RetinaFace label with a face of 30 pixels in each picture; those of ``missing`` are not written."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    lines = []
    for name in pictures:
        lines += [f"# {name}", f"5 5 30 30 {POINTS} 0.9"]
        if name not in missing:
            (folder / "images" / name).write_bytes(PIXELS)
    (folder / "label.txt").write_text("".join(f"{line}\n" for line in lines))
    return folder


def named(source: object) -> list[str]:
    return [annotation.name for annotation in source.annotations]


# ---- drawn pictures ----


def test_synthetic_data() -> None:
    train, validation = open_data("synthetic")
    assert (len(train), len(validation)) == (SYNTHETIC_PICTURES, SYNTHETIC_HELD_OUT)
    picture, faces = train.read(3)
    assert picture.shape == (SYNTHETIC_SIDE, SYNTHETIC_SIDE, 3)
    np.testing.assert_array_equal(faces.boxes, train.faces(3).boxes)
    train, validation = open_data("synthetic:12")
    assert (len(train), len(validation)) == (12, SYNTHETIC_HELD_OUT)
    assert len(open_one("synthetic:7")) == 7
    assert len(open_one("synthetic")) == SYNTHETIC_PICTURES


def fingerprints(source: object, count: int) -> set[bytes]:
    return {source.read(index)[0].tobytes() for index in range(count)}


def test_the_drawn_pictures_that_are_validated_on_are_not_trained_on() -> None:
    train, validation = open_data("synthetic:12")
    assert not fingerprints(train, 12) & fingerprints(validation, 12)
    # a larger set begins with the smaller one
    assert fingerprints(open_data("synthetic:5")[0], 5) <= fingerprints(train, 12)


def test_drawn_pictures_named_for_validation_are_not_trained_on() -> None:
    train, validation = open_data("synthetic:12", "synthetic:5")
    assert (len(train), len(validation)) == (12, 5)
    assert not fingerprints(train, 12) & fingerprints(validation, 5)


@pytest.mark.parametrize("text", ["0", "-3", "many", "1.5", "1e3", " 5", "5:6", "²"])
@pytest.mark.parametrize("where", ["data", "held out", "one"])
def test_a_bad_number_of_drawn_pictures(text: str, where: str) -> None:
    name = f"synthetic:{text}"
    openers = {"data": lambda: open_data(name), "held out": lambda: open_data("synthetic:4", name)}
    with pytest.raises(ConfigError) as caught:
        openers.get(where, lambda: open_one(name))()
    assert repr(text) in caught.value.message
    assert "synthetic:2000" in caught.value.hint


@pytest.mark.parametrize("digits", [20, 5000])
def test_more_drawn_pictures_than_a_computer_can_count(digits: int) -> None:
    with pytest.raises(ConfigError):
        len(open_data("synthetic:" + "9" * digits)[0])


# ---- labelled folders ----


def test_a_folder_with_train_and_val(tmp_path: Path) -> None:
    labelled(tmp_path / "train", names(3))
    labelled(tmp_path / "val", names(2, 10))
    events: list[RunEvent] = []
    train, validation = open_data(str(tmp_path), None, events.append)
    assert (named(train), named(validation)) == (names(3), names(2, 10))
    assert not events
    picture, faces = validation.read(1)
    assert picture.shape == (40, 50, 3)
    assert faces.boxes.tolist() == [[5, 5, 35, 35]]
    assert (train.name, validation.name) == (
        str(tmp_path / "train" / "label.txt"),
        str(tmp_path / "val" / "label.txt"),
    )


def test_named_validation_pictures_are_all_of_theirs_and_leave_the_data_whole(tmp_path: Path) -> None:
    data = str(labelled(tmp_path / "a", names(30)))
    other = str(labelled(tmp_path / "b", names(4, 100)))
    events: list[RunEvent] = []
    train, validation = open_data(data, other, events.append)
    assert (named(train), named(validation)) == (names(30), names(4, 100))
    assert not events
    train, validation = open_data("synthetic:6", other)
    assert isinstance(train, SyntheticFaces)
    assert (len(train), named(validation)) == (6, names(4, 100))
    train, validation = open_data(data, "synthetic:6")
    assert (named(train), len(validation)) == (names(30), 6)
    assert named(open_one(other)) == names(4, 100)


def test_without_a_val_part_every_tenth_picture_by_name_is_held_out(tmp_path: Path) -> None:
    events: list[RunEvent] = []
    train, validation = open_data(str(labelled(tmp_path, names(60))), None, events.append)
    assert sorted(named(train) + named(validation)) == sorted(names(60))
    assert 1 <= len(validation) <= 14
    assert "held out" in validation.name
    assert str(tmp_path) in validation.name
    (note,) = events
    assert isinstance(note, Note)
    assert not note.warning
    assert f"{len(validation)} of 60" in note.text
    assert validation.read(0)[0].shape == (40, 50, 3)


def annotations(given: list[str]) -> tuple[Annotation, ...]:
    return tuple(Annotation(Path(name), name, Faces.none()) for name in given)


def test_the_split_by_name() -> None:
    all_names = [f"{folder}/picture_{number}.jpg" for folder in ("0--Parade", "7--Cheering") for number in range(2000)]
    kept, held = split_by_name(annotations(all_names))
    sides = {a.name: side for side, part in (("kept", kept), ("held", held)) for a in part}
    assert set(sides) == set(all_names)
    assert len(kept) + len(held) == len(all_names)
    assert [a.name for a in kept] == [name for name in all_names if sides[name] == "kept"]  # in their order
    assert 340 <= len(held) <= 460  # 400 expected, standard deviation 19
    # others come, some go, the order changes: a picture stays on its side
    kept, held = split_by_name(annotations(["new/1.jpg", *reversed(all_names[::3]), "new/2.jpg"]))
    assert all(sides.get(a.name, "kept") == "kept" for a in kept)
    assert all(sides.get(a.name, "held") == "held" for a in held)
    # known values: another checksum would move pictures between versions
    assert [name for name in names(40) if split_by_name(annotations([name]))[1]] == ["p9.png", "p11.png", "p12.png"]


def test_a_name_that_is_not_utf_8_is_split_too(tmp_path: Path) -> None:
    labelled(tmp_path, names(12))
    label = (tmp_path / "label.txt").read_bytes().replace(b"# p3.png", b"# caf\xe9.png")
    (tmp_path / "label.txt").write_bytes(label)
    (tmp_path / "images" / "p3.png").rename(tmp_path / "images" / "caf\udce9.png")
    train, validation = open_data(str(tmp_path))
    assert len(train) + len(validation) == 12


def test_missing_pictures_are_told_and_left_out(tmp_path: Path) -> None:
    labelled(tmp_path / "train", names(5), missing=("p1.png", "p3.png"))
    labelled(tmp_path / "val", names(2, 10), missing=("p10.png",))
    events: list[RunEvent] = []
    train, validation = open_data(str(tmp_path), None, events.append)
    assert named(train) == ["p0.png", "p2.png", "p4.png"]
    assert named(validation) == ["p11.png"]
    assert all(isinstance(event, Note) and event.warning for event in events)
    first, second = (event.text for event in events)
    assert first.startswith("2 labelled pictures are missing")
    assert "p1.png" in first
    assert second.startswith("1 ")
    assert "p10.png" in second


@pytest.mark.parametrize("held_out", [None, "synthetic:4"])
def test_a_label_without_any_of_its_pictures(tmp_path: Path, held_out: str | None) -> None:
    labelled(tmp_path, names(60), missing=tuple(names(60)))
    with pytest.raises(DataError, match="none of"):
        open_data(str(tmp_path), held_out)


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_pictures_to_hold_any_out(tmp_path: Path, count: int) -> None:
    with pytest.raises(DataError, match=f"{count} pictures, too few") as caught:
        open_data(str(labelled(tmp_path, names(count))))
    assert "--val" in caught.value.hint
    train, _ = open_data(str(tmp_path), "synthetic:3")  # the hint helps
    assert len(train) == count


@pytest.mark.parametrize("place", ["nowhere", "empty"])
def test_data_that_is_not_there(tmp_path: Path, place: str) -> None:
    (tmp_path / "empty").mkdir()
    for given in ((str(tmp_path / place), None), ("synthetic:3", str(tmp_path / place))):
        with pytest.raises(DataError, match=place):
            open_data(*given)


# ---- several sets ----


def test_each_set_holds_out_its_own(tmp_path: Path) -> None:
    split, own, plain = tmp_path / "split", tmp_path / "own", tmp_path / "plain"
    labelled(split / "train", names(3))
    labelled(split / "val", names(2, 10))
    labelled(own, names(2, 20))
    labelled(own / "val", names(1, 30))
    labelled(plain, names(40))
    events: list[RunEvent] = []
    train, validation = open_data([str(split), str(own), str(plain), "synthetic:7"], None, events.append)
    held = 3  # p9, p11 and p12
    assert train.sets == (("split", 3), ("own", 2), ("plain", 40 - held), ("synthetic", 7))
    assert validation.sets == (("split", 2), ("own", 1), ("plain", held), ("synthetic", SYNTHETIC_HELD_OUT))
    (note,) = events
    assert isinstance(note, Note)
    assert str(plain) in note.text
    assert f"{held} of 40" in note.text
    assert [named(part) for part in validation.parts[:3]] == [
        ["split/p10.png", "split/p11.png"],
        ["own/p30.png"],
        ["plain/p9.png", "plain/p11.png", "plain/p12.png"],
    ]
    assert validation.read(2)[0].shape == (40, 50, 3)
    assert f"{own / 'val' / 'label.txt'} (1)" in validation.name
    assert f"held out of {plain / 'label.txt'} ({held})" in validation.name


def test_named_validation_sets_leave_the_data_whole(tmp_path: Path) -> None:
    first, second = tmp_path / "a" / "faces", tmp_path / "b" / "faces"
    labelled(first / "train", names(3))
    labelled(first / "val", names(2))
    labelled(second, names(12))
    labelled(second / "val", names(2, 30))
    train, validation = open_data([str(first), str(second)], [str(second / "val"), "synthetic:4"])
    assert train.sets == (("a/faces", 3), ("b/faces", 12))  # folders of the same name are told apart
    assert named(train.parts[0]) == [f"a/faces/{name}" for name in names(3)]
    assert named(train.parts[1]) == [f"b/faces/{name}" for name in names(12)]
    assert validation.sets == (("val", 2), ("synthetic", 4))
    assert not fingerprints(validation.parts[1], 4) & fingerprints(open_data("synthetic:4")[0], 4)


def test_one_set_is_the_same_named_alone_or_in_a_list(tmp_path: Path) -> None:
    labelled(tmp_path, names(30))
    alone, listed = open_data(str(tmp_path)), open_data([str(tmp_path)])
    assert [(named(a), a.name) for a in alone] == [(named(b), b.name) for b in listed]
    with pytest.raises(ConfigError, match="no data set is named"):
        open_data([])


@pytest.mark.parametrize("other", ["a", "a/train", "a/train/label.txt", "a/../a"])
def test_the_same_set_named_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str) -> None:
    monkeypatch.chdir(tmp_path)
    labelled(tmp_path / "a" / "train", names(12))
    labelled(tmp_path / "a" / "val", names(2, 20))
    with pytest.raises(ConfigError, match="--data: a") as caught:
        open_data(["a", "synthetic:3", other])
    assert other in caught.value.message
    with pytest.raises(ConfigError, match="--val: a/val is named twice"):
        open_data("synthetic:3", ["a/val", "a/val"])
    with pytest.raises(ConfigError, match="synthetic:3 and synthetic:4 are the same set"):
        open_data(["synthetic:3", "synthetic:4"])


def test_pictures_that_are_trained_on_are_not_validated_on(tmp_path: Path) -> None:
    labelled(tmp_path / "a", names(3))
    labelled(tmp_path / "b", names(3))
    linked = tmp_path / "b" / "images" / "p1.png"
    linked.unlink()
    linked.symlink_to(tmp_path / "a" / "images" / "p1.png")
    with pytest.raises(DataError, match=r"^1 of 7 validation pictures are trained on too.*p1\.png") as caught:
        open_data(["synthetic:5", str(tmp_path / "a")], ["synthetic:4", str(tmp_path / "b")])
    assert "--val" in caught.value.hint
    # the val part that belongs to one set is another one
    labelled(tmp_path / "c" / "train", names(2))
    labelled(tmp_path / "c" / "val", names(2, 10))
    with pytest.raises(DataError, match="2 of "):
        open_data([str(tmp_path / "c"), str(tmp_path / "c" / "val"), "synthetic:3"], [str(tmp_path / "c" / "val")])


# ---- the preview ----


def test_a_preview_draws_what_training_shows_and_counts_it(tmp_path: Path) -> None:
    recipe = Recipe(size=96, seed=4, augment=AugmentConfig(crop="jitter", mosaic=0.5, min_face=16.0))
    out = tmp_path / "new" / "preview.png"
    report = preview("synthetic:9", recipe, 8, out)
    sheet = read_picture(out)
    assert sheet.shape == (2 * 240 + 3 * GAP, 6 * 240 + 7 * GAP, 3)  # rows of six
    samples = training_samples(TrainingPictures(open_data("synthetic:9")[0], recipe), recipe, 8)
    faces = [labels for _, labels in samples]
    assert (report.path, report.pictures) == (str(out), 8)
    assert report.data == "synthetic (seed 0)"
    assert report.faces == sum(len(labels) for labels in faces) > 8
    assert report.ignored == sum(ignored for labels in faces for ignored in labels.ignored) > 0
    landmarks = sum(np.isfinite(five).all() for labels in faces for five in labels.landmarks)
    assert report.with_landmarks == landmarks > 0
    np.testing.assert_array_equal(sheet, contact_sheet(samples, 6))  # PNG loses nothing


def test_a_preview_of_labelled_pictures_tells_what_is_missing(tmp_path: Path) -> None:
    labelled(tmp_path / "train", names(4), missing=("p2.png",))
    labelled(tmp_path / "val", names(2))
    events: list[RunEvent] = []
    recipe = Recipe(size=64, augment=AugmentConfig(crop="none", mirror=0.0))
    report = preview(str(tmp_path), recipe, 3, tmp_path / "sheet.jpg", events.append)
    assert (report.pictures, report.faces, report.ignored, report.with_landmarks) == (3, 3, 0, 3)
    assert [event.text[:2] for event in events] == ["1 "]
    assert read_picture(tmp_path / "sheet.jpg").shape == (240 + 2 * GAP, 6 * 240 + 7 * GAP, 3)


def test_a_preview_in_no_picture_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="encoder"):
        preview("synthetic:2", Recipe(size=32), 1, tmp_path / "preview.docx")
    assert list(tmp_path.iterdir()) == []


# ---- contact sheets ----


def black(height: int, width: int) -> Picture:
    return np.zeros((height, width, 3), np.uint8)


@pytest.mark.parametrize(
    ("count", "columns", "rows"), [(1, 4, 1), (4, 4, 1), (5, 4, 2), (7, 2, 4), (3, 1, 3), (0, 4, 0)]
)
def test_the_size_of_a_contact_sheet(count: int, columns: int, rows: int) -> None:
    sheet = contact_sheet([(black(20, 20), Faces.none())] * count, columns, 30)
    assert sheet.shape == (rows * (30 + GAP) + GAP, columns * (30 + GAP) + GAP, 3)
    tiles = [
        sheet[GAP + 36 * r : GAP + 36 * r + 30, GAP + 36 * c : GAP + 36 * c + 30]
        for r in range(rows)
        for c in range(columns)
    ]
    assert all((tile == 0).all() for tile in tiles[:count])
    assert all((tile == 245).all() for tile in tiles[count:])
    assert int((sheet == 0).all(2).sum()) == count * 900  # the gaps are clear


@pytest.mark.parametrize(
    ("height", "width", "shown"), [(100, 200, (15, 30)), (90, 30, (30, 10)), (7, 9, (23, 30)), (1, 900, (1, 30))]
)
def test_pictures_of_any_shape_are_fitted_into_their_tile(height: int, width: int, shown: tuple[int, int]) -> None:
    sheet = contact_sheet([(black(height, width), Faces.none())], 1, 30)
    rows, columns = np.nonzero((sheet < 120).all(2))
    assert (rows.min(), columns.min()) == (GAP, GAP)
    assert (rows.max() + 1 - GAP, columns.max() + 1 - GAP) == shown


def near(picture: Picture, colour: tuple[int, ...]) -> list[int]:
    """x1, y1, x2, y2 of the pixels of a colour."""
    rows, columns = np.nonzero(np.abs(picture.astype(int) - colour).sum(2) < 40)
    return [int(v) for v in (columns.min(), rows.min(), columns.max(), rows.max())]


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_boxes_are_drawn_where_they_are(scale: float) -> None:
    side = round(120 * scale)
    faces = Faces.of([[20, 30, 60, 90], [70, 10, 110, 50]], ignored=[False, True])
    sheet = contact_sheet([(black(120, 120), Faces.none()), (black(120, 120), faces)], 2, side)
    tile = sheet[GAP : GAP + side, 2 * GAP + side :]
    wanted = np.array([20, 30, 60, 90]) * scale
    assert near(tile, FACE) == pytest.approx(wanted.tolist(), abs=1)  # the line is two pixels wide
    assert near(tile, IGNORED) == pytest.approx((np.array([70, 10, 110, 50]) * scale).tolist(), abs=1)
    inside = tile[round(40 * scale) : round(80 * scale), round(30 * scale) : round(50 * scale)]
    assert (inside == 0).all()  # a frame, not a patch
    assert (sheet[GAP : GAP + side, GAP : GAP + side] == 0).all()  # and in no other tile


def test_faces_that_weigh_less_have_thinner_frames() -> None:
    pictures = [(black(60, 60), Faces.of([[10, 10, 50, 50]], weights=[weight])) for weight in (1.0, 0.5)]
    sheet = contact_sheet(pictures, 2, 60)
    full, half = (
        int((tile.max(2) > 100).sum())
        for tile in (sheet[GAP : GAP + 60, GAP : GAP + 60], sheet[GAP : GAP + 60, 72:132])
    )
    assert full > 1.5 * half > 0


def test_landmarks_have_their_colours_and_unknown_ones_none() -> None:
    picture = black(100, 100)
    points = [[30, 30], [70, 30], [50, 50], [35, 70], [np.nan, np.nan]]
    draw_labels(picture, Faces.of([[10, 10, 90, 90]], [points]))
    for (x, y), colour in zip(points[:4], COLOURS, strict=False):
        assert picture[y, x].tolist() == list(colour)
    assert not (np.abs(picture.astype(int) - COLOURS[4]).sum(2) < 40).any()


def test_a_sheet_leaves_its_pictures_alone() -> None:
    picture = black(60, 60)
    contact_sheet([(picture, Faces.of([[5, 5, 50, 50]], [[[20, 20]] * 5]))], 1, 60)  # of the tile's own size
    assert not picture.any()


def test_labels_far_outside_are_drawn_nowhere() -> None:
    picture = black(50, 50)
    draw_labels(picture, Faces.of([[1e6, 1e6, 2e6, 2e6]], [[[-3e6, 5]] * 5]))
    assert not picture.any()


def test_a_picture_that_two_sets_label_is_named(tmp_path: Path) -> None:
    first, second = labelled(tmp_path / "a", names(4)), labelled(tmp_path / "b", names(2, 9))
    validation = str(labelled(tmp_path / "v", names(1, 20)))
    events: list[RunEvent] = []
    open_data([str(first), str(second)], validation, events.append)
    assert not [e for e in events if isinstance(e, Note) and e.warning]
    (second / "images" / "p9.png").unlink()
    (second / "images" / "p9.png").symlink_to(first / "images" / "p2.png")
    open_data([str(first), str(second)], validation, events.append)
    (said,) = [e.text for e in events if isinstance(e, Note) and e.warning]
    assert said.startswith("1 pictures are in two of the sets")
    assert "p9.png" in said


def test_a_preview_needs_no_pictures_to_validate_on(tmp_path: Path) -> None:
    """Of one picture none can be held out, and none has to be."""
    data = str(labelled(tmp_path / "a", names(1)))
    with pytest.raises(DataError, match="too few to hold any out"):
        open_data(data)
    assert (
        preview(data, Recipe(size=32, batch_size=1, augment=AugmentConfig(crop="none")), 1, tmp_path / "p.png").pictures
        == 1
    )


def test_weights_that_do_not_fit_the_sets_are_one_line_everywhere(tmp_path: Path) -> None:
    data = [str(labelled(tmp_path / name, names(3))) for name in "ab"]
    recipe = Recipe(size=32, batch_size=1, set_weights=(1.0, 0.5, 1.0))
    with pytest.raises(ConfigError, match=r"set_weights \[1.0, 0.5, 1.0\] are 3, the data sets 2"):
        preview(data, recipe, 1, tmp_path / "p.png")
