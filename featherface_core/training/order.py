"""Which pictures a run shows, in which order and at which size: the same again for a seed."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Sampler

from featherface_core.errors import ConfigError
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
    pictures: how many, or how many of each joined set. weights: of each set, how often a picture comes in an epoch: as often as
    the whole part says, and once more by a chance of the fraction, drawn from (seed, epoch) too; none for once each. per_epoch:
    pictures an epoch, 0 for the sum of the weights, rounded. repeats: blocks of ECHO batches come so many times before the next
    block does. Raises ConfigError for weights that are not one for each set, or that leave no picture.
    """

    def __init__(
        self,
        pictures: int | Sequence[int],
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
        weights: Sequence[float] = (),
    ) -> None:
        self.sets = (pictures,) if isinstance(pictures, int) else tuple(pictures)
        self.weights = tuple(weights) or (1.0,) * len(self.sets)
        if len(self.weights) != len(self.sets):
            raise ConfigError(
                f"set_weights {list(weights)} are {len(self.weights)}, the data sets {len(self.sets)}",
                "write one for each --data, in their order",
            )
        weighed = sum(weight * count for weight, count in zip(self.weights, self.sets, strict=True))
        if round(weighed) < 1:
            raise ConfigError(f"set_weights {list(weights)} show no picture in an epoch", "use larger ones")
        self.batch, self.epochs, self.seed, self.sizes = batch, epochs, seed, sizes
        self.per_epoch = per_epoch or round(weighed)
        self.rank, self.world, self.start, self.repeats = rank, world, start, repeats
        self.steps = max(1, self.per_epoch // (batch * accumulate)) * accumulate

    @classmethod
    def of(
        cls, recipe: Recipe, pictures: int | Sequence[int], rank: int = 0, world: int = 1, start: int = 0
    ) -> "Order":
        """The order of a recipe's run over so many pictures (of each joined set), from batch ``start`` on."""
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
            weights=recipe.set_weights,
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
        rounds: list[np.ndarray] = []
        while sum(map(len, rounds)) < needed:
            rounds.append(rng.permutation(self._once_through(epoch, len(rounds))))
        return np.concatenate(rounds)[:needed]

    def _once_through(self, epoch: int, number: int) -> np.ndarray:
        """Each picture as often as its set's weight says, in the order of the indices."""
        # a stream of its own, so that weights of 1 leave the permutations as they are without weights
        rng = np.random.default_rng((self.seed, epoch, number, 3))
        times = []
        for count, weight in zip(self.sets, self.weights, strict=True):
            whole = math.floor(weight)
            often = np.full(count, whole)
            # each has the same chance, and their number is what is expected, rounded up or down by chance
            more = math.floor((weight - whole) * count + rng.random())
            often[rng.permutation(count)[:more]] += 1
            times.append(often)
        all_times = np.concatenate(times)
        return np.repeat(np.arange(len(all_times)), all_times)


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
