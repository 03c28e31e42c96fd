"""Matching of detections to faces, and the tables made from it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from featherface_core.evaluation.report import LandmarkError, RecallRow, WorstPicture
from featherface_core.evaluation.truth import Doubles, Flags, Found, Indices, Truth

MOST_PAIRS = 1 << 19  # boxes against faces at a time: 4 MiB an array
RIGHT, WRONG, NEITHER = 1, 0, -1
CONFIDENT = 0.5  # score from which a detection counts as confident
SIZES = (8, 16, 32, 64, 128, 256)  # pixels, square root of the area
SHOWN = 6  # pictures of each kind on the sheet of the worst
VALUES = {  # as the official annotation numbers them
    "blur": ("clear", "normal", "heavy"),
    "occlusion": ("none", "partial", "heavy"),
    "pose": ("typical", "atypical"),
    "expression": ("typical", "exaggerated"),
    "illumination": ("normal", "extreme"),
}
LANDMARKS_FROM = 40.0  # pixels: landmarks of smaller faces are not known to a few per cent


@dataclass(frozen=True)
class Matches:
    """For each detection, best score first within its picture: the face that it overlaps most, and by how much.

    face (D,): index into the truth, -1 in a picture without faces. overlap (D,): IoU. order (D,): the detection's place in Found.
    scores (D,).
    """

    face: Indices
    overlap: Doubles
    order: Indices
    scores: Doubles


def match(found: Found, truth: Truth) -> Matches:
    """Match by the rule of the WIDER FACE evaluation: the face of the largest IoU, the first of equals.

    Sides count one pixel more than x2 - x1, as there. Equal scores keep the order in which they came.
    """
    if len(found.ends) != len(truth.names):
        raise ValueError(f"detections of {len(found.ends)} pictures, faces of {len(truth.names)}")
    order = np.lexsort((-found.scores, found.picture))
    boxes, picture = found.boxes[order], found.picture[order]
    starts = np.concatenate(([0], truth.ends[:-1])) if len(truth.ends) else np.zeros(0, np.int64)
    faces_of = np.diff(truth.ends, prepend=0)
    candidates = faces_of[picture]  # faces that each detection is compared with
    face = np.full(len(order), -1, np.int64)
    overlap = np.zeros(len(order))
    with_faces = np.flatnonzero(candidates)
    # rows of unequal length laid end to end: (detection, face) pairs, some hundred thousand at a time
    ends = np.cumsum(candidates[with_faces])
    first = 0
    while first < len(with_faces):
        before = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(ends, before + MOST_PAIRS, "right")))
        rows = with_faces[first:last]
        counts = candidates[rows]
        begin = np.concatenate(([0], np.cumsum(counts)[:-1]))
        row = np.repeat(np.arange(len(rows)), counts)
        column = np.arange(len(row)) - begin[row]
        pair_face = starts[picture[rows]][row] + column
        shares = iou_with_extra_pixel(boxes[rows][row], truth.boxes[pair_face])
        best = np.maximum.reduceat(shares, begin)
        is_best = np.flatnonzero(shares == best[row])
        _, first_best = np.unique(row[is_best], return_index=True)
        face[rows] = pair_face[is_best[first_best]]
        overlap[rows] = best
        first = last
    return Matches(face, overlap, order, found.scores[order])


def iou_with_extra_pixel(a: Doubles, b: Doubles) -> Doubles:
    """IoU of boxes (n, 4) and (n, 4), x1 y1 x2 y2, pair by pair: (n,), with sides of x2 - x1 + 1 (Fast R-CNN's convention)."""
    width = np.minimum(a[:, 2], b[:, 2]) - np.maximum(a[:, 0], b[:, 0]) + 1
    height = np.minimum(a[:, 3], b[:, 3]) - np.maximum(a[:, 1], b[:, 1]) + 1
    overlap = np.clip(width, 0, None) * np.clip(height, 0, None)
    area_a = (a[:, 2] - a[:, 0] + 1) * (a[:, 3] - a[:, 1] + 1)
    area_b = (b[:, 2] - b[:, 0] + 1) * (b[:, 3] - b[:, 1] + 1)
    union = area_a + area_b - overlap
    shares: Doubles = np.divide(overlap, union, out=np.zeros_like(overlap), where=overlap > 0)
    return shares


def judge(matches: Matches, counted: Flags, iou: float) -> NDArray[np.int8]:
    """(D,) in the order of ``matches``: RIGHT, WRONG or NEITHER.

    RIGHT is the best detection of a face that counts; NEITHER is any on a face that does not count; a second detection of a
    face, and one that matches no face, are WRONG. counted (F,): which faces count.
    """
    verdicts = np.full(len(matches.face), WRONG, np.int8)
    fits = np.flatnonzero((matches.overlap >= iou) & (matches.face >= 0))
    counts = counted[matches.face[fits]]
    verdicts[fits[~counts]] = NEITHER
    real = fits[counts]
    _, first = np.unique(matches.face[real], return_index=True)  # the first of a face is its best
    verdicts[real[first]] = RIGHT
    return verdicts


@dataclass(frozen=True)
class Outcome:
    """Of each detection (D,), in the order of Found: RIGHT, WRONG or NEITHER, and the face that it is on, -1 for none."""

    verdicts: NDArray[np.int8]
    face: Indices

    @classmethod
    def of(cls, matches: Matches, counted: Flags, iou: float) -> "Outcome":
        """The outcome of the official matching, in one setting."""
        verdicts = np.empty(len(matches.order), np.int8)
        face = np.empty(len(matches.order), np.int64)
        verdicts[matches.order] = judge(matches, counted, iou)
        face[matches.order] = np.where(matches.overlap >= iou, matches.face, -1)
        return cls(verdicts, face)

    def found_with(self, found: Found, faces: int) -> Doubles:
        """(F,): the score of the detection that found each face, NaN for a missed face."""
        scores = np.full(faces, np.nan)
        right = self.verdicts == RIGHT
        scores[self.face[right]] = found.scores[right]
        return scores


def recall_rows(outcome: Outcome, found: Found, truth: Truth, counted: Flags) -> tuple[RecallRow, ...]:
    """How many of the faces that count were found, by size, by attribute and by folder; and false alarms by size."""
    score = outcome.found_with(found, len(truth.boxes))
    sides = _sides(truth.boxes)
    wrong = _sides(found.boxes[(outcome.verdicts == WRONG) & (found.scores >= CONFIDENT)])
    edges = (0, *SIZES, np.inf)
    groups: list[tuple[str, str, Flags, int | None]] = []
    for low, high in pairwise(edges):
        name = f"under {high:g} px" if not low else f"{low:g} px and more" if np.isinf(high) else f"{low:g}-{high:g} px"
        count = int(((wrong >= low) & (wrong < high)).sum())
        groups.append(("size", name, (sides >= low) & (sides < high), count))
    for attribute, names in VALUES.items():
        if attribute in truth.attributes:
            values = truth.attributes[attribute]
            groups += [(attribute, name, values == number, None) for number, name in enumerate(names)]
    folders = np.array(truth.events)
    kinds = sorted(set(truth.events), key=_by_number)
    if 1 < len(kinds) <= 100:
        word = "event" if any("--" in kind for kind in kinds) else "folder"
        groups += [(word, _title(kind), (folders == kind)[truth.picture], None) for kind in kinds]
    rows = []
    for group, name, chosen, alarms in groups:
        its = score[chosen & counted]
        if len(its) or alarms:
            rows.append(
                RecallRow(group, name, len(its), int(np.isfinite(its).sum()), int((its >= CONFIDENT).sum()), alarms)
            )
    return tuple(rows)


def _sides(boxes: Doubles) -> Doubles:
    """(n,): square root of the area of boxes (n, 4), in pixels."""
    sides: Doubles = np.sqrt(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(1))
    return sides


def worst_pictures(outcome: Outcome, found: Found, truth: Truth, counted: Flags) -> tuple[WorstPicture, ...]:
    """The pictures with most missed faces, then those with most confident false alarms, each once."""
    pictures = len(truth.names)
    shown = outcome.found_with(found, len(truth.boxes)) >= CONFIDENT
    faces = np.bincount(truth.picture[counted], minlength=pictures)
    missed = np.bincount(truth.picture[counted & ~shown], minlength=pictures)
    wrong = (outcome.verdicts == WRONG) & (found.scores >= CONFIDENT)
    alarms = np.bincount(found.picture[wrong], minlength=pictures)
    by_missed = [p for p in np.argsort(-missed, kind="stable")[:SHOWN].tolist() if missed[p]]
    rest = [p for p in np.argsort(-alarms, kind="stable").tolist() if alarms[p] and p not in by_missed]
    return tuple(
        WorstPicture(truth.names[p], int(faces[p]), int(missed[p]), int(alarms[p])) for p in by_missed + rest[:SHOWN]
    )


def landmark_error(
    outcome: Outcome, points: NDArray[np.float32], truth: Truth, landmarks: NDArray[np.float32]
) -> LandmarkError | None:
    """Mean distance of the landmarks (D, 5, 2) of right detections from the labelled ones (F, 5, 2), by the eyes' distance.

    None where no face of LANDMARKS_FROM pixels or more that was found has landmarks.
    """
    right = np.flatnonzero(outcome.verdicts == RIGHT)
    faces = outcome.face[right]
    sides = _sides(truth.boxes[faces])
    wanted = landmarks[faces].astype(np.float64)
    eyes = np.linalg.norm(wanted[:, 0] - wanted[:, 1], axis=1)
    known = np.isfinite(wanted).all((1, 2)) & np.isfinite(points[right]).all((1, 2))
    usable = (sides >= LANDMARKS_FROM) & known & (eyes > 0)
    if not usable.any():
        return None
    distances = np.linalg.norm(points[right].astype(np.float64) - wanted, axis=2)[usable].mean(1) / eyes[usable]
    return LandmarkError(float(distances.mean()), float(np.median(distances)), int(usable.sum()), LANDMARKS_FROM)


def by_group(rows: Iterable[RecallRow]) -> dict[str, list[RecallRow]]:
    """The rows of each group, in their order."""
    groups: dict[str, list[RecallRow]] = {}
    for row in rows:
        groups.setdefault(row.group, []).append(row)
    return groups


def _by_number(event: str) -> tuple[int, str]:
    number = re.match(r"\d{1,9}", event)
    return (int(number[0]) if number else -1, event)


def _title(event: str) -> str:
    """The title of an event folder: Parade for ``0--Parade``."""
    return event.partition("--")[2].replace("_", " ") or event or "(no folder)"
