"""Plans as the numbers that painting on a device needs: which pixels are read with which weights, and where they are written.

Arithmetic over all pieces of a batch at once, in numpy. Follows ``pictures.resized``: the halved copy, the samples an axis.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from featherface_core.data.augment.plan import Plan
from featherface_core.training.picture_store import BORDER, SLACK, Levels

Numbers = NDArray[np.float64]

TILE = 16  # side in pixels of the squares that pieces are painted in

# columns of a table of pieces
CANVAS, PICTURE, X, Y, WIDE, HIGH, LEFT, TOP, WIDTH, HEIGHT, X1, Y1, X2, Y2, ACROSS, DOWN = range(16)
MIRRORED, BRIGHTNESS, CONTRAST, SATURATION, HUE, OPACITY = range(16, 22)
PIECE_COLUMNS = 22

# Columns of a job. By axis, in pixels of the copy that is read: sample k of n of the target's pixel p lies at
# START + (FIRST + SIGN * p + (k + 0.5) / n) * STEP - 0.5 and reads pixels from LOW to HIGH.
START_X, STEP_X, LOW_X, HIGH_X, FIRST_X, SIGN_X = range(6)
START_Y, STEP_Y, LOW_Y, HIGH_Y, FIRST_Y = range(6, 11)
SOURCE, SOURCE_PITCH, TARGET, TARGET_PITCH, ACROSS_TARGET, DOWN_TARGET = range(11, 17)
JOB_BRIGHTNESS, JOB_CONTRAST, JOB_SATURATION, JOB_HUE, JOB_OPACITY = range(17, 22)
JOB_COLUMNS = 22
STRIP_COLUMNS = 2  # job, first column or row of its target
TILE_COLUMNS = 2  # strip of columns, strip of rows


@dataclass(frozen=True)
class Group:
    """Tiles ``first`` to ``end`` that are painted alike, after those of the groups before.

    rows: samples down, 1 or 2. slots: neighbouring pixels of a row that the samples across may read, a power of two; 2 for one
    sample. from_scratch, to_scratch: what is read and written in place of store and canvas.
    levelled, turned: its brightness or contrast, its saturation or hue change. blended: some of it is not opaque.
    """

    first: int
    end: int
    rows: int
    slots: int
    from_scratch: bool
    to_scratch: bool
    levelled: bool
    turned: bool
    blended: bool


@dataclass(frozen=True)
class Jobs:
    """What is to be painted for a batch of ``canvases`` of ``size`` x ``size``.

    Targets are cut into strips of TILE columns, and of TILE rows; a tile is where one of each cross. numbers: flat, jobs
    (``counts[0]``, JOB_COLUMNS), strips of columns, then of rows (``counts[1]``, ``counts[2]``; STRIP_COLUMNS), then tiles (n,
    TILE_COLUMNS), sorted by group. scratch: pixels of room for softened pieces between shrinking and enlarging.
    """

    canvases: int
    size: int
    counts: tuple[int, int, int]
    scratch: int
    groups: tuple[Group, ...]
    numbers: Numbers


def table_of(plans: Sequence[Plan]) -> Numbers:
    """The pieces of all plans, (pieces, PIECE_COLUMNS), in the order in which they are painted."""
    rows = [
        (
            *(canvas, p.picture, *p.window, *p.place, *p.shown, *p.detail, p.mirrored),
            *(p.colour.brightness, p.colour.contrast, p.colour.saturation, p.colour.hue, p.opacity),
        )
        for canvas, plan in enumerate(plans)
        for p in plan.pieces
    ]
    return np.array(rows, np.float64).reshape(-1, PIECE_COLUMNS)


def jobs_of(table: Numbers, canvases: int, size: int, levels: Levels) -> Jobs:
    """The jobs of a table of pieces, whose pictures lie in a store as ``levels`` says."""
    soft = (table[:, ACROSS] != table[:, WIDTH]) | (table[:, DOWN] != table[:, HEIGHT])
    areas = np.where(soft, table[:, ACROSS] * table[:, DOWN], 0)
    starts = np.cumsum(areas) - areas
    scratch = int(areas.sum())

    reading, rows, slots = _from_store(table, levels)
    onto = _onto_canvas(table, size)
    direct = reading.copy()
    direct[:, TARGET:] = onto[:, TARGET:]
    # the pixel of the piece that the target's first one shows, counted from the right where it is mirrored
    direct[:, FIRST_X], direct[:, SIGN_X], direct[:, FIRST_Y] = onto[:, FIRST_X], onto[:, SIGN_X], onto[:, FIRST_Y]
    shrinking = _into_scratch(reading, table, starts)
    enlarging = _from_scratch(onto, table, starts)

    layer = _layers(table)
    levelled = (table[:, (BRIGHTNESS, CONTRAST)] != (0.0, 1.0)).any(1)
    turned = (table[:, (SATURATION, HUE)] != (1.0, 0.0)).any(1)
    blended = table[:, OPACITY] < 1
    jobs = np.concatenate((shrinking[soft], direct[~soft], enlarging[soft]))
    one, other = np.ones(int(soft.sum()), np.int64), np.zeros(int((~soft).sum()), np.int64)
    nothing = one < 1
    # by importance: what has to be painted first, then what is painted alike
    keys = (
        np.concatenate((0 * one, 1 + layer[~soft], 1 + layer[soft])),
        np.concatenate((rows[soft], rows[~soft], one)),
        np.concatenate((slots[soft], slots[~soft], 2 * one)),
        np.concatenate((0 * one, other, one)),
        np.concatenate((nothing, levelled[~soft], levelled[soft])),
        np.concatenate((nothing, turned[~soft], turned[soft])),
        np.concatenate((nothing, blended[~soft], blended[soft])),
    )
    order = np.lexsort(keys[::-1])
    jobs, keys_ = jobs[order], np.stack(keys, 1)[order]
    lengths = jobs[:, (ACROSS_TARGET, DOWN_TARGET)].astype(np.int64)
    across, down = _strips(lengths[:, 0]), _strips(lengths[:, 1])
    tiles, first_of = _tiles(-(-lengths // TILE))
    edges = [0, *(np.flatnonzero((keys_[1:] != keys_[:-1]).any(1)) + 1).tolist(), len(jobs)]
    groups = []
    for first, end in pairwise(edges):
        stage, samples, neighbours, origin, *kinds = (int(v) for v in keys_[first])
        own = (int(first_of[first]), int(first_of[end]))
        groups.append(Group(*own, samples, neighbours, bool(origin), not stage, *(bool(kind) for kind in kinds)))
    numbers = np.concatenate([part.reshape(-1) for part in (jobs, across, down, tiles)])
    counts = (len(jobs), len(across), len(down))
    return Jobs(canvases, size, counts, scratch + SLACK, tuple(groups), numbers)


def _from_store(table: Numbers, levels: Levels) -> tuple[Numbers, NDArray[np.int64], NDArray[np.int64]]:
    """Of each piece what is read to bring its window to its detail, the samples an axis down, and the slots across."""
    picture = table[:, PICTURE].astype(np.int64)
    wide, high, across, down = table[:, (WIDE, HIGH, ACROSS, DOWN)].T.astype(np.int64)
    level = np.zeros(len(table), np.int64)
    while (halve := (wide >= 4 * across) & (high >= 4 * down) & (level < levels.last[picture])).any():
        wide, high, level = np.where(halve, wide // 2, wide), np.where(halve, high // 2, high), level + halve
    jobs = np.zeros((len(table), JOB_COLUMNS))
    samples = []
    for left, window, copies, start, old, new in (
        (X, WIDE, levels.widths, START_X, wide, across),
        (Y, HIGH, levels.heights, START_Y, high, down),
    ):
        length = copies[picture, level]
        scale = length / np.maximum(copies[picture, 0], 1)
        begin, extent = table[:, left] * scale, table[:, window] * scale
        jobs[:, start], jobs[:, start + 1] = begin, extent / new
        # beyond the picture lies the border of the mean colour
        jobs[:, start + 2] = np.clip(np.floor(begin), -BORDER, length)
        jobs[:, start + 3] = np.clip(np.ceil(begin + extent) - 1, jobs[:, start + 2], length)
        samples.append(np.where(3 * old > 4 * new, 2, 1))
    jobs[:, SIGN_X] = 1
    jobs[:, SOURCE] = levels.offsets[picture, level]
    jobs[:, SOURCE_PITCH] = levels.widths[picture, level] + 2 * BORDER
    apart = np.where(samples[0] > 1, jobs[:, STEP_X] / 2, 0.0)  # of two samples, in pixels
    slots = 2 ** np.ceil(np.log2(np.ceil(apart) + 2)).astype(np.int64)
    return jobs, samples[1], slots


def _onto_canvas(table: Numbers, size: int) -> Numbers:
    """Of each piece what is written: the part of its place that is shown, and where on the canvas."""
    jobs = np.zeros((len(table), JOB_COLUMNS))
    inside = table[:, X1] - table[:, LEFT]
    mirrored = table[:, MIRRORED] > 0
    jobs[:, FIRST_X] = np.where(mirrored, table[:, WIDTH] - 1 - inside, inside)
    jobs[:, SIGN_X] = np.where(mirrored, -1, 1)
    jobs[:, FIRST_Y] = table[:, Y1] - table[:, TOP]
    jobs[:, TARGET] = (table[:, CANVAS] * size + table[:, Y1]) * size + table[:, X1]
    jobs[:, TARGET_PITCH] = size
    jobs[:, ACROSS_TARGET] = table[:, X2] - table[:, X1]
    jobs[:, DOWN_TARGET] = table[:, Y2] - table[:, Y1]
    jobs[:, JOB_BRIGHTNESS : JOB_HUE + 1] = table[:, BRIGHTNESS : HUE + 1]
    jobs[:, JOB_OPACITY] = table[:, OPACITY]
    return jobs


def _into_scratch(reading: Numbers, table: Numbers, starts: Numbers) -> Numbers:
    """Of softened pieces: the whole window at its detail, neither mirrored nor coloured."""
    jobs = reading.copy()
    jobs[:, TARGET], jobs[:, TARGET_PITCH] = starts, table[:, ACROSS]
    jobs[:, ACROSS_TARGET], jobs[:, DOWN_TARGET] = table[:, ACROSS], table[:, DOWN]
    jobs[:, JOB_CONTRAST : JOB_HUE + 1] = (1.0, 1.0, 0.0)
    jobs[:, JOB_OPACITY] = 1
    return jobs


def _from_scratch(onto: Numbers, table: Numbers, starts: Numbers) -> Numbers:
    """Of softened pieces: brought to the size of their place."""
    jobs = onto.copy()
    jobs[:, STEP_X], jobs[:, STEP_Y] = table[:, ACROSS] / table[:, WIDTH], table[:, DOWN] / table[:, HEIGHT]
    jobs[:, HIGH_X], jobs[:, HIGH_Y] = table[:, ACROSS] - 1, table[:, DOWN] - 1
    jobs[:, SOURCE], jobs[:, SOURCE_PITCH] = starts, table[:, ACROSS]
    return jobs


def _layers(table: Numbers) -> NDArray[np.int64]:
    """Of each piece how many lie below it at most, one over the other: it is painted after them."""
    canvas = table[:, CANVAS].astype(np.int64)
    counts = np.bincount(canvas)
    place = _counted(counts)[1]
    shown = np.zeros((len(counts), int(counts.max(initial=0)), 4))
    shown[canvas, place] = table[:, X1 : Y2 + 1]
    layers = np.zeros(shown.shape[:2], np.int64)
    for number in range(1, shown.shape[1]):
        below, own = shown[:, :number], shown[:, number : number + 1]
        low, high = np.maximum(below[..., :2], own[..., :2]), np.minimum(below[..., 2:], own[..., 2:])
        layers[:, number] = np.where((low < high).all(2), layers[:, :number] + 1, 0).max(1)
    found: NDArray[np.int64] = layers[canvas, place]
    return found


def _strips(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n, STRIP_COLUMNS): the strips of targets of such ``lengths``. The last one of each may reach beyond."""
    job, number = _counted(-(-lengths // TILE))
    return np.stack((job, number * TILE), 1)


def _tiles(strips: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(n, TILE_COLUMNS): the tiles of targets of ``strips`` (n, 2) of columns and rows; and where each target's begin."""
    job, number = _counted(strips.prod(1))
    before = np.cumsum(strips, 0) - strips
    across = strips[job, 0]
    tiles = np.stack((before[job, 0] + number % across, before[job, 1] + number // across), 1)
    return tiles, np.concatenate(([0], np.cumsum(strips.prod(1))))


def _counted(counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Index n ``counts[n]`` times, for all n, and with it the numbers from 0 to ``counts[n]`` - 1."""
    index = np.repeat(np.arange(len(counts)), counts)
    return index, np.arange(len(index)) - np.repeat(np.cumsum(counts) - counts, counts)
