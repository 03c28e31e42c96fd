"""The size of a picture from its header alone: every format, turned photographs, broken files."""

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from label_files import put

from featherface_core.data.picture_size import picture_size
from featherface_core.errors import DataError
from featherface_core.pictures import read_picture


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
