"""The score that new class heads start at, and which starts have new class heads."""

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from conftest import randomise
from small_runs import DATA, recipe, silent

from featherface_core.models.checkpoint import load_start, save_weights
from featherface_core.models.featherface import FeatherFace
from featherface_core.models.heads import Heads, set_prior
from featherface_core.models.variants import build_model, resolve_model
from featherface_core.recipe import LossConfig, OptimiserConfig, Recipe
from featherface_core.training.setup import Where, open_run

FOCAL = LossConfig(classification="quality-focal", prior=0.02)


def biases(model: FeatherFace) -> set[float]:
    """Face minus background, of all anchors."""
    rows = [head.classes.bias.view(-1, 2) for head in model.heads]  # type: ignore[attr-defined]
    return {round(float(face - background), 4) for background, face in torch.cat(rows).tolist()}


@pytest.mark.parametrize("prior", [0.01, 0.3])
def test_scores_of_new_heads_are_the_prior(prior: float) -> None:
    heads = Heads(8, 3).eval()
    set_prior(heads, prior)
    _, scores, _ = heads([torch.zeros(1, 8, n, n) for n in (4, 2, 1)])
    torch.testing.assert_close(scores[..., 1], torch.full_like(scores[..., 1], prior))


def test_the_usual_prior_is_a_bias_of_minus_4_6() -> None:
    model = build_model("v2")
    set_prior(model.heads, 0.01)  # type: ignore[arg-type]
    assert biases(model) == {-4.5951}


def started(made: Recipe, out: Path) -> FeatherFace:
    with open_run(made, DATA, None, Where(out), silent, "train", {}) as run:
        return run.student(run.folder, randomise(build_model("v1", seed=3)))[0]


def test_new_class_heads_start_at_the_prior_of_a_focal_loss(tmp_path: Path) -> None:
    small = dataclasses.replace(recipe(epochs=1), optimiser=OptimiserConfig(warmup_epochs=0.0))
    prior = {round(math.log(0.02 / 0.98), 4)}
    assert biases(started(small, tmp_path / "plain")) == {0.0}
    focal = dataclasses.replace(small, loss=FOCAL)
    assert biases(started(focal, tmp_path / "random")) == prior
    assert biases(started(dataclasses.replace(focal, init="teacher"), tmp_path / "teacher")) == prior
    # a file of the same network brings its own heads; one whose backbone alone fits does not
    same, other = tmp_path / "v2.safetensors", tmp_path / "original.safetensors"
    save_weights(same, randomise(build_model("v2", seed=5)).state_dict(), resolve_model("v2"))
    save_weights(other, randomise(build_model("v1-24", seed=5)).state_dict(), resolve_model("v1-24"))
    loaded = build_model("v2")
    load_start(loaded, same)
    assert biases(loaded) != prior
    assert biases(started(dataclasses.replace(focal, init=str(same)), tmp_path / "same")) == biases(loaded)
    assert "backbone of" in load_start(build_model("v2"), other)
    assert biases(started(dataclasses.replace(focal, init=str(other)), tmp_path / "other")) == prior
