"""Networks that find a white rectangle or fixed anchors, files for them to look at, and what was written."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from painted import extent

from featherface_core.boxes import encode_boxes, encode_landmarks, make_anchors
from featherface_core.config import DetectConfig
from featherface_core.detect.detect_files import detect_files
from featherface_core.detect.detector import Detector, default_constants
from featherface_core.events import Listener, Progress, ignore
from featherface_core.results import DetectReport, PictureResult

Box = tuple[int, int, int, int]


class Spotter:
    """A network that answers with the white rectangle it is shown: its box, corners and middle, as regressions.

    It is exact to a fraction of a pixel, so the pictures' way in and the boxes' way back can be measured.
    """

    fixed: tuple[int, int, int] | None = None

    def __init__(self) -> None:
        self.batches: list[tuple[int, ...]] = []

    def run(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        self.batches.append(pixels.shape)
        anchors = make_anchors(*pixels.shape[2:])
        regressions = np.zeros((len(pixels), len(anchors), 4), np.float32)
        scores = np.zeros((len(pixels), len(anchors), 2), np.float32)
        landmarks = np.zeros((len(pixels), len(anchors), 10), np.float32)
        for i, one in enumerate(pixels):
            grey = np.clip((one.mean(0) + np.mean(default_constants()["mean"])) / 255, 0, 1)
            if grey.max() < 0.9:
                continue
            grey[one.mean(0) == 0] = 0  # what pads the picture
            (x1, x2), (y1, y2) = extent(grey.max(0)), extent(grey.max(1))
            middle = np.array([(x1 + x2) / 2, (y1 + y2) / 2])
            best = int(np.abs(anchors[:, :2] - middle).sum(1).argmin())
            anchor = anchors[best : best + 1]
            points = np.array([[(x1, y1), (x2, y1), middle, (x1, y2), (x2, y2)]], np.float32)
            regressions[i, best] = encode_boxes(np.array([[x1, y1, x2, y2]], np.float32), anchor)[0]
            landmarks[i, best] = encode_landmarks(points, anchor)[0]
            scores[i, best, 1] = 0.9
        return regressions, scores, landmarks


class Fixed:
    """A network that finds the same anchors in every picture, at the size that is asked for."""

    fixed: tuple[int, int, int] | None = None

    def __init__(self, *anchors: int, regression: tuple[float, float, float, float] = (0, 0, 0, 0)) -> None:
        self.anchors, self.regression = list(anchors), regression

    def run(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        count = len(make_anchors(*pixels.shape[2:]))
        regressions, scores, landmarks = (np.zeros((len(pixels), count, n), np.float32) for n in (4, 2, 10))
        regressions[:, self.anchors] = self.regression
        landmarks[:, self.anchors] = 3
        scores[:, self.anchors, 1] = 0.8
        return regressions, scores, landmarks


def detector(network: Spotter | Fixed | None = None) -> Detector:
    return Detector(network or Spotter(), default_constants(), "stub", "none")


def scene(height: int, width: int, box: Box | None = None) -> np.ndarray:
    picture = np.zeros((height, width, 3), np.uint8)
    if box is not None:
        x1, y1, x2, y2 = box
        picture[y1:y2, x1:x2] = 255
    return picture


def save(path: Path, height: int = 60, width: int = 80, box: Box | None = (20, 10, 50, 40)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), scene(height, width, box))
    return path


def film(path: Path, boxes: list[Box], height: int = 48, width: int = 64, fps: float = 5) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, (width, height))
    assert writer.isOpened()
    for box in boxes:
        writer.write(scene(height, width, box))
    writer.release()
    return path


def frames_of(path: str | Path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    capture.release()
    return frames


def lines_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "detections.jsonl").read_text(encoding="utf-8").splitlines()]


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@dataclass(frozen=True)
class Found:
    """What a run of detect_files told of each picture, and its report."""

    pictures: list[PictureResult]
    report: DetectReport

    @property
    def broken(self) -> list[PictureResult]:
        return [picture for picture in self.pictures if picture.problem]


def run(
    paths: list, out: Path | None = None, network: Spotter | Fixed | None = None, on_event: Listener = ignore, **config
) -> Found:
    told: list[PictureResult] = []
    named = [str(path) for path in paths]
    report = detect_files(detector(network), named, DetectConfig(**config), out, told.append, on_event)
    good = [picture for picture in told if not picture.problem]
    assert (report.pictures, report.broken) == (len(good), len(told) - len(good))
    assert report.faces == sum(len(picture.faces) for picture in good)
    return Found(told, report)


def digests(paths: list[Path]) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


def stop_at(event: int) -> Callable[[Progress], None]:
    def listen(progress: Progress) -> None:
        if progress.done == event:
            raise KeyboardInterrupt

    return listen


def one_face(result: PictureResult) -> np.ndarray:
    (face,) = result.faces
    return np.array(face["box"])
