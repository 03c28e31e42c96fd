import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featherface_core.errors import DataError
from featherface_core.pictures import MEAN, draw, prepare, read_picture, resized, write_picture

MEANS = np.array(MEAN, np.float32)


@pytest.fixture(scope="module")
def scene(portrait: Path) -> np.ndarray:
    """60 rows, 80 columns of the portrait: no symmetry, all colours."""
    picture = cv2.imread(str(portrait))
    assert picture is not None
    return np.ascontiguousarray(picture[60:120, 180:260])


def encode(picture: np.ndarray, suffix: str, *options: int) -> bytes:
    return cv2.imencode(suffix, picture, options)[1].tobytes()


def exif(orientation: int, thumbnail: bytes = b"") -> bytes:
    """An APP1 segment whose only entry is the orientation, with a thumbnail's bytes after it."""
    tiff = b"II*\0" + struct.pack("<IHHHIII", 8, 1, 0x0112, 3, 1, orientation, 0)
    content = b"Exif\0\0" + tiff + thumbnail
    return b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content


def with_segment(jpeg: bytes, segment: bytes) -> bytes:
    return jpeg[:2] + segment + jpeg[2:]


def refused(path: Path, data: bytes) -> DataError:
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        read_picture(path)
    assert str(path) in caught.value.message
    assert caught.value.exit_code == 3
    assert caught.value.hint
    return caught.value


def test_colour(tmp_path: Path, scene: np.ndarray) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encode(scene, ".png"))
    picture = read_picture(path)
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture, scene)
    assert read_picture(str(path)).shape == (60, 80, 3)


def test_grey_becomes_three_equal_channels(tmp_path: Path, scene: np.ndarray) -> None:
    grey = np.ascontiguousarray(scene[..., 1])
    path = tmp_path / "grey.png"
    path.write_bytes(encode(grey, ".png"))
    np.testing.assert_array_equal(read_picture(path), np.stack([grey] * 3, -1))


def test_alpha_is_dropped(tmp_path: Path, scene: np.ndarray) -> None:
    alpha = np.full((60, 80, 1), 7, np.uint8)
    path = tmp_path / "alpha.png"
    path.write_bytes(encode(np.concatenate((scene, alpha), 2), ".png"))
    np.testing.assert_array_equal(read_picture(path), scene)


@pytest.mark.parametrize("grey", [False, True])
def test_sixteen_bits_are_scaled_to_eight(tmp_path: Path, scene: np.ndarray, grey: bool) -> None:
    deep = (scene[..., 0] if grey else scene).astype(np.uint16) * 257
    path = tmp_path / "deep.png"
    path.write_bytes(encode(deep, ".png"))
    wanted = np.stack([scene[..., 0]] * 3, -1) if grey else scene
    np.testing.assert_array_equal(read_picture(path), wanted)


def test_exif_orientation_turns_the_picture_upright(tmp_path: Path, scene: np.ndarray) -> None:
    plain = encode(scene, ".jpg")
    stored = cv2.imdecode(np.frombuffer(plain, np.uint8), cv2.IMREAD_COLOR)
    assert stored is not None
    path = tmp_path / "phone.jpg"
    # 1: as stored; 3: upside down; 6: its right side is up on a phone held upright; 8: its left side is
    for orientation, wanted in {
        1: stored,
        3: np.rot90(stored, 2),
        6: np.rot90(stored, -1),
        8: np.rot90(stored),
    }.items():
        path.write_bytes(with_segment(plain, exif(orientation)))
        np.testing.assert_array_equal(read_picture(path), wanted)


def test_one_pixel(tmp_path: Path) -> None:
    path = tmp_path / "dot.png"
    path.write_bytes(encode(np.array([[[1, 2, 3]]], np.uint8), ".png"))
    picture = read_picture(path)
    assert picture.tolist() == [[[1, 2, 3]]]
    pixels, scale = prepare(picture)
    assert pixels.shape == (3, 32, 32)
    assert scale == (1, 1)
    assert pixels[:, 0, 0].tolist() == [-103, -115, -120]
    assert np.count_nonzero(pixels) == 3


def test_jpeg_cut_anywhere(tmp_path: Path, scene: np.ndarray) -> None:
    data = encode(scene, ".jpg", cv2.IMWRITE_JPEG_QUALITY, 30)
    for end in [*range(1, len(data), 41), len(data) - 1]:
        refused(tmp_path / "cut.jpg", data[:end])


def test_jpeg_cut_after_a_whole_thumbnail(tmp_path: Path, scene: np.ndarray) -> None:
    thumbnail = encode(scene[::4, ::4], ".jpg")
    assert thumbnail.endswith(b"\xff\xd9")
    data = with_segment(encode(scene, ".jpg"), exif(1, thumbnail))
    path = tmp_path / "camera.jpg"
    path.write_bytes(data)
    assert read_picture(path).shape == (60, 80, 3)
    after = data.index(b"\xff\xd9") + 2
    assert after < len(data) / 2
    for end in [after, *range(after + 1, len(data), 97), len(data) - 2]:
        assert "cut short" in refused(path, data[:end]).message


def test_jpeg_with_a_tail(tmp_path: Path, scene: np.ndarray) -> None:
    path = tmp_path / "motion.jpg"
    path.write_bytes(encode(scene, ".jpg") + b"phones append a film here")
    assert read_picture(path).shape == (60, 80, 3)


@pytest.mark.parametrize("fill", [1, 2, 5])
def test_jpeg_with_fill_bytes(tmp_path: Path, scene: np.ndarray, fill: int) -> None:
    # ITU T.81, B.1.1.2: any marker may be preceded by any number of fill bytes FF
    path = tmp_path / "fill.jpg"
    path.write_bytes(with_segment(encode(scene, ".jpg"), b"\xff" * fill))
    assert read_picture(path).shape == (60, 80, 3)


def test_png_cut_anywhere(tmp_path: Path, scene: np.ndarray) -> None:
    data = encode(scene, ".png")
    for end in [*range(1, len(data) - 12, 997), len(data) - 12]:
        refused(tmp_path / "cut.png", data[:end])


def test_cut_png_that_mentions_its_end_marker(tmp_path: Path, scene: np.ndarray) -> None:
    data = encode(scene, ".png")
    text = b"tEXtComment\0the IEND chunk"
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    whole = data[:33] + chunk + data[33:]
    path = tmp_path / "text.png"
    path.write_bytes(whole)
    np.testing.assert_array_equal(read_picture(path), scene)
    refused(path, whole[: len(whole) // 2])


@pytest.mark.parametrize("suffix", [".bmp", ".webp", ".tiff", ".ppm"])
def test_other_formats_cut_short(tmp_path: Path, scene: np.ndarray, suffix: str) -> None:
    data = encode(scene, suffix)
    path = tmp_path / f"other{suffix}"
    path.write_bytes(data)
    assert read_picture(path).shape == (60, 80, 3)
    refused(path, data[: len(data) * 7 // 10])


def test_an_empty_file(tmp_path: Path) -> None:
    assert "empty" in refused(tmp_path / "empty.jpg", b"").message


def test_text_under_a_pictures_name(tmp_path: Path) -> None:
    refused(tmp_path / "note.jpg", b"I am no picture, whatever I am called.\n")


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.jpg", tmp_path):
        with pytest.raises(DataError) as caught:
            read_picture(path)
        assert str(path) in caught.value.message


def test_prepare_subtracts_the_mean_of_each_channel(scene: np.ndarray) -> None:
    pixels, scale = prepare(scene)
    assert pixels.dtype == np.float32
    assert scale == (1, 1)
    np.testing.assert_array_equal(pixels, (scene.astype(np.float32) - MEANS).transpose(2, 0, 1))
    other, _ = prepare(scene, mean=(1, 2, 3))
    np.testing.assert_array_equal(other[2], scene[..., 2].astype(np.float32) - 3)


def test_prepare_pads_with_what_the_network_sees_as_nothing() -> None:
    white = np.full((20, 50, 3), 255, np.uint8)
    pixels, scale = prepare(white)
    assert pixels.shape == (3, 32, 50)
    assert scale == (1, 1)
    assert (pixels[:, :20] > 130).all()
    assert not pixels[:, 20:].any()


@pytest.mark.parametrize(
    ("shape", "size", "wanted"),
    [
        ((100, 200), 100, (50, 100)),
        ((200, 100), 100, (100, 50)),
        ((333, 517), 320, (206, 320)),
        ((517, 333), 320, (320, 206)),
        ((64, 64), 160, (160, 160)),
        ((50, 40), 100, (100, 80)),
    ],
)
def test_size_is_the_long_side(shape: tuple[int, int], size: int, wanted: tuple[int, int]) -> None:
    pixels, (x, y) = prepare(np.zeros((*shape, 3), np.uint8), size)
    assert pixels.shape == (3, *wanted)
    assert x == pytest.approx(wanted[1] / shape[1], rel=1e-9)  # each side's own, rounding included
    assert y == pytest.approx(wanted[0] / shape[0], rel=1e-9)


@given(st.integers(1, 90), st.integers(1, 90), st.none() | st.integers(32, 100))
@settings(max_examples=50)
def test_prepare_scales_tell_where_the_picture_ends(height: int, width: int, size: int | None) -> None:
    pixels, (x, y) = prepare(np.full((height, width, 3), 255, np.uint8), size)
    assert min(pixels.shape[1:]) >= 32
    rows, columns = np.flatnonzero(pixels[0].any(1)), np.flatnonzero(pixels[0].any(0))
    assert (len(rows), len(columns)) == (round(height * y), round(width * x))
    assert (rows[0], columns[0]) == (0, 0)
    assert max(len(rows), len(columns)) == (size or max(height, width))


@pytest.mark.parametrize(
    ("shape", "filled"),
    [((200, 100), (64, 32)), ((100, 200), (48, 96)), ((64, 96), (64, 96)), ((8, 8), (64, 64)), ((1, 500), (1, 96))],
)
def test_canvas(shape: tuple[int, int], filled: tuple[int, int]) -> None:
    pixels, scale = prepare(np.full((*shape, 3), 255, np.uint8), canvas=(64, 96))
    assert pixels.shape == (3, 64, 96)
    assert (pixels[:, : filled[0], : filled[1]] > 130).all()
    assert not pixels[:, filled[0] :].any()
    assert not pixels[:, :, filled[1] :].any()
    assert scale == pytest.approx((filled[1] / shape[1], filled[0] / shape[0]))


def test_canvas_with_a_size(scene: np.ndarray) -> None:
    pixels, scale = prepare(scene, 40, canvas=(64, 96))
    assert pixels.shape == (3, 64, 96)
    assert scale == (0.5, 0.5)
    assert not pixels[:, 30:].any()
    assert not pixels[:, :, 40:].any()


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 120), st.integers(1, 120))
@settings(max_examples=60)
def test_nothing_moves_when_a_picture_is_resized(wide: int, high: int, width: int, height: int) -> None:
    across, down = np.linspace(0, 120, wide), np.linspace(0, 120, high)
    picture = np.rint(across + down[:, None])[..., None].repeat(3, 2).astype(np.uint8)
    got = resized(picture, width, height)
    assert got.shape == (height, width, 3)
    # each new pixel is the mean of its old ones, and those of a ramp have the value at its middle
    middles = [np.clip((np.arange(n) + 0.5) * m / n - 0.5, 0, m - 1) for n, m in ((width, wide), (height, high))]
    ramps = [
        np.interp(at, np.arange(m), ramp) for at, m, ramp in zip(middles, (wide, high), (across, down), strict=True)
    ]
    step = 120 / max(1, min(wide, high) - 1)
    assert np.abs(got[..., 0] - (ramps[0] + ramps[1][:, None])).max() <= 2 + step / 2


@pytest.mark.parametrize("size", [(45, 37), (31, 31), (20, 20), (13, 13), (7, 9)])
def test_fine_detail_becomes_grey_and_no_pattern(size: tuple[int, int]) -> None:
    checks = (np.indices((100, 100)).sum(0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, 2)
    bilinear = cv2.resize(checks, size, interpolation=cv2.INTER_LINEAR)
    assert bilinear.std() > 40
    assert resized(checks, *size).std() < 30


def test_a_photograph_is_resized_about_as_by_areas(portrait: Path) -> None:
    picture = read_picture(portrait)
    for side in (500, 400, 320, 300, 256, 200, 120, 60):
        by_areas = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32)
        assert np.abs(resized(picture, side, side) - by_areas).mean() < 2  # grey levels; bilinear: 8.9 at 60 pixels
    assert resized(picture, 512, 512) is picture


def test_prepare_leaves_the_picture_alone(scene: np.ndarray) -> None:
    before = scene.copy()
    for size in (None, 40, 160):
        prepare(scene, size)
    np.testing.assert_array_equal(scene, before)


def test_write_and_read_back(tmp_path: Path, scene: np.ndarray) -> None:
    path = tmp_path / "new" / "folder" / "a.png"
    write_picture(path, scene)
    np.testing.assert_array_equal(read_picture(path), scene)
    write_picture(path.with_suffix(".jpg"), scene)
    assert np.abs(read_picture(path.with_suffix(".jpg")).astype(int) - scene).mean() < 5
    assert sorted(p.name for p in path.parent.iterdir()) == ["a.jpg", "a.png"]


def test_write_where_nothing_can_be_written(tmp_path: Path, scene: np.ndarray) -> None:
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder.png").mkdir()
    for path in (tmp_path / "file" / "a.png", tmp_path / "folder.png"):
        with pytest.raises(DataError) as caught:
            write_picture(path, scene)
        assert str(path) in caught.value.message or str(path.parent) in caught.value.message
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.parametrize("name", ["a.xyz", "a"])
def test_write_in_no_known_format(tmp_path: Path, scene: np.ndarray, name: str) -> None:
    with pytest.raises(DataError) as caught:
        write_picture(tmp_path / name, scene)
    assert name in caught.value.message
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_leaves_the_earlier_picture(
    tmp_path: Path, scene: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    write_picture(path, scene)
    whole = Path.write_bytes

    def full_disk(self: Path, data: bytes) -> int:
        whole(self, data[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(DataError, match="No space left"):
        write_picture(path, scene[::-1])
    monkeypatch.undo()
    np.testing.assert_array_equal(read_picture(path), scene)
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_draw_marks_a_copy(scene: np.ndarray) -> None:
    before = scene.copy()
    points = np.array([[[30, 25], [50, 25], [40, 33], [32, 42], [48, 42]]], np.float32)
    drawn = draw(scene, np.array([[20, 10, 60, 50]], np.float32), np.array([0.9], np.float32), points)
    np.testing.assert_array_equal(scene, before)
    assert drawn.shape == scene.shape
    changed = (drawn != scene).any(2)
    assert changed[10:51, 20].all()  # the box's left side
    assert changed[50, 20:61].all()  # and its lower one
    assert all(changed[int(y), int(x)] for x, y in points[0])
    assert not changed[55:].any()
    nothing = draw(scene, np.zeros((0, 4)), np.zeros(0), np.zeros((0, 5, 2)))
    np.testing.assert_array_equal(nothing, scene)
    assert nothing is not scene


anywhere = st.floats(-1e9, 1e9) | st.sampled_from([float("inf"), float("-inf"), 0.0])


@given(
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    boxes=st.lists(st.tuples(anywhere, anywhere, anywhere, anywhere), min_size=1, max_size=4),
    point=anywhere,
)
def test_draw_takes_boxes_anywhere(
    size: tuple[int, int], boxes: list[tuple[float, float, float, float]], point: float
) -> None:
    picture = np.zeros((*size, 3), np.uint8)
    points = np.full((len(boxes), 5, 2), point, np.float32)
    drawn = draw(picture, np.array(boxes, np.float32), np.full(len(boxes), 0.5, np.float32), points)
    assert drawn.shape == picture.shape
    assert not picture.any()
