"""Landmarks by a second look: each face is cropped, scaled to the size at which landmarks are most exact, and run again.

A detector runs on a face at the size that it has in the picture, and its landmarks are more exact at some sizes. Cascades
(MTCNN, https://arxiv.org/abs/1604.02878) run each candidate again at one size; this does the same with any detector, for
landmarks only.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from featherface_core import boxes
from featherface_core.config import PostprocessConfig, check_range
from featherface_core.detect.detector import Detector
from featherface_core.errors import ConfigError
from featherface_core.pictures import Picture, resized
from featherface_core.results import Detections, Floats

FACE = 128  # pixels that a face's side, the square root of its box's area, is scaled to
ROOM = 2  # side of the cropped square in sides of the face, which is in its middle
TOGETHER = 16  # faces in one pass: 12 MB of pixels
MOST = 4096  # pixels of a square's side that are taken from the picture: 50 MB
SAME_FACE = 0.4  # IoU from which a face of the second look is that of the first
# the face was found already, so low scores are enough; an overlapping neighbour must not suppress it
_POST = PostprocessConfig(score=0.02, nms=0.6, top_k=0)


class SecondLook:
    """Places landmarks by a second forward pass on each face.

    detector: the network of the second pass, the detecting one or another. name: for messages and reports; by default its model
    and weights. face: pixels that each face's side is scaled to, 16 to 1,024. Raises ConfigError for an exported file of a
    fixed size other than twice that.

    >>> from featherface_core import SecondLook, TorchDetector, load_model
    >>> detector = TorchDetector(load_model("v2.safetensors"))  # doctest: +SKIP
    >>> detector.second_look = SecondLook(TorchDetector(load_model("v1.safetensors")))  # doctest: +SKIP
    """

    def __init__(self, detector: Detector, name: str = "", face: int = FACE) -> None:
        check_range("face", face, 16, 1024)
        side, fixed = ROOM * face, detector.network.fixed
        if fixed is not None and fixed[1:] != (side, side):
            raise ConfigError(
                f"a second look takes {side}x{side} pixels, and this file of {detector.model} takes {fixed[2]}x{fixed[1]} alone",
                f"look by another: a file exported with --dynamic or --static --size {side}, or --landmarks-by v1",
            )
        self.detector, self.side = detector, side
        self.name = name or f"{detector.model}, {detector.weights}"

    def place(self, picture: Picture, faces: Detections) -> Detections:
        """The same boxes and scores, with the landmarks that the second look finds; those of a face that it misses do not
        change."""
        landmarks = faces.landmarks.copy()
        seen = _can_be_cut(faces.boxes, *picture.shape[:2])
        for start in range(0, len(seen), TOGETHER):
            part = seen[start : start + TOGETHER]
            landmarks[part] = self._place(picture, faces.boxes[part], landmarks[part])
        return replace(faces, landmarks=landmarks)

    def _place(self, picture: Picture, around: Floats, before: Floats) -> Floats:
        """The landmarks (n, 5, 2) of the faces in boxes (n, 4), ``before`` where none are found."""
        cuts = [_cut(picture, box, self.side) for box in around]
        pixels = np.stack([self.detector.prepare(square)[0] for square, _, _ in cuts])
        found = self.detector.run(pixels, [(scale, scale) for _, _, scale in cuts], _POST)
        after = before.copy()
        for i, (faces, (_, corner, _)) in enumerate(zip(found, cuts, strict=True)):
            overlaps = boxes.iou(around[i : i + 1] - np.tile(corner, 2), faces.boxes)[0]
            likeness = np.where(overlaps >= SAME_FACE, overlaps * faces.scores, 0)
            if likeness.any():
                after[i] = faces.landmarks[likeness.argmax()] + corner
        return after


def _sides(around: Floats) -> Floats:
    """Of boxes (n, 4), the square roots of their areas; NaN where a side is not above zero."""
    with np.errstate(invalid="ignore", over="ignore"):
        widths, heights = (around[:, 2:] - around[:, :2]).T
        return np.sqrt(np.where((widths > 0) & (heights > 0), widths * heights, np.nan), dtype=np.float32)


def _can_be_cut(around: Floats, height: int, width: int) -> NDArray[np.intp]:
    """Which of the boxes (n, 4) are finite, not much larger than the picture, and have a square that reaches into it: a network
    can give any numbers.
    """
    sides = _sides(around)
    with np.errstate(invalid="ignore"):
        middles = (around[:, :2].astype(np.float64) + around[:, 2:]) / 2
        beyond = np.maximum(-middles, middles - (width, height)).max(1)  # pixels from the picture to the middle
        fits = (sides < 1.25 * max(height, width)) & (beyond < sides * ROOM / 2)
    return np.flatnonzero(np.isfinite(around).all(1) & fits)


def _cut(picture: Picture, box: Floats, side: int) -> tuple[Picture, Floats, float]:
    """A face's square (side, side, 3), the square's left upper corner in the picture, and its pixels per pixel there.

    What lies outside the picture repeats its edge. Of a square of more than MOST pixels a side, every second pixel is taken, or
    every third, and so on: the network sees a few hundred.
    """
    height, width = picture.shape[:2]
    half = max(1, round(float(_sides(box[None])[0]) * ROOM / 2))
    left, top = (round(float(middle)) - half for middle in (box[:2] + box[2:]) / 2)
    step = -(-2 * half // MOST)
    rows = np.clip(np.arange(top + step // 2, top + 2 * half, step), 0, height - 1)
    columns = np.clip(np.arange(left + step // 2, left + 2 * half, step), 0, width - 1)
    square = resized(picture[rows[:, None], columns], side, side)
    return square, np.array((left, top), np.float32), side / (2 * half)
