"""What the tests share: the golden numbers, the shipped portrait, lively random networks, and data and runs to work on."""

import os

# Read by torch when a test first loads it. Passive: OpenMP's threads otherwise spin while they wait, which on a busy
# machine makes a small network a hundred times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1" if "PYTEST_XDIST_WORKER" in os.environ else "2")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from command_line import Ran, Run
    from painted import Painted

    from featherface_core.models.featherface import FeatherFace

# helpers whose asserts say what they compared, as those of test files do
pytest.register_assert_rewrite("augment_pictures", "command_line", "eval_scenes", "small_runs", "spotter")

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Under pytest-xdist, the files with most slow tests first: workers get whole files in turn, and quick files at the end
    let all of them finish together.
    """
    if "PYTEST_XDIST_WORKER" in os.environ:
        slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
        items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(scope="session", autouse=True)
def _one_trace_of_each_network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Every export of this session, on whichever worker, traces a network that was traced before by reading that trace.

    What comes before and after a trace runs as ever: rewrites, simplification, metadata, checks, and the files.
    """
    from shared_traces import shared

    from featherface_core.exporting import graph
    from featherface_core.training import onnx_teacher

    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # that of the workers together
    folder = folder / "traces"
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patched:
        once = shared(graph.trace, folder)
        for user in (graph, onnx_teacher):
            patched.setattr(user, "trace", once)
        yield


@pytest.fixture(autouse=True)
def _own_threads() -> Iterator[None]:
    """What a test does to torch's number of threads ends with it: sums of other threads round otherwise."""
    yield
    torch, threads = sys.modules.get("torch"), int(os.environ["OMP_NUM_THREADS"])
    if torch is not None and torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


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


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> "Run":
    """Run ``featherface ARGUMENTS`` in this process, in an empty folder."""
    from command_line import Ran

    from featherface_cli.app import main

    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> "Ran":
        monkeypatch.setattr(sys, "argv", ["featherface", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        return Ran(int(ended.value.code or 0), out, err)

    return call


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A small picture of noise."""
    import cv2

    path = tmp_path / "good.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8))
    return path


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random v2, as a weights file of ours."""
    from featherface_core.models.checkpoint import save_weights
    from featherface_core.models.variants import build_model

    path = tmp_path_factory.mktemp("weights") / "v2.safetensors"
    model = build_model("v2", seed=0)
    return save_weights(path, model.state_dict(), model.config)


@pytest.fixture(scope="session")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX file of ours for 96x64 pictures that finds two known faces in each."""
    from known_faces import stub_onnx

    return stub_onnx(tmp_path_factory.mktemp("stub") / "stub.onnx")


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training run that was never interrupted. It takes seconds, so all tests share it: nobody writes into it."""
    from small_runs import run

    return run(tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A data set of train and val with an ignored face and landmarks."""
    from data_folders import make_small

    return make_small(tmp_path / "data")


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Four labelled pictures of painted rectangles."""
    from eval_scenes import make_album

    return make_album(tmp_path / "album")


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """Below the folder that commands run in: data of every kind, good and bad."""
    from eval_scenes import make_world

    return make_world(tmp_path)


@pytest.fixture
def painted(monkeypatch: pytest.MonkeyPatch) -> "Callable[..., Painted]":
    """Lets every command use a Painted network; called with another one, that."""
    from eval_scenes import SUBJECT
    from painted import Painted, detector

    from featherface_cli import detector as opening

    def use(network: Painted | None = None) -> Painted:
        network = network or Painted()
        monkeypatch.setattr(opening, "open_detector", lambda *_: (detector(network), SUBJECT))
        return network

    use()
    return use


@pytest.fixture
def no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluations without their curves, which take half a second to draw."""
    from featherface_core.evaluation import evaluate as run

    monkeypatch.setattr(run, "write_curves", lambda *_: None)


@pytest.fixture
def imports_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every trial import of the doctor succeeds at once, for tests that are not about imports."""
    from doctor_reports import facts

    facts(monkeypatch, providers=["CPUExecutionProvider"])


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
