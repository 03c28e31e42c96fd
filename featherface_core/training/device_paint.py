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
CHUNK = {"cpu": 2**18}  # pixels read at a time by each row, so that what is between stays in the cache
LARGE_CHUNK = 2**24  # on other devices


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
    split = jobs.count * columns.JOB_COLUMNS
    table = numbers[:split].view(-1, columns.JOB_COLUMNS)
    tiles = numbers[split:].view(-1, columns.TILE_COLUMNS).long()
    canvas = torch.empty(jobs.canvases * jobs.size**2, dtype=torch.int32, device=device)
    scratch = torch.zeros(jobs.scratch, dtype=torch.int32, device=device)
    for group in jobs.groups:
        own = tiles[group.first : group.end]
        source = scratch if group.from_scratch else pixels
        target = scratch if group.to_scratch else canvas
        _paint_group(group, table.index_select(0, own[:, 0]), own, source, target)
    squares = canvas.view(torch.uint8).view(jobs.canvases, jobs.size, jobs.size, 4)
    return squares[..., :3].contiguous()


def _paint_group(group: Group, job: Tensor, tiles: Tensor, source: Tensor, target: Tensor) -> None:
    """Paint n tiles, whose jobs are (n, JOB_COLUMNS): what rows and columns read and where they go first, then the pixels."""
    side = torch.arange(TILE, device=job.device)
    # what reaches beyond the target is its last row or column again, written to the same place
    across = torch.minimum(tiles[:, 1:2] + side, job[:, columns.ACROSS_TARGET, None].long() - 1)
    down = torch.minimum(tiles[:, 2:3] + side, job[:, columns.DOWN_TARGET, None].long() - 1)
    targets = job[:, columns.TARGET, None].long() + down * job[:, columns.TARGET_PITCH, None].long()
    x = job[:, columns.FIRST_X, None] + job[:, columns.SIGN_X, None] * across
    y = job[:, columns.FIRST_Y, None] + down
    first, weights = _slots(x, job[:, columns.START_X : columns.HIGH_X + 1], group.slots)
    taps, shares = _taps(y, job[:, columns.START_Y : columns.HIGH_Y + 1], group.rows)
    rows = taps * job[:, columns.SOURCE_PITCH].view(-1, 1, 1) + job[:, columns.SOURCE].view(-1, 1, 1)
    # indices of 32 bits where they do: half the memory to go through
    kind = torch.int32 if source.numel() < 2**31 else torch.int64
    first, rows = first.to(kind), rows.permute(2, 0, 1).to(kind, memory_format=torch.contiguous_format)
    shares = shares.permute(2, 0, 1).contiguous()
    colours = job[:, columns.JOB_BRIGHTNESS : columns.JOB_HUE + 1].float()
    opacity = (job[:, columns.JOB_OPACITY] * 256).round().int().view(-1, 1, 1)
    # row k of this view: the pixels k, k + 1, ... of the source, so that neighbours come at once
    neighbours = source.as_strided((source.numel() - group.slots + 1, group.slots), (1, 1))
    chunk = max(1, CHUNK.get(job.device.type, LARGE_CHUNK) // (group.slots * TILE**2))
    for begin in range(0, len(job), chunk):
        own = slice(begin, begin + chunk)
        painted = _sampled(neighbours, rows[:, own], shares[:, own], first[own], weights[own])
        if group.levelled or group.turned:
            painted = coloured(painted, colours[own], group.turned)
        index = (targets[own, :, None] + across[own, None, :]).view(-1)
        if group.blended:
            painted = _mixed(target.index_select(0, index).view(painted.shape), painted, opacity[own])
        target.scatter_(0, index, painted.view(-1))


def _sampled(neighbours: Tensor, rows: Tensor, shares: Tensor, first: Tensor, weights: Tensor) -> Tensor:
    """Pixels (n, TILE, TILE) of n tiles, packed.

    rows, shares (r, n, TILE): where each of r rows that a pixel reads begins, and its weight. first (n, TILE): the first of the
    neighbours in a row that it reads, weights (n, TILE, slots): theirs.
    """
    n, slots = len(first), neighbours.shape[1]
    index = torch.empty((n, TILE, TILE), dtype=first.dtype, device=first.device)
    two, green = None, None
    for row, share in zip(rows[..., None], shares[..., None], strict=True):
        torch.add(row, first[:, None, :], out=index)
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
    at = torch.arange(slots, device=pixels.device)
    hits = (taps - first)[..., None] == at
    return first[:, :, 0], (hits * weights[..., None]).sum(2, dtype=torch.int32)


def _mixed(below: Tensor, above: Tensor, share: Tensor) -> Tensor:
    """Packed pixels of which ``above`` has ``share`` of 256."""
    rest = 256 - share
    halves = []
    for shift in (0, 8):
        total = (below >> shift & TWO) * rest + (above >> shift & TWO) * share
        halves.append(total.add_(HALF).bitwise_right_shift_(8).bitwise_and_(TWO))
    return halves[0].bitwise_or_(halves[1] << 8)
