"""The WIDER FACE evaluation against the same procedure in loops, over pictures, detections and thresholds.

    python benchmarks/wider_eval.py [PICTURES]

Faces and detections are drawn at random (12 faces and as many detections a picture, as in the validation set). Both are timed
in turn, three times; the figures must be equal.
"""

import statistics
import sys
import time

import numpy as np

from featherface_core.evaluation.average_precision import THRESHOLDS, curve_of
from featherface_core.evaluation.matching import iou_with_extra_pixel, match
from featherface_core.evaluation.truth import Found, Truth

SETTINGS = ("easy", "medium", "hard")
ROUNDS = 3


def scene(pictures: int) -> tuple[Found, Truth]:
    """Faces, and detections that are faces moved by a few pixels or lie anywhere."""
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 1000, (pictures * 12, 2))
    faces = np.concatenate((corners, corners + rng.lognormal(3, 1, (len(corners), 1)) + [5, 6]), 1).round()
    moved = faces + rng.normal(0, 4, faces.shape) * (rng.random((len(faces), 1)) < 0.5)
    detections = np.where(rng.random((len(faces), 1)) < 0.7, moved, rng.permutation(moved))
    ends = np.arange(12, len(faces) + 1, 12)
    counted = {name: rng.random(len(faces)) < share for name, share in zip(SETTINGS, (0.2, 0.4, 0.9), strict=True)}
    truth = Truth(tuple(f"event/{i:05}" for i in range(pictures)), faces, ends, counted)
    return Found(detections, rng.uniform(0.02, 1, len(faces)), ends), truth


def vectorised(found: Found, truth: Truth) -> list[float]:
    matches = match(found, truth)
    return [curve_of(matches, truth.counted[name]).ap for name in SETTINGS]


def looped(found: Found, truth: Truth) -> list[float]:
    low, high = found.scores.min(), found.scores.max()
    aps = []
    for name in SETTINGS:
        counts = np.zeros((THRESHOLDS, 2))
        start = 0
        for end in truth.ends:
            faces, counted = truth.boxes[start:end], truth.counted[name][start:end]
            order = np.argsort(-found.scores[start:end], kind="stable") + start
            boxes, scores = found.boxes[order], (found.scores[order] - low) / (high - low)
            taken = np.zeros(len(faces), bool)
            right, shown = np.zeros(len(boxes)), np.zeros(len(boxes))
            for i, box in enumerate(boxes):
                overlaps = iou_with_extra_pixel(np.broadcast_to(box, faces.shape), faces)
                best = int(overlaps.argmax())
                if overlaps[best] < 0.5 or counted[best]:
                    shown[i] = 1
                    if overlaps[best] >= 0.5 and not taken[best]:
                        taken[best] = right[i] = True
            for t in range(THRESHOLDS):
                above = scores >= 1 - (t + 1) / THRESHOLDS
                counts[t] += right[above].sum(), shown[above].sum()
            start = end
        recall, precision = counts[:, 0] / truth.counted[name].sum(), counts[:, 0] / np.maximum(counts[:, 1], 1)
        ap, best_precision = 0.0, 0.0
        for t in range(THRESHOLDS - 1, -1, -1):
            best_precision = max(best_precision, precision[t])
            ap += best_precision * (recall[t] - (recall[t - 1] if t else 0.0))
        aps.append(float(ap))
    return aps


def main() -> None:
    found, truth = scene(int(sys.argv[1]) if len(sys.argv) > 1 else 300)
    ratios, times = [], []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        ours = vectorised(found, truth)
        middle = time.perf_counter()
        theirs = looped(found, truth)
        end = time.perf_counter()
        np.testing.assert_allclose(ours, theirs, atol=1e-12)
        ratios.append((end - middle) / (middle - start))
        times.append(middle - start)
    print(f"{len(truth.names):,} pictures, {len(truth.boxes):,} faces, {len(found):,} detections, three settings")
    print(f"vectorised {statistics.median(times):.3f} s; loops take {statistics.median(ratios):.0f} times as long")
    print("AP", " ".join(f"{ap:.6f}" for ap in ours))


if __name__ == "__main__":
    main()
