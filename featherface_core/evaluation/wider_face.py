"""Average precision as the WIDER FACE evaluation computes it (Yang et al. 2016, https://arxiv.org/abs/1511.06523).

The scores of all pictures are stretched to 0-1; at each of 1,000 thresholds the right and the wrong detections are counted
over all pictures; AP is the area under the curve, each precision raised to the best at that recall or a higher one (as in
PASCAL VOC 2010).
"""

from dataclasses import dataclass

import numpy as np

from featherface_core.evaluation.matching import NEITHER, RIGHT, Matches, judge
from featherface_core.evaluation.truth import Doubles, Flags

THRESHOLDS = 1_000
IOU = 0.5


@dataclass(frozen=True)
class Curve:
    """AP of one setting, 0 to 1, NaN where no face counts; and its curve (1,000,), from the highest threshold down.

    precision is NaN where there is no detection yet. faces: how many count.
    """

    ap: float
    recall: Doubles
    precision: Doubles
    faces: int


def normalised(scores: Doubles) -> Doubles:
    """Scores stretched so that the lowest of the whole set is 0 and the highest 1; all 1 where all are the same, from 0 to 1.

    As in the official code the range starts from 1 and 0, so for scores outside 0-1 the stretch ends at those.
    """
    if not len(scores):
        return scores
    low, high = min(1.0, float(scores.min())), max(0.0, float(scores.max()))
    return (scores - low) / (high - low) if high > low else np.ones_like(scores)


def curve_of(matches: Matches, counted: Flags, iou: float = IOU) -> Curve:
    """AP and curve of one setting. counted (F,): which faces of the truth are to be found."""
    faces = int(counted.sum())
    verdicts = judge(matches, counted, iou)
    thresholds = 1 - np.arange(1, THRESHOLDS + 1) / THRESHOLDS
    scores = normalised(matches.scores)
    right = _at_least(scores[verdicts == RIGHT], thresholds)
    shown = _at_least(scores[verdicts != NEITHER], thresholds)
    precision = np.divide(right, shown, out=np.full(THRESHOLDS, np.nan), where=shown > 0)
    if not faces:
        return Curve(float("nan"), np.full(THRESHOLDS, np.nan), precision, 0)
    recall = right / faces
    return Curve(area_under(recall, precision), recall, precision, faces)


def area_under(recall: Doubles, precision: Doubles) -> float:
    """Area under a curve (n,), recall rising, with each precision raised to the best one at that recall or a higher one."""
    best_from_here = np.maximum.accumulate(np.nan_to_num(precision)[::-1])[::-1]
    steps = np.diff(recall, prepend=0.0)
    return float((steps * best_from_here).sum())


def _at_least(scores: Doubles, thresholds: Doubles) -> Doubles:
    """(T,): how many scores are at or above each threshold."""
    ordered = np.sort(scores)
    return (len(ordered) - np.searchsorted(ordered, thresholds, "left")).astype(np.float64)
