"""Small data sets in RetinaFace's form, with landmarks as they should be or swapped."""

from pathlib import Path

import cv2
import numpy as np

from featherface_core.data.report import DataCheckReport

UPRIGHT = np.array([[30, 40], [70, 40], [50, 60], [35, 80], [65, 80]], np.float64)  # in a box of 100 pixels
SWAPPED = UPRIGHT[[1, 0, 2, 4, 3]]


def line(x: float, y: float, side: float, points: np.ndarray | None = None) -> str:
    """A face of a RetinaFace label, landmarks as they lie in a box of 100 pixels."""
    if points is None:
        return f"{x} {y} {side} {side}"
    placed = points * side / 100 + (x, y)
    return f"{x} {y} {side} {side} " + " ".join(f"{a:.3f} {b:.3f} 0" for a, b in placed) + " 1"


def make(folder: Path, faces: dict[str, list[str]], size: tuple[int, int] = (160, 120), seed: int = 0) -> Path:
    """A data set in RetinaFace's form, with pictures of noise, which are of different bytes."""
    rng = np.random.default_rng(seed)
    text = ""
    for name, lines in faces.items():
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(path.suffix, rng.integers(0, 255, (size[1], size[0], 3), np.uint8))[1])
        text += "\n".join([f"# {name}", *lines, ""])
    (folder / "label.txt").write_text(text)
    return folder


def make_small(folder: Path) -> Path:
    """A set of train and val with an ignored face and landmarks."""
    train = make(folder / "train", {"s/a.png": [line(10, 10, 50, UPRIGHT), line(-5, 9, 8)], "b.png": []})
    (train / "ignore.txt").write_text(f"# s/a.png\n{line(70, 70, 9)}\n")
    make(folder / "val", {"c.png": [line(20, 20, 30)]}, seed=1)
    return folder


def found(report: DataCheckReport) -> dict[str, tuple[str, int]]:
    return {group.kind: (group.severity, group.count) for group in report.problems}
