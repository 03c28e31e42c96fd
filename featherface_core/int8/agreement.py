"""Whether two forms of a network find the same faces."""

from collections.abc import Sequence

import numpy as np

from featherface_core import boxes
from featherface_core.config import PostprocessConfig
from featherface_core.detect import Detector
from featherface_core.int8.report import Agreement
from featherface_core.results import Detections, Floats

SAME_FACE = 0.5  # IoU of two boxes


def compare_faces(first: Detector, second: Detector, inputs: Sequence[Floats]) -> Agreement:
    """The faces of both in prepared pictures, (1, 3, h, w) each, at the score and NMS that ``detect`` has."""
    post = PostprocessConfig()
    counts, overlaps, changes = [0, 0], [], []
    for pixels in inputs:
        ours, theirs = (each.run(pixels, [(1.0, 1.0)], post)[0] for each in (first, second))
        counts = [counts[0] + len(ours), counts[1] + len(theirs)]
        for i, j, overlap in _pairs(ours, theirs):
            overlaps.append(overlap)
            changes.append(abs(float(ours.scores[i] - theirs.scores[j])))
    return Agreement(
        len(inputs),
        post.score,
        (counts[0], counts[1]),
        len(overlaps),
        float(np.mean(overlaps)) if overlaps else 0.0,
        float(np.mean(changes)) if changes else 0.0,
    )


def _pairs(ours: Detections, theirs: Detections) -> list[tuple[int, int, float]]:
    """Faces that are each other's nearest, with their IoU."""
    if not len(ours) or not len(theirs):
        return []
    overlaps = boxes.iou(ours.boxes, theirs.boxes)
    nearest, back = overlaps.argmax(1), overlaps.argmax(0)
    pairs = [(i, int(j), float(overlaps[i, j])) for i, j in enumerate(nearest) if back[j] == i]
    return [pair for pair in pairs if pair[2] >= SAME_FACE]
