"""What the tests share: the golden numbers, the shipped portrait, and networks with lively random states."""

import os

# Read by torch when a test first loads it. Passive: OpenMP's threads otherwise spin while they wait, which on a busy
# machine makes a small network a hundred times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1" if "PYTEST_XDIST_WORKER" in os.environ else "2")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from featherface_core.models.featherface import FeatherFace

# a gate gives the same answer twice; at home new examples are tried each time
settings.register_profile("featherface", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("featherface")

REFERENCE = Path(__file__).parents[2] / "shared" / "reference"
PORTRAIT = Path(__file__).parents[1] / "featherface_core" / "assets" / "astronaut.png"

# file in REFERENCE: the variant whose weights it holds
GOLDEN = {"v1": "v1", "v1_24": "v1-24", "v1_489015": "v1-56", "v1_original": "v1-original", "v2": "v2"}
SIZES = ("512x512", "480x640", "333x517")
OUTPUTS = ("bbox", "cls", "ldm")

# How far the golden numbers themselves, computed in float32, are from the same network in float64, rounded up. It is
# the same on every machine. The networks with random states ("v1", "v1_24", "v2") magnify rounding a thousandfold.
GOLDEN_ROUNDING = {"v1": 1.4e-3, "v1_24": 4e-4, "v1_489015": 5e-5, "v1_original": 9e-5, "v2": 4e-4}


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of golden numbers, or a skip."""
    if not (REFERENCE / "index.json").is_file():
        pytest.skip(f"golden numbers are not part of the repository, and {REFERENCE} does not exist")
    return REFERENCE


@pytest.fixture(scope="session")
def portrait() -> Path:
    """The picture of one face that the package carries."""
    return PORTRAIT


def golden_input(reference: Path, size: str) -> np.ndarray:
    """Network input (1, 3, H, W), float32, made without the package's own preparation."""
    picture = np.load(reference / "inputs.npz")[size].astype(np.float32) - np.array([104, 117, 123], np.float32)
    return np.ascontiguousarray(picture.transpose(2, 0, 1)[None])


def golden_outputs(reference: Path, name: str, size: str) -> list[np.ndarray]:
    """Boxes (A, 4), scores (A, 2) and landmarks (A, 10) that upstream's network gave."""
    numbers = np.load(reference / f"{name}.npz")
    return [numbers[f"{size}_{output}"] for output in OUTPUTS]


def difference(outputs: Iterable[Any], wanted: Iterable[Any]) -> float:
    """The largest difference, relative to max(1, |wanted|)."""
    pairs = [(np.asarray(o, np.float64), np.asarray(w, np.float64)) for o, w in zip(outputs, wanted, strict=True)]
    assert all(o.shape == w.shape for o, w in pairs)
    return max(float((np.abs(o - w) / np.maximum(1, np.abs(w))).max()) for o, w in pairs)


def randomise(model: "FeatherFace", seed: int = 0) -> "FeatherFace":
    """Give an untrained network what training would: statistics, biases, offsets, fusion weights and heads that differ.

    The statistics are those of a pass over noise, so that features neither vanish nor explode on their way.
    """
    import torch
    from torch import nn

    from featherface_core.models.deform import DeformConv2d
    from featherface_core.models.heads import LevelHead
    from featherface_core.models.neck import Fusion

    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                module.bias.uniform_(-0.3, 0.3, generator=draw)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.6, 1.4, generator=draw)
                module.bias.uniform_(-0.3, 0.3, generator=draw)
                module.momentum = None  # statistics of the next pass alone
                module.reset_running_stats()
            elif isinstance(module, DeformConv2d):
                module.offset.weight.normal_(0, 0.1, generator=draw)
                module.offset.bias.normal_(0, 1, generator=draw)
                module.mask.weight.normal_(0, 0.1, generator=draw)
                module.mask.bias.normal_(0, 1, generator=draw)
            elif isinstance(module, Fusion):
                module.weights.uniform_(-0.3, 1.5, generator=draw)  # some below zero: relu switches those inputs off
            elif isinstance(module, LevelHead):
                for layer in (module.boxes, module.classes, module.landmarks):
                    layer.weight.normal_(0, 0.2, generator=draw)
        model.train()(noise(2, 96, 128, seed))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.1
    return model.eval()


def noise(batch: int, height: int, width: int, seed: int = 0) -> Any:
    """A tensor (N, 3, H, W) in the range of prepared pictures."""
    import torch

    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 255 - 115
