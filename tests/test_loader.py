"""The batches that become of an order: read, varied, kept in memory, the same for a seed, always."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from featherface_core.data.annotation import Faces, Picture, PictureSource
from featherface_core.errors import DataError
from featherface_core.events import Progress
from featherface_core.pictures import prepare
from featherface_core.recipe import AugmentConfig, Recipe
from featherface_core.training import loader
from featherface_core.training.loader import (
    UNREADABLE_AT_ONCE,
    Batch,
    CachedPictures,
    TrainingPictures,
    batches,
    collate,
)
from featherface_core.training.order import Key, Order
from featherface_core.training.targets import Targets

PLAIN = AugmentConfig(crop="none", mirror=0.0, colour=0.0)
MIXED = AugmentConfig(crop="jitter", mosaic=0.3, mixup=0.3, cutmix=0.3)


class Pictures:
    """A source of small noisy pictures. reads: the indices asked for.

    broken: pictures whose pixels cannot be read. shapeless: pictures whose sizes cannot be read, let alone their pixels.
    """

    def __init__(
        self, count: int, broken: tuple[int, ...] = (), side: int = 40, shapeless: tuple[int, ...] = ()
    ) -> None:
        self.name = "noise"
        self.sets = (("noise", count),)
        self.count, self.broken, self.side = count, {*broken, *shapeless}, side
        self.shapeless = set(shapeless)
        self.reads: list[int] = []

    def __len__(self) -> int:
        return self.count

    def shape(self, index: int) -> tuple[int, int]:
        if index in self.shapeless:
            raise DataError(f"picture {index} is broken", "mend it")
        return self.side, self.side

    def faces(self, index: int) -> Faces:
        assert 0 <= index < self.count
        return Faces.of([[index % 9, 2, index % 9 + 20, 30]] * (index % 3), weights=[1.0] * (index % 3))

    def read(self, index: int) -> tuple[Picture, Faces]:
        self.reads.append(index)
        if index in self.broken:
            raise DataError(f"picture {index} is broken", "mend it")
        picture = np.random.default_rng(index).integers(0, 256, (self.side, self.side, 3), np.uint8)
        return picture, self.faces(index)


def training(source: PictureSource, config: AugmentConfig, seed: int) -> TrainingPictures:
    return TrainingPictures(source, Recipe(size=64, seed=seed, augment=config))


def equal(a: tuple[Picture, Faces, list[str]], b: tuple[Picture, Faces, list[str]]) -> bool:
    arrays = [
        (a[0], b[0]),
        *((getattr(a[1], n), getattr(b[1], n)) for n in ("boxes", "landmarks", "ignored", "weights")),
    ]
    same = all(np.array_equal(x, y, equal_nan=x.dtype.kind == "f") for x, y in arrays)
    return same and a[2] == b[2]


# ---- the picture behind a key ----


@pytest.mark.parametrize("config", [AugmentConfig(), MIXED], ids=["official", "mixed"])
def test_a_key_gives_the_same_sample_whatever_was_read_before(config: AugmentConfig) -> None:
    keys = [Key(epoch, place, (7 * place + epoch) % 12, 48) for epoch in range(2) for place in range(12)]
    pictures = training(Pictures(12), config, 3)
    first = [pictures[key] for key in keys]
    again = training(Pictures(12), config, 3)
    last = {key: again[key] for key in reversed(keys)}
    assert all(equal(a, last[key]) for a, key in zip(first, keys, strict=True))
    assert all(sample[0].shape == (48, 48, 3) for sample in first)


def test_samples_vary_with_seed_epoch_and_place() -> None:
    source = Pictures(3)

    def sample(seed: int, epoch: int, place: int) -> tuple[Picture, Faces, list[str]]:
        return training(source, AugmentConfig(), seed)[Key(epoch, place, 1, 48)]

    here = sample(0, 0, 0)
    assert not any(equal(here, other) for other in (sample(1, 0, 0), sample(0, 1, 0), sample(0, 0, 1)))
    assert equal(here, sample(0, 0, 0))


def test_an_unreadable_picture_is_replaced_by_the_next_and_named() -> None:
    source = Pictures(6, broken=(2, 3, 5))
    pictures = training(source, PLAIN, 0)
    sound = training(Pictures(6), PLAIN, 0)
    picture, faces, problems = pictures[Key(0, 0, 2, 40)]
    assert problems == ["picture 2 is broken", "picture 3 is broken"]
    assert equal((picture, faces, []), sound[Key(0, 0, 4, 40)])
    picture, faces, problems = pictures[Key(0, 1, 5, 40)]  # after the last comes the first
    assert problems == ["picture 5 is broken"]
    assert equal((picture, faces, []), sound[Key(0, 1, 0, 40)])
    assert pictures[Key(0, 2, 1, 40)][2] == []


def test_pictures_that_are_mixed_in_are_replaced_too() -> None:
    pictures = training(Pictures(8, broken=(0, 1, 2, 3)), AugmentConfig(mosaic=1.0), 0)
    named = {problem for place in range(8) for problem in pictures[Key(0, place, 4, 64)][2]}
    assert named == {f"picture {index} is broken" for index in range(4)}  # 4 itself is sound


@pytest.mark.parametrize("count", [3, 100])
def test_data_of_which_nothing_can_be_read_is_an_error(count: int) -> None:
    source = Pictures(count, broken=tuple(range(count)))
    with pytest.raises(DataError, match="picture 1 is broken") as caught:
        training(source, PLAIN, 0)[Key(0, 0, 1, 40)]
    assert "data check" in caught.value.hint
    assert len(source.reads) <= UNREADABLE_AT_ONCE


MIXTURE = AugmentConfig(crop="mixture", size_edges=(24.0,), face_sizes=(12.0, 48.0))


@pytest.mark.parametrize("config", [PLAIN, AugmentConfig(crop="collage"), MIXTURE], ids=["none", "collage", "mixture"])
@pytest.mark.parametrize("when", ["of no size", "without pixels", "deleted later", "deleted later with its size"])
def test_unreadable_pictures_are_replaced_and_named_whenever_it_shows(config: AugmentConfig, when: str) -> None:
    gone = (1, 4)
    source = Pictures(
        6, broken=gone if when == "without pixels" else (), shapeless=gone if when == "of no size" else ()
    )
    pictures = training(source, config, 0)
    if when.startswith("deleted"):
        source.broken = set(gone)
    if when.endswith("with its size"):
        source.shapeless = set(gone)
    named = set()
    for place in range(24):
        picture, faces, problems = pictures[Key(0, place, place % 6, 64)]
        assert picture.shape == (64, 64, 3)
        assert np.isfinite(faces.boxes).all()
        assert len(set(problems)) == len(problems)
        named |= set(problems)
    assert named == {"picture 1 is broken", "picture 4 is broken"}


@pytest.mark.parametrize("config", [AugmentConfig(crop="collage"), MIXTURE], ids=["collage", "mixture"])
def test_a_collage_of_which_nothing_can_be_read_is_an_error(config: AugmentConfig) -> None:
    pictures = training(Pictures(4, shapeless=(0, 1, 2, 3)), config, 0)
    with pytest.raises(DataError, match="picture 1 is broken") as caught:
        pictures[Key(0, 0, 1, 64)]
    assert "data check" in caught.value.hint


def test_a_fault_of_the_program_is_not_taken_for_a_bad_picture() -> None:
    class Faulty(Pictures):
        def read(self, index: int) -> tuple[Picture, Faces]:
            raise KeyError(index)

    with pytest.raises(KeyError):
        training(Faulty(3), PLAIN, 0)[Key(0, 0, 1, 40)]


# ---- batches ----


def sample(seed: int, faces: int, side: int = 32) -> tuple[Picture, Faces, list[str]]:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 20, (faces, 2))
    points = rng.uniform(0, 32, (faces, 5, 2))
    points[: faces // 2] = np.nan
    boxes = np.concatenate((corner, corner + 5), 1)
    labels = Faces.of(boxes, points, rng.random(faces) < 0.5, rng.random(faces))
    return rng.integers(0, 256, (side, side, 3), np.uint8), labels, [f"problem {seed}.{n}" for n in range(seed % 3)]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6))
def test_a_batch_holds_its_samples_in_order(counts: list[int]) -> None:
    samples = [sample(seed, faces) for seed, faces in enumerate(counts)]
    batch = collate(samples)
    assert batch.pixels.dtype == torch.uint8
    assert batch.targets.pictures == len(samples)
    assert batch.problems == tuple(problem for _, _, bad in samples for problem in bad)
    assert batch.targets.picture.tolist() == [n for n, count in enumerate(counts) for _ in range(count)]
    assert batch.targets.picture.dtype == torch.int64
    for number, (picture, faces, _) in enumerate(samples):
        mine = batch.targets.picture == number
        np.testing.assert_array_equal(batch.pixels[number].numpy(), picture)
        for name in ("boxes", "landmarks", "ignored", "weights"):
            tensor = getattr(batch.targets, name)[mine]
            np.testing.assert_array_equal(tensor.numpy(), getattr(faces, name))
            assert tensor.numpy().dtype == getattr(faces, name).dtype


def test_a_batch_is_a_copy_of_its_samples() -> None:
    one = sample(1, 3)
    batch = collate([one])
    batch.pixels.zero_()
    batch.targets.boxes.zero_()
    assert one[0].any()
    assert one[1].boxes.any()


@pytest.mark.parametrize("channels_last", [False, True])
def test_what_the_network_is_given_equals_what_it_is_given_in_detection(channels_last: bool) -> None:
    samples = [sample(seed, 1, 64) for seed in range(3)]
    batch = collate(samples)
    before = batch.pixels.clone()
    x = batch.network_input(torch.device("cpu"), channels_last)
    assert x.dtype == torch.float32
    assert x.shape == (3, 3, 64, 64)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    assert x.is_contiguous(memory_format=layout)
    np.testing.assert_array_equal(x.numpy(), np.stack([prepare(picture)[0] for picture, _, _ in samples]))
    assert torch.equal(batch.pixels, before)


def test_network_input_by_hand() -> None:
    pixels = torch.tensor([10, 20, 30], dtype=torch.uint8).expand(1, 32, 32, 3).contiguous()
    x = Batch(pixels, Targets.of([Faces.none()])).network_input(torch.device("cpu"))
    assert x[0, :, 5, 7].tolist() == [10 - 104, 20 - 117, 30 - 123]


def test_a_worker_gives_the_same_batches_as_none() -> None:
    order = Order(9, 4, 2, 5, (32, 64))
    pictures = training(Pictures(9, broken=(4,)), MIXED, 1)
    alone, beside = list(batches(pictures, order, 0)), list(batches(pictures, order, 1))
    assert len(alone) == len(beside) == 4
    assert {int(batch.pixels.shape[1]) for batch in alone} <= {32, 64}
    assert any(batch.problems for batch in alone)
    for a, b in zip(alone, beside, strict=True):
        assert torch.equal(a.pixels, b.pixels)
        assert a.problems == b.problems
        assert a.targets.pictures == b.targets.pictures
        for name in ("boxes", "landmarks", "ignored", "weights", "picture"):
            x, y = getattr(a.targets, name), getattr(b.targets, name)
            assert x.dtype == y.dtype
            torch.testing.assert_close(x, y, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("start", [0, 5, 40])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_repeated_batch_is_made_once(start: int, workers: int) -> None:
    source = Pictures(70, broken=(4,))
    order = Order(70, 2, 2, 3, (32,), repeats=3, start=start)
    found = list(batches(training(source, PLAIN, 1), order, workers))
    assert len(found) == len(order) == 70 - start
    numbers = [order.number(position) for position in range(start, 70)]
    first: dict[int, Batch] = {}
    for number, keys, batch in zip(numbers, order, found, strict=True):
        assert [key.size for key in keys] == [32, 32]
        if number in first:
            assert batch.pixels is first[number].pixels
            assert not batch.problems
        else:
            first[number] = batch
    assert len(first) < len(found)
    if not workers:  # a worker reads in a process of its own
        again = Pictures(70, broken=(4,))
        for keys in order:
            for key in keys:
                training(again, PLAIN, 1)[key]
        assert len(source.reads) < len(again.reads)
    whole = list(batches(training(Pictures(70, broken=(4,)), PLAIN, 1), Order(70, 2, 2, 3, (32,), repeats=3), 0))
    for batch, other in zip(found, whole[start:], strict=True):
        assert torch.equal(batch.pixels, other.pixels)


def workers_with(monkeypatch: pytest.MonkeyPatch, free: int, workers: int) -> int:
    """How many processes are started where /dev/shm has ``free`` bytes; batches have 4 x 64 x 64 x 3 = 49,152 bytes."""
    asked = []

    def recorded(*_: object, num_workers: int, **__: object) -> list[Batch]:
        asked.append(num_workers)
        return []

    monkeypatch.setattr(loader, "DataLoader", recorded)
    monkeypatch.setattr(loader.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    list(batches(training(Pictures(4), PLAIN, 0), Order(4, 4, 1, 5, (64,)), workers))
    return asked[0] if asked else 0


def test_small_shared_memory_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert workers_with(monkeypatch, 10**9, 2) == 2
    assert workers_with(monkeypatch, 40_000, 1) == 0


def test_shared_memory_has_to_hold_the_batches_of_all_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    started = workers_with(monkeypatch, 5 * 49_152, 8)
    assert started * 2 <= 5


# ---- pictures in memory ----


def test_cached_pictures_are_those_of_the_source() -> None:
    source = Pictures(70)
    events: list[Progress] = []
    cached = CachedPictures(source, 1.0, events.append)
    assert (len(cached), cached.name, cached.sets) == (70, "noise", (("noise", 70),))
    assert sorted(source.reads) == list(range(70))
    assert [(event.done, event.total) for event in events] == [(64, 70), (70, 70)]
    source.reads.clear()
    fresh = Pictures(70)
    for index in (0, 1, 35, 69, 1):
        assert equal((*cached.read(index), []), (*fresh.read(index), []))
        assert equal((np.zeros(0, np.uint8), cached.faces(index), []), (np.zeros(0, np.uint8), fresh.faces(index), []))
    assert source.reads == []  # all from memory


def test_the_same_samples_come_from_memory() -> None:
    plain, cached = (training(s, MIXED, 2) for s in (Pictures(9), CachedPictures(Pictures(9), 1.0)))
    keys = [Key(1, place, place % 9, 48) for place in range(18)]
    assert all(equal(plain[key], cached[key]) for key in keys)
    assert all(equal(plain[key], cached[key]) for key in keys)  # nothing has changed what is kept


def test_broken_pictures_are_not_kept_and_still_named() -> None:
    cached = CachedPictures(Pictures(5, shapeless=(2,)), 1.0)
    for look in (cached.read, cached.shape):
        with pytest.raises(DataError, match="picture 2 is broken"):
            look(2)
    assert training(cached, PLAIN, 0)[Key(0, 0, 2, 40)][2] == ["picture 2 is broken"]


def kept_bytes(cached: CachedPictures) -> int:
    return sum(picture.nbytes for picture in cached.kept if picture is not None)


def test_memory_is_exceeded_by_no_more_than_a_block_and_the_rest_is_read_each_time() -> None:
    one = 40 * 40 * 3
    source = Pictures(300)
    cached = CachedPictures(source, 100 * one / 1e9)
    assert 100 * one <= kept_bytes(cached) <= (100 + 64) * one
    assert len(source.reads) <= 164
    source.reads.clear()
    assert equal((*cached.read(299), []), (*Pictures(300).read(299), []))
    assert source.reads == [299]
    assert cached.shape(299) == (40, 40)  # as the source says
    source.side = 50
    assert (cached.shape(0), cached.shape(299)) == ((40, 40), (50, 50))


def test_no_more_is_kept_than_the_memory_holds() -> None:
    one = 40 * 40 * 3
    assert kept_bytes(CachedPictures(Pictures(300), 10 * one / 1e9)) <= 10 * one


# ---- what is drawn for a person to look at ----


def test_the_first_samples_are_those_that_training_shows(tmp_path: Path) -> None:
    from featherface_core.training.preview import training_samples

    source = Pictures(12)
    recipe = Recipe(batch_size=4, size=64, seed=7, augment=MIXED)
    shown = training_samples(TrainingPictures(source, recipe), recipe, 9)
    keys = [key for keys in Order(12, 4, 1, 7, (64,)) for key in keys][:9]
    trained = training(source, MIXED, 7)
    assert len(shown) == 9
    assert all(equal((*a, []), (*trained[key][:2], [])) for a, key in zip(shown, keys, strict=True))
