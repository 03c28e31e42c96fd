"""Reading, preparing and drawing pictures. BGR uint8 arrays (H, W, 3) throughout, as OpenCV has them."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from featherface_core.config import MIN_SIZE
from featherface_core.errors import DataError
from featherface_core.files import replacing
from featherface_core.results import Floats

Picture = NDArray[np.uint8]

# silent: what goes wrong is said by our own errors, once. OpenCV 4 and 5 differ in the place
(cv2.setLogLevel if hasattr(cv2, "setLogLevel") else cv2.utils.logging.setLogLevel)(0)

PORTRAIT = Path(__file__).parent / "assets" / "astronaut.png"  # ships with the package, and shows one face
MEAN = (104.0, 117.0, 123.0)  # blue, green, red: subtracted, nothing divided
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2")
VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")


def read_picture(path: str | Path) -> Picture:
    """A picture file as BGR uint8 (H, W, 3), turned upright by its EXIF orientation.

    Grey becomes three equal channels, 16 bits are scaled to 8, alpha is dropped. Raises DataError for a file that is
    missing, empty, cut short, or no picture.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as problem:
        raise DataError(f"cannot read picture {path}: {problem.strerror or problem}", "check the path") from None
    if not data:
        raise DataError(f"picture {path} is empty (0 bytes)", "copy or download it again")
    if _cut_short(data):
        raise DataError(f"picture {path} is cut short: its end is missing", "copy or download it again")
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as problem:
        raise DataError(
            f"cannot decode picture {path}: {problem.err}", "open and save it again as JPEG or PNG"
        ) from None
    if picture is None:
        raise DataError(f"{path} is not a picture that OpenCV can decode", "open and save it again as JPEG or PNG")
    return np.asarray(picture, np.uint8)


def write_picture(path: Path, picture: Picture) -> None:
    """Write a picture in the format of its suffix, whole or not at all. Raises DataError."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, 92] if path.suffix.lower() in (".jpg", ".jpeg") else []
    try:
        encoded = cv2.imencode(path.suffix, picture, quality)[1]
    except cv2.error:
        raise DataError(f"cannot write {path}: OpenCV has no encoder for {path.suffix!r}", "use .jpg or .png") from None
    with replacing(path) as temporary:
        temporary.write_bytes(encoded.tobytes())


def prepare(
    picture: Picture,
    size: int | None = None,
    mean: tuple[float, ...] = MEAN,
    canvas: tuple[int, int] | None = None,
    channels_last: bool = False,
) -> tuple[Floats, tuple[float, float]]:
    """A picture as network input (3, h, w), float32 with the mean subtracted, and the scales (x, y) it was resized by.

    size: the long side in pixels, None for the picture's own. canvas: (height, width) of a network that takes no other
    size; the picture is scaled to fit into it, or to ``size`` where that is smaller. A side is at least 32; what the picture
    does not fill, at the right and the bottom, is the mean, which the network sees as zero. channels_last: lie in memory as
    (h, w, 3); the shape is the same.
    """
    height, width = picture.shape[:2]
    scale = 1.0 if size is None else size / max(height, width)
    if canvas is not None:
        fit = min(canvas[0] / height, canvas[1] / width)
        scale = fit if size is None else min(scale, fit)
    new_width, new_height = max(1, round(width * scale)), max(1, round(height * scale))
    picture = resized(picture, new_width, new_height)
    full = canvas or (max(new_height, MIN_SIZE), max(new_width, MIN_SIZE))
    if channels_last:
        rows = np.zeros((full[0], full[1] * 3), np.float32)
        # whole rows at a time: numpy is slow over three channels
        seen = picture.reshape(new_height, -1)
        np.subtract(seen, np.tile(np.array(mean, np.float32), new_width), out=rows[:new_height, : seen.shape[1]])
        pixels = rows.reshape(*full, 3).transpose(2, 0, 1)
    else:
        pixels = np.zeros((3, *full), np.float32)
        np.subtract(
            picture.transpose(2, 0, 1),
            np.array(mean, np.float32)[:, None, None],
            out=pixels[:, :new_height, :new_width],
        )
    return pixels, (new_width / width, new_height / height)


def resized(picture: Picture, width: int, height: int) -> Picture:
    """``picture`` with (height, width) pixels; itself where it has them.

    Bilinear. A side that becomes shorter by more than a quarter is first brought to twice its new length, then halved by means
    of two pixels: that is near to means of areas (OpenCV's INTER_AREA), in less time. benchmarks/resizing.py has both.
    """
    high, wide = picture.shape[:2]
    if (wide, high) == (width, height):
        return picture
    while wide >= 4 * width and high >= 4 * height:
        wide, high = wide // 2, high // 2
        picture = np.asarray(cv2.resize(picture, (wide, high), interpolation=cv2.INTER_LINEAR), np.uint8)
    across, down = (2 * new if 3 * old > 4 * new else new for old, new in ((wide, width), (high, height)))
    if (across, down) != (wide, high):
        picture = np.asarray(cv2.resize(picture, (across, down), interpolation=cv2.INTER_LINEAR), np.uint8)
    if (across, down) != (width, height):
        picture = np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    return picture


def fill(picture: Picture, batch: int, height: int, width: int) -> Floats:
    """Network input (batch, 3, height, width) of different views of one picture that fill it exactly, whatever its form.

    As it is, mirrored, upside down, both, and again.
    """
    seen = resized(picture, width, height)
    views = (seen, seen[:, ::-1], seen[::-1], seen[::-1, ::-1])
    return np.stack([prepare(np.ascontiguousarray(views[i % 4]))[0] for i in range(batch)])


def draw(picture: Picture, boxes: Floats, scores: Floats, landmarks: Floats) -> Picture:
    """A copy with boxes, scores and the five landmarks of each face, in widths that suit the picture and the face."""
    canvas = picture.copy()
    side = max(picture.shape[:2])
    colours = ((60, 60, 255), (60, 255, 255), (255, 60, 255), (60, 255, 60), (255, 160, 60))
    for box, score, points in zip(boxes[::-1], scores[::-1], landmarks[::-1], strict=True):
        x1, y1, x2, y2 = (round(float(v)) for v in np.clip(box, -2 * side, 3 * side))
        face = min(x2 - x1, y2 - y1)
        line = max(1, round(min(side / 500, face / 24)))
        cv2.rectangle(canvas, (x1, y1), (x2, y2), (80, 220, 40), line, cv2.LINE_AA)
        radius = max(1, round(face / 32))
        for (x, y), colour in zip(np.clip(points, -2 * side, 3 * side), colours, strict=True):
            cv2.circle(canvas, (round(float(x)), round(float(y))), radius, colour, -1, cv2.LINE_AA)
        _label(canvas, f"{score:.2f}", x1, y1, x2 - x1)
    return canvas


def _label(canvas: Picture, text: str, x: int, y: int, width: int) -> None:
    """A score above its box, inside the picture; faces too small for a legible one have none."""
    scale = min(width / 90, max(canvas.shape[:2]) / 1100)
    if scale < 0.25:
        return
    thickness = max(1, round(scale * 1.6))
    (w, h), base = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    x = max(0, min(x, canvas.shape[1] - w))
    top = max(0, y - h - base)
    cv2.rectangle(canvas, (x, top), (x + w, top + h + base), (80, 220, 40), -1)
    cv2.putText(
        canvas,
        text,
        (x, top + h + base // 2),
        cv2.FONT_HERSHEY_SIMPLEX,
        scale,
        (0, 0, 0),
        thickness,
        cv2.LINE_AA,
    )


def _cut_short(data: bytes) -> bool:
    """True for a JPEG or PNG whose end marker is missing; OpenCV would decode it into a half-grey picture without a word."""
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return b"IEND" not in data[-64:] and b"IEND" not in data
    if data[:2] != b"\xff\xd8":
        return False
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF and data[place + 1] != 0xDA:
        # segments before the scan, an EXIF thumbnail with an end marker of its own among them; 0xFF may fill the gaps
        fill = data[place + 1] == 0xFF
        place += 1 if fill else 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return data.find(b"\xff\xd9", place) < 0
