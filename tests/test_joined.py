"""Several sets as one source: which picture is whose."""

from pathlib import Path, PurePath

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from label_files import png, put

from featherface_core.data.annotation import Faces, Picture, PictureSource, set_sizes
from featherface_core.data.formats.recognise import read_labels
from featherface_core.data.sets import FilePictures, JoinedPictures, set_names
from featherface_core.data.synthetic import SyntheticFaces
from featherface_core.errors import ConfigError, DataError


class Marked:
    """Pictures that tell of which set they are (blue, and the width) and which of it (green, height, and the face)."""

    def __init__(self, mark: int, count: int) -> None:
        self.name, self.mark, self.count = f"set {mark}", mark, count
        self.sets = ((self.name, count),)

    def __len__(self) -> int:
        return self.count

    def faces(self, index: int) -> Faces:
        assert 0 <= index < self.count
        return Faces.of([[self.mark, index, self.mark + 1, index + 1]])

    def shape(self, index: int) -> tuple[int, int]:
        assert 0 <= index < self.count
        return index + 1, self.mark + 1

    def read(self, index: int) -> tuple[Picture, Faces]:
        return np.full((*self.shape(index), 3), (self.mark, index, 0), np.uint8), self.faces(index)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_every_picture_is_there_once_in_the_order_of_the_sets(counts: list[int]) -> None:
    parts = [(f"p{mark}", Marked(mark, count)) for mark, count in enumerate(counts)]
    joined: PictureSource = JoinedPictures(parts)
    assert len(joined) == sum(counts)
    assert joined.sets == tuple((f"p{mark}", count) for mark, count in enumerate(counts))
    assert set_sizes(joined) == tuple(counts)
    expected = [(mark, index) for mark, count in enumerate(counts) for index in range(count)]
    for place, (mark, index) in enumerate(expected):
        picture, faces = joined.read(place)
        assert picture[0, 0].tolist() == [mark, index, 0]
        assert picture.shape[:2] == joined.shape(place) == (index + 1, mark + 1)
        assert faces.boxes.tolist() == joined.faces(place).boxes.tolist() == [[mark, index, mark + 1, index + 1]]
    for outside in (-1, len(joined)):
        for look in (joined.faces, joined.shape, joined.read):
            with pytest.raises(IndexError):
                look(outside)


def test_its_name_tells_every_set_with_its_pictures() -> None:
    joined = JoinedPictures([("a", Marked(1, 1200)), ("b", SyntheticFaces(3))])
    assert joined.name == "set 1 (1,200) + synthetic (seed 0) (3)"


def test_an_error_names_the_file_of_its_set(tmp_path: Path) -> None:
    for part in ("a", "b"):
        put(tmp_path / part / "label.txt", "# 0.png\n# 1.png\n")
        for number in range(2):
            put(tmp_path / part / "images" / f"{number}.png", png(20, 10))
    put(tmp_path / "b" / "images" / "0.png", b"no picture")
    parts = [(part, FilePictures.checked(read_labels(tmp_path / part))[0]) for part in ("a", "b")]
    joined = JoinedPictures(parts)
    assert joined.shape(3) == (10, 20)
    for look in (joined.read, joined.shape):
        with pytest.raises(DataError, match=str(tmp_path / "b" / "images" / "0.png")):
            look(2)


def test_names_of_sets() -> None:
    assert set_names([PurePath("/x/faces/train"), PurePath("/x/more")]) == ["train", "more"]
    found = set_names([PurePath("/x/faces"), PurePath("/y/faces"), PurePath("/x/z/faces"), PurePath("synthetic")])
    assert found == ["x/faces", "y/faces", "z/faces", "synthetic"]
    assert set_names([PurePath("/a/b"), PurePath("/c/a/b")]) == ["/a/b", "c/a/b"]  # one is the end of another
    with pytest.raises(ConfigError, match="/x/a is named twice"):
        set_names([PurePath("/x/a"), PurePath("/y/a"), PurePath("/x/a")])


@given(st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(tuple), max_size=6, unique=True))
def test_names_of_sets_differ_and_end_their_paths(places: list[tuple[str, ...]]) -> None:
    found = set_names([PurePath("/", *parts) for parts in places])
    assert len(set(found)) == len(found)
    assert all(str(PurePath("/", *parts)).endswith(name) for parts, name in zip(places, found, strict=True))
