"""What became of every face and every detection, and the tables that are made of it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from featherface_core.evaluation.matching import RIGHT, WRONG, Matches, judge
from featherface_core.evaluation.report import LandmarkError, RecallRow, WorstPicture
from featherface_core.evaluation.truth import Doubles, Flags, Found, Indices, Truth

CONFIDENT = 0.5  # a score at which a detection would be shown
SIZES = (8, 16, 32, 64, 128, 256)  # pixels, square root of the area
SHOWN = 6  # pictures of each kind on the sheet of the worst
VALUES = {  # as the official annotation numbers them
    "blur": ("clear", "normal", "heavy"),
    "occlusion": ("none", "partial", "heavy"),
    "pose": ("typical", "atypical"),
    "expression": ("typical", "exaggerated"),
    "illumination": ("normal", "extreme"),
}
LANDMARKS_FROM = 40.0  # pixels: smaller faces have landmarks that cannot be told to a few per cent


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
        """(F,): the score of the detection that found each face, NaN for one that none found."""
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
    number = re.match(r"\d+", event)
    return (int(number[0]) if number else -1, event)


def _title(event: str) -> str:
    """``0--Parade`` is called Parade."""
    return event.partition("--")[2].replace("_", " ") or event or "(no folder)"
