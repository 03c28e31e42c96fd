"""Pictures in batches: each found as if it were alone, and told in its turn."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spotter import Spotter, one_face, run, save

from featherface_core.detect import detect_files as module


def test_a_batch_finds_what_single_pictures_do_in_their_order(tmp_path: Path) -> None:
    shapes = [(60, 80), (80, 60), (60, 80), (50, 50), (80, 60), (60, 80), (60, 80), (33, 90), (60, 80), (80, 60)]
    paths = [save(tmp_path / f"{i}.png", h, w, (5 + i, 4 + i, 25 + i, 28)) for i, (h, w) in enumerate(shapes)]
    paths[4].write_bytes(b"no picture")
    alone, together = Spotter(), Spotter()
    single = run(paths, network=alone)
    batched = run(paths, network=together, batch=4)
    assert [p.source for p in batched.pictures] == [p.source for p in single.pictures] == [str(p) for p in paths]
    assert [p.faces for p in batched.pictures] == [p.faces for p in single.pictures]
    assert [bool(p.problem) for p in batched.pictures] == [i == 4 for i in range(10)]
    for i, result in enumerate(single.pictures):
        if i != 4:
            np.testing.assert_allclose(one_face(result), [5 + i, 4 + i, 25 + i, 28], atol=0.5)
    assert {shape[0] for shape in alone.batches} == {1}
    assert max(shape[0] for shape in together.batches) == 4
    assert sum(shape[0] for shape in together.batches) == 9
    assert len(together.batches) < 9


@given(
    shapes=st.lists(st.sampled_from([(40, 60), (60, 40), (33, 33), None]), min_size=1, max_size=30),
    batch=st.integers(2, 5),
)
@settings(max_examples=15)
def test_any_mixture_comes_out_in_order(
    tmp_path_factory: pytest.TempPathFactory, shapes: list[tuple[int, int] | None], batch: int
) -> None:
    folder = tmp_path_factory.mktemp("mixture")
    for i, shape in enumerate(shapes):
        path = save(folder / f"{i:02}.png", *(shape or (33, 33)), box=(2, 2, 12 + i % 16, 20))
        if shape is None:
            path.write_bytes(b"")
    network = Spotter()
    report = run([folder], network=network, batch=batch)
    assert [p.source for p in report.pictures] == [str(folder / f"{i:02}.png") for i in range(len(shapes))]
    for i, (shape, result) in enumerate(zip(shapes, report.pictures, strict=True)):
        if shape is None:
            assert "empty" in result.problem
        else:
            np.testing.assert_allclose(one_face(result), [2, 2, 12 + i % 16, 20], atol=0.5)
    assert all(shape[0] <= batch for shape in network.batches)


def test_few_pictures_wait_where_they_are_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [save(tmp_path / f"{i}.png", box=(5 + i, 10, 50, 40)) for i in range(6)]
    monkeypatch.setattr(module, "MOST_WAITING", 1)
    network = Spotter()
    report = run(paths, network=network, batch=4)
    assert [shape[0] for shape in network.batches] == [1] * 6
    assert [round(one_face(p)[0]) for p in report.pictures] == [5, 6, 7, 8, 9, 10]
