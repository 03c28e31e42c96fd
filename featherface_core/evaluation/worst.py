"""The worst pictures on one sheet: missed faces and false alarms."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from featherface_core.data.annotation import Picture
from featherface_core.errors import DataError
from featherface_core.evaluation.dataset import Task
from featherface_core.evaluation.inference import Detected
from featherface_core.evaluation.matching import CONFIDENT, WRONG, Outcome
from featherface_core.evaluation.report import WorstPicture
from featherface_core.evaluation.truth import Doubles
from featherface_core.pictures import resized

COLUMNS, SIDE, GAP, CAPTION, LEGEND = 3, 480, 10, 44, 44  # pixels
PAPER, INK, DIM = (255, 255, 255), (40, 35, 30), (110, 105, 100)
# blue, green, red; also distinct by their form: a thin frame, a thick one, one with a stroke
FOUND, MISSED, ALARM = (233, 180, 86), (66, 228, 240), (0, 94, 213)
FONT = cv2.FONT_HERSHEY_SIMPLEX


class Marks(NamedTuple):
    """Boxes (n, 4) of one picture: faces that were found, faces that were missed, and false alarms with their scores."""

    found: Doubles
    missed: Doubles
    alarms: Doubles
    scores: Doubles


def worst_sheet(task: Task, detected: Detected, outcome: Outcome, worst: Sequence[WorstPicture]) -> Picture | None:
    """The worst pictures in rows of three, BGR uint8, marked and captioned; None where there are none or no picture files.

    Faces that do not count are not drawn. Found, missed and false alarm are decided at a score of 0.5.
    """
    if not worst or task.source is None:
        return None
    places = {name: p for p, name in enumerate(task.truth.names)}
    scores = outcome.found_with(detected.found, len(task.truth.boxes))
    tiles = []
    for entry in worst:
        p = places[entry.name]
        try:
            picture = task.source.read(task.indices[p])[0]
        except DataError:
            continue  # it counts as all missed, and is listed as broken
        tiles.append((_tile(picture, _marks(task, detected, outcome, scores, p)), entry))
    rows = [tiles[i : i + COLUMNS] for i in range(0, len(tiles), COLUMNS)]
    heights = [max(tile.shape[0] for tile, _ in row) + CAPTION + GAP for row in rows]
    sheet = np.full((LEGEND + sum(heights), COLUMNS * (SIDE + GAP) + GAP, 3), PAPER, np.uint8)
    _legend(sheet)
    top = LEGEND
    for row, height in zip(rows, heights, strict=True):
        for column, (tile, entry) in enumerate(row):
            left = GAP + column * (SIDE + GAP)
            sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
            _caption(sheet, entry, left, top + tile.shape[0])
        top += height
    return sheet


def _marks(task: Task, detected: Detected, outcome: Outcome, scores: Doubles, p: int) -> Marks:
    truth, found = task.truth, detected.found
    faces = np.flatnonzero((truth.picture == p) & truth.counted[task.counted])
    hit = scores[faces] >= CONFIDENT
    alarms = (found.picture == p) & (outcome.verdicts == WRONG) & (found.scores >= CONFIDENT)
    return Marks(truth.boxes[faces[hit]], truth.boxes[faces[~hit]], found.boxes[alarms], found.scores[alarms])


def _tile(picture: Picture, marks: Marks) -> Picture:
    height, width = picture.shape[:2]
    scale = SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    tile = resized(picture, *size).copy()
    for box in marks.found:
        _frame(tile, box * scale, FOUND, 1)
    for box in marks.missed:
        _frame(tile, box * scale, MISSED, 2)
    for box, score in zip(marks.alarms, marks.scores, strict=True):
        x1, y1, x2, y2 = _frame(tile, box * scale, ALARM, 2)
        cv2.line(tile, (x1, y1), (x2, y2), ALARM, 1, cv2.LINE_AA)
        if x2 - x1 >= 24:
            cv2.putText(tile, f"{score:.2f}", (x1, max(10, y1 - 3)), FONT, 0.36, ALARM, 1, cv2.LINE_AA)
    return tile


def _frame(tile: Picture, box: Doubles, colour: tuple[int, int, int], width: int) -> tuple[int, int, int, int]:
    x1, y1, x2, y2 = (round(float(v)) for v in np.clip(box, -2 * SIDE, 3 * SIDE))
    line = width if min(x2 - x1, y2 - y1) >= 12 else 1  # a thick frame would hide a face of a few pixels
    cv2.rectangle(tile, (x1, y1), (x2, y2), colour, line, cv2.LINE_AA)
    return x1, y1, x2, y2


def _caption(sheet: Picture, entry: WorstPicture, left: int, bottom: int) -> None:
    name = entry.name.rpartition("/")[2]
    plain = "".join(c if " " <= c <= "~" else "?" for c in name)
    short = plain if len(plain) <= 58 else "..." + plain[-55:]
    alarms = f"{entry.false_alarms} false alarm{'s' * (entry.false_alarms != 1)}"
    what = f"{entry.missed} of {entry.faces} missed, {alarms}"
    cv2.putText(sheet, short, (left, bottom + 16), FONT, 0.42, DIM, 1, cv2.LINE_AA)
    cv2.putText(sheet, what, (left, bottom + 36), FONT, 0.5, INK, 1, cv2.LINE_AA)


def _legend(sheet: Picture) -> None:
    x = GAP
    for colour, width, text in (
        (FOUND, 1, "found"),
        (MISSED, 2, "missed"),
        (ALARM, 2, f"false alarm; all at a score of {CONFIDENT:g}"),
    ):
        cv2.rectangle(sheet, (x, 12), (x + 20, 32), colour, width + 1, cv2.LINE_AA)
        if colour == ALARM:
            cv2.line(sheet, (x, 12), (x + 20, 32), colour, 1, cv2.LINE_AA)
        cv2.putText(sheet, text, (x + 28, 28), FONT, 0.5, INK, 1, cv2.LINE_AA)
        x += 150
