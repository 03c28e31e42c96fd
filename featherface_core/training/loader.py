"""Batches for training: pictures read and varied in worker processes, the same again for a seed."""

import multiprocessing
import shutil
import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, TypeVar

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from featherface_core.data.annotation import Faces, Picture, PictureSource, set_sizes
from featherface_core.data.augment.paint import paint
from featherface_core.data.augment.plan import Plan
from featherface_core.data.augment.planner import Planner, UnreadableError
from featherface_core.errors import DataError, FeatherFaceError, first_line
from featherface_core.events import Listener, Progress, ignore
from featherface_core.pictures import MEAN
from featherface_core.recipe import Recipe
from featherface_core.training.device_paint import paint_table
from featherface_core.training.order import ECHO, FirstTimes, Key, Order
from featherface_core.training.paint_jobs import Numbers, table_of
from featherface_core.training.picture_store import PictureStore
from featherface_core.training.targets import Targets

UNREADABLE_AT_ONCE = 20
PREFETCH = 2  # batches that a worker prepares ahead
DRAFTS_BYTES = 2**20  # more than a batch of plans takes in shared memory

Sample = TypeVar("Sample")
Prepared = TypeVar("Prepared")


@cache
def _mean(device: torch.device) -> Tensor:
    """MEAN as (1, 3, 1, 1); made once, since a copy from ordinary memory waits for a GPU."""
    return torch.tensor(MEAN, device=device).view(1, 3, 1, 1)


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
        return x.sub_(_mean(device))


@dataclass(frozen=True)
class Drafts:
    """A batch that is not painted yet: the table of its plans (``paint_jobs``), their number and side in pixels; else a Batch."""

    table: Numbers
    count: int
    size: int
    targets: Targets
    problems: tuple[str, ...]

    @classmethod
    def of(cls, samples: list[tuple[Plan, list[str]]]) -> "Drafts":
        """Of plans of one size, and what was wrong with pictures that are not in them."""
        plans = [plan for plan, _ in samples]
        targets = Targets.of([plan.faces for plan in plans])
        return cls(table_of(plans), len(plans), plans[0].size, targets, tuple(p for _, bad in samples for p in bad))

    def painted(self, store: PictureStore) -> Batch:
        """The batch, its pixels on the store's device."""
        return Batch(paint_table(self.table, self.count, self.size, store), self.targets, self.problems)


class TrainingPictures(Dataset[tuple[Picture, Faces, list[str]]]):
    """The varied picture behind a Key; the next picture takes the place of one that cannot be read, which is named."""

    def __init__(self, source: PictureSource, recipe: Recipe) -> None:
        Order.of(recipe, set_sizes(source))  # refuses weights that do not fit the sets
        self.source, self.seed = source, recipe.seed
        # what is mixed in is drawn as the order draws
        weights = np.repeat(recipe.set_weights, set_sizes(source)) if recipe.set_weights else None
        self.planner = Planner(source, recipe.augment, recipe.size, weights)

    def __getitem__(self, key: Key) -> tuple[Picture, Faces, list[str]]:
        """The picture (S, S, 3), its faces, and what was wrong with pictures that are not in it."""
        problems: dict[int, str] = {}
        while True:
            plan, _ = self.plan(key, problems)
            try:
                return paint(plan, self._read), plan.faces, list(problems.values())
            except UnreadableError as problem:
                self._note(problem, problems)

    def draft(self, key: Key, broken: Mapping[int, DataError]) -> tuple[Plan, list[str]]:
        """The plan behind a key, of pictures that are not ``broken``, and what was wrong with those that are not in it."""
        problems: dict[int, str] = {}
        while True:
            plan, _ = self.plan(key, problems)
            found = next((piece.picture for piece in plan.pieces if piece.picture in broken), None)
            if found is None:
                return plan, list(problems.values())
            self._note(UnreadableError(found, broken[found]), problems)

    def plan(self, key: Key, problems: dict[int, str] | None = None) -> tuple[Plan, dict[int, str]]:
        """The plan behind a key, and what is wrong with pictures that others take the place of, by index.

        problems: those known so far; it is added to.
        """
        problems = {} if problems is None else problems
        while True:
            rng = np.random.default_rng((self.seed, key.epoch, key.place, 2))
            try:
                return self.planner.plan(key.index, key.size, rng, frozenset(problems)), problems
            except UnreadableError as problem:
                self._note(problem, problems)

    def _note(self, problem: UnreadableError, problems: dict[int, str]) -> None:
        problems[problem.index] = problem.message
        if len(problems) >= min(UNREADABLE_AT_ONCE, len(self.source)):
            raise DataError(
                f"{len(problems)} pictures of one plan cannot be read, the first: {next(iter(problems.values()))}",
                "look into the data with: featherface data check",
            ) from None

    def _read(self, index: int) -> Picture:
        try:
            return self.source.read(index)[0]
        except DataError as problem:
            raise UnreadableError(index, problem) from None


class _Careful(Dataset[Any]):
    """Samples or drafts in a worker: an error travels as a value, since torch would wrap it into a traceback."""

    def __init__(self, make: Callable[[Key], Any]) -> None:
        self.make = make

    def __getitem__(self, key: Key) -> Any:
        try:
            return self.make(key)
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

    @property
    def sets(self) -> tuple[tuple[str, int], ...]:
        """As the source's."""
        return self.source.sets

    def __len__(self) -> int:
        return len(self.source)

    def shape(self, index: int) -> tuple[int, int]:
        """(height, width) of a picture as ``read`` gives it, from the kept one where it is there. Raises DataError."""
        picture = self.kept[index]
        return self.source.shape(index) if picture is None else (picture.shape[0], picture.shape[1])

    def read(self, index: int) -> tuple[Picture, Faces]:
        """As the source's; faces are always the source's own."""
        picture = self.kept[index]
        return self.source.read(index) if picture is None else (picture, self.faces(index))

    def faces(self, index: int) -> Faces:
        """The faces of a picture, without reading it."""
        return self.source.faces(index)


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
    share = len(range(order.rank, order.batch, order.world))
    pixels = share * max(order.sizes) ** 2 * 3  # of a batch, in bytes
    if not isinstance(pictures.source, PictureStore):
        yield from _prepared(pictures.__getitem__, collate, order, workers, pixels)
        return
    store = pictures.source
    draft = partial(pictures.draft, broken=store.problems)
    if _workers_paint(store):
        yield from _prepared(draft, lambda samples: Drafts.of(samples).painted(store), order, workers, pixels)
        return
    for drafts in _prepared(draft, Drafts.of, order, workers, DRAFTS_BYTES):
        yield drafts.painted(store)


def _workers_paint(store: PictureStore) -> bool:
    """Whether workers paint what they plan. They do from a store in the machine's memory, which they inherit.

    This process's threads would paint between two steps; a worker paints beside them.
    """
    return store.pixels.device.type == "cpu" and sys.platform == "linux"


def _prepared(
    make: Callable[[Key], Sample], together: Callable[[list[Sample]], Prepared], order: Order, workers: int, size: int
) -> Generator[Prepared]:
    """What ``together`` makes of each batch's samples, in worker processes where there are any. size: of one in bytes."""
    workers = _workers_that_fit(workers, size)
    if not workers:
        for keys in FirstTimes(order):
            yield together([make(key) for key in keys])
        return
    context = "fork" if sys.platform == "linux" else None  # the cache of pictures is shared, not copied
    loader = DataLoader(
        _Careful(make),
        batch_sampler=FirstTimes(order),
        num_workers=workers,
        collate_fn=_Carefully(together),
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


class _Carefully:
    """``together``, or the first error among the samples."""

    def __init__(self, together: Callable[[list[Any]], Any]) -> None:
        self.together = together

    def __call__(self, samples: list[Any]) -> Any:
        return next((sample for sample in samples if isinstance(sample, DataError)), None) or self.together(samples)


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
