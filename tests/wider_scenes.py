"""Pictures with faces and detections drawn at random, and the WIDER FACE procedure as one loop in another."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

from featherface_core.evaluation.average_precision import IOU, Curve, curve_of
from featherface_core.evaluation.matching import match
from featherface_core.evaluation.truth import Found, Truth

Box = tuple[float, float, float, float]
A, B, C, D = (
    (0, 0, 9, 9),
    (20, 0, 29, 9),
    (40, 0, 49, 9),
    (60, 0, 69, 9),
)  # each 10 x 10 pixels, 9 x 9 without the extra one
EMPTY = (500, 500, 509, 509)  # no face is here


class Picture(NamedTuple):
    faces: Sequence[Box]
    found: Sequence[tuple[Box, float]] = ()
    ignored: Sequence[Box] = ()  # those of the faces that do not count


def both(pictures: Sequence[Picture]) -> tuple[Found, Truth]:
    faces = [np.array(p.faces, np.float64).reshape(-1, 4) for p in pictures]
    found = [(np.array([b for b, _ in p.found], np.float64).reshape(-1, 4), [s for _, s in p.found]) for p in pictures]
    truth = Truth(
        tuple(f"event/{k}" for k in range(len(pictures))),
        np.concatenate([np.zeros((0, 4)), *faces]),
        np.cumsum([len(f) for f in faces], dtype=np.int64),
        {"one": np.array([face not in p.ignored for p in pictures for face in p.faces], bool)},
    )
    return Found.of([(boxes, np.array(scores, np.float64)) for boxes, scores in found]), truth


def evaluate(*pictures: Picture, iou: float = IOU) -> Curve:
    found, truth = both(pictures)
    return curve_of(match(found, truth), truth.counted["one"], iou)


def share(a: Box, b: Box) -> float:
    wide, high = min(a[2], b[2]) - max(a[0], b[0]) + 1, min(a[3], b[3]) - max(a[1], b[1]) + 1
    if wide <= 0 or high <= 0:
        return 0.0
    areas = [(x2 - x1 + 1) * (y2 - y1 + 1) for x1, y1, x2, y2 in (a, b)]
    return wide * high / (sum(areas) - wide * high)


def walk(pictures: Sequence[Picture], iou: float = 0.5) -> list[tuple[float, bool]]:
    """Score, stretched, of each detection that counts, and whether it is right."""
    scores = [score for p in pictures for _, score in p.found]
    low, high = min([1.0, *scores]), max([0.0, *scores])
    rows = []
    for picture in pictures:
        taken = set()
        for box, score in sorted(picture.found, key=lambda row: -row[1]):
            shares = [share(box, face) for face in picture.faces]
            owner = shares.index(max(shares)) if shares else -1
            fits = owner >= 0 and shares[owner] >= iou
            if fits and picture.faces[owner] in picture.ignored:
                continue
            rows.append(((score - low) / (high - low) if high > low else 1.0, fits and owner not in taken))
            if fits:
                taken.add(owner)
    return rows


def faces_to_find(pictures: Sequence[Picture]) -> int:
    return sum(face not in p.ignored for p in pictures for face in p.faces)


def counts_at(rows: list[tuple[float, bool]], thresholds: Sequence[float]) -> tuple[list[int], list[int]]:
    right, shown = [], []
    for threshold in thresholds:
        at_least = [is_right for score, is_right in rows if score >= threshold]
        right.append(sum(at_least))
        shown.append(len(at_least))
    return right, shown


def voc_area(right: list[int], shown: list[int], faces: int) -> float:
    recall = [0.0, *(r / faces for r in right), 1.0]
    precision = [0.0, *(r / n if n else 0.0 for r, n in zip(right, shown, strict=True)), 0.0]
    for i in range(len(precision) - 1, 0, -1):
        precision[i - 1] = max(precision[i - 1], precision[i])
    return sum((recall[i + 1] - recall[i]) * precision[i + 1] for i in range(len(recall) - 1))


STEPS = [1 - k / 1000 for k in range(1, 1001)]
SCORES = st.integers(0, 10).map(lambda k: k / 10) | st.integers(0, 2000).map(lambda k: k / 2000) | st.floats(-1.5, 2.5)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    """Small and on whole pixels, so that equal overlaps and an IoU of exactly 0.5 are common."""
    x, y, width, height = (draw(st.integers(0, most)) for most in (8, 3, 7, 3))
    return x, y, x + width, y + height


@st.composite
def scenes(draw: st.DrawFn, scores: st.SearchStrategy[float] = SCORES) -> list[Picture]:
    pictures = []
    moves = st.tuples(*[st.sampled_from([0, 0, 0, 0, -1, 1, 0.5])] * 4)
    for _ in range(draw(st.integers(0, 4))):
        faces = draw(st.lists(boxes(), max_size=6, unique=True))
        ignored = [face for face in faces if draw(st.integers(0, 3)) == 3]
        near = [face for face in faces for _ in range(draw(st.sampled_from([1, 0, 1, 2])))]
        found = [tuple(a + b for a, b in zip(face, draw(moves), strict=True)) for face in near]
        found += draw(st.lists(boxes(), max_size=3))
        pictures.append(Picture(faces, [(box, draw(scores)) for box in draw(st.permutations(found))], ignored))
    return pictures
