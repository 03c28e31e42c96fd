"""The size of a picture from its header alone: every format, turned photographs, broken files."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from label_files import put

from featherface_core.data.picture_size import picture_size
from featherface_core.errors import DataError
from featherface_core.pictures import read_picture


def tiff_of(orientation: int, order: str = ">") -> bytes:
    """An EXIF block with one tag."""
    mark = {"<": b"II*\0", ">": b"MM\0*"}[order]
    return mark + struct.pack(order + "IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def exif(orientation: int, order: str) -> bytes:
    """An APP1 segment with one tag."""
    tiff = tiff_of(orientation, order)
    return b"\xff\xe1" + struct.pack(">H", len(tiff) + 8) + b"Exif\0\0" + tiff


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_picture_size_of_turned_photographs(tmp_path: Path, orientation: int, order: str) -> None:
    plain = bytes(cv2.imencode(".jpg", np.zeros((20, 30, 3), np.uint8))[1])
    path = put(tmp_path / "a.jpg", plain[:2] + exif(orientation, order) + plain[2:])
    assert picture_size(path) == read_picture(path).shape[1::-1]
    assert picture_size(path) == ((20, 30) if orientation > 4 else (30, 20))


@pytest.mark.parametrize("at_the_end", [False, True])
def test_picture_size_of_a_turned_png(tmp_path: Path, at_the_end: bool) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)  # more than the first 64 KiB
    plain = bytes(cv2.imencode(".png", noise)[1])
    block = b"eXIf" + tiff_of(6)
    chunk = struct.pack(">I", len(block) - 4) + block + struct.pack(">I", zlib.crc32(block))
    place = len(plain) - 12 if at_the_end else 33
    path = put(tmp_path / "a.png", plain[:place] + chunk + plain[place:])
    # older OpenCV leaves a PNG as it lies
    assert picture_size(path) == read_picture(path).shape[1::-1]


@pytest.mark.parametrize("orientation", [1, 6])
def test_picture_size_of_a_turned_webp(tmp_path: Path, orientation: int) -> None:
    chunks = bytes(cv2.imencode(".webp", np.zeros((20, 30, 3), np.uint8), LOSSY)[1])[12:]
    more = b"VP8X" + struct.pack("<IIHBHB", 10, 0x08, 29, 0, 19, 0)
    block = tiff_of(orientation)
    body = b"WEBP" + more + chunks + b"EXIF" + struct.pack("<I", len(block)) + block
    path = put(tmp_path / "a.webp", b"RIFF" + struct.pack("<I", len(body)) + body)
    assert picture_size(path) == read_picture(path).shape[1::-1]


LOSSY = [cv2.IMWRITE_WEBP_QUALITY, 80]


def no_decoding(path: Path) -> object:
    raise AssertionError(f"{path} was decoded")


@pytest.mark.parametrize(
    ("suffix", "how"), [(".jpg", []), (".png", []), (".webp", []), (".webp", LOSSY), (".webp", "extended")]
)
def test_sizes_come_from_headers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, how: list[int] | str
) -> None:
    data = bytes(cv2.imencode(suffix, np.zeros((21, 333, 3), np.uint8), how if how != "extended" else LOSSY)[1])
    if how == "extended":
        more = b"VP8X" + struct.pack("<IIHBHB", 10, 0, 332, 0, 20, 0)
        data = b"RIFF" + struct.pack("<I", len(data) + 10) + b"WEBP" + more + data[12:]
    path = put(tmp_path / f"a{suffix}", data)
    assert read_picture(path).shape == (21, 333, 3)
    monkeypatch.setattr("featherface_core.data.picture_size.read_picture", no_decoding)
    assert picture_size(path) == (333, 21)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".tiff"])
def test_picture_size(tmp_path: Path, suffix: str) -> None:
    for shape in ((21, 33, 3), (40, 7)):
        assert cv2.imwrite(str(tmp_path / f"a{suffix}"), np.zeros(shape, np.uint8))
        assert picture_size(tmp_path / f"a{suffix}") == (shape[1], shape[0])


def test_picture_size_of_portable_maps(tmp_path: Path) -> None:
    assert picture_size(put(tmp_path / "a.ppm", b"P6\n# colour\n3 2\n255\n" + bytes(18))) == (3, 2)
    assert picture_size(put(tmp_path / "a.pgm", b"P5 3 2 255\n" + bytes(6))) == (3, 2)


def test_picture_size_of_broken_files(tmp_path: Path) -> None:
    webp = b"RIFF\0\0\0\0WEBP"
    for content in (
        b"",
        webp,
        webp + b"VP8 " + b"\0" * 20,
        webp + b"VP8L",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff\xe1\0",
        b"\xff\xd8" + b"\xff" * 40,
        b"text",
    ):
        with pytest.raises(DataError):
            picture_size(put(tmp_path / "a.jpg", content))
    with pytest.raises(DataError):
        picture_size(tmp_path / "missing.png")
