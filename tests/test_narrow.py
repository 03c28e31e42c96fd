"""Starting from a wider network: what the strongest channels computed is kept, and what the source lacks does no harm."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import randomise
from torch import Tensor

from featherface_core.config import ModelConfig
from featherface_core.models.checkpoint import load_start, save_weights
from featherface_core.models.featherface import FeatherFace
from featherface_core.models.narrow import can_narrow, narrow
from featherface_core.models.variants import VARIANTS, build_model

WIDE = replace(VARIANTS["v1-56"], name="wide")


@pytest.fixture(scope="module")
def wide() -> FeatherFace:
    return randomise(build_model(WIDE, seed=3))


def started(source: FeatherFace, **changes: object) -> tuple[FeatherFace, list[str]]:
    model = build_model(replace(source.config, name="narrow", **changes), seed=4)  # type: ignore[arg-type]
    return model, narrow(source.state_dict(), source.config, model)


def outputs(model: FeatherFace) -> Tensor:
    pixels = torch.randn(1, 3, 96, 64, generator=torch.Generator().manual_seed(5)) * 40
    with torch.no_grad():
        return torch.cat(model(pixels), 2)


@pytest.mark.parametrize("shuffle", ["none", "groups-2", "groups-half"])
def test_at_full_width_another_permutation_computes_the_same(wide: FeatherFace, shuffle: str) -> None:
    model, fresh = started(wide, shuffle=shuffle)
    assert fresh == []
    torch.testing.assert_close(outputs(model), outputs(wide), rtol=1e-4, atol=1e-4)


def test_channels_that_do_nothing_are_the_ones_that_go(wide: FeatherFace) -> None:
    source = build_model(WIDE)
    source.load_state_dict(wide.state_dict())
    dead = [3, 17, 30, 55]
    with torch.no_grad():
        for level in source.context:
            for branch in (level.conv3x3, level.conv5x5_1):
                for kernel in (branch.conv.weight, branch.conv.offset.weight, branch.conv.mask.weight):
                    kernel[:, dead] = 0
            # of the joined branches (28 + 14 + 14 channels) as many go as 52 = 26 + 13 + 13 leaves no room for
            for branch, gone in ((level.conv3x3, [4, 20]), (level.conv5x5_2, [7]), (level.conv7x7_3, [0])):
                branch.bn.weight[gone] = 0
                branch.bn.bias[gone] = 0
            for branch in (level.conv5x5_1, level.conv7x7_2):
                branch.bn.weight[[2]] = 0
                branch.bn.bias[[2]] = 0
        for cell in source.neck.cells:
            for fusion in (cell.p4_td, cell.p3_out, cell.p4_out, cell.p5_out):
                fusion.conv.pointwise.conv.weight[:, dead] = 0
    model, fresh = started(source, width=52)
    assert fresh == []
    torch.testing.assert_close(outputs(model), outputs(source), rtol=1e-4, atol=1e-4)


def test_new_cells_hand_on_what_they_get(wide: FeatherFace) -> None:
    source = build_model(WIDE)
    source.load_state_dict(wide.state_dict())
    with torch.no_grad():
        for fusion in (source.neck.cells[-1].p3_out, source.neck.cells[-1].p4_out, source.neck.cells[-1].p5_out):
            fusion.conv.pointwise.bn.weight.mul_(0.1)  # the range of a trained neck, where swish is nearly linear
            fusion.conv.pointwise.bn.bias.mul_(0.1)
    model, fresh = started(source, cells=4)
    assert fresh == ["neck cells from 3 on"]
    pixels = torch.randn(1, 3, 96, 64, generator=torch.Generator().manual_seed(5)) * 40
    with torch.no_grad():
        before, after = source.pyramid(pixels), model.pyramid(pixels)
    for old, new in zip(before, after, strict=True):
        assert torch.corrcoef(torch.stack((old.flatten(), new.flatten())))[0, 1] > 0.98
    # and they can learn, the silent top-down map too
    model.train()
    torch.stack([level.square().sum() for level in model.pyramid(pixels)]).sum().backward()
    grown = {
        name for name, p in model.neck.cells[-1].named_parameters() if p.grad is not None and p.grad.abs().max() > 0
    }
    assert {f"{fusion}.conv.pointwise.bn.weight" for fusion in ("p4_td", "p3_out", "p4_out", "p5_out")} <= grown
    assert {f"{fusion}.weights" for fusion in ("p3_out", "p4_out", "p5_out")} <= grown


def test_fewer_cells_and_other_attention(wide: FeatherFace) -> None:
    _, fresh = started(wide, cells=1, backbone_attention=VARIANTS["v1"].backbone_attention)
    assert fresh == ["backbone attention"]
    original = randomise(build_model("v1-original", seed=1))
    v1 = build_model("v1", seed=2)
    assert narrow(original.state_dict(), original.config, v1) == ["heads"]
    taken = original.state_dict()["backbone_attention.channel.1.expand.bias"]
    assert torch.equal(v1.state_dict()["backbone_attention.channel.1.expand.bias"], taken)
    slim = build_model(replace(VARIANTS["v1-original"], name="slim", width=48), seed=2)
    assert narrow(original.state_dict(), original.config, slim) == ["neck attention", "shuffle and heads"]


@pytest.mark.parametrize(
    ("source", "target", "possible"),
    [
        ("v1-56", "v1", True),
        ("v1-original", "v1", True),
        ("v1", "v1-24", True),
        ("v1", "v1-56", False),
        ("v1", "v2", False),
        ("v2", "v2", False),
    ],
)
def test_what_can_be_narrowed(source: str, target: str, possible: bool) -> None:
    assert can_narrow(VARIANTS[source], VARIANTS[target]) == possible


def test_a_start_from_a_file_says_what_it_took(wide: FeatherFace, tmp_path: Path) -> None:
    path = save_weights(tmp_path / "wide.safetensors", wide.state_dict(), WIDE)
    model = build_model("v1", seed=0)
    said = load_start(model, path)
    assert said == (
        "the strongest 52 of 56 channels of wide (wide.safetensors), backbone attention and neck cells from 3 on new"
    )
    taken = wide.state_dict()["backbone.stages.0.0.conv.weight"]
    assert torch.equal(model.state_dict()["backbone.stages.0.0.conv.weight"], taken)
    other = build_model(ModelConfig("plain", 40, 2, context="plain"), seed=0)
    assert load_start(other, path) == "backbone of wide (wide.safetensors)"
