import hashlib
import json
import os
import pickle
import struct
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from conftest import GOLDEN
from safetensors import safe_open
from torch import Tensor

from featherface_core.config import AttentionConfig, ModelConfig
from featherface_core.errors import WeightsError
from featherface_core.models.checkpoint import load_model, load_weights, save_upstream, save_weights
from featherface_core.models.upstream import to_upstream
from featherface_core.models.variants import VARIANTS, build_model

State = dict[str, Tensor]

USER = ModelConfig("mine", 40, 2, "bifpn", AttentionConfig("none", 16), AttentionConfig("cbam", 8), "plain", "light")


@cache
def ours(name: str) -> State:
    return build_model(name, seed=5).state_dict()


def published(name: str) -> State:
    """The same tensors under upstream's names."""
    state = ours(name)
    return {theirs: state[mine] for mine, theirs in to_upstream(state, VARIANTS[name]).items()}


def stored(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def same(one: State, other: State) -> bool:
    """The same names, types, shapes and bits."""
    return one.keys() == other.keys() and all(
        one[k].dtype == other[k].dtype and torch.equal(one[k], other[k]) for k in one
    )


def refused(path: Path, expect: ModelConfig | None = None) -> WeightsError:
    with pytest.raises(WeightsError) as caught:
        load_weights(path, expect)
    assert caught.value.exit_code == 4
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint
    return caught.value


# ---- published files ----


@pytest.mark.parametrize("name", GOLDEN)
def test_published_files_come_back_bit_for_bit(reference: Path, tmp_path: Path, name: str) -> None:
    file = reference / f"{name}.pth"
    weights = load_weights(file)
    assert (weights.config, weights.layout) == (VARIANTS[GOLDEN[name]], "upstream")
    assert weights.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    middle = save_weights(tmp_path / "ours.safetensors", weights.state, weights.config)
    back = save_upstream(tmp_path / "back.pth", load_weights(middle))
    before = torch.load(file, map_location="cpu", weights_only=True)
    before = {k: v for k, v in before.items() if not k.endswith(("total_ops", "total_params"))}
    assert same(torch.load(back, weights_only=True), before)


def test_the_imagenet_backbone_is_no_detector(reference: Path, tmp_path: Path) -> None:
    made = {f"module.{k.removeprefix('body.')}": v for k, v in published("v2").items() if k.startswith("body.")}
    made["module.fc.weight"] = torch.zeros(1000, 256)
    for path in (stored(tmp_path / "a.tar", {"state_dict": made}), reference / "mobilenetV1X0.25_pretrain.tar"):
        error = refused(path)
        assert "ImageNet backbone" in error.message
        assert "training" in error.hint


@pytest.mark.parametrize("name", VARIANTS)
def test_each_variant_is_recognised_by_its_tensors(tmp_path: Path, name: str) -> None:
    theirs = load_weights(stored(tmp_path / "theirs.pth", published(name)))
    assert (theirs.config, theirs.layout) == (VARIANTS[name], "upstream")
    mine = load_weights(stored(tmp_path / "mine.pth", dict(ours(name))))
    assert (mine.config, mine.layout) == (VARIANTS[name], "featherface")
    assert same(theirs.state, ours(name))
    assert same(mine.state, ours(name))


def test_names_and_tensors_are_paired_one_to_one() -> None:
    for config in (*VARIANTS.values(), USER):
        names = list(build_model(config, device="meta").state_dict())
        theirs = to_upstream(names, config)
        assert list(theirs) == names
        assert len(set(theirs.values())) == len(names)
    with pytest.raises(KeyError):
        to_upstream(["backbone.nothing.weight"], VARIANTS["v1"])


def prefixed(state: State) -> State:
    return {f"module.{k}": v for k, v in state.items()}


def short_shuffles(state: State) -> State:
    short = {k.replace("_cs.", ".", 1).replace("ssh", "cs", 1) if "_cs." in k else k: v for k, v in state.items()}
    assert any(k.startswith("cs3.") for k in short)
    return short


def profiled(state: State) -> State:
    layers = {k.rpartition(".")[0] for k in state}
    extra = {f"{layer}.{n}": torch.zeros(1, dtype=torch.float64) for layer in layers for n in ("total_ops",)}
    return {"total_ops": torch.ones(1), "total_params": torch.ones(1), **state, **extra}


def all_at_once(state: State) -> State:
    return prefixed(short_shuffles(profiled(state)))


@pytest.mark.parametrize(
    ("wrapper", "change"),
    [
        (None, prefixed),
        (None, short_shuffles),
        (None, profiled),
        (None, all_at_once),
        ("model_state_dict", profiled),
        ("state_dict", all_at_once),
        ("model", prefixed),
    ],
)
def test_the_forms_in_which_files_are_found(
    tmp_path: Path, wrapper: str | None, change: Callable[[State], State]
) -> None:
    state = change(published("v1-original"))
    file = stored(tmp_path / "a.pth", {wrapper: state, "epoch": 3, "loss": 0.5} if wrapper else state)
    weights = load_weights(file)
    assert (weights.config.name, weights.layout) == ("v1-original", "upstream")
    assert same(weights.state, ours("v1-original"))


def test_files_from_before_the_zip_format(tmp_path: Path) -> None:
    torch.save(published("v2"), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert same(load_weights(tmp_path / "old.pth").state, ours("v2"))


def test_half_precision_becomes_float32(tmp_path: Path) -> None:
    half = {k: v.half() if v.is_floating_point() else v for k, v in ours("v2").items()}
    wanted = {k: v.float() if v.is_floating_point() else v for k, v in half.items()}
    file = save_weights(tmp_path / "a.safetensors", half, VARIANTS["v2"])
    for path in (file, stored(tmp_path / "a.pth", half)):
        assert same(load_weights(path).state, wanted)
    brain = stored(tmp_path / "b.pth", {k: v.bfloat16() if v.is_floating_point() else v for k, v in half.items()})
    assert all(v.dtype in (torch.float32, torch.int64) for v in load_weights(brain).state.values())


# ---- our own files ----


@pytest.mark.parametrize("config", [VARIANTS["v2"], USER], ids=["v2", "user"])
def test_our_files_come_back_with_their_network(tmp_path: Path, config: ModelConfig) -> None:
    model = build_model(config, seed=1)
    path = save_weights(tmp_path / "new" / "a.safetensors", model.state_dict(), config, {"epoch": "7"})
    weights = load_weights(path)
    assert (weights.config, weights.layout, weights.path) == (config, "featherface", path)
    assert same(weights.state, model.state_dict())
    with safe_open(path, framework="pt") as file:
        assert file.metadata()["epoch"] == "7"
    again = load_model(path)
    assert not again.training
    picture = torch.rand(1, 3, 64, 64) * 200 - 100
    with torch.inference_mode():
        for a, b in zip(again(picture), model(picture), strict=True):
            assert torch.equal(a, b)


def test_upstream_form_of_a_user_variant(tmp_path: Path) -> None:
    state = build_model(USER, seed=1).state_dict()
    weights = load_weights(save_weights(tmp_path / "a.safetensors", state, USER))
    theirs = save_upstream(tmp_path / "a.pth", weights)
    assert "own" in refused(theirs).hint  # no record, and no named variant: its YAML file must be given
    back = load_weights(theirs, USER)
    assert back.layout == "upstream"
    assert same(back.state, state)


def test_the_record_is_held_against_what_is_asked_for(tmp_path: Path) -> None:
    path = save_weights(tmp_path / "a.safetensors", ours("v2"), VARIANTS["v2"])
    assert load_weights(path, VARIANTS["v2"]).config.name == "v2"
    assert load_weights(path, replace(VARIANTS["v2"], name="another name")).config.name == "v2"
    error = refused(path, VARIANTS["v1"])
    assert "'v2'" in error.message
    assert "'v1'" in error.message


@pytest.mark.parametrize(
    "record",
    [
        "nonsense",
        '{"nope": 1}',
        '{"width": "wide"}',
        '{"neck_attention": "cbam"}',
        "[]",
        "3",
    ],
)
def test_a_damaged_record(tmp_path: Path, record: str) -> None:
    path = tmp_path / "a.safetensors"
    safetensors.torch.save_file(ours("v2"), path, {"model": record})
    assert "cannot build" in refused(path).message


# ---- tensors that do not fit ----


def test_every_misfit_is_listed(tmp_path: Path) -> None:
    state = dict(ours("v2"))
    del state["heads.0.boxes.bias"]
    state["heads.9.extra"] = torch.zeros(3)
    state["heads.1.classes.weight"] = torch.zeros(4, 16, 1, 1)
    wanted = {
        "missing: heads.0.boxes.bias [8]",
        "unexpected: heads.9.extra [3]",
        "misshapen: heads.1.classes.weight is [4, 16, 1, 1], should be [4, 32, 1, 1]",
    }
    for path in (stored(tmp_path / "a.pth", state), save_weights(tmp_path / "a.safetensors", state, VARIANTS["v2"])):
        error = refused(path)
        assert set(error.details) == wanted
        assert len(error.details) == 3
        assert "'v2'" in error.message
        assert "1 missing, 1 unexpected, 1 misshapen" in error.message


def test_misfits_of_a_published_file_go_by_its_own_names(tmp_path: Path) -> None:
    state = published("v1-24")
    del state["BboxHead.1.conv1x1.weight"]
    error = refused(stored(tmp_path / "a.pth", prefixed(state)))
    assert error.details == ("missing: BboxHead.1.conv1x1.weight [8, 24, 1, 1]",)
    assert "'v1-24'" in error.message


@pytest.mark.parametrize("layout", [ours, published], ids=["ours", "published"])
def test_weights_of_another_variant(tmp_path: Path, layout: Callable[[str], State]) -> None:
    error = refused(stored(tmp_path / "a.pth", dict(layout("v1-56"))), VARIANTS["v1"])
    assert "'v1'" in error.message
    assert "--model v1-56" in error.hint
    assert error.details


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_none(tmp_path: Path, value: float) -> None:
    state = {k: v.clone() for k, v in ours("v2").items()}
    broken = ["backbone.stages.0.0.conv.weight", "heads.2.landmarks.bias"]
    for name in broken:
        state[name].view(-1)[-1] = value
    error = refused(save_weights(tmp_path / "a.safetensors", state, VARIANTS["v2"]))
    assert list(error.details) == broken


# ---- files that are no weights ----


def test_missing_empty_and_foreign_files(tmp_path: Path) -> None:
    assert "does not exist" in refused(tmp_path / "missing.pth").message
    assert "folder" in refused(tmp_path).message
    for name, content, word in (
        ("empty.pth", b"", "empty"),
        ("text.pth", b"epoch 3 loss 0.4\n", "not a weights file"),
        ("text.safetensors", b"12345678{and no header of that length", "damaged"),
        ("short.pth", b"PK\x03\x04 and no archive", "damaged"),
        ("other.pth", b"\x80\x02]q\x00.", "damaged"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        assert word in refused(path).message, name


@pytest.mark.parametrize("suffix", [".pth", ".old.pth", ".safetensors"])
def test_truncated_files(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    if suffix == ".safetensors":
        save_weights(path, ours("v2"), VARIANTS["v2"])
    else:
        torch.save(published("v2"), path, _use_new_zipfile_serialization=suffix == ".pth")
    data = path.read_bytes()
    for end in (1, 4, 8, 9, 20, 1000, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:end])
        refused(path)


def test_content_that_is_no_state_dict(tmp_path: Path) -> None:
    for content in ([1, 2], {"a": 1}, {}, {"state_dict": {}}, torch.zeros(3), "v1"):
        refused(stored(tmp_path / "a.pth", content))


class Payload:
    """Unpickled, it makes a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.marker,)


@pytest.mark.parametrize("form", ["pickle", "zip", "old", "beside good tensors"])
def test_pickled_code_is_not_run(tmp_path: Path, form: str) -> None:
    marker, path = tmp_path / "it-ran", tmp_path / "evil.pth"
    payload = Payload(marker)
    if form == "pickle":
        path.write_bytes(pickle.dumps(payload, protocol=2))
    elif form == "beside good tensors":
        torch.save({**published("v2"), "optimizer": payload}, path)
    else:
        torch.save({"state_dict": payload}, path, _use_new_zipfile_serialization=form == "zip")
    refused(path)
    assert not marker.exists()
    if form == "pickle":  # the payload is a live one
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert marker.exists()


def test_a_whole_pickled_network(tmp_path: Path) -> None:
    error = refused(stored(tmp_path / "a.pth", build_model("v2")))
    assert "not run" in error.message
    assert "state_dict()" in error.hint


# ---- writing ----


def fail_half_way(write: Callable[[Path], None]) -> Callable[..., None]:
    def save(content: object, path: Path, *_: object) -> None:
        write(Path(path))
        raise OSError(28, "No space left on device")

    return save


@pytest.mark.parametrize("form", ["ours", "upstream"])
def test_a_save_that_fails_leaves_the_earlier_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    weights = load_weights(save_weights(tmp_path / "source" / "a.safetensors", ours("v2"), VARIANTS["v2"]))
    path = tmp_path / "out" / ("a.safetensors" if form == "ours" else "a.pth")

    def save() -> None:
        if form == "ours":
            save_weights(path, weights.state, weights.config)
        else:
            save_upstream(path, weights)

    save()
    before = path.read_bytes()
    half_written = []

    def write_half(temporary: Path) -> None:
        temporary.write_bytes(before[: len(before) // 2])
        half_written.append(temporary)

    def fail_to_write(temporary: Path, content: bytes) -> None:
        with temporary.open("wb") as stream:
            stream.write(content[: len(content) // 2])
        half_written.append(temporary)
        raise OSError(28, "No space left on device")

    if form == "ours":
        monkeypatch.setattr(Path, "write_bytes", fail_to_write)
    monkeypatch.setattr(torch, "save", fail_half_way(write_half))
    with pytest.raises(WeightsError, match="No space left") as caught:
        save()
    assert str(path) in caught.value.message
    assert len(half_written) == 1
    assert half_written[0].parent == path.parent  # on the same disk, or renaming would copy
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_saving_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for path in (tmp_path / "file" / "a.safetensors", tmp_path):
        with pytest.raises(WeightsError):
            save_weights(path, ours("v2"), VARIANTS["v2"])
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_our_format_can_be_read_without_this_package(tmp_path: Path) -> None:
    path = save_weights(tmp_path / "a.safetensors", ours("v2"), VARIANTS["v2"])
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    assert json.loads(header["__metadata__"]["model"])["width"] == 32
    assert set(header) - {"__metadata__"} == set(ours("v2"))


def test_files_without_batch_counters_are_read(tmp_path: Path) -> None:
    """Stripped and very old checkpoints lack them; evaluation does not use them."""
    state = ours("v2")
    kept = {name: t for name, t in state.items() if not name.endswith("num_batches_tracked")}
    read = load_weights(save_weights(tmp_path / "a.safetensors", kept, VARIANTS["v2"])).state
    assert read.keys() == state.keys()
    assert all(torch.equal(read[name], t) for name, t in kept.items())
