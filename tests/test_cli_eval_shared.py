"""eval on what lies in ../shared: the official figures, and real pictures by PyTorch and by onnxruntime."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import Run

pytestmark = pytest.mark.usefixtures("no_curves")

SHARED = Path(__file__).parents[2] / "shared"
WIDER202 = SHARED / "data" / "wider202"


def test_the_official_figures_of_predictions(reference: Path, tmp_path: Path) -> None:
    folder = reference / "wider_eval"
    wanted = json.loads((folder / "expected.json").read_text())
    # the peak as the process itself knows it: what wait4 tells begins at that of the process it was forked from
    program = (
        "import atexit; from pathlib import Path; from featherface_core.bench.run_alone import peak_bytes; "
        "atexit.register(lambda: Path('peak').write_text(str(peak_bytes()))); "
        "from featherface_cli.app import main; main()"
    )
    files = ["--predictions", str(folder / "predictions.zip"), "--ground-truth", str(folder)]
    command = [sys.executable, "-X", "importtime", "-c", program, "eval", "--json", *files]
    child = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr[-500:]
    said = json.loads(child.stdout)
    assert {s["name"]: s["ap"] for s in said["settings"]} == pytest.approx(
        {name: wanted[name] for name in ("easy", "medium", "hard")}, abs=1e-9
    )
    assert said["mean"] == pytest.approx(np.mean([wanted[name] for name in ("easy", "medium", "hard")]), abs=1e-9)
    assert said["detections"] == wanted["boxes"]
    lines = child.stderr.splitlines()
    loaded = {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}
    assert "featherface_core.evaluation.evaluate" in loaded
    assert not loaded & {"torch", "onnxruntime", "onnx"}
    assert int((tmp_path / "peak").read_text()) < 1 << 30


@pytest.fixture(scope="module")
def onnx_original(reference: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from featherface_core.config import ExportConfig
    from featherface_core.exporting.export import export
    from featherface_core.models.checkpoint import load_weights

    path = tmp_path_factory.mktemp("onnx") / "v1_original.onnx"
    export(load_weights(reference / "v1_original.pth"), path, ExportConfig(test_sizes=((96, 160), (33, 97))))
    return path


def both_ways(run: Run, reference: Path, onnx: Path, *more: str) -> list[dict]:
    """The reports of PyTorch and of onnxruntime on wider202."""
    if not (WIDER202 / "expected.json").is_file():
        pytest.skip(f"the pictures are not part of the repository, and {WIDER202} does not exist")
    reports = []
    for source in (("--weights", reference / "v1_original.pth"), ("--onnx", onnx)):
        ran = run("eval", *source, "--data", WIDER202, "--json", *more)
        assert ran.code == 0, ran.err
        reports.append(json.loads(ran.out))
    return reports


def aps(report: dict) -> dict[str, float]:
    return {setting["name"]: setting["ap"] for setting in report["settings"]}


@pytest.mark.slow
def test_torch_and_onnx_agree_on_real_pictures(run: Run, reference: Path, onnx_original: Path) -> None:
    torch, onnx = both_ways(run, reference, onnx_original, "--pictures", "12")
    assert aps(onnx) == pytest.approx(aps(torch), abs=0.002)
    assert min(aps(torch).values()) > 0.3
    assert torch["protocol"]["names"] == onnx["protocol"]["names"]
    assert (torch["subject"]["backend"], onnx["subject"]["backend"]) == ("torch", "onnxruntime")
    assert torch["subject"]["parameters"] == onnx["subject"]["parameters"] == 592_371


@pytest.mark.slow
def test_the_bar_of_the_real_pictures(run: Run, reference: Path, onnx_original: Path) -> None:
    torch, onnx = both_ways(run, reference, onnx_original)
    wanted = json.loads((WIDER202 / "expected.json").read_text())
    assert torch["protocol"]["pictures"] == wanted["pictures"] == 202
    assert aps(torch) == pytest.approx(wanted["ap"], abs=0.002)
    assert aps(onnx) == pytest.approx(aps(torch), abs=0.002)
    assert torch["detections"] == pytest.approx(wanted["detections"], rel=0.001)
    assert torch["warnings"][0].startswith("202 pictures are a part of the 3,226")
