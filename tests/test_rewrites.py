"""Rewrites of a network before its export: the same outputs, and the steps that were to go are gone."""

import pytest
import torch
from conftest import noise, randomise
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from featherface_core.config import AttentionConfig, ExportConfig, ModelConfig
from featherface_core.exporting.rewrites import REWRITES, SampleInput, SampleMaps, chosen, rewritten
from featherface_core.models.attention import SpatialGate
from featherface_core.models.blocks import ChannelShuffle
from featherface_core.models.context import SSH
from featherface_core.models.deform import DeformConv2d, deform_conv2d, deform_conv2d_node
from featherface_core.models.featherface import FeatherFace
from featherface_core.models.heads import LevelHead
from featherface_core.models.variants import VARIANTS, build_model

WIDE = ModelConfig(
    "wide", 64, 2, "bifpn-light", AttentionConfig("none"), AttentionConfig("cbam", 8), "grouped", "groups-half"
)


def outputs(model: FeatherFace, pixels: Tensor) -> tuple[Tensor, ...]:
    with torch.inference_mode():
        return model(pixels)


def assert_same(model: FeatherFace, names: tuple[str, ...], pixels: Tensor) -> None:
    for ours, theirs in zip(outputs(rewritten(model, names), pixels), outputs(model, pixels), strict=True):
        assert ours.shape == theirs.shape
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def kinds(model: FeatherFace, kind: type) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, kind)]


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("rewrite", REWRITES)
def test_each_alone_leaves_the_outputs(name: str, rewrite: str) -> None:
    model = randomise(build_model(name, seed=0)).double()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    assert_same(model, (rewrite,), noise(2, 64, 96).double())
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


@pytest.mark.parametrize("name", [*VARIANTS, "wide"])
@pytest.mark.parametrize("shape", [(1, 64, 96), (2, 33, 97)])
def test_all_together_leave_the_outputs(name: str, shape: tuple[int, int, int]) -> None:
    model = randomise(build_model(WIDE if name == "wide" else name, seed=1)).double()
    assert_same(model, tuple(REWRITES), noise(*shape).double())


@settings(max_examples=8, deadline=None)
@given(st.sets(st.sampled_from(sorted(REWRITES))), st.sampled_from(["v1", "v1-original", "v2"]))
def test_any_choice_leaves_the_outputs(names: set[str], variant: str) -> None:
    model = randomise(build_model(variant, seed=2)).double()
    assert_same(model, tuple(names), noise(1, 48, 64).double())


@pytest.mark.parametrize("name", VARIANTS)
def test_what_was_to_go_is_gone(name: str) -> None:
    model = rewritten(build_model(name, seed=0))
    assert not kinds(model, nn.BatchNorm2d)
    assert not kinds(model, LevelHead)
    assert not kinds(model, SpatialGate)
    assert not kinds(model, DeformConv2d)
    assert all(shuffle.groups == 1 for shuffle in kinds(model, ChannelShuffle))
    for conv in kinds(model, nn.Conv2d):
        assert conv.groups in (1, conv.in_channels)


def test_a_plain_network_has_its_normalisations_folded_and_nothing_else() -> None:
    model = rewritten(build_model("v1", seed=0), chosen(ExportConfig(optimise=False)))
    assert not kinds(model, nn.BatchNorm2d)
    assert len(kinds(model, LevelHead)) == 3
    assert len(kinds(model, SSH)) == 3


def test_wide_groups_stay() -> None:
    """Eight channels and more fill a block of the narrowest kernels: joined, they would only cost products with zeros."""
    convs = kinds(rewritten(build_model(WIDE, seed=0)), nn.Conv2d)
    assert sum(1 < conv.groups < conv.in_channels for conv in convs) == 3  # the half-width branch of each level


def test_layers_that_make_fewer_maps_sample_those() -> None:
    model = rewritten(build_model("v1", seed=0))
    assert len(kinds(model, SampleMaps)) == 2 * 3  # half and a quarter of the width, on three levels
    assert len(kinds(model, SampleInput)) == 3 * 3  # a quarter to a quarter


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_groups_of_offsets_are_layers_added_up(groups: int) -> None:
    generator = torch.Generator().manual_seed(groups)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    x, weight, bias = draw(2, 6, 9, 8), draw(4, 6, 3, 3), draw(4)
    offset, mask = draw(2, 18 * groups, 9, 8), draw(2, 9 * groups, 9, 8)
    found = deform_conv2d_node(x, offset, mask, weight, bias, groups)
    share = 6 // groups
    wanted = bias.view(1, -1, 1, 1) + sum(
        deform_conv2d(
            x[:, g * share : (g + 1) * share],
            offset[:, 18 * g : 18 * (g + 1)],
            mask[:, 9 * g : 9 * (g + 1)],
            weight[:, g * share : (g + 1) * share],
            padding=1,
        )
        for g in range(groups)
    )
    torch.testing.assert_close(found, wanted)
