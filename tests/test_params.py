from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from featherface_core.config import AttentionConfig, ModelConfig
from featherface_core.errors import ConfigError
from featherface_core.models.budget import BUDGETS, FREE_SHUFFLES, count_parameters, deformable_weights, search
from featherface_core.models.deform import DeformConv2d
from featherface_core.models.params import measure
from featherface_core.models.variants import VARIANTS, build_model
from featherface_core.results import Budget, Component

TOTALS = {"v1": 487_263, "v1-original": 592_371, "v1-24": 321_041, "v1-56": 489_015, "v2": 256_156}

# convolutions and linear layers, and products of deformable kernels, at 640x640; torch's own counter says the same
MACS = {
    "v1": (787_973_104, 191_646_000),
    "v1-original": (953_498_176, 290_304_000),
    "v1-24": (523_202_304, 40_824_000),
    "v1-56": (792_392_800, 222_264_000),
    "v2": (410_568_000, 0),
}
CELLS_AT_640 = 80**2 + 40**2 + 20**2


@st.composite
def attention(draw: st.DrawFn) -> AttentionConfig:
    return AttentionConfig(draw(st.sampled_from(("none", "cbam", "shared-cbam"))), draw(st.integers(1, 64)))


@st.composite
def networks(draw: st.DrawFn) -> ModelConfig:
    context = draw(st.sampled_from(("deformable", "plain", "grouped")))
    shuffle = draw(st.sampled_from(("none", "groups-2", "groups-half", "bottleneck", "light")))
    step = 16 if context == "grouped" else 8 if shuffle == "light" else 4
    width = step * draw(st.integers(-(-8 // step), 160 // step))
    neck_attention = draw(attention())
    if neck_attention.kind == "cbam":
        neck_attention = replace(neck_attention, reduction=min(neck_attention.reduction, width))
    return ModelConfig(
        "drawn",
        width,
        draw(st.integers(1, 8)),
        draw(st.sampled_from(("bifpn", "bifpn-light"))),
        draw(attention()),
        neck_attention,
        context,
        shuffle,
    )


def walk(part: Component) -> Iterator[Component]:
    yield part
    for inner in part.parts:
        yield from walk(inner)


# ---- parameters ----


@given(networks())
@settings(max_examples=30)
def test_formulas_equal_the_built_network(config: ModelConfig) -> None:
    model = build_model(config, device="meta")
    built = {name: sum(p.numel() for p in child.parameters()) for name, child in model.named_children()}
    assert count_parameters(config) == built
    assert sum(built.values()) == sum(p.numel() for p in model.parameters())
    layers = [module for module in model.modules() if isinstance(module, DeformConv2d)]
    assert len(layers) == (15 if config.context == "deformable" else 0)
    assert deformable_weights(config) == sum(layer.weight.numel() for layer in layers)


@pytest.mark.parametrize("name", TOTALS)
def test_totals_of_the_variants(name: str) -> None:
    report = measure(VARIANTS[name])
    assert report.total.parameters == TOTALS[name] == sum(count_parameters(VARIANTS[name]).values())
    assert report.reduction == pytest.approx(1 - TOTALS[name] / 592_371)
    assert report.budget == BUDGETS.get(name)
    assert report.config["width"] == VARIANTS[name].width


def test_what_a_profiler_says_of_the_official_network() -> None:
    report = measure(VARIANTS["v1-original"])
    assert (report.profiler_figure, report.unseen_deformable, report.unseen_fusion) == (488_661, 103_680, 30)
    assert measure(VARIANTS["v2"]).profiler_figure == 256_156 - 20  # no deformable kernel, two cells of ten scalars


@given(networks())
@settings(max_examples=6)
def test_each_part_holds_what_its_parts_hold(config: ModelConfig) -> None:
    total = measure(config, 64).total
    for part in walk(total):
        if part.parts:
            assert part.macs == sum(inner.macs for inner in part.parts)
            assert part.parameters >= sum(inner.parameters for inner in part.parts)
        if part.parts and part.kind != "DeformConv2d":  # its kernel is its own, beside the layers for offset and mask
            assert part.deformable_macs == sum(inner.deformable_macs for inner in part.parts)
            assert part.interpolation_macs == sum(inner.interpolation_macs for inner in part.parts)
    assert {part.name: part.parameters for part in total.parts} == {
        k: n for k, n in count_parameters(config).items() if n
    }


def test_a_budget_of_ones_own_goes_before_the_plans() -> None:
    mine = Budget(1_000, 10)
    assert measure(VARIANTS["v1"], 64, mine).budget == mine
    assert measure(replace(VARIANTS["v1"], name="v1*"), 64).budget == BUDGETS["v1"]
    assert measure(replace(VARIANTS["v1"], name="mine"), 64).budget is None


@pytest.mark.parametrize(("parameters", "met"), [(484_000, True), (483_999, False), (494_000, True), (494_001, False)])
def test_a_budget_holds_at_its_ends(parameters: int, met: bool) -> None:
    assert Budget(489_000, 5_000).met_by(parameters) is met


# ---- multiply-accumulates ----


@pytest.mark.parametrize("name", MACS)
def test_macs_of_the_variants(name: str) -> None:
    total = measure(VARIANTS[name], 640).total
    assert (total.macs, total.deformable_macs) == MACS[name]


@pytest.mark.parametrize("name", ["v1-24", "v2"])
def test_macs_equal_those_that_torch_counts_in_a_real_pass(name: str) -> None:
    # torch's own counter sees the operators that run. Our deformable layer applies its kernel as a 1x1 convolution of as
    # many products, before it samples; two operations are one multiply-accumulate.
    size = 640 if name == "v2" else 96
    model = build_model(name, seed=0)
    with FlopCounterMode(display=False) as counted, torch.inference_mode():
        model(torch.zeros(1, 3, size, size))
    total = measure(VARIANTS[name], size).total
    assert 2 * (total.macs + total.deformable_macs) == counted.get_total_flops()


@given(networks(), st.sampled_from([32, 33, 50, 64, 97]))
@settings(max_examples=7)
def test_macs_of_any_network_equal_those_that_torch_counts(config: ModelConfig, size: int) -> None:
    model = build_model(config, seed=0)
    with FlopCounterMode(display=False) as counted, torch.inference_mode():
        model(torch.zeros(1, 3, size, size))
    total = measure(config, size).total
    assert 2 * (total.macs + total.deformable_macs) == counted.get_total_flops()


def test_macs_by_hand() -> None:
    parts = {part.name: part for part in measure(VARIANTS["v1"], 640).total.parts}
    # heads: 2 anchors x (4 + 2 + 10) values, each of 52 products, at every cell of the three levels
    assert parts["heads"].macs == CELLS_AT_640 * 52 * 32
    # the stem: 8 maps of 320 x 320, each value of 3 x 3 x 3 products
    (stage, *_) = parts["backbone"].parts[0].parts
    (stem, *_) = stage.parts
    assert stem.macs == 320 * 320 * 8 * 27
    # five deformable layers a level: 52 to 26 and 13, then three of 13 to 13, with 9 taps
    assert parts["context"].deformable_macs == CELLS_AT_640 * 9 * (52 * 26 + 52 * 13 + 3 * 13 * 13)
    # each sampled value: four neighbours and the mask
    assert parts["context"].interpolation_macs == CELLS_AT_640 * 9 * 5 * (2 * 52 + 3 * 13)


@pytest.mark.parametrize("name", VARIANTS)
def test_macs_grow_with_the_picture(name: str) -> None:
    small, large = measure(VARIANTS[name], 320).total, measure(VARIANTS[name], 640).total
    assert small.parameters == large.parameters
    assert large.deformable_macs == 4 * small.deformable_macs
    # a channel gate costs the same at every size, and nothing else does
    assert 3.99 * small.macs < large.macs <= 4 * small.macs
    backbones = [next(part for part in total.parts if part.name == "backbone") for total in (small, large)]
    assert backbones[1].macs == 4 * backbones[0].macs


@pytest.mark.parametrize("size", [31, 0, -5, 32_769])
def test_a_size_that_no_network_takes(size: int) -> None:
    with pytest.raises(ConfigError, match=str(size)) as caught:
        measure(VARIANTS["v2"], size)
    assert "32 to 32768" in caught.value.hint


# ---- the search ----


@given(
    st.sampled_from(sorted(VARIANTS)),
    st.integers(200_000, 2_000_000),
    st.sampled_from([0, 100, 5_000, 50_000]),
)
@settings(max_examples=8)
def test_what_is_found_meets_the_budget_in_the_order_said(name: str, target: int, tolerance: int) -> None:
    base, budget = VARIANTS[name], Budget(target, tolerance)
    try:
        report = search(base, budget)
    except ConfigError as error:
        closest = int(error.hint.split()[3].strip(":").replace(",", ""))  # "the closest has 489,015: ..."
        assert not budget.met_by(closest)
        search(base, Budget(target, abs(closest - target)))  # as near as the hint says
        with pytest.raises(ConfigError):
            search(base, Budget(target, abs(closest - target) - 1))
        return
    assert report.tried > len(report.rows) > 0
    for row in report.rows:
        assert budget.met_by(row.parameters)
        assert row.difference == row.parameters - target
        config = replace(
            base,
            width=row.width,
            cells=row.cells,
            backbone_attention=_switched(base.backbone_attention, row.backbone_attention, base),
            neck_attention=_switched(base.neck_attention, row.neck_attention, base),
            shuffle=row.shuffle,
        )
        assert sum(count_parameters(config).values()) == row.parameters
    keys = [(abs(row.difference), row.parameters) for row in report.rows]
    assert keys == sorted(keys)
    choices = [(r.width, r.cells, r.backbone_attention, r.neck_attention, r.shuffle) for r in report.rows]
    assert len(set(choices)) == len(choices)


def _switched(site: AttentionConfig, kind: str, base: ModelConfig) -> AttentionConfig:
    if kind == "none" or site.kind == kind:
        return replace(site, kind=kind)
    return AttentionConfig(kind, 32 if base.neck == "bifpn-light" else 16)


def test_the_plans_budget_has_v1_and_the_network_without_attention() -> None:
    report = search(VARIANTS["v1"], Budget(489_000, 5_000))
    known = {row.same_as: row for row in report.rows if row.same_as}
    assert set(known) == {"v1", "v1-56"}
    assert (known["v1"].parameters, known["v1-56"].parameters) == (487_263, 489_015)
    assert (known["v1-56"].width, known["v1-56"].cells, known["v1-56"].backbone_attention) == (56, 2, "none")
    near = dict(report.near)
    assert near[24] == 321_041
    assert near[52] == 487_263
    assert [width for width, _ in report.near] == sorted(near)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_network_is_found_by_its_own_count(name: str) -> None:
    report = search(VARIANTS[name], Budget(TOTALS[name], 0))
    assert name in {row.same_as for row in report.rows}


def test_shuffles_without_parameters_are_listed_once() -> None:
    for shuffle in FREE_SHUFFLES:
        rows = search(replace(VARIANTS["v1"], shuffle=shuffle), Budget(489_000, 5_000)).rows
        assert {row.shuffle for row in rows} & set(FREE_SHUFFLES) == {shuffle}


@pytest.mark.parametrize("budget", [Budget(1, 0), Budget(100_000_000, 1_000), Budget(489_001, 0)])
def test_a_budget_that_nothing_meets(budget: Budget) -> None:
    with pytest.raises(ConfigError) as caught:
        search(VARIANTS["v1"], budget)
    assert caught.value.exit_code == 2
    assert f"{budget.target:,}" in caught.value.message
    assert "--tolerance" in caught.value.hint
