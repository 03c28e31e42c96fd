"""Suppression of overlapping boxes against a loop that gathers the boxes left over each time.

    python benchmarks/suppression.py

Crowds are drawn at random in a picture of 1024 pixels, each face with a few boxes that differ by about a pixel, at the default
thresholds. Both keep the same boxes (checked). They run in turn; the medians of both and of the pairs' ratio are printed.
"""

import statistics
import time
from collections.abc import Callable

import numpy as np

from featherface_core.boxes import nms
from featherface_core.config import PostprocessConfig

CROWDS = ((1, 12), (16, 8), (256, 6), (750, 4))  # faces, boxes of each
ROUNDS = 51


def gathering(boxes: np.ndarray, scores: np.ndarray, threshold: float, top_k: int) -> np.ndarray:
    """The same boxes, by index arrays of what is left."""
    order = np.argsort(-scores, kind="stable")
    x1, y1, x2, y2 = (np.ascontiguousarray(column) for column in boxes[order].T)
    areas = (x2 - x1 + 1) * (y2 - y1 + 1)
    alive = np.arange(len(order))
    kept: list[int] = []
    while alive.size and (not top_k or len(kept) < top_k):
        best, rest = alive[0], alive[1:]
        kept.append(order[best])
        width = np.clip(np.minimum(x2[best], x2[rest]) - np.maximum(x1[best], x1[rest]) + 1, 0, None)
        height = np.clip(np.minimum(y2[best], y2[rest]) - np.maximum(y1[best], y1[rest]) + 1, 0, None)
        overlap = width * height
        alive = rest[overlap <= threshold * (areas[best] + areas[rest] - overlap)]
    return np.array(kept, dtype=np.intp)


def crowd(faces: int, each: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    centres = draw.uniform(0, 1024, (faces, 1, 2)) + draw.normal(0, 1, (faces, each, 2))
    sides = draw.uniform(10, 60, (faces, 1, 1)) * np.exp(draw.normal(0, 0.1, (faces, each, 2)))
    boxes = np.concatenate((centres - sides / 2, centres + sides / 2), 2).reshape(-1, 4).astype(np.float32)
    return boxes, draw.uniform(0.5, 1, len(boxes)).astype(np.float32)


def milliseconds(run: Callable[..., np.ndarray], *arguments: object) -> float:
    start = time.perf_counter()
    run(*arguments)
    return (time.perf_counter() - start) * 1000


def main() -> None:
    post = PostprocessConfig()
    for faces, each in CROWDS:
        boxes, scores = crowd(faces, each)
        arguments = (boxes, scores, post.nms, post.top_k)
        kept = nms(*arguments)
        assert np.array_equal(kept, gathering(*arguments))
        pairs = [(milliseconds(nms, *arguments), milliseconds(gathering, *arguments)) for _ in range(ROUNDS)]
        ours, theirs = (statistics.median(times) for times in zip(*pairs, strict=True))
        ratio = statistics.median(a / b for a, b in pairs)
        print(
            f"{len(boxes):5} boxes, {len(kept):3} kept: {ours:6.2f} ms, gathering {theirs:6.2f} ms, ratio {ratio:.2f}"
        )


if __name__ == "__main__":
    main()
