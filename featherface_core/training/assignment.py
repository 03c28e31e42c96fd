"""Which anchor learns which face, over a whole batch at once: by overlap (IoU), by ATSS or by SimOTA.

There is no loop over pictures, and nothing here waits for a GPU: lists whose length depends on the data have, off the CPU, a
length that is known beforehand, and rows that stand for nothing (see ``rows_where``). An index of an anchor runs over
pictures, then anchors, as ``outputs.flatten(0, 1)`` does; the index N * A stands for no anchor.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from featherface_core.boxes import ANCHOR_SIZES, ANCHORS_PER_CELL, STRIDES
from featherface_core.recipe import LossConfig
from featherface_core.training.targets import Targets, anchors_of, corners, decode, iou_of

COVERED = 0.5  # an anchor with this share of itself on an ignored face trains nothing
REGION = 1.5  # strides: the least half side of the region around an ignored face whose anchors train nothing
FITTING = 2.0  # sides of anchor and ignored face that differ by this factor at most belong together
SMALLEST_SIDE, LARGEST_SIDE = float(ANCHOR_SIZES[0][0]), float(ANCHOR_SIZES[-1][-1])

WINDOW = 5  # cells across: ATSS and SimOTA look at 5x5 cells around a face's centre, which is a radius of 2.5 strides
SCALE = 4.0  # SimOTA: the largest factor between the sides of an anchor and the face that it may learn
MOST_SIMOTA = 10  # SimOTA: overlaps that are summed up to the number of a face's anchors (Ge et al. 2021)
IOU_COST, MOST_CLASS_COST, OUTSIDE_COST = 3.0, 100.0, 200.0
FIRST_CHOICE = 512.0  # more than any cost


@dataclass(frozen=True, kw_only=True)
class Matches:
    """What each anchor of a batch learns.

    positive (P,): anchors that learn a face, each once; face (P,): which of ``Targets``; overlap (P,): IoU of anchor and
    face; weight (P,): how much the anchor counts. On the CPU ``valid`` (P,) is True throughout and ``positive`` ascends;
    elsewhere the rows where it is False stand for nothing and weigh 0. taken (N * A,): the anchors in ``positive``.
    ignored (N * A,): anchors that are neither positive nor negative.
    """

    positive: Tensor
    face: Tensor
    overlap: Tensor
    weight: Tensor
    valid: Tensor
    taken: Tensor
    ignored: Tensor


@dataclass(frozen=True)
class Predictions:
    """What SimOTA has to know of a network's outputs: regressions (N * A, 4), margin (N * A,): face minus background logit."""

    regressions: Tensor
    margin: Tensor


@dataclass(frozen=True)
class _Claims:
    """Faces that want anchors: anchor (S,), face (S,), rank (S,): the highest has the anchor, of equals the first face."""

    anchor: Tensor
    face: Tensor
    rank: Tensor


def match(
    targets: Targets,
    height: int,
    width: int,
    config: LossConfig = LossConfig(),  # noqa: B008 (frozen)
    predictions: Predictions | None = None,
) -> Matches:
    """Give anchors to faces as ``config.assign`` says; an anchor learns one face at most.

    height, width: of the network's input in pixels. predictions: SimOTA alone needs them, detached. Faces without area learn
    nothing.

    ``iou``: from an IoU of ``config.iou`` on, each anchor learns the face that it overlaps most; a face's best anchor always
    learns it (SSD, Liu et al. 2016, section 2.2). ``atss``: see ``_by_atss``. ``simota``: see ``_by_simota``. Where two faces
    want the same best anchor the closer fit has it, and the other face may be left without.

    Anchors near an ignored face are ignored unless they are positive: those that overlap it by ``config.ignore_iou`` or lie
    half on it, and those of a fitting size whose centre lies in its region: the face itself, and at least three cells across.
    """
    total, faces = targets.pictures * len(anchors_of(height, width)), len(targets.boxes)
    real = ~targets.ignored & _has_area(targets.boxes)
    best, share = _best(targets, height, width)
    near = _near(targets, height, width, config)
    if config.assign == "iou":
        strong = (near.overlap >= config.iou) & real[near.face]
        claims = _together(
            _Claims(torch.where(strong, near.anchor, total), near.face, near.overlap), _firsts(best, share, real, total)
        )
    elif config.assign == "atss":
        claims = _together(_by_atss(targets, real, height, width, config.atss_k), _firsts(best, share, real, total))
    else:
        assert predictions is not None, "SimOTA needs predictions"
        claims = _by_simota(targets, real, height, width, predictions)
    owner = _settle(claims, faces, total)

    hidden = targets.ignored[near.face] & near.hides
    masked = torch.zeros(total + 1, dtype=torch.bool, device=owner.device)
    masked.index_fill_(0, torch.where(hidden, near.anchor, total), True)
    masked.index_fill_(0, torch.where(targets.ignored, best, total), True)
    masked = masked[:total]

    taken = owner < faces
    most = min(total, len(claims.anchor))
    if config.most_per_face:
        kept = _strongest(targets, owner, taken, most, config.most_per_face, height, width)
        masked, taken = masked | (taken & ~kept), kept
    positive, valid = rows_where(taken, most)
    face = owner[positive].clamp(max=faces - 1)
    weight = targets.weights[face]
    if config.per_face:
        counts = torch.zeros(faces, device=owner.device).index_add_(0, face, valid.float())
        weight = weight * counts[face].clamp(min=1).pow(-config.per_face)
    overlap = _overlap(targets, positive, face, height, width)
    return Matches(
        positive=positive,
        face=face,
        overlap=overlap,
        weight=weight * valid,
        valid=valid,
        taken=taken,
        ignored=masked & ~taken,
    )


def known(count: Tensor, bound: int) -> int:
    """``count``, a scalar, on the CPU, where it is free to read; elsewhere ``bound``, so that nothing waits for the device."""
    return int(count) if _counting_is_free(count.device) else bound


def rows_where(mask: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Indices (R,) where ``mask`` (n,) holds, and which of the rows (R,) stand for one.

    most: as many as there can be. On the CPU there are as many rows as indices; elsewhere ``most``, of which those that stand
    for none have indices of their own, so that gradients do not pile up in one place.
    """
    if _counting_is_free(mask.device):
        rows = torch.nonzero(mask).flatten()
        return rows, torch.ones_like(rows, dtype=torch.bool)
    most = min(most, len(mask))
    place = mask.cumsum(0)
    each = torch.arange(len(mask), device=mask.device)
    rows = each[: most + 1].clone() if most < len(mask) else F.pad(each, (0, 1))
    rows.scatter_(0, torch.where(mask, (place - 1).clamp(max=most), most), each)
    valid = torch.arange(most, device=mask.device) < mask.sum()
    return rows[:most], valid


def _counting_is_free(device: torch.device) -> bool:
    return device.type == "cpu"


def _has_area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] > boxes[:, :2]).all(1)


def _together(*claims: _Claims) -> _Claims:
    return _Claims(*(torch.cat([getattr(c, name) for c in claims]) for name in ("anchor", "face", "rank")))


def _firsts(best: Tensor, share: Tensor, real: Tensor, total: int) -> _Claims:
    """Each real face's best anchor, which outranks ordinary overlaps: those end at 1."""
    return _Claims(torch.where(real, best, total), torch.arange(len(best), device=best.device), share + 2.0)


def _settle(claims: _Claims, faces: int, total: int) -> Tensor:
    """(total,): the face that each anchor learns, ``faces`` for none."""
    highest = torch.full((total + 1,), -torch.inf, device=claims.rank.device)
    highest.scatter_reduce_(0, claims.anchor, claims.rank, "amax")
    wins = claims.rank == highest[claims.anchor]
    first = torch.full((total + 1,), faces, dtype=torch.int64, device=claims.rank.device)
    first.scatter_reduce_(0, torch.where(wins, claims.anchor, total), claims.face, "amin")
    return first[:total]


def _overlap(targets: Targets, positive: Tensor, face: Tensor, height: int, width: int) -> Tensor:
    anchors = anchors_of(height, width, str(positive.device))
    return iou_of(corners(anchors[positive % len(anchors)]), targets.boxes[face])[0]


def _strongest(
    targets: Targets, owner: Tensor, taken: Tensor, most: int, limit: int, height: int, width: int
) -> Tensor:
    """(total,): of the anchors that are ``taken``, the ``limit`` of each face that overlap it most; of equals the first."""
    faces = len(targets.boxes)
    positive, valid = rows_where(taken, most)
    face = owner[positive]
    overlap = _overlap(targets, positive, face.clamp(max=faces - 1), height, width)
    group = torch.where(valid, face, faces)
    order = overlap.argsort(descending=True, stable=True)
    order = order[group[order].argsort(stable=True)]
    counts = torch.zeros(faces + 1, dtype=torch.int64, device=face.device).index_add_(0, group, torch.ones_like(group))
    before = counts.cumsum(0) - counts
    place = torch.arange(len(order), device=face.device) - before[group[order]]
    dropped = torch.where((place >= limit) & valid[order], positive[order], len(taken))
    return F.pad(taken, (0, 1)).index_fill(0, dropped, False)[: len(taken)]


@lru_cache(maxsize=64)
def _layers(height: int, width: int, device: str) -> tuple[Tensor, ...]:
    """For each of the six (level, size) layers of anchors: stride, side, rows, columns, first index, each (6,)."""
    rows, start = [], 0
    for stride, sizes in zip(STRIDES, ANCHOR_SIZES, strict=True):
        down, across = -(-height // stride), -(-width // stride)
        rows += [(stride, side, down, across, start + i) for i, side in enumerate(sizes)]
        start += down * across * ANCHORS_PER_CELL
    return tuple(torch.tensor(column, device=device) for column in zip(*rows, strict=True))


def _centre_cells(boxes: Tensor, height: int, width: int) -> list[Tensor]:
    """Column and row (F, 6) of the cell, in each layer, that is nearest to the centres of ``boxes``."""
    stride, _, rows, columns, _ = _layers(height, width, str(boxes.device))
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    return [
        (centre[:, axis, None] / stride).floor().clamp(min=0).minimum(limit - 1)
        for axis, limit in ((0, columns), (1, rows))
    ]


def _best(targets: Targets, height: int, width: int) -> tuple[Tensor, Tensor]:
    """The best anchor (F,) of each face, and its IoU; of equal ones the nearest centre.

    In each layer no anchor overlaps a face more than the one with the nearest centre, so six candidates are enough.
    """
    stride, side, _, columns, start = _layers(height, width, str(targets.boxes.device))
    boxes = targets.boxes
    cells = _centre_cells(boxes, height, width)
    overlap = torch.ones(())
    for axis in range(2):
        middle = (cells[axis] + 0.5) * stride
        high = torch.minimum(boxes[:, 2 + axis, None], middle + side / 2)
        overlap = overlap * (high - torch.maximum(boxes[:, axis, None], middle - side / 2)).clamp(min=0)
    union = (boxes[:, 2:] - boxes[:, :2]).prod(1)[:, None] + side**2 - overlap
    shares, layer = (overlap / union).max(1)
    column, row = (cell.gather(1, layer[:, None]).flatten().long() for cell in cells)
    anchor = start[layer] + (row * columns[layer] + column) * ANCHORS_PER_CELL
    return targets.picture * len(anchors_of(height, width)) + anchor, shares


@dataclass(frozen=True)
class _Near:
    """Pairs of an anchor and a face: anchor (C,), face (C,), their IoU (C,), and whether an ignored face would hide it (C,)."""

    anchor: Tensor
    face: Tensor
    overlap: Tensor
    hides: Tensor


@dataclass(frozen=True)
class _Windows:
    """For each face and layer (F, 6): first column and row, numbers of columns and rows, and the half sides of the region."""

    first: tuple[Tensor, Tensor]
    count: tuple[Tensor, Tensor]
    region: tuple[Tensor, Tensor]

    @property
    def cells(self) -> Tensor:
        """(F, 6)."""
        return self.count[0] * self.count[1]


def _windows(targets: Targets, height: int, width: int, config: LossConfig) -> _Windows:
    """The cells that ``_near`` has to look at: all that can matter, and few more."""
    stride, side, rows, columns, _ = _layers(height, width, str(targets.boxes.device))
    boxes, hidden = targets.boxes, targets.ignored[:, None]
    centre, size = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]).clamp(min=1e-6)
    wanted = hidden
    if config.assign == "iou":
        wanted = hidden | _has_area(boxes)[:, None]
    iou = torch.where(hidden, config.ignore_iou, config.iou)
    # IoU >= t needs an intersection of t / (1 + t) of both areas; along x it is at most (w + s) / 2 - |dx|, along y min(h, s)
    needed = iou / (1 + iou) * (size.prod(1)[:, None] + side**2)
    needed = torch.where(hidden, torch.minimum(needed, COVERED * side**2), needed)
    feasible = torch.minimum(size[:, 0, None], side) * torch.minimum(size[:, 1, None], side) >= needed * 0.999
    ratio = size.prod(1).sqrt().clamp(SMALLEST_SIDE, LARGEST_SIDE)[:, None] / side
    fitting = hidden & (ratio <= FITTING) & (ratio >= 1 / FITTING)
    first, count, region = [], [], []
    for axis, limit in ((0, columns), (1, rows)):
        other = torch.minimum(size[:, 1 - axis, None], side)
        reach = torch.where(feasible, (size[:, axis, None] + side) / 2 - needed / other + 0.01, -torch.inf)
        around = torch.where(fitting, torch.maximum(size[:, axis, None] / 2, REGION * stride), -torch.inf)
        reach = torch.maximum(reach, around)
        low = ((centre[:, axis, None] - reach) / stride - 0.5).ceil().clamp(min=0).minimum(limit)
        high = ((centre[:, axis, None] + reach) / stride - 0.5).floor().clamp(min=-1).minimum(limit - 1)
        first.append(low.long())
        count.append(torch.where(wanted, (high - low + 1).clamp(min=0), 0).long())
        region.append(around)
    return _Windows((first[0], first[1]), (count[0], count[1]), (region[0], region[1]))


def _pairs(targets: Targets, height: int, width: int, config: LossConfig, cells: Tensor) -> int:
    """How many cells the windows have; read on the CPU, from its own copy of the targets where those are elsewhere."""
    if not _counting_is_free(cells.device):
        cells = _windows(targets.on_host(), height, width, config).cells
    return int(cells.sum())


def _near(targets: Targets, height: int, width: int, config: LossConfig) -> _Near:
    """All pairs of anchors and ignored faces that may matter, and with IoU matching of anchors and real faces."""
    stride, side, _, columns, start = _layers(height, width, str(targets.boxes.device))
    windows = _windows(targets, height, width, config)
    boxes = targets.boxes
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    cells = windows.cells.flatten()
    total = _pairs(targets, height, width, config, cells)
    ends = cells.cumsum(0)
    each = torch.arange(total, device=boxes.device)
    # a list of how many windows end before each pair names the pair's window
    passed = torch.zeros(total + 1, dtype=torch.int64, device=boxes.device)
    which = passed.scatter_add_(0, ends.clamp(max=total), torch.ones_like(ends)).cumsum(0)[:total]
    # rounding may differ between the host, which counts, and the device: rows too many stand for nothing
    valid = which < len(cells)
    which = which.clamp(max=len(cells) - 1)
    within = each - (ends - cells)[which]
    face, layer = which // len(stride), which % len(stride)
    across = windows.count[0].flatten()[which].clamp(min=1)
    column = windows.first[0].flatten()[which] + within % across
    row = windows.first[1].flatten()[which] + within // across
    half, steps = side[layer] / 2, stride[layer]
    boxes, centre = boxes[face], centre[face]
    overlap, around = torch.ones(()), valid
    for axis, cell in ((0, column), (1, row)):
        middle = (cell + 0.5) * steps
        high = torch.minimum(boxes[:, 2 + axis], middle + half)
        overlap = overlap * (high - torch.maximum(boxes[:, axis], middle - half)).clamp(min=0)
        around = around & ((middle - centre[:, axis]).abs() <= windows.region[axis].flatten()[which])
    area = side[layer] ** 2
    share = overlap / ((boxes[:, 2:] - boxes[:, :2]).prod(1) + area - overlap)
    anchor = start[layer] + (row * columns[layer] + column) * ANCHORS_PER_CELL
    count = len(anchors_of(height, width))
    flat = torch.where(valid, targets.picture[face] * count + anchor, targets.pictures * count)
    return _Near(flat, face, share, (share >= config.ignore_iou) | (overlap / area >= COVERED) | around)


@dataclass(frozen=True)
class _Slots:
    """The anchors of 5x5 cells around each face, (F, 6, 25): index, whether the cell exists, IoU, whether the anchor's centre
    lies in the face, and its squared distance from the face's centre."""

    anchor: Tensor
    exists: Tensor
    overlap: Tensor
    inside: Tensor
    distance: Tensor


def _slots(targets: Targets, height: int, width: int) -> _Slots:
    stride, side, rows, columns, start = _layers(height, width, str(targets.boxes.device))
    boxes = targets.boxes
    steps, half = stride[:, None], side[:, None] / 2
    nearby = torch.arange(WINDOW, device=boxes.device) - WINDOW // 2
    cells, exists, lengths, inside, squares = [], [], [], [], []
    for axis, (middle_cell, limit) in enumerate(zip(_centre_cells(boxes, height, width), (columns, rows), strict=True)):
        cell = middle_cell[..., None].long() + nearby
        middle = (cell + 0.5) * steps
        low, high = boxes[:, axis, None, None], boxes[:, 2 + axis, None, None]
        cells.append(cell)
        exists.append((cell >= 0) & (cell < limit[:, None]))
        lengths.append((torch.minimum(high, middle + half) - torch.maximum(low, middle - half)).clamp(min=0))
        inside.append((middle > low) & (middle < high))
        squares.append((middle - (low + high) / 2).square())

    def grid(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return x[..., None, :], y[..., :, None]

    (x, y), (across, down) = grid(*lengths), grid(*cells)
    overlap = x * y
    union = (boxes[:, 2:] - boxes[:, :2]).prod(1)[:, None, None, None] + (side**2)[:, None, None] - overlap
    anchor = start[:, None, None] + (down * columns[:, None, None] + across) * ANCHORS_PER_CELL
    anchor = anchor + (targets.picture * len(anchors_of(height, width)))[:, None, None, None]
    return _Slots(
        anchor.flatten(2),
        torch.logical_and(*grid(*exists)).flatten(2),
        (overlap / union).flatten(2),
        torch.logical_and(*grid(*inside)).flatten(2),
        torch.add(*grid(*squares)).flatten(2),
    )


def _by_atss(targets: Targets, real: Tensor, height: int, width: int, k: int) -> _Claims:
    """Zhang et al. 2020, "Bridging the gap between anchor-based and anchor-free detection", section 3.2.

    A face's candidates are the ``k`` anchors of each layer (level and size) whose centres are nearest to its own, within 5x5
    cells. It claims those whose IoU with it is at least the candidates' mean plus standard deviation (that of a sample,
    divided by n - 1, as the paper's code has it) and whose centre lies in it. The higher IoU has the anchor.
    """
    slots = _slots(targets, height, width)
    order = slots.distance.masked_fill(~slots.exists, torch.inf).sort(dim=-1, stable=True).indices[..., :k]
    anchor, exists, overlap, inside = (
        t.gather(2, order).flatten(1) for t in (slots.anchor, slots.exists, slots.overlap, slots.inside)
    )
    count = exists.sum(1, keepdim=True)
    overlap = overlap * exists
    mean = overlap.sum(1, keepdim=True) / count
    spread = ((overlap - mean) * exists).square().sum(1, keepdim=True) / (count - 1).clamp(min=1)
    claimed = exists & inside & (overlap >= mean + spread.sqrt()) & real[:, None]
    face = torch.arange(len(real), device=real.device)[:, None].expand_as(anchor)
    total = targets.pictures * len(anchors_of(height, width))
    return _Claims(torch.where(claimed, anchor, total).flatten(), face.flatten(), overlap.flatten())


def _by_simota(targets: Targets, real: Tensor, height: int, width: int, predictions: Predictions) -> _Claims:
    """Ge et al. 2021, YOLOX, section 2.1 (SimOTA), with candidates that are few and fit.

    A face's candidates are the anchors of the 5x5 cells around its centre in each layer (YOLOX's radius of 2.5 strides; anchors
    further out are left to others even in a large face) whose side is within a factor of 4 of its own (the square root of its
    area; where none is, the nearest size): a 512 px anchor cannot code a face of 8 px. An anchor costs
    -log(score) - 3 log(IoU of its predicted box), and 200, more than all else, where its centre is not in the face. The face
    claims the k that cost least; k is the sum of its ten highest predicted IoUs, rounded down, at least 1. An anchor goes to
    the face that it costs least, but first to one that it is the cheapest for.
    """
    slots = _slots(targets, height, width)
    anchors = anchors_of(height, width, str(real.device))
    total = targets.pictures * len(anchors)
    side = _layers(height, width, str(real.device))[1]
    own = (targets.boxes[:, 2:] - targets.boxes[:, :2]).clamp(min=0).prod(1).sqrt()
    ratio = own.clamp(SMALLEST_SIDE / SCALE, LARGEST_SIDE * SCALE)[:, None] / side
    fitting = (ratio <= SCALE) & (ratio >= 1 / SCALE) & real[:, None]
    usable = (slots.exists & fitting[..., None]).flatten(1)
    anchor, inside = slots.anchor.flatten(1), slots.inside.flatten(1)
    place = torch.where(usable, anchor, 0).flatten()
    predicted = decode(predictions.regressions[place], anchors[place % len(anchors)])
    boxes = targets.boxes[:, None].expand(-1, anchor.shape[1], -1).flatten(0, 1)
    overlap = iou_of(predicted, boxes)[0].view_as(anchor) * usable
    score_cost = F.softplus(-predictions.margin[place]).clamp(max=MOST_CLASS_COST).view_as(anchor)
    cost = score_cost - IOU_COST * (overlap + 1e-8).log() + OUTSIDE_COST * ~inside
    cost = cost.masked_fill(~usable, torch.inf)
    most = min(MOST_SIMOTA, cost.shape[1])
    k = overlap.topk(most, 1).values.sum(1, keepdim=True).long().clamp(min=1)
    least, choice = cost.topk(most, 1, largest=False)
    nth = torch.arange(most, device=real.device)
    claimed = (nth < k) & (least < torch.inf)
    rank = torch.where(nth == 0, FIRST_CHOICE, 0.0) - least
    face = torch.arange(len(real), device=real.device)[:, None].expand_as(choice)
    return _Claims(torch.where(claimed, anchor.gather(1, choice), total).flatten(), face.flatten(), rank.flatten())
