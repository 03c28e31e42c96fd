"""Detections in files: written and read again, folders and archives, and everything that is refused."""

import math
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featherface_core.errors import DataError
from featherface_core.evaluation.predictions import Predictions, read_predictions, write_predictions
from featherface_core.evaluation.truth import Found

GOOD = "a.jpg\n2\n1 2 3 4 0.5\n10.5 20 -3 4e1 .25\n"
BOXES = [[1, 2, 4, 6], [10.5, 20, 7.5, 60]]
SCORES = [0.5, 0.25]
METHODS = {
    "stored": zipfile.ZIP_STORED,
    "deflated": zipfile.ZIP_DEFLATED,
    "bzip2": zipfile.ZIP_BZIP2,
    "lzma": zipfile.ZIP_LZMA,
}
Fill = Callable[[Mapping[str, str | bytes]], Path]


def fill(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def pack(path: Path, files: Mapping[str, str | bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


@pytest.fixture(params=["folder", "zip"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Fill:
    """Puts files where predictions are read from, once into a folder and once into a .zip."""
    if request.param == "folder":
        return lambda files: fill(tmp_path / "found", files)
    return lambda files: pack(tmp_path / "found.zip", files)


def refused(source: Path) -> DataError:
    """The error that reading ends with: of one line, with a hint of one line."""
    with pytest.raises(DataError) as caught:
        read_predictions(source)
    assert caught.value.exit_code == 3
    assert str(source) in caught.value.message
    assert "\n" not in caught.value.message + caught.value.hint
    assert caught.value.hint
    return caught.value


# ---- written and read again ----


def near_float32(value: float) -> float:
    """A float32 that a picture has room for. Below 2**-14, beside numbers up to 2**14, sums of doubles would be rounded."""
    return value if abs(value) >= 2**-14 else 0.0


PIXELS = st.floats(-(2**14), 2**14, width=32).map(near_float32)
ROWS = st.lists(st.tuples(PIXELS, PIXELS, PIXELS, PIXELS, st.floats(-10, 10, width=32)), max_size=4)


@given(st.dictionaries(st.sampled_from(["e/a", "e/b.c", "f/a", "f/g/h", "top"]), ROWS, min_size=1))
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, pictures: dict[str, list[tuple[float, ...]]]
) -> None:
    tables = [np.array(rows, np.float32).reshape(-1, 5) for rows in pictures.values()]
    found = Found.of([(table[:, :4], table[:, 4]) for table in tables])
    folder = tmp_path_factory.mktemp("written")
    write_predictions(folder, list(pictures), found)
    again = read_predictions(folder)
    assert again.source == folder
    assert again.pictures.keys() == pictures.keys()
    for name, table in zip(pictures, tables, strict=True):
        boxes, scores = again.pictures[name]
        np.testing.assert_array_equal(boxes, table[:, :4])
        np.testing.assert_array_equal(scores, table[:, 4])
    same = again.called(list(pictures)).of(list(pictures))
    for one, other in (same.boxes, found.boxes), (same.scores, found.scores), (same.ends, found.ends):
        np.testing.assert_array_equal(one, other)


def test_the_layout_on_disk(tmp_path: Path) -> None:
    none = (np.zeros((0, 4)), np.zeros(0))
    third = np.float32(1 / 3)
    found = Found.of([(np.array([[1, 2.5, 4, 6]]), np.array([third])), none])
    write_predictions(tmp_path / "new" / "folder", ["0--Parade/a", "b"], found)
    files = sorted(path for path in (tmp_path / "new" / "folder").rglob("*") if path.is_file())
    assert [path.relative_to(tmp_path / "new" / "folder").as_posix() for path in files] == ["0--Parade/a.txt", "b.txt"]
    assert files[0].read_text() == f"a\n1\n1.0 2.5 3.0 3.5 {float(third)!r}\n"
    assert files[1].read_text() == "b\n0\n"


@pytest.mark.parametrize("names", [["a"], ["a", "b", "c"]], ids=["fewer", "more"])
def test_a_name_for_each_picture(tmp_path: Path, names: list[str]) -> None:
    none = (np.zeros((0, 4)), np.zeros(0))
    with pytest.raises(ValueError, match=r"argument 2 is (shorter|longer)"):
        write_predictions(tmp_path, names, Found.of([none, none]))


# ---- what is read ----


def test_a_folder_and_a_zip(place: Fill) -> None:
    source = place({"e/a.txt": GOOD, "e/sub/b.c.txt": "b\n0\n", "f/a.txt": "a\n1\n0 0 1 1 1\n", "readme.md": "no"})
    read = read_predictions(source)
    assert read.source == source
    assert read.pictures.keys() == {"e/a", "e/sub/b.c", "f/a"}
    boxes, scores = read.pictures["e/a"]
    assert (boxes.tolist(), scores.tolist()) == (BOXES, SCORES)
    assert boxes.dtype == scores.dtype == np.float64


def test_nothing_found_in_a_picture(place: Fill) -> None:
    boxes, scores = read_predictions(place({"e/a.txt": "a.jpg\n0\n"})).pictures["e/a"]
    assert (boxes.shape, scores.shape) == ((0, 4), (0,))


@pytest.mark.parametrize(
    "text",
    [
        GOOD.replace("\n", "\r\n"),
        GOOD + "\n\n",
        GOOD.replace("\n", "\r\n") + "\r\n \t\r\n",
        GOOD.rstrip("\n"),
        GOOD.replace("2\n", " 2 \n", 1).replace(" ", " \t "),
        "\ufeff" + GOOD,
        GOOD.replace("a.jpg", ""),
        GOOD.replace("a.jpg", "0--Parade/another name.png"),
        GOOD.encode().replace(b"a.jpg", b"caf\xe9.jpg"),
    ],
    ids=["CRLF", "blank lines", "both", "no last line end", "spaces", "BOM", "no name", "other name", "not UTF-8"],
)
def test_harmless_differences(tmp_path: Path, text: str | bytes) -> None:
    boxes, scores = read_predictions(fill(tmp_path, {"e/a.txt": text})).pictures["e/a"]
    assert (boxes.tolist(), scores.tolist()) == (BOXES, SCORES)


def test_what_systems_leave_behind_is_passed_over(place: Fill) -> None:
    junk = dict.fromkeys(
        ("__MACOSX/e/._a.txt", "__MACOSX/e/a.txt", "e/._a.txt", ".git/x.txt", "e/.hidden/b.txt"), b"\0"
    )
    read = read_predictions(place({"e/a.txt": GOOD, **junk, "e/.DS_Store": b"\0"}))
    assert read.pictures.keys() == {"e/a"}


def test_entries_for_folders_are_no_files(tmp_path: Path) -> None:
    read = read_predictions(pack(tmp_path / "a.zip", {"e/": "", "f.txt/": "", "e/a.txt": GOOD}))
    assert read.pictures.keys() == {"e/a"}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_archives_of_every_method(tmp_path: Path, method: int) -> None:
    assert read_predictions(pack(tmp_path / "a.zip", {"e/a.txt": GOOD}, method)).pictures["e/a"][1].tolist() == SCORES


def test_the_name_of_an_archive_does_not_matter(tmp_path: Path) -> None:
    assert read_predictions(str(pack(tmp_path / "found.bin", {"e/a.txt": GOOD}))).pictures.keys() == {"e/a"}


# ---- which pictures they are of ----


def predictions(*names: str) -> Predictions:
    return Predictions(Path("found"), {name: (np.full((1, 4), float(k)), np.ones(1)) for k, name in enumerate(names)})


@pytest.mark.parametrize("around", ["", "pred/", "out/run 1/pred/"], ids=["nothing", "a folder", "three folders"])
def test_folders_around_all_files_are_left_out(around: str) -> None:
    named = predictions(f"{around}e/a", f"{around}f/b").called(["f/b", "g/c", "e/a"])
    assert {name: boxes[0, 0] for name, (boxes, _) in named.pictures.items()} == {"e/a": 0, "f/b": 1}
    assert named.source == Path("found")


def test_a_folder_that_the_pictures_have_stays() -> None:
    assert predictions("e/a", "e/b").called(["e/a", "e/b", "f/c"]).pictures.keys() == {"e/a", "e/b"}
    assert predictions("e/e/a").called(["e/a", "a"]).pictures.keys() == {"e/a"}  # one folder fewer fits
    assert predictions("e/a").called(["a"]).pictures.keys() == {"a"}
    assert predictions().called(["a"]).pictures == {}


@pytest.mark.parametrize(
    ("names", "count", "first"),
    [
        (["e/a", "e/zebra", "e/x"], 2, "e/x"),
        (["pred/e/a", "pred/e/x"], 1, "e/x"),
        (["pred/e/x", "pred/f/y"], 2, "pred/e/x"),
        (["pred/e/a", "other/e/b"], 2, "other/e/b"),
        (["a"], 1, "a"),
    ],
    ids=["some", "some in a folder", "all", "two folders", "without its folder"],
)
def test_predictions_of_other_pictures(names: list[str], count: int, first: str) -> None:
    with pytest.raises(DataError) as caught:
        predictions(*names).called(["e/a", "e/b"])
    assert caught.value.message == f"found has predictions for {count} unknown pictures, such as {first}"
    assert "e/a" in caught.value.hint
    assert "one data set" in caught.value.hint


def test_detections_in_the_order_of_the_pictures() -> None:
    found = predictions("e/a", "e/b").of(["e/b", "e/none", "e/a"])
    assert found.boxes[:, 0].tolist() == [1, 0]
    assert found.ends.tolist() == [1, 1, 2]
    assert predictions().of(["e/a"]).boxes.shape == (0, 4)


# ---- what is refused ----

FAULTS = {
    "four numbers": ("a\n1\n1 2 3 4\n", ":3: '1 2 3 4' has 4 numbers where 5 belong"),
    "six numbers": ("a\n2\n1 2 3 4 5\n1 2 3 4 5 6\n", ":4: '1 2 3 4 5 6' has 6 numbers where 5 belong"),
    "four, then six": ("a\n2\n1 2 3 4\n1 2 3 4 5 6\n", ":3: '1 2 3 4' has 4 numbers where 5 belong"),
    "four on every line": ("a\n2\n1 2 3 4\n5 6 7 8\n", ":3: '1 2 3 4' has 4 numbers where 5 belong"),
    "commas": ("a\n1\n1,2,3,4,5\n", ":3: '1,2,3,4,5' has 1 numbers where 5 belong"),
    "a word": ("a\n2\n1 2 3 4 5\n1 2 three 4 5\n", ":4: 'three' is not a number"),
    "decimal comma": ("a\n1\n1 2 3 4 0,5\n", ":3: '0,5' is not a number"),
    "NaN score": ("a\n1\n1 2 3 4 nan\n", ":3: '1 2 3 4 nan' holds nan"),
    "NaN box": ("a\n1\nNaN 2 3 4 5\n", ":3: 'NaN 2 3 4 5' holds NaN"),
    "inf": ("a\n2\n1 2 3 4 5\n1 2 -inf 4 5\n", ":4: '1 2 -inf 4 5' holds -inf"),
    "beyond doubles": ("a\n1\n1 2 3 4 1e999\n", ":3: '1 2 3 4 1e999' holds 1e999"),
    "blank line between": ("a\n2\n1 2 3 4 5\n\n1 2 3 4 5\n", ":2: 2 faces are announced, and 3 lines follow"),
    "more faces": ("a\n1\n1 2 3 4 5\n1 2 3 4 5\n", ":2: 1 faces are announced, and 2 lines follow"),
    "fewer faces": ("a\n3\n1 2 3 4 5\n1 2 3 4 5\n", ":2: 3 faces are announced, and 2 lines follow"),
    "none announced": ("a\n0\n1 2 3 4 5\n", ":2: 0 faces are announced, and 1 lines follow"),
    "cut off": ("a\n1\n", ":2: 1 faces are announced, and 0 lines follow"),
    "a word for a count": ("a\nmany\n1 2 3 4 5\n", ":2: 'many' is not a number of faces"),
    "negative count": ("a\n-1\n", ":2: '-1' is not a number of faces"),
    "half a face": ("a\n1.0\n1 2 3 4 5\n", ":2: '1.0' is not a number of faces"),
    "superscript": ("a\n²\n1 2 3 4 5\n1 2 3 4 5\n", ":2: '²' is not a number of faces"),
    "no count": ("a\n1 2 3 4 5\n", ":2: '1 2 3 4 5' is not a number of faces"),
    "empty": ("", " has 0 lines where a name and a count belong"),
    "blank": ("\n \n", " has 0 lines where a name and a count belong"),
    "one line": ("a.jpg\n", " has 1 lines where a name and a count belong"),
    "an image": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0", ":2: '\\x1a' is not a number of faces"),
    "noise": (bytes(range(128, 256)) * 9, " has 1 lines where a name and a count belong"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_with_its_file_and_line(place: Fill, fault: str) -> None:
    text, wanted = FAULTS[fault]
    source = place({"e/a.txt": GOOD, "e/b.txt": text, "e/c.txt": GOOD})
    where = f"{source}:e/b.txt" if source.is_file() else str(source / "e" / "b.txt")
    assert refused(source).message == where + wanted


@pytest.mark.parametrize(
    "rows", ["1\n" + "1.5 " * 900, "x" * 5000, "1\n1 2 3 4 " + "x" * 5000, "1\n1 2 3 4 1" + "0" * 5000]
)
def test_long_lines_are_quoted_in_part(tmp_path: Path, rows: str) -> None:
    source = fill(tmp_path, {"e/a.txt": f"a\n{rows}\n"})
    assert len(refused(source).message) < 200 + len(str(source))


def test_a_count_of_thousands_of_digits(tmp_path: Path) -> None:
    error = refused(fill(tmp_path, {"e/a.txt": "a\n" + "9" * 5000 + "\n1 2 3 4 5\n"}))
    assert error.message.startswith(f"{tmp_path / 'e' / 'a.txt'}:2: ")
    assert len(error.message) < 200 + len(str(tmp_path))


def test_a_path_that_does_not_exist(tmp_path: Path) -> None:
    error = refused(tmp_path / "none")
    assert error.message == f"--predictions {tmp_path / 'none'} does not exist"
    assert "EVENT/PICTURE.txt" in error.hint


def test_nothing_to_read(place: Fill) -> None:
    for files in ({}, {"e/a.csv": GOOD, "__MACOSX/e/a.txt": GOOD}):
        source = place(files)
        assert refused(source).message == f"--predictions {source} holds no .txt"


@pytest.mark.parametrize("content", [b"", GOOD.encode(), b"PK\x03\x04 and no more"], ids=["empty", "text", "signature"])
def test_a_file_that_is_no_zip(tmp_path: Path, content: bytes) -> None:
    source = tmp_path / "found.txt"
    source.write_bytes(content)
    assert refused(source).message.startswith(f"--predictions {source} is not a .zip that can be read: ")


def many(method: int, path: Path) -> bytes:
    rows = "".join(f"{math.sqrt(k)} 2 3 4 0.5\n" for k in range(40))
    return pack(path, {f"e/{name}.txt": f"{name}\n40\n{rows}" for name in "abc"}, method).read_bytes()


@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.95, 0.999])
def test_a_zip_that_was_cut_off(tmp_path: Path, share: float) -> None:
    source = tmp_path / "found.zip"
    whole = many(zipfile.ZIP_DEFLATED, source)
    source.write_bytes(whole[: int(share * len(whole))])
    assert refused(source).message.startswith(f"--predictions {source} is not a .zip that can be read: ")


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_zip_with_damage_inside(tmp_path: Path, method: int) -> None:
    source = tmp_path / "found.zip"
    whole = many(method, source)
    for place in range(60, 260, 20):  # in the first of its files, past the name
        damaged = bytearray(whole)
        damaged[place : place + 9] = bytes(byte ^ 0xFF for byte in whole[place : place + 9])
        source.write_bytes(damaged)
        refused(source)


def test_a_zip_with_a_password(tmp_path: Path) -> None:
    source = tmp_path / "found.zip"
    data = bytearray(pack(source, {"e/a.txt": GOOD}).read_bytes())
    data[6] |= 1  # the flag for encryption, in the file's header and in the directory
    data[data.index(b"PK\x01\x02") + 8] |= 1
    source.write_bytes(data)
    assert "encrypted" in refused(source).message


def test_a_folder_with_the_name_of_a_file(tmp_path: Path) -> None:
    fill(tmp_path, {"e/a.txt/b.txt": GOOD})
    assert str(tmp_path / "e" / "a.txt") in refused(tmp_path).message


def test_no_pictures_at_all(tmp_path: Path) -> None:
    write_predictions(tmp_path / "empty", [], Found.of([]))
    assert list((tmp_path / "empty").iterdir()) == []


@pytest.mark.parametrize("row", ["1e308 0 1e308 1 0.5", "0 0 1 1 -2e9"])
def test_numbers_that_no_picture_has(tmp_path: Path, row: str) -> None:
    (tmp_path / "a.txt").write_text(f"a\n1\n{row}\n")
    with pytest.raises(DataError) as refused:
        read_predictions(tmp_path)
    assert f"{tmp_path / 'a.txt'}:3: {row!r} holds" in refused.value.message
    assert "below 1e9" in refused.value.hint
