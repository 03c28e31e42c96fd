"""Batches for training: which pictures an epoch shows, read and varied in worker processes, the same again for a seed."""

import multiprocessing
import shutil
import sys
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from featherface_core.data.annotation import Faces, Picture, PictureSource
from featherface_core.data.augment import augment
from featherface_core.errors import DataError, FeatherFaceError, first_line
from featherface_core.events import Listener, Progress, ignore
from featherface_core.pictures import MEAN
from featherface_core.recipe import AugmentConfig, Recipe
from featherface_core.targets import Targets

UNREADABLE_IN_A_ROW = 20
ECHO = 24  # batches that take turns where batches are repeated
PREFETCH = 2  # batches that a worker prepares ahead


@dataclass(frozen=True)
class Key:
    """One picture of the run: its place in the order, which it is, and the side of the batch it goes into, in pixels."""

    epoch: int
    place: int
    index: int
    size: int


@dataclass(frozen=True)
class Batch:
    """pixels (N, S, S, 3), BGR uint8; targets in pixels of S x S; problems: pictures that could not be read."""

    pixels: Tensor
    targets: Targets
    problems: tuple[str, ...] = ()

    def network_input(self, device: torch.device, channels_last: bool = False) -> Tensor:
        """(N, 3, S, S), float32, mean subtracted."""
        x = self.pixels.to(device, non_blocking=True).permute(0, 3, 1, 2)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        x = x.to(torch.float32, memory_format=layout)
        return x.sub_(torch.tensor(MEAN, device=device).view(1, 3, 1, 1))


class Order(Sampler[list[Key]]):
    """The batches of a whole run from a given step on, for one of several processes.

    Each epoch is a new permutation drawn from (seed, epoch) alone, cut into full batches; a set smaller than one is repeated.
    Process ``rank`` of ``world`` takes every ``world``-th picture of each batch. Epochs are multiples of ``accumulate`` batches.
    repeats: blocks of ECHO batches come so many times before the next block does.
    """

    def __init__(
        self,
        pictures: int,
        batch: int,
        epochs: int,
        seed: int,
        sizes: tuple[int, ...],
        per_epoch: int = 0,
        rank: int = 0,
        world: int = 1,
        start: int = 0,
        accumulate: int = 1,
        repeats: int = 1,
    ) -> None:
        self.pictures, self.batch, self.epochs, self.seed, self.sizes = pictures, batch, epochs, seed, sizes
        self.per_epoch = per_epoch or pictures
        self.rank, self.world, self.start, self.repeats = rank, world, start, repeats
        self.steps = max(1, self.per_epoch // (batch * accumulate)) * accumulate

    @classmethod
    def of(cls, recipe: Recipe, pictures: int, rank: int = 0, world: int = 1, start: int = 0) -> "Order":
        """The order of a recipe's run over so many pictures, from batch ``start`` on."""
        sizes = tuple(max(32, round(recipe.size * scale / 32) * 32) for scale in recipe.augment.scales)
        return cls(
            pictures,
            recipe.batch_size,
            recipe.epochs,
            recipe.seed,
            sizes,
            per_epoch=recipe.pictures_per_epoch,
            rank=rank,
            world=world,
            start=start,
            accumulate=recipe.optimiser.accumulate,
            repeats=recipe.repeats,
        )

    def __len__(self) -> int:
        return self.epochs * self.steps - self.start

    def __iter__(self) -> Iterator[list[Key]]:
        for epoch in range(self.start // self.steps, self.epochs):
            first = self.start % self.steps if epoch == self.start // self.steps else 0
            order = self._permutation(epoch)
            for step in (self._fresh(step) for step in range(first, self.steps)):
                size = self.sizes[0]
                if len(self.sizes) > 1:
                    size = int(np.random.default_rng((self.seed, epoch, step, 1)).choice(self.sizes))
                places = range(step * self.batch + self.rank, (step + 1) * self.batch, self.world)
                yield [Key(epoch, place, int(order[place]), size) for place in places]

    def number(self, position: int) -> int:
        """Which batch of the run comes at ``position``, from 0: a repeated one has the number of its first time."""
        epoch, step = divmod(position, self.steps)
        return epoch * self.steps + self._fresh(step)

    def _fresh(self, step: int) -> int:
        block, place = divmod(step, ECHO * self.repeats)
        # the last block of an epoch may be short; what is left of it is repeated less often
        return block * ECHO + place % min(ECHO, self.steps - block * ECHO * self.repeats)

    def _permutation(self, epoch: int) -> np.ndarray:
        rng = np.random.default_rng((self.seed, epoch))
        needed = self.steps * self.batch
        rounds = [rng.permutation(self.pictures) for _ in range(-(-needed // self.pictures))]
        return np.concatenate(rounds)[:needed]


class TrainingPictures(Dataset[tuple[Picture, Faces, list[str]]]):
    """The varied picture behind a Key; a picture that cannot be read is replaced by the next, and named."""

    def __init__(self, source: PictureSource, config: AugmentConfig, seed: int) -> None:
        self.source, self.config, self.seed = source, config, seed

    def __getitem__(self, key: Key) -> tuple[Picture, Faces, list[str]]:
        problems: list[str] = []

        def read(index: int) -> tuple[Picture, Faces]:
            first = len(problems)
            for step in range(min(UNREADABLE_IN_A_ROW, len(self.source))):
                try:
                    return self.source.read((index + step) % len(self.source))
                except DataError as problem:
                    problems.append(problem.message)
            raise DataError(
                f"{len(problems) - first} pictures in a row cannot be read, the first: {problems[first]}",
                "look into the data with: featherface data check",
            )

        rng = np.random.default_rng((self.seed, key.epoch, key.place, 2))
        picture, faces = augment(read, key.index, len(self.source), self.config, key.size, rng)
        return picture, faces, problems


class _Careful(Dataset[Any]):
    """The same in a worker: an error travels as a value, since torch would wrap it into a traceback."""

    def __init__(self, pictures: TrainingPictures) -> None:
        self.pictures = pictures

    def __getitem__(self, key: Key) -> tuple[Picture, Faces, list[str]] | DataError:
        try:
            return self.pictures[key]
        except DataError as problem:
            return problem


class CachedPictures:
    """A source with its decoded pictures kept in memory, as many as ``gigabytes`` hold; the rest is read each time."""

    def __init__(self, source: PictureSource, gigabytes: float, on_event: Listener = ignore) -> None:
        self.source, self.name = source, source.name
        self.kept: list[Picture | None] = [None] * len(source)
        room = gigabytes * 1e9

        def load(index: int) -> Picture | None:
            try:
                return source.read(index)[0]
            except DataError:
                return None  # said when its turn comes in training

        full = False
        with ThreadPoolExecutor(2) as pool:
            # in blocks, so that little is decoded for which there is no room
            for first in range(0, len(source), 64):
                block = range(first, min(first + 64, len(source)))
                for index, picture in zip(block, pool.map(load, block), strict=True):
                    full = full or (picture is not None and picture.nbytes > room)
                    if picture is not None and not full:
                        self.kept[index] = picture
                        room -= picture.nbytes
                on_event(Progress(block.stop, len(source), "pictures into memory"))
                if full:
                    break

    def __len__(self) -> int:
        return len(self.source)

    def read(self, index: int) -> tuple[Picture, Faces]:
        """As the source's; faces are always the source's own."""
        picture = self.kept[index]
        return self.source.read(index) if picture is None else (picture, self.faces(index))

    def faces(self, index: int) -> Faces:
        """The faces of a picture, without reading it."""
        return self.source.faces(index)


class _FirstTimes(Sampler[list[Key]]):
    """Of the batches of an order those that have not come before."""

    def __init__(self, order: Order) -> None:
        self.order = order

    def __iter__(self) -> Iterator[list[Key]]:
        seen: set[int] = set()
        for position, keys in enumerate(self.order, self.order.start):
            number = self.order.number(position)
            if number not in seen:
                seen.add(number)
                yield keys


def batches(pictures: TrainingPictures, order: Order, workers: int) -> Iterator[Batch]:
    """The batches of ``order``, each made once, and kept while it comes again; what was wrong with it is said the first time.

    workers: processes beside this one that prepare them, 0 for none.
    """
    made = _made(pictures, order, workers)
    kept: dict[int, Batch] = {}
    try:
        if order.repeats == 1:
            yield from made
            return
        for position in range(order.start, order.start + len(order)):
            number = order.number(position)
            batch = kept.get(number)
            if batch is None:
                batch = next(made)
                kept[number] = replace(batch, problems=())
                if len(kept) > ECHO:
                    kept.pop(next(iter(kept)))
            yield batch
    finally:
        made.close()


def _made(pictures: TrainingPictures, order: Order, workers: int) -> Generator[Batch]:
    longest = max(order.sizes)
    share = len(range(order.rank, order.batch, order.world))
    workers = _workers_that_fit(workers, share * longest**2 * 3)
    if not workers:
        for keys in _FirstTimes(order):
            yield collate([pictures[key] for key in keys])
        return
    context = "fork" if sys.platform == "linux" else None  # the cache of pictures is shared, not copied
    loader = DataLoader(
        _Careful(pictures),
        batch_sampler=_FirstTimes(order),
        num_workers=workers,
        collate_fn=_collate_carefully,
        worker_init_fn=_start_worker,
        multiprocessing_context=multiprocessing.get_context(context) if context else None,
        prefetch_factor=PREFETCH,
        # it draws a seed for its workers when it starts, which must not disturb what a step draws
        generator=torch.Generator(),
    )
    try:
        for batch in loader:
            if isinstance(batch, DataError):
                raise batch
            yield batch
    except RuntimeError as problem:  # torch's word for a worker that is gone
        if "DataLoader worker" not in str(problem):
            raise
        raise FeatherFaceError(
            f"a process that prepares pictures has died: {first_line(problem)}",
            "was it out of memory? train with --workers 0, or a smaller machine.cache_gb",
        ) from None


def collate(samples: list[tuple[Picture, Faces, list[str]]]) -> Batch:
    """A batch of samples of one size."""
    pixels = torch.from_numpy(np.stack([picture for picture, _, _ in samples]))
    return Batch(pixels, Targets.of([faces for _, faces, _ in samples]), tuple(p for _, _, bad in samples for p in bad))


def _collate_carefully(samples: list[Any]) -> Batch | DataError:
    return next((sample for sample in samples if isinstance(sample, DataError)), None) or collate(samples)


def _start_worker(number: int) -> None:
    import signal

    # signals reach every process of a terminal or a job: the main one decides, and ends its workers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    cv2.setNumThreads(0)


def _workers_that_fit(workers: int, batch_bytes: int) -> int:
    """As many workers as /dev/shm has room for: a container may give it 64 MB, and a worker would die of it."""
    try:
        free = shutil.disk_usage("/dev/shm").free
    except OSError:
        return workers
    # each worker has PREFETCH batches under way, and two more are in use
    return max(0, min(workers, (free // batch_bytes - 2) // PREFETCH))
