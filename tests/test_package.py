import ast
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import PORTRAIT
from known_faces import CANVAS

from featherface_core.boxes import count_anchors
from featherface_core.config import ExportConfig, PostprocessConfig
from featherface_core.detect.detector import OnnxDetector
from featherface_core.doctor.packages import declared
from featherface_core.errors import ExportError
from featherface_core.exporting.export import export
from featherface_core.exporting.package import check_folder, usage_example, write_package
from featherface_core.models.checkpoint import load_weights
from featherface_core.models.variants import build_model
from featherface_core.pictures import read_picture
from featherface_core.results import Detections, ExportReport, SizeCheck

FILES = ["README.md", "SHA256SUMS", "deployment_config.json", "model.onnx", "usage_example.py", "weights.safetensors"]
FORBIDDEN = ("torch", "torchvision", "featherface_core", "featherface_cli", "onnx", "pydantic", "yaml", "safetensors")

# What is packed; the numbers are written down and not looked at.
REPORT = ExportReport(
    "a.onnx",
    "v2",
    "untrained",
    1,
    19,
    False,
    1,
    0,
    (SizeCheck(1, *CANVAS, count_anchors(*CANVAS), onnx_error=2e-6, faces=(2, 2)),),
    1.0,
    2.0,
)


def pack(folder: Path, stub: Path, report: ExportReport = REPORT) -> tuple[str, ...]:
    weights = stub.with_name("weights.bin")
    weights.write_bytes(b"weights")
    description = {**OnnxDetector(stub).network.description, "weights": report.weights}
    return write_package(folder, stub, weights, description, report)


def alone(package: Path, away: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the example where none of FORBIDDEN can be imported, from another folder."""
    modules = away / "modules"
    for name in FORBIDDEN:
        (modules / name).mkdir(parents=True, exist_ok=True)
        (modules / name / "__init__.py").write_text(f"raise ImportError('{name} is not installed here')\n")
    return subprocess.run(
        [sys.executable, str(package / "usage_example.py"), *arguments],
        cwd=away,
        env={**os.environ, "PYTHONPATH": str(modules)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def equal(printed: str, found: Detections) -> None:
    """The JSON lines are the detector's faces, to a hundredth of a pixel (to which both are rounded)."""
    lines = [json.loads(line) for line in printed.splitlines()]
    assert len(lines) == len(found) > 0
    np.testing.assert_allclose([line["box"] for line in lines], found.boxes, atol=0.01)
    np.testing.assert_allclose([line["landmarks"] for line in lines], found.landmarks, atol=0.01)
    np.testing.assert_allclose([line["score"] for line in lines], found.scores, atol=1e-4)


def check_sums(folder: Path) -> None:
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    sums = dict(reversed(line.split("  ")) for line in lines)
    assert sorted(sums) == [name for name in FILES if name != "SHA256SUMS"]
    for name, digest in sums.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


# ---- the example ----


def test_the_example_needs_numpy_opencv_and_onnxruntime_alone() -> None:
    text = usage_example()
    compile(text, "usage_example.py", "exec")
    tree = ast.parse(text)
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    packages = {name.split(".")[0] for name in imported} - set(sys.stdlib_module_names)
    assert packages == {"numpy", "cv2", "onnxruntime"}
    assert "featherface_core" not in text
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert len(names) == len(set(names))
    assert names[-1] == "main"


def test_the_example_runs_without_this_package(stub: Path, tmp_path: Path) -> None:
    pack(tmp_path / "deploy", stub)
    picture = read_picture(PORTRAIT)[:300, :451]  # its sides are rounded, and so get scales of their own
    cv2.imwrite(str(tmp_path / "crop.png"), picture)
    ran = alone(tmp_path / "deploy", tmp_path / "away", str(tmp_path / "crop.png"), "--out", "drawn.png")
    assert ran.returncode == 0, ran.stderr
    equal(ran.stdout, OnnxDetector(tmp_path / "deploy" / "model.onnx").detect(picture))
    drawn = cv2.imread(str(tmp_path / "away" / "drawn.png"))
    assert drawn.shape == picture.shape
    assert (drawn != picture).any()


def test_the_example_takes_a_score(stub: Path, tmp_path: Path) -> None:
    pack(tmp_path / "deploy", stub)
    ran = alone(tmp_path / "deploy", tmp_path, str(PORTRAIT), "--score", "0.8")
    assert [json.loads(line)["score"] for line in ran.stdout.splitlines()] == [0.9]
    assert (tmp_path / "faces.jpg").is_file()


def test_the_example_refuses_what_is_no_picture(stub: Path, tmp_path: Path) -> None:
    pack(tmp_path / "deploy", stub)
    (tmp_path / "text.jpg").write_text("hello")
    for name in ("text.jpg", "missing.jpg"):
        ran = alone(tmp_path / "deploy", tmp_path, name)
        assert ran.returncode == 1
        assert ran.stderr.splitlines()[-1].startswith(f"error: {name}")
        assert "Traceback" not in ran.stderr
        assert ran.stdout == ""


# ---- the folder ----


def test_what_a_package_holds(stub: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "deploy"
    assert sorted(pack(folder, stub)) == FILES
    assert sorted(path.name for path in folder.iterdir()) == FILES
    assert [path.name for path in folder.parent.iterdir()] == ["deploy"]
    check_sums(folder)
    assert (folder / "model.onnx").read_bytes() == stub.read_bytes()
    said = json.loads((folder / "deployment_config.json").read_text())
    assert said["constants"] == OnnxDetector(stub).network.description["constants"]
    assert said["files"] == {"network": "model.onnx", "weights": "weights.safetensors"}
    (row,) = said["verified"]
    assert (row["height"], row["width"], row["anchors"], row["faces"]) == (64, 96, 252, 2)
    assert row["largest_relative_difference"] == 2e-6


def test_a_package_asks_for_the_onnxruntime_that_this_project_needs(stub: Path, tmp_path: Path) -> None:
    pack(tmp_path / "home", stub)
    needed = declared()["onnxruntime"]
    for name in ("README.md", "usage_example.py"):
        assert f'"{needed}"' in (tmp_path / "home" / name).read_text()


def test_a_package_of_untrained_weights_says_so(stub: Path, tmp_path: Path) -> None:
    pack(tmp_path / "a", stub)
    assert "untrained" in (tmp_path / "a" / "README.md").read_text()
    pack(tmp_path / "b", stub, replace(REPORT, weights="v2.pth (sha256 0123456789ab)"))
    text = (tmp_path / "b" / "README.md").read_text()
    assert "untrained" not in text
    assert "v2.pth (sha256 0123456789ab)" in text


def test_an_earlier_package_is_replaced(stub: Path, tmp_path: Path) -> None:
    pack(tmp_path / "deploy", stub)
    (tmp_path / "deploy" / "model.onnx").write_bytes(b"an older network")
    (tmp_path / "deploy" / "faces.jpg").write_bytes(b"left by the example")
    pack(tmp_path / "deploy", stub, replace(REPORT, model="v1"))
    assert sorted(path.name for path in (tmp_path / "deploy").iterdir()) == sorted([*FILES, "faces.jpg"])
    assert (tmp_path / "deploy" / "faces.jpg").read_bytes() == b"left by the example"  # not ours to delete
    check_sums(tmp_path / "deploy")
    assert "FeatherFace v1" in (tmp_path / "deploy" / "README.md").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["deploy"]


def test_an_empty_folder_is_filled(stub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deploy").mkdir()
    pack(tmp_path / "deploy", stub)
    check_sums(tmp_path / "deploy")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    pack(Path(), stub)  # --package .
    check_sums(tmp_path / "here")


def test_a_link_to_a_folder_is_followed(stub: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    pack(tmp_path / "link", stub)
    check_sums(tmp_path / "real")
    assert (tmp_path / "link").is_symlink()


def test_a_folder_of_something_else_is_refused(stub: Path, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("years of work")
    (tmp_path / "file").write_text("in the way")
    for name in ("home", "file", "file/deploy"):
        with pytest.raises(ExportError) as caught:
            pack(tmp_path / name, stub)
        assert caught.value.exit_code == 5
        assert str(tmp_path / name) in caught.value.message or str(tmp_path / "file") in caught.value.message
        assert caught.value.hint
    assert (tmp_path / "home" / "thesis.txt").read_text() == "years of work"
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == [
        "file",
        "home",
        "home/thesis.txt",
    ]


def test_the_exported_file_may_lie_in_the_package(tmp_path: Path) -> None:
    (tmp_path / "network.onnx").touch()
    assert check_folder(tmp_path, besides=tmp_path / "network.onnx") == tmp_path.resolve()
    with pytest.raises(ExportError, match="something else"):
        check_folder(tmp_path, besides=tmp_path / "other.onnx")


def test_a_folder_that_will_be_refused_is_refused_before_the_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("years of work")

    def traced(*_: object) -> None:
        raise AssertionError("the export had begun: its quarter of a minute would be lost, and its file left behind")

    monkeypatch.setattr("featherface_core.exporting.export.make_graph", traced)
    with pytest.raises(ExportError, match="home"):
        export(build_model("v2", device="meta"), tmp_path / "a.onnx", package=tmp_path / "home")
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


# ---- the whole way ----


@pytest.mark.slow
def test_a_real_package_finds_what_the_detector_finds(tmp_path: Path) -> None:
    model = build_model("v2", seed=0)
    folder = tmp_path / "deploy"
    report = export(model, tmp_path / "a.onnx", ExportConfig(test_sizes=((96, 160), (33, 97))), folder)
    assert report.package == str(folder)
    assert sorted(report.package_files) == FILES
    check_sums(folder)
    assert (folder / "model.onnx").read_bytes() == (tmp_path / "a.onnx").read_bytes()
    weights = load_weights(folder / "weights.safetensors")
    assert weights.config == model.config
    assert all((weights.state[name] == tensor).all() for name, tensor in model.state_dict().items())

    detector, picture = OnnxDetector(folder / "model.onnx"), read_picture(PORTRAIT)
    for size in (None, 320):
        # a threshold in a wide gap between two scores, so that no face hangs on the last digit of its score
        scores = detector.network.run(detector.prepare(picture, size)[0][None])[1][0, :, 1]
        best = np.sort(scores)[::-1][:60].astype(np.float64)
        gap = 5 + int(np.argmax(best[5:-1] - best[6:]))
        score = float(best[gap : gap + 2].mean())
        options = ["--score", repr(score), *(["--size", str(size)] if size else [])]
        ran = alone(folder, tmp_path, str(PORTRAIT), *options)
        assert ran.returncode == 0, ran.stderr
        equal(ran.stdout, detector.detect(picture, size, PostprocessConfig(score=score)))
