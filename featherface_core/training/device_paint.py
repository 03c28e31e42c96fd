"""Plans as pixels, by one gather on a device from a store of decoded pictures; the other painter is ``data.augment.paint``.

A pixel of 32 bits holds its channels as bytes. Two of them at a time are multiplied by weights of 8 bits and added up within
one integer: blue and red in its lower and upper half, then green. Nothing here waits for the device.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from featherface_core.data.augment.plan import Plan
from featherface_core.training import paint_jobs as columns
from featherface_core.training.device_colour import coloured
from featherface_core.training.paint_jobs import TILE, Group, Jobs, jobs_of, table_of
from featherface_core.training.picture_store import PictureStore

TWO = 0x00FF00FF  # every other byte
HALF = 0x00800080  # one half, of weights that add up to 256, in both
CHUNK = {"cpu": 64}  # tiles painted at a time, so that what is between stays in the cache
LARGE_CHUNK = 8192  # on other devices


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
        numbers = numbers.pin_memory().to(device, non_blocking=True)
    else:
        numbers = numbers.to(device)
    split = jobs.count * columns.JOB_COLUMNS
    table = numbers[:split].view(-1, columns.JOB_COLUMNS)
    tiles = numbers[split:].view(-1, columns.TILE_COLUMNS).long()
    canvas = torch.empty(jobs.canvases * jobs.size**2, dtype=torch.int32, device=device)
    scratch = torch.zeros(jobs.scratch, dtype=torch.int32, device=device)
    chunk = CHUNK.get(device.type, LARGE_CHUNK)
    for group in jobs.groups:
        source = scratch if group.from_scratch else pixels
        target = scratch if group.to_scratch else canvas
        for first in range(group.first, group.end, chunk):
            own = tiles[first : min(first + chunk, group.end)]
            _paint_tiles(group, table.index_select(0, own[:, 0]), own, source, target)
    squares = canvas.view(torch.uint8).view(jobs.canvases, jobs.size, jobs.size, 4)
    return squares[..., :3].contiguous()


def _paint_tiles(group: Group, job: Tensor, tiles: Tensor, source: Tensor, target: Tensor) -> None:
    """Paint n tiles, whose jobs are (n, JOB_COLUMNS)."""
    side = torch.arange(TILE, device=job.device)
    # what reaches beyond the target is its last row or column again, written to the same place
    across = torch.minimum(tiles[:, 1:2] + side, job[:, columns.ACROSS_TARGET, None].long() - 1)
    down = torch.minimum(tiles[:, 2:3] + side, job[:, columns.DOWN_TARGET, None].long() - 1)
    painted = _sampled(group, job, across, down, source)
    if group.coloured:
        kinds = range(columns.JOB_BRIGHTNESS, columns.JOB_HUE + 1)
        painted = coloured(painted, *(job[:, kind] for kind in kinds))
    rows = job[:, columns.TARGET, None].long() + down * job[:, columns.TARGET_PITCH, None].long()
    index = (rows[:, :, None] + across[:, None, :]).view(-1)
    painted = painted.view(-1)
    if group.blended:
        share = (job[:, columns.JOB_OPACITY] * 256).round().int().repeat_interleave(TILE * TILE)
        painted = _mixed(target.index_select(0, index), painted, share)
    target.scatter_(0, index, painted)


def _sampled(group: Group, job: Tensor, across: Tensor, down: Tensor, source: Tensor) -> Tensor:
    """(n, TILE, TILE), int32: what the targets' pixels ``across`` and ``down`` (n, TILE) show of the source."""
    x = job[:, columns.FIRST_X, None] + job[:, columns.SIGN_X, None] * across
    y = job[:, columns.FIRST_Y, None] + down
    first, weights = _slots(x, job[:, columns.START_X : columns.HIGH_X + 1], group.slots)
    taps, shares = _taps(y, job[:, columns.START_Y : columns.HIGH_Y + 1], group.rows)
    pitch, offset = (job[:, kind].long().view(-1, 1, 1) for kind in (columns.SOURCE_PITCH, columns.SOURCE))
    rows = taps * pitch + offset
    n, slots = len(job), group.slots
    # row k of this view: the pixels k, k + 1, ... of the source, so that neighbours come at once
    neighbours = source.as_strided((source.numel() - slots + 1, slots), (1, 1))
    two = torch.zeros((n, TILE, TILE * slots), dtype=torch.int32, device=job.device)
    green = torch.zeros_like(two)
    for row in range(rows.shape[2]):
        index = rows[:, :, row, None] + first[:, None, :]
        read = neighbours.index_select(0, index.view(-1)).view(two.shape)
        share = shares[:, :, row, None]
        two.addcmul_(read & TWO, share)
        green.addcmul_((read >> 8).bitwise_and_(TWO), share)
    weight = weights.view(n, 1, TILE * slots)
    halves = []
    for half in (two, green):
        half = half.add_(HALF).bitwise_right_shift_(8).bitwise_and_(TWO).mul_(weight).view(n, TILE, TILE, slots)
        total = half[..., 0] + half[..., 1]
        for slot in range(2, slots):
            total.add_(half[..., slot])
        halves.append(total.add_(HALF).bitwise_right_shift_(8).bitwise_and_(TWO))
    return halves[0].bitwise_or_(halves[1] << 8)


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
    return taps.long(), torch.stack((most - upper, upper), 3).flatten(2)


def _slots(pixels: Tensor, axis: Tensor, slots: int) -> tuple[Tensor, Tensor]:
    """The same as a first position (n, TILE) and the weights of ``slots`` neighbours from there on, (n, TILE, slots), int32."""
    taps, weights = _taps(pixels, axis, 1 if slots == 2 else 2)
    first = taps[:, :, :1]
    at = torch.arange(slots, device=pixels.device)
    hits = (taps - first)[..., None] == at
    return first[:, :, 0], (hits * weights[..., None]).sum(2, dtype=torch.int32)


def _mixed(below: Tensor, above: Tensor, share: Tensor) -> Tensor:
    """Packed pixels (n,) of which ``above`` has ``share`` (n,) of 256."""
    rest = 256 - share
    halves = []
    for shift in (0, 8):
        total = (below >> shift & TWO) * rest + (above >> shift & TWO) * share
        halves.append(total.add_(HALF).bitwise_right_shift_(8).bitwise_and_(TWO))
    return halves[0].bitwise_or_(halves[1] << 8)
