"""A network that finds painted rectangles, and the pictures to paint them in."""

from collections.abc import Sequence

import cv2
import numpy as np

from featherface_core.boxes import encode_boxes, encode_landmarks, make_anchors
from featherface_core.data.annotation import Picture
from featherface_core.detect.detector import Detector, default_constants
from featherface_core.pictures import MEAN

Box = tuple[float, float, float, float]
DARK = 40  # brightness up to which nothing is painted
# of each face that Painted finds, within its box; no two of them mirror each other
POINTS = np.array([(0.25, 0.4), (0.7, 0.45), (0.5, 0.6), (0.3, 0.8), (0.6, 0.85)], np.float32)


class Painted:
    """A network that finds the rectangles that are painted, to a fraction of a pixel; its score for each is how bright it is."""

    fixed: tuple[int, int, int] | None = None

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def run(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        self.shapes.append(pixels.shape)
        anchors = make_anchors(*pixels.shape[2:])
        regressions, scores, landmarks = (np.zeros((len(pixels), len(anchors), n), np.float32) for n in (4, 2, 10))
        for i, one in enumerate(pixels):
            free = np.ones(len(anchors), bool)
            for box, score in self.found(one):
                middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
                best = int(np.where(free, np.abs(anchors[:, :2] - middle).sum(1), np.inf).argmin())
                free[best] = False
                regressions[i, best] = encode_boxes(np.array([box], np.float32), anchors[best : best + 1])[0]
                landmarks[i, best] = encode_landmarks(points_of(box)[None], anchors[best : best + 1])[0]
                scores[i, best] = 1 - score, score
        return regressions, scores, landmarks

    def found(self, one: np.ndarray) -> list[tuple[Box, float]]:
        """The rectangles of one picture (3, h, w)."""
        blue = one[0] + MEAN[0]
        blue[(one == 0).all(0)] = 0  # what pads the picture
        count, labels = cv2.connectedComponents((blue > DARK).astype(np.uint8), connectivity=4)
        blobs = [np.where(labels == k, blue, 0) for k in range(1, count)]
        spans = [(*extent(blob.max(0)), *extent(blob.max(1)), float(blob.max()) / 255) for blob in blobs]
        return [((x1, y1, x2, y2), score) for x1, x2, y1, y2, score in spans]


class Stopped(Painted):
    """Is interrupted when it is shown picture number ``at``, from 0."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def run(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if len(self.shapes) == self.at:
            raise KeyboardInterrupt
        return super().run(pixels)


def extent(profile: np.ndarray) -> tuple[float, float]:
    """Where a bump begins and ends, from its area and its centre."""
    length = float(profile.sum() / profile.max())
    middle = float((profile * (np.arange(len(profile)) + 0.5)).sum() / profile.sum())
    return middle - length / 2, middle + length / 2


def points_of(box: Sequence[float]) -> np.ndarray:
    """The landmarks (5, 2) that Painted gives to a face."""
    low, high = np.array(box[:2], np.float32), np.array(box[2:], np.float32)
    return low + POINTS * (high - low)


def painting(height: int, width: int, *marks: tuple[Box, int]) -> Picture:
    """A black picture with rectangles on whole pixels, each of its own brightness."""
    picture = np.zeros((height, width, 3), np.uint8)
    for (x1, y1, x2, y2), brightness in marks:
        picture[int(y1) : int(y2), int(x1) : int(x2)] = brightness
    return picture


def detector(network: Painted | None = None) -> Detector:
    return Detector(network or Painted(), default_constants(), "painted", "paint")
