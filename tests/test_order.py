"""Which pictures a run shows, in which order and at which size."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featherface_core.errors import ConfigError
from featherface_core.recipe import Recipe
from featherface_core.training.order import ECHO, Key, Order


def order_of(pictures: int = 23, batch: int = 4, epochs: int = 3, seed: int = 5, **more: object) -> Order:
    return Order(pictures, batch, epochs, seed, more.pop("sizes", (64,)), **more)


@given(st.integers(1, 60), st.integers(1, 12), st.integers(1, 4), st.integers(0, 2**31 - 1))
def test_an_epoch_shows_pictures_once_in_full_batches(pictures: int, batch: int, epochs: int, seed: int) -> None:
    order = Order(pictures, batch, epochs, seed, (64,))
    found = list(order)
    steps = max(1, pictures // batch)
    assert len(found) == len(order) == epochs * steps
    for epoch in range(epochs):
        keys = [key for keys in found[epoch * steps : (epoch + 1) * steps] for key in keys]
        assert all(len(keys) == batch for keys in found)
        assert [key.place for key in keys] == list(range(steps * batch))
        assert {key.epoch for key in keys} == {epoch}
        assert {key.size for key in keys} == {64}
        shown = np.bincount([key.index for key in keys], minlength=pictures)
        assert len(shown) == pictures
        # once; where the set is smaller than a batch, as often as it fits in, or once more
        assert shown.max() <= max(1, -(-batch // pictures))
        assert shown.min() >= (batch // pictures if pictures <= batch else 0)


@given(st.integers(1, 200), st.integers(1, 5), st.integers(1, 3))
def test_repeated_batches_come_in_blocks(steps: int, repeats: int, epochs: int) -> None:
    order = Order(steps * 2, 2, epochs, 3, (64, 96), repeats=repeats)
    found = [tuple(keys) for keys in order]
    assert len(found) == len(order) == epochs * steps
    numbers = [order.number(position) for position in range(len(found))]
    # one number, one batch, of one size; and other numbers, other batches
    assert len(set(zip(numbers, found, strict=True))) == len(set(numbers)) == len(set(found))
    plain = [tuple(keys) for keys in Order(steps * 2, 2, epochs, 3, (64, 96))]
    assert all(keys == plain[number] for number, keys in zip(numbers, found, strict=True))
    times = np.bincount(numbers)
    assert times.max() <= repeats
    for epoch in range(epochs):
        mine = numbers[epoch * steps : (epoch + 1) * steps]
        assert min(mine) == epoch * steps
        for first in range(0, steps, ECHO * repeats):
            block = mine[first : first + ECHO * repeats]
            fresh = min(ECHO, len(block))
            assert block == [block[0] + i % fresh for i in range(len(block))]


@given(st.integers(0, 119), st.integers(1, 4))
def test_a_run_with_repeats_resumes_within_a_block(start: int, repeats: int) -> None:
    whole = list(Order(120, 2, 2, 9, (64,), repeats=repeats))
    assert list(Order(120, 2, 2, 9, (64,), repeats=repeats, start=start)) == whole[start:]


def test_an_order_depends_on_seed_and_epoch_alone() -> None:
    def indices(order: Order, epoch: int) -> list[int]:
        return [key.index for keys in order for key in keys if key.epoch == epoch]

    order = order_of(64, 8)
    assert list(order) == list(order)  # a second pass over the same object too
    assert list(order) == list(order_of(64, 8))
    assert indices(order, 0) != indices(order, 1) != indices(order, 2)
    assert sorted(indices(order, 0)) == sorted(indices(order, 1)) == list(range(64))
    assert indices(order, 1) != indices(order_of(64, 8, seed=6), 1)
    # the size of a batch and the number of epochs do not change who comes when
    assert indices(order, 1) == indices(order_of(64, 4, epochs=2), 1)


@given(st.data())
def test_a_resumed_run_goes_on_where_it_was(data: st.DataObject) -> None:
    sizes = data.draw(st.sampled_from([(64,), (32, 64, 96)]))
    more = {
        "sizes": sizes,
        "accumulate": data.draw(st.integers(1, 3)),
        "per_epoch": data.draw(st.sampled_from([0, 9, 50])),
    }
    pictures, batch = data.draw(st.integers(1, 30)), data.draw(st.integers(1, 6))
    whole = list(order_of(pictures, batch, **more))
    start = data.draw(st.integers(0, len(whole)))
    tail = order_of(pictures, batch, **more, start=start)
    assert len(tail) == len(whole) - start
    assert list(tail) == whole[start:]


@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 4), st.integers(0, 3))
def test_processes_share_each_batch(pictures: int, batch: int, world: int, start: int) -> None:
    def run(**more: int) -> list[list[Key]]:
        return list(order_of(pictures, batch, sizes=(32, 64), start=start, **more))

    whole, ranks = run(), [run(rank=rank, world=world) for rank in range(world)]
    assert {len(rank) for rank in ranks} == {len(whole)}
    for step, keys in enumerate(whole):
        parts = [rank[step] for rank in ranks]
        assert sum(len(part) for part in parts) == len(keys) == batch
        # picture k of the batch is at process k mod world: taking turns gives the batch of one process
        assert [parts[k % world][k // world] for k in range(batch)] == keys


@pytest.mark.parametrize(
    ("pictures", "batch", "accumulate", "per_epoch", "steps"),
    [
        (100, 8, 1, 0, 12),
        (100, 8, 3, 0, 12),
        (100, 8, 5, 0, 10),
        (100, 8, 13, 0, 13),  # too few pictures for one step of the optimiser: shown again
        (3, 8, 1, 0, 1),
        (3, 8, 4, 0, 4),
        (100, 8, 1, 40, 5),
        (10, 8, 2, 100, 12),
        (1, 1, 1, 0, 1),
    ],
)
def test_epochs_are_whole_steps_of_the_optimiser(
    pictures: int, batch: int, accumulate: int, per_epoch: int, steps: int
) -> None:
    order = order_of(pictures, batch, 2, accumulate=accumulate, per_epoch=per_epoch)
    assert order.steps == steps
    assert order.steps % accumulate == 0
    found = list(order)
    assert len(found) == 2 * steps
    for epoch in range(2):
        shown = np.bincount([k.index for keys in found for k in keys if k.epoch == epoch], minlength=pictures)
        assert shown.sum() == steps * batch
        assert shown.max() - shown.min() <= 1  # fairly, however often pictures are repeated


def test_sizes_change_by_the_batch_and_all_come_up() -> None:
    sizes = (64, 96, 128)
    order = list(order_of(400, 4, 2, sizes=sizes))
    drawn = []
    for keys in order:
        assert len({key.size for key in keys}) == 1
        drawn.append(keys[0].size)
    assert min(drawn.count(size) for size in sizes) > 40  # 66 expected
    half = len(drawn) // 2
    assert drawn[:half] != drawn[half:]  # each epoch draws anew
    assert set(drawn) == set(sizes)


# ---- joined sets ----


def test_the_order_is_that_of_earlier_versions() -> None:
    """Known values: another order would end resumed runs elsewhere."""
    shown = [[key.index for key in keys] for keys in order_of(23, 4, 1)]
    assert shown == [[18, 22, 11, 3], [9, 6, 7, 17], [1, 19, 12, 21], [16, 2, 4, 20], [15, 10, 13, 0]]
    shown = [[key.index for key in keys] for keys in order_of(7, 4, 1, 9, per_epoch=20, accumulate=2)]
    assert shown == [[3, 6, 5, 2], [4, 0, 1, 1], [2, 6, 0, 4], [3, 5, 1, 5]]


@given(st.lists(st.integers(1, 20), min_size=1, max_size=4), st.integers(1, 6), st.sampled_from([0, 9, 50]))
def test_weights_of_one_change_nothing(counts: list[int], batch: int, per_epoch: int) -> None:
    plain = list(order_of(sum(counts), batch, per_epoch=per_epoch))
    assert list(order_of(counts, batch, per_epoch=per_epoch)) == plain
    assert list(order_of(counts, batch, per_epoch=per_epoch, weights=[1.0] * len(counts))) == plain


def times_shown(order: Order) -> np.ndarray:
    """(epochs, pictures): how often each comes."""
    pictures = sum(order.sets)
    return np.array(
        [
            np.bincount([k.index for keys in order for k in keys if k.epoch == epoch], minlength=pictures)
            for epoch in range(order.epochs)
        ]
    )


def test_whole_weights_are_counts() -> None:
    order = order_of((3, 4, 5), 1, 2, weights=(2, 0, 3))
    assert order.steps == 3 * 2 + 5 * 3
    assert times_shown(order).tolist() == [[2] * 3 + [0] * 4 + [3] * 5] * 2


def test_a_fraction_is_a_chance() -> None:
    epochs = 400
    order = order_of((10, 7), 1, epochs, weights=(1.5, 0.3))
    assert order.steps == 17  # 15 + 2.1
    shown = times_shown(order)
    # 15 times, and one less where two and a fraction are rounded up and it is the one that is cut off
    assert set(np.unique(shown[:, :10].sum(1))) == {14, 15}
    means = shown.mean(0)
    # standard deviations: 0.5 / 20 and 0.46 / 20
    np.testing.assert_allclose(means[:10], 1.5, atol=0.11)
    np.testing.assert_allclose(means[10:], 0.3, atol=0.1)
    assert len({tuple(row) for row in shown}) > epochs // 2  # drawn anew for each epoch


def test_more_pictures_than_the_weights_give_come_in_the_same_proportion() -> None:
    order = order_of((50, 50), 5, 4, per_epoch=600, weights=(1, 0.5))
    shown = times_shown(order)
    assert (shown.sum(1) == 600).all()
    assert (shown[:, :50] == 8).all()  # 600 / 75
    np.testing.assert_allclose(shown[:, 50:].mean(), 4)


@given(st.integers(0, 40), st.integers(1, 3))
def test_a_run_with_weights_resumes_where_it_was(start: int, accumulate: int) -> None:
    more = {"weights": (0.7, 2.2), "accumulate": accumulate, "sizes": (32, 64)}
    whole = list(order_of((9, 6), 2, **more))
    start = min(start, len(whole))
    assert list(order_of((9, 6), 2, **more, start=start)) == whole[start:]


def test_a_recipes_weights_go_to_the_order() -> None:
    order = Order.of(Recipe(batch_size=2, set_weights=(1, 3)), (4, 2))
    assert (order.sets, order.weights, order.steps) == ((4, 2), (1, 3), 5)
    assert Order.of(Recipe(batch_size=2), (4, 2)).steps == 3


@pytest.mark.parametrize(
    ("weights", "words"),
    [((1.0,), "are 1, the data sets 2"), ((1, 2, 3), "are 3, the data sets 2"), ((0, 0.01), "no picture in an epoch")],
)
def test_weights_that_do_not_fit(weights: tuple[float, ...], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        order_of((9, 6), 2, weights=weights)
