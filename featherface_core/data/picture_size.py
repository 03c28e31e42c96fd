"""The size of a picture from its header: a thousand times faster than to decode it."""

import struct
from pathlib import Path

from featherface_core.pictures import read_picture

_TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # JPEG markers of a frame header


def picture_size(path: Path) -> tuple[int, int]:
    """(width, height) in pixels of a picture as ``read_picture`` gives it, turned upright by its EXIF orientation.

    Reads the headers of JPEG (ITU-T T.81, Annex B) and PNG, and decodes any other file. Raises DataError.
    """
    try:
        with path.open("rb") as file:
            head = file.read(1 << 16)
    except OSError:
        head = b""
    size = _of_png(head) if head[:8] == b"\x89PNG\r\n\x1a\n" else _of_jpeg(head) if head[:2] == b"\xff\xd8" else None
    if size is None:
        height, width = read_picture(path).shape[:2]
        size = (width, height)
    return size


def _of_png(head: bytes) -> tuple[int, int] | None:
    """None where an EXIF chunk may turn the picture, and where the header is cut."""
    if len(head) < 33 or head[12:16] != b"IHDR" or b"eXIf" in head:
        return None
    width, height = struct.unpack(">II", head[16:24])
    return (width, height) if width and height else None


def _of_jpeg(head: bytes) -> tuple[int, int] | None:
    """None where the frame header is not within ``head``, or an EXIF block cannot be understood."""
    turned, place = False, 2
    while place + 9 <= len(head) and head[place] == 0xFF:
        marker = head[place + 1]
        if marker == 0xFF:  # a fill byte
            place += 1
            continue
        length = int.from_bytes(head[place + 2 : place + 4], "big")
        if marker == 0xE1 and head[place + 4 : place + 10] == b"Exif\0\0":
            orientation = _orientation(head[place + 10 : place + 2 + length])
            if orientation is None:
                return None
            turned = orientation in _TURNED
        if marker in _FRAMES:
            height, width = struct.unpack(">HH", head[place + 5 : place + 9])
            if not (width and height):
                return None
            return (height, width) if turned else (width, height)
        place += 2 + length
    return None


def _orientation(tiff: bytes) -> int | None:
    """EXIF tag 0x0112 of the first directory, 1 where there is none; None for a block that is damaged."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    try:
        if order is None:
            return None
        (start,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, start)
        for i in range(count):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", tiff, start + 2 + 12 * i)
            if tag == 0x0112:
                return int(value) if kind == 3 else None
    except struct.error:
        return None
    return 1
