"""Training from a store of pictures: what fits, what cannot be read, workers that only plan, runs that resume."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from augment_pictures import same
from small_runs import DATA, assert_same_run, recipe, run, silent

from featherface_core.data.annotation import Faces, Picture, PictureSource
from featherface_core.errors import DataError
from featherface_core.events import Note, Progress, RunEvent
from featherface_core.recipe import AugmentConfig, MachineConfig, Recipe
from featherface_core.training import device as transfer
from featherface_core.training import loader
from featherface_core.training.loader import TrainingPictures, batches
from featherface_core.training.order import Key, Order
from featherface_core.training.picture_store import PictureStore, StoreError
from featherface_core.training.runs import resume, train
from featherface_core.training.setup import Where, open_run

CPU = torch.device("cpu")
PLAIN = AugmentConfig(crop="none", mirror=0.0, colour=0.0)
MIXED = AugmentConfig(crop="jitter", colour=0.0, mosaic=0.3, mixup=0.3, cutmix=0.3)
SIDE = 40


class Pictures:
    """Small noisy pictures. broken: their pixels cannot be read; shapeless: nor can their sizes. larger: than their files say."""

    name = "noise"

    def __init__(
        self, count: int, broken: tuple[int, ...] = (), shapeless: tuple[int, ...] = (), larger: tuple[int, ...] = ()
    ) -> None:
        self.count, self.broken, self.shapeless, self.larger = count, {*broken, *shapeless}, shapeless, larger
        self.reads: list[int] = []
        self.sets = ((self.name, count),)

    def __len__(self) -> int:
        return self.count

    def shape(self, index: int) -> tuple[int, int]:
        if index in self.shapeless:
            raise DataError(f"picture {index} is broken", "mend it")
        return SIDE, SIDE

    def faces(self, index: int) -> Faces:
        return Faces.of([[index % 9, 2, index % 9 + 20, 30]] * (index % 3))

    def read(self, index: int) -> tuple[Picture, Faces]:
        self.reads.append(index)
        if index in self.broken:
            raise DataError(f"picture {index} is broken", "mend it")
        side = SIDE + 8 * (index in self.larger)
        return np.random.default_rng(index).integers(0, 256, (side, side, 3), np.uint8), self.faces(index)


def training(source: PictureSource, config: AugmentConfig, seed: int = 0) -> TrainingPictures:
    return TrainingPictures(source, Recipe(size=64, seed=seed, augment=config))


def test_a_store_is_a_source_of_the_same_pictures() -> None:
    events: list[Progress] = []
    source = Pictures(70)
    store = PictureStore(source, 1.0, CPU, events.append)
    assert (len(store), store.name) == (70, "noise")
    assert sorted(source.reads) == list(range(70))
    assert [(event.done, event.total) for event in events] == [(64, 70), (70, 70)]
    source.reads.clear()
    for index in (0, 41, 69):
        picture, faces = store.read(index)
        np.testing.assert_array_equal(picture, Pictures(70).read(index)[0])
        same(faces, source.faces(index))
        assert store.shape(index) == (SIDE, SIDE)
    assert source.reads == []


def test_its_memory_is_what_the_copies_and_their_borders_take() -> None:
    # 40 x 40 and 20 x 20, each with a pixel around, of four bytes; painters read up to 4,096 pixels past the last one
    needed = 4 * (10 * (42**2 + 22**2) + 4096)
    assert PictureStore(Pictures(10), needed / 1e9, CPU).pixels.nbytes == needed
    source = Pictures(10)
    with pytest.raises(StoreError, match=r"10 pictures .* machine\.cache_gb is ") as caught:
        PictureStore(source, (needed - 1) / 1e9, CPU)
    assert source.reads == []  # said before anything is decoded
    name, _, value = caught.value.hint.removeprefix("--set ").partition("=")
    assert name == "machine.cache_gb"
    assert needed / 1e9 <= float(value) < 1.2 * needed / 1e9
    PictureStore(Pictures(10), float(value), CPU)


def test_no_room_for_even_one_picture() -> None:
    with pytest.raises(StoreError, match=r"1 picture.* machine\.cache_gb is 0"):
        PictureStore(Pictures(1), 0.0, CPU)


def test_a_device_that_cannot_paint() -> None:
    with pytest.raises(StoreError, match="meta"):
        PictureStore(Pictures(1), 1.0, torch.device("meta"))


# ---- batches ----


@pytest.mark.parametrize("crop", ["none", "collage", "mixture"])
@pytest.mark.parametrize("when", ["of no size", "without pixels"])
def test_unreadable_pictures_are_replaced_and_named_as_by_the_other_painter(crop: str, when: str) -> None:
    config = AugmentConfig(crop=crop, size_edges=(24.0,), face_sizes=(12.0, 48.0), mosaic=0.2, mixup=0.2)  # type: ignore[arg-type]
    gone = (1, 4)
    given: dict = {"shapeless" if when == "of no size" else "broken": gone}
    store = PictureStore(Pictures(6, **given), 1.0, CPU)
    drafted, painted = training(store, config), training(Pictures(6, **given), config)
    named = set()
    for place in range(24):
        key = Key(0, place, place % 6, 64)
        plan, problems = drafted.draft(key, store.problems)
        _, faces, wanted = painted[key]
        assert problems == wanted
        same(plan.faces, faces)
        assert not {piece.picture for piece in plan.pieces} & set(gone)
        named |= set(problems)
    assert named == {"picture 1 is broken", "picture 4 is broken"}


def test_a_picture_larger_than_its_file_says_is_replaced_and_named() -> None:
    store = PictureStore(Pictures(3, larger=(1,)), 1.0, CPU)
    plan, (problem,) = training(store, PLAIN).draft(Key(0, 0, 1, 64), store.problems)
    assert [piece.picture for piece in plan.pieces] == [2]
    assert "48x48" in problem
    with pytest.raises(DataError, match="48x48"):
        store.read(1)


def test_data_of_which_nothing_can_be_read_is_an_error() -> None:
    pictures = training(PictureStore(Pictures(3, broken=(0, 1, 2)), 1.0, CPU), PLAIN)
    for workers in (0, 1):
        with pytest.raises(DataError, match="broken") as caught:
            list(batches(pictures, Order(3, 2, 1, 0, (64,)), workers))
        assert "data check" in caught.value.hint


@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("paints", [True, False], ids=["painted by workers", "painted here"])
def test_a_worker_gives_what_none_gives_and_what_opencv_paints(
    monkeypatch: pytest.MonkeyPatch, paints: bool, repeats: int
) -> None:
    monkeypatch.setattr(loader, "_workers_paint", lambda _: paints)
    order = Order(9, 4, 2, 5, (32, 64), repeats=repeats)
    source = Pictures(9, broken=(4,))
    drafting = training(PictureStore(source, 1.0, CPU), MIXED, 1)
    alone, beside = (list(batches(drafting, order, workers)) for workers in (0, 1))
    opencv = list(batches(training(source, MIXED, 1), order, 0))
    assert len(alone) == len(beside) == len(opencv) == 4
    assert any(batch.problems for batch in alone)
    for a, b, other in zip(alone, beside, opencv, strict=True):
        assert torch.equal(a.pixels, b.pixels)
        assert a.problems == b.problems == other.problems
        assert a.pixels.shape == other.pixels.shape
        assert (a.pixels.float() - other.pixels.float()).square().mean().sqrt() <= 2
        for name in ("boxes", "landmarks", "ignored", "weights", "picture"):
            for one in (b, other):
                x, y = getattr(a.targets, name), getattr(one.targets, name)
                torch.testing.assert_close(x, y, rtol=0, atol=0, equal_nan=True)


def test_workers_are_sent_no_pixels() -> None:
    store = PictureStore(Pictures(50), 1.0, CPU)
    assert store.pixels.nbytes > 300_000
    assert len(pickle.dumps(training(store, MIXED))) < 20_000


def test_what_was_painted_on_a_device_is_not_sent_there_again() -> None:
    there = torch.zeros(3, device="meta")  # as a GPU's, its memory cannot be page-locked
    assert transfer._sent(there, there.device) is there


# ---- runs ----


def test_a_run_that_the_device_paints_resumes_bit_for_bit(tmp_path: Path) -> None:
    machines = [MachineConfig(device="cpu", workers=n, cache_gb=1.0, paint="device") for n in (0, 1)]
    whole = run(tmp_path / "whole", machine=machines[0], epochs=2)
    out = tmp_path / "run"
    train(recipe(machine=machines[1], epochs=2), DATA, None, Where(out, stop_after=1), silent)
    resume(out, "train", 0, silent)
    assert_same_run(whole, out)


@pytest.mark.parametrize(
    ("paint", "gigabytes", "store", "said"),
    [
        ("device", 1.0, True, ""),
        ("device", 1e-3, False, "need"),
        ("device", 0.0, False, "need"),
        ("auto", 1.0, False, ""),
    ],
)
def test_what_paints_a_run(tmp_path: Path, paint: str, gigabytes: float, store: bool, said: str) -> None:
    events: list[RunEvent] = []
    machine = MachineConfig(device="cpu", workers=0, cache_gb=gigabytes, paint=paint)  # type: ignore[arg-type]
    made = recipe(machine=machine)
    with open_run(made, DATA, None, Where(tmp_path / "run"), events.append, "train", {}) as run:
        assert isinstance(run.source, PictureStore) == store
    notes = [event for event in events if isinstance(event, Note) and "OpenCV" in event.text]
    assert len(notes) == bool(said)
    assert all(said in note.text and note.warning for note in notes)
