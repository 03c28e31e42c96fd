"""The size of a picture from its header: a thousand times faster than to decode it."""

import struct
from pathlib import Path

from featherface_core.pictures import read_picture

_TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height
_PNG = b"\x89PNG\r\n\x1a\n"
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # JPEG markers of a frame header

_EXIF, _ANIMATION = 0x08, 0x02  # flags of a WebP's VP8X chunk


def picture_size(path: Path) -> tuple[int, int]:
    """(width, height) in pixels of a picture as ``read_picture`` gives it, turned upright by its EXIF orientation.

    Reads the headers of JPEG (ITU-T T.81, Annex B), PNG and WebP (RFC 9649), and decodes any other file, and those whose
    header leaves a doubt. Raises DataError.
    """
    try:
        with path.open("rb") as file:
            head = file.read(1 << 16)
            if head[:8] == _PNG:
                head += file.read()  # an EXIF chunk may stand at the end
    except OSError:
        head = b""
    size = None
    if head[:8] == _PNG:
        size = _of_png(head)
    elif head[:2] == b"\xff\xd8":
        size = _of_jpeg(head)
    elif head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        size = _of_webp(head)
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


def _of_webp(head: bytes) -> tuple[int, int] | None:
    """None for an animation, where an EXIF chunk may turn the picture, and where the header is cut."""
    kind = head[12:16]
    size = None
    if kind == b"VP8 " and len(head) >= 30 and head[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack("<HH", head[26:30])
        size = (width & 0x3FFF, height & 0x3FFF)  # the two bits above are a scale for display
    elif kind == b"VP8L" and len(head) >= 25 and head[20] == 0x2F:
        (bits,) = struct.unpack("<I", head[21:25])
        size = ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    elif kind == b"VP8X" and len(head) >= 30 and not head[20] & (_EXIF | _ANIMATION):
        size = (int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1)
    return size if size and all(size) else None


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
