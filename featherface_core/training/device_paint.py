"""Plans as pixels, by one gather on a device from a store of decoded pictures; the other painter is ``data.augment.paint``.

A pixel of 32 bits holds its channels as bytes. Two of them at a time are multiplied by weights of 8 bits and added up within
one integer: blue and red in its lower and upper half, then green. Nothing here waits for the device.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from featherface_core.data.augment.plan import Plan
from featherface_core.training import paint_jobs as columns
from featherface_core.training.paint_jobs import TILE, Group, Jobs, jobs_of, table_of
from featherface_core.training.picture_store import PictureStore

TWO = 0x00FF00FF  # every other byte
HALF = 0x00800080  # one half, of weights that add up to 256, in both
CHUNK = {"cpu": 2**18}  # pixels read at a time by each row, so that what is between stays in the cache
LARGE_CHUNK = 2**24  # on other devices


def coloured(packed: Tensor, changes: Tensor, turned: bool) -> Tensor:
    """Pixels (n, H, W), int32 of bytes blue, green, red, 0, changed by ``changes`` (n, 4): brightness, contrast, saturation, hue.

    turned: whether saturation and hue are looked at. Levels by brightness and contrast as their table has them; saturation and
    hue in HSV of 8 bits as OpenCV converts to and from it, 180 steps of hue, but for its rounding.
    """
    plus, times, more, turn = (change.view(-1, 1, 1) for change in changes.unbind(1))
    levels = [(packed >> shift).bitwise_and_(255).float().add_(plus).mul_(times) for shift in (0, 8, 16)]
    levels = [level.clamp_(0, 255).floor_() for level in levels]
    if turned:
        levels = _turned(levels, more, turn)
    blue, green, red = (level.int() for level in levels)
    return blue.bitwise_or_(green.bitwise_left_shift_(8)).bitwise_or_(red.bitwise_left_shift_(16))


def _turned(levels: list[Tensor], more: Tensor, turn: Tensor) -> list[Tensor]:
    """Blue, green and red with their saturation multiplied and their hue turned."""
    blue, green, red = levels
    value = torch.maximum(torch.maximum(blue, green), red)
    spread = value - torch.minimum(torch.minimum(blue, green), red)
    # hue in steps of 2 degrees, by the largest channel
    sixth = torch.where(
        value == red,
        green - blue,
        torch.where(value == green, (blue - red).add_(spread, alpha=2), (red - green).add_(spread, alpha=4)),
    )
    steps = sixth.mul_(30).div_(spread.clamp(min=1)).add_(0.5).floor_()
    steps = steps.add_(steps < 0, alpha=180).add_(turn).floor_()
    steps = steps.add_(steps < 0, alpha=180).add_(steps >= 180, alpha=-180)
    strength = spread.mul_(255).div_(value.clamp(min=1)).add_(0.5).floor_().mul_(more).clamp_(0, 255).floor_()
    sector = steps.div_(30)
    strong = strength.mul_(value).div_(255)
    least = value.sub_(strong).add_(0.5)  # 0.5: to the nearest level
    # how much of the strongest channel each has, by sixths of the circle
    shares = ((sector - 4).abs_().neg_().add_(2), (sector - 2).abs_().neg_().add_(2), (sector - 3).abs_().sub_(1))
    return [share.clamp_(0, 1).mul_(strong).add_(least).floor_() for share in shares]


def paint_on_device(plans: Sequence[Plan], store: PictureStore) -> Tensor:
    """(N, S, S, 3) BGR uint8 on the store's device, of plans of one size S. All their pictures must have been read."""
    return paint_table(table_of(plans), len(plans), plans[0].size, store)


def paint_table(table: columns.Numbers, canvases: int, size: int, store: PictureStore) -> Tensor:
    """The same of plans as ``paint_jobs.table_of`` has them: what worker processes send."""
    return _painted(jobs_of(table, canvases, size, store.levels), store.pixels)


def _painted(jobs: Jobs, pixels: Tensor) -> Tensor:
    device = pixels.device
    numbers = torch.from_numpy(jobs.numbers)
    if device.type == "cuda":
        numbers = numbers.pin_memory()
    numbers = numbers.to(device, non_blocking=True)
    jobs_, across, down = jobs.counts
    sizes = (jobs_ * columns.JOB_COLUMNS, across * columns.STRIP_COLUMNS, down * columns.STRIP_COLUMNS)
    table, across_strips, down_strips, tiles = torch.split(numbers, [*sizes, len(numbers) - sum(sizes)])
    table = table.view(-1, columns.JOB_COLUMNS)
    strips = (across_strips.view(-1, columns.STRIP_COLUMNS), down_strips.view(-1, columns.STRIP_COLUMNS))
    tiles = tiles.view(-1, columns.TILE_COLUMNS).long()
    canvas = torch.empty(jobs.canvases * jobs.size**2, dtype=torch.int32, device=device)
    scratch = torch.zeros(jobs.scratch, dtype=torch.int32, device=device)
    read: dict[tuple[int, int], Reading] = {}
    for group in jobs.groups:
        way = (group.rows, group.slots)
        if way not in read:
            read[way] = _reading(table, *strips, *way)
        source = scratch if group.from_scratch else pixels
        target = scratch if group.to_scratch else canvas
        _paint_group(group, read[way], tiles[group.first : group.end], source, target)
    squares = canvas.view(torch.uint8).view(jobs.canvases, jobs.size, jobs.size, 4)
    return squares[..., :3].contiguous()


class Reading(NamedTuple):
    """What strips of TILE columns, and of TILE rows, read and write.

    first (columns, TILE): position of the first neighbour that is read in each row. weights (columns, TILE, slots), int32: of
    it and those after it. rows, shares (rows, TILE, r): positions at which the r rows that are read begin, and their weights.
    across (columns, TILE), targets (rows, TILE): what is added up is the position written. changes (columns, 4), float32: of
    colours. opacity (columns, 1, 1), int32, of 256.
    """

    first: Tensor
    weights: Tensor
    rows: Tensor
    shares: Tensor
    across: Tensor
    targets: Tensor
    changes: Tensor
    opacity: Tensor


def _reading(table: Tensor, across_strips: Tensor, down_strips: Tensor, samples: int, slots: int) -> Reading:
    side = torch.arange(TILE, device=table.device)
    job = table.index_select(0, across_strips[:, 0].long())
    # what reaches beyond the target is its last row or column again, written to the same place
    across = torch.minimum(across_strips[:, 1:] + side, job[:, columns.ACROSS_TARGET, None] - 1)
    x = job[:, columns.FIRST_X, None] + job[:, columns.SIGN_X, None] * across
    first, weights = _slots(x, job[:, columns.START_X : columns.HIGH_X + 1], slots)
    changes = job[:, columns.JOB_BRIGHTNESS : columns.JOB_HUE + 1].float()
    opacity = (job[:, columns.JOB_OPACITY] * 256).round().int().view(-1, 1, 1)
    job = table.index_select(0, down_strips[:, 0].long())
    down = torch.minimum(down_strips[:, 1:] + side, job[:, columns.DOWN_TARGET, None] - 1)
    targets = job[:, columns.TARGET, None] + down * job[:, columns.TARGET_PITCH, None]
    y = job[:, columns.FIRST_Y, None] + down
    taps, shares = _taps(y, job[:, columns.START_Y : columns.HIGH_Y + 1], samples)
    rows = taps * job[:, columns.SOURCE_PITCH].view(-1, 1, 1) + job[:, columns.SOURCE].view(-1, 1, 1)
    return Reading(first.long(), weights, rows.long(), shares, across.long(), targets.long(), changes, opacity)


def _paint_group(group: Group, reading: Reading, tiles: Tensor, source: Tensor, target: Tensor) -> None:
    # row k of this view: the pixels k, k + 1, ... of the source, so that neighbours come at once
    neighbours = source.as_strided((source.numel() - group.slots + 1, group.slots), (1, 1))
    chunk = max(1, CHUNK.get(source.device.type, LARGE_CHUNK) // (group.slots * TILE**2))
    for part in torch.split(tiles, chunk):
        left, top = part.unbind(1)
        first, weights, across = (t.index_select(0, left) for t in (reading.first, reading.weights, reading.across))
        rows, shares, targets = (t.index_select(0, top) for t in (reading.rows, reading.shares, reading.targets))
        painted = _sampled(neighbours, rows, shares, first, weights)
        if group.levelled or group.turned:
            painted = coloured(painted, reading.changes.index_select(0, left), group.turned)
        index = (targets[:, :, None] + across[:, None, :]).view(-1)
        if group.blended:
            below = target.index_select(0, index).view(painted.shape)
            painted = _mixed(below, painted, reading.opacity.index_select(0, left))
        target.scatter_(0, index, painted.view(-1))


def _sampled(neighbours: Tensor, rows: Tensor, shares: Tensor, first: Tensor, weights: Tensor) -> Tensor:
    """Pixels (n, TILE, TILE) of n tiles, packed.

    rows, shares (n, TILE, r): where each of r rows that a pixel reads begins, and its weight. first (n, TILE): the first of the
    neighbours in a row that it reads, weights (n, TILE, slots): theirs.
    """
    n, slots = len(first), neighbours.shape[1]
    index = torch.empty((n, TILE, TILE), dtype=first.dtype, device=first.device)
    two, green = None, None
    for row, share in zip(rows.unbind(2), shares[:, :, None].unbind(3), strict=True):
        torch.add(row[:, :, None], first[:, None, :], out=index)
        read = neighbours.index_select(0, index.view(-1)).view(n, TILE, TILE * slots)
        lower, upper = read & TWO, read.bitwise_right_shift_(8).bitwise_and_(TWO)
        if two is None or green is None:
            two, green = lower.mul_(share), upper.mul_(share)
        else:
            two.addcmul_(lower, share)
            green.addcmul_(upper, share)
    assert two is not None
    assert green is not None
    weight = weights.view(n, 1, TILE * slots)
    halves = []
    for half in (two, green):
        half = half.add_(HALF).bitwise_right_shift_(8).bitwise_and_(TWO).mul_(weight).view(n, TILE, TILE, slots)
        total = half[..., 0] + half[..., 1]
        for slot in range(2, slots):
            total.add_(half[..., slot])
        halves.append(total.add_(HALF).bitwise_right_shift_(8).bitwise_and_(TWO))
    return halves[0].bitwise_or_(halves[1].bitwise_left_shift_(8))


def _taps(pixels: Tensor, axis: Tensor, samples: int) -> tuple[Tensor, Tensor]:
    """Positions and weights of the pixels that are read for each of ``pixels`` (n, TILE), along one axis of n jobs (n, 4).

    Both (n, TILE, 2 * samples): of each bilinear sample two, moved into what may be read; the weights, of 256 in all, are int32.
    """
    start, step, low, high = (column.view(-1, 1, 1) for column in axis.unbind(1))
    parts = (torch.arange(samples, device=pixels.device, dtype=pixels.dtype) + 0.5) / samples
    place = start + (pixels[:, :, None] + parts) * step - 0.5
    floor = place.floor()
    most = 256 // samples
    upper = ((place - floor) * most).round().int()
    taps = torch.stack((floor, floor + 1), 3).flatten(2)
    taps = torch.minimum(torch.maximum(taps, low), high)
    return taps, torch.stack((most - upper, upper), 3).flatten(2)


def _slots(pixels: Tensor, axis: Tensor, slots: int) -> tuple[Tensor, Tensor]:
    """The same as a first position (n, TILE) and the weights of ``slots`` neighbours from there on, (n, TILE, slots), int32."""
    taps, weights = _taps(pixels, axis, 1 if slots == 2 else 2)
    first = taps[:, :, :1]
    sums = weights.new_zeros((*pixels.shape, slots))
    # of jobs that need more slots, which are painted in another group, anything will do
    place = (taps - first).long().clamp_(max=slots - 1)
    return first[:, :, 0], sums.scatter_add_(2, place, weights)


def _mixed(below: Tensor, above: Tensor, share: Tensor) -> Tensor:
    """Packed pixels of which ``above`` has ``share`` of 256."""
    rest = 256 - share
    halves = []
    for shift in (0, 8):
        total = (below >> shift & TWO) * rest + (above >> shift & TWO) * share
        halves.append(total.add_(HALF).bitwise_right_shift_(8).bitwise_and_(TWO))
    return halves[0].bitwise_or_(halves[1] << 8)
