"""The number format of a run: what chooses it, that it is chosen once, and that it is said."""

from pathlib import Path

import pytest
import torch
import yaml
from small_runs import DATA, recipe, silent

from featherface_core.config import ModelConfig
from featherface_core.errors import ConfigError
from featherface_core.events import Plan, RunEvent
from featherface_core.models.variants import VARIANTS
from featherface_core.recipe import AmpKind, MachineConfig, Recipe
from featherface_core.training import device as precision
from featherface_core.training.command_run import Where
from featherface_core.training.device import WORTH, Format, choose_format, measured_share
from featherface_core.training.runs import resume, train

CPU = torch.device("cpu")


def never(recipe: Recipe, config: ModelConfig) -> float:
    raise AssertionError("measured")


@pytest.mark.parametrize(("amp", "words"), [("off", "float32"), ("bf16", "bfloat16"), ("fp16", "float16")])
def test_a_format_that_is_named_is_taken_unmeasured(amp: AmpKind, words: str) -> None:
    made = recipe(machine=MachineConfig(amp=amp))
    assert choose_format(made, VARIANTS["v2"], CPU, WORTH, never) == Format(amp, words)


@pytest.mark.parametrize(("share", "amp"), [(0.6, "bf16"), (0.95, "bf16"), (0.96, "off"), (1.7, "off")])
def test_bfloat16_has_to_be_five_per_cent_faster(monkeypatch: pytest.MonkeyPatch, share: float, amp: str) -> None:
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda: True)
    found = choose_format(recipe(), VARIANTS["v2"], CPU, WORTH, lambda *_: share)
    assert found.amp == amp
    assert f"{share:.2f} of the time in float32" in found.words


def test_what_is_not_measured_is_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda: True)
    assert choose_format(recipe(), VARIANTS["v2"], CPU, WORTH - 1, never).amp == "off"
    assert choose_format(recipe(), VARIANTS["v2"], CPU, 0, never) == Format("off", "float32")
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda: False)
    found = choose_format(recipe(), VARIANTS["v2"], CPU, 100 * WORTH, never)
    assert found.amp == "off"
    assert "no instructions" in found.words


def test_a_measurement_is_of_both_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that runs twice as long in float32: the share is one half. Nothing random is drawn."""
    now = [0.0]
    autocast = torch.autocast

    class Counted(autocast):
        def __init__(self, kind: str, dtype: torch.dtype, enabled: bool) -> None:
            assert (kind, dtype) == ("cpu", torch.bfloat16)
            now[0] += 1.0 if enabled else 2.0
            super().__init__(kind, dtype, enabled)

    monkeypatch.setattr(torch, "autocast", Counted)
    monkeypatch.setattr(precision.time, "perf_counter", lambda: now[0])
    before = torch.random.get_rng_state()
    assert measured_share(recipe(), VARIANTS["v2"]) == 0.5
    assert now[0] == 3.0 * (1 + precision.ROUNDS)
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_choice_is_made_once_said_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda: True)
    monkeypatch.setattr(precision, "has_bfloat16", lambda: True)
    monkeypatch.setattr(precision, "WORTH", 3 * 16 * 64**2)  # what the run shows
    shares = [0.5]
    monkeypatch.setattr(precision, "measured_share", lambda *_: shares.pop())
    plans: list[Plan] = []

    def listen(event: RunEvent) -> None:
        if isinstance(event, Plan):
            plans.append(event)

    out = tmp_path / "run"
    train(recipe(), DATA, None, Where(out, stop_after=1), listen)
    assert yaml.safe_load((out / "config.yaml").read_text())["recipe"]["machine"]["amp"] == "bf16"
    assert "0.50 of the time" in dict(plans[0].rows)["number format"]
    assert resume(out, "train", 0, listen).finished  # measured again it would find no share left
    assert dict(plans[1].rows)["number format"] == "bfloat16"


def test_an_older_run_that_left_it_open_goes_on_in_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "run"
    train(recipe(), DATA, None, Where(out, stop_after=1), silent)
    text = (out / "config.yaml").read_text()
    assert "amp: 'off'" in text
    (out / "config.yaml").write_text(text.replace("amp: 'off'", "amp: auto"))
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda: True)
    monkeypatch.setattr(precision, "WORTH", 1)
    monkeypatch.setattr(precision, "measured_share", never)
    assert resume(out, "train", 0, silent).finished


def test_a_checkpoint_goes_on_in_its_own_format(tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(recipe(), DATA, None, Where(out, stop_after=1), silent)
    assert torch.load(out / "last.pt", weights_only=True)["amp"] == "off"
    text = (out / "config.yaml").read_text()
    (out / "config.yaml").write_text(text.replace("amp: 'off'", "amp: bf16"))
    with pytest.raises(ConfigError, match=r"last\.pt was trained with machine\.amp=off, .*config\.yaml has bf16"):
        resume(out, "train", 0, silent)
    (out / "config.yaml").write_text(text)
    assert resume(out, "train", 0, silent).finished
