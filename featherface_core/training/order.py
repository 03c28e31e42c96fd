"""Which pictures a run shows, in which order and at which size: the same again for a seed."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Sampler

from featherface_core.recipe import Recipe

ECHO = 24  # batches that take turns where batches are repeated


@dataclass(frozen=True)
class Key:
    """One picture of the run: its place in the order, which it is, and the side of the batch it goes into, in pixels."""

    epoch: int
    place: int
    index: int
    size: int


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


class FirstTimes(Sampler[list[Key]]):
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
