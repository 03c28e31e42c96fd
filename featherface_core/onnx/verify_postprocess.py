"""The proof that post-processing in a file equals the separate path: the same faces from the same raw outputs."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from featherface_core import boxes
from featherface_core.config import PostprocessConfig
from featherface_core.detect import ExportedNetwork
from featherface_core.results import Floats, SizeCheck

SCORE_TOLERANCE = 1e-4
PIXEL_TOLERANCE = 1e-2
FEWEST, MOST = 50, 200  # candidates of a picture, where it has so many anchors: enough to suppress each other
AROUND = 0.1  # how far from the asked-for IoU a clear one is looked for

Faces = tuple[Floats, Floats, Floats]
Finder = Callable[[int, PostprocessConfig], Faces]  # the faces of the batch's picture of this number


def separately(outputs: Faces, height: int, width: int) -> Finder:
    """A finder from the raw outputs of a batch, by the project's own post-processing."""
    anchors = boxes.make_anchors(height, width)

    def find(picture: int, post: PostprocessConfig) -> Faces:
        regressions, scores, landmarks = (output[picture] for output in outputs)
        return boxes.postprocess(regressions, scores, landmarks, anchors, post.score, post.nms, post.top_k)

    return find


def in_graph(file: ExportedNetwork, pixels: Floats) -> Finder:
    """A finder that runs a file with post-processing on a batch."""

    def find(picture: int, post: PostprocessConfig) -> Faces:
        face_boxes, scores, points = (of_all[picture] for of_all in file.find(pixels, post))
        return face_boxes, scores, points

    return find


def compare_postprocess(
    row: SizeCheck, theirs: Finder, ours: Finder, scores: Floats, post: PostprocessConfig
) -> SizeCheck:
    """``row`` with how a file's own post-processing did against the separate path, its ``problem`` if they differ.

    scores (batch, anchors): of faces. Thresholds are as low as many candidates want, and in the widest gaps near that, so that
    no face hangs on the last digit of an overlap.
    """
    size = max(row.height, row.width)
    faces, worst = 0, 0.0
    for picture, its_scores in enumerate(scores):
        clear = replace(post, score=clear_threshold(its_scores, FEWEST, MOST))
        clear = replace(clear, nms=_clear_iou(ours(picture, replace(clear, nms=1.0, top_k=0))[0], post.nms))
        found, wanted = theirs(picture, clear), ours(picture, clear)
        if len(found[0]) != len(wanted[0]):
            lengths = f"{len(wanted[0])} faces separately, {len(found[0])} in the graph"
            return replace(row, problem=f"post-processing differs: {lengths}")
        if not _largest(found[1], wanted[1]) <= SCORE_TOLERANCE:
            return replace(row, problem="post-processing differs: scores are not the separate path's")
        for values, expected in ((found[0], wanted[0]), (found[2], wanted[2])):
            # far outside the picture float32 itself is no finer than the tolerance
            worst = max(worst, _largest(*(np.clip(v, -2 * size, 3 * size) for v in (values, expected))))
        faces += len(found[0])
    row = replace(row, post_faces=faces, post_error=worst)
    if not worst <= PIXEL_TOLERANCE:
        return replace(row, problem=f"post-processing differs: boxes or landmarks by {worst:.3f} px")
    return row


def clear_threshold(scores: Floats, fewest: int = 1, most: int = 200) -> float:
    """A score threshold in the widest gap among the best anchors, so that no face hangs on the last digit of its score.

    fewest, most: how many anchors are to be above it; half of them all where there are fewer.
    """
    best = np.sort(scores)[::-1][: most + 1].astype(np.float64)
    first = min(fewest, len(best) // 2) - 1
    widest = first + int(np.argmax(best[first:-1] - best[first + 1 :]))
    return float((best[widest] + best[widest + 1]) / 2)


def _clear_iou(face_boxes: Floats, near: float) -> float:
    """An IoU in the widest gap between those of any two boxes, within AROUND of ``near``, as ``boxes.nms`` counts pixels."""
    closed = face_boxes + np.array((0, 0, 1, 1), np.float32)
    shares = np.sort(boxes.iou(closed, closed), axis=None).astype(np.float64)
    low, high = max(0.0, near - AROUND), min(1.0, near + AROUND)
    steps = np.concatenate(([low], shares[(shares > low) & (shares < high)], [high]))
    widest = int(np.argmax(np.diff(steps)))
    return float(steps[widest] + steps[widest + 1]) / 2


def _largest(values: Floats, expected: Floats) -> float:
    return float(np.abs(values - expected).max(initial=0))
