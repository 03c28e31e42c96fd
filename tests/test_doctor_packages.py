"""The doctor on packages: broken and missing ones, for real, and their versions."""

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib import metadata
from importlib.metadata import version
from pathlib import Path

import pytest
from doctor_reports import one

from featherface_core import doctor
from featherface_core.detect.openvino import import_openvino
from featherface_core.detect.session import import_onnxruntime
from featherface_core.doctor import finding as imports
from featherface_core.doctor import packages
from featherface_core.doctor.finding import Check, DoctorOptions, Imported
from featherface_core.errors import MissingPackageError
from featherface_core.results import Finding

RUN = """
import json, sys
from dataclasses import asdict
from featherface_core.doctor import run_doctor
print(json.dumps([asdict(f) for f in run_doctor(only=sys.argv[1:]).findings]))
"""


# broken and missing packages, for real


def run_beside(folder: Path, *only: str) -> dict[str, Finding]:
    """Findings by check of a doctor whose Python finds ``folder`` first."""
    env = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run([sys.executable, "-c", RUN, *only], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {f["check"]: Finding(**f) for f in json.loads(done.stdout)}


def fake(folder: Path, package: str, code: str) -> Path:
    (folder / package).mkdir()
    (folder / package / "__init__.py").write_text(code)
    return folder


def test_a_broken_torch_is_named_and_what_needs_it_is_skipped(tmp_path):
    fake(tmp_path, "torch", 'raise ImportError("libtorch_cpu.so: cannot open shared object file")')
    found = run_beside(tmp_path, "torch", "cores", "cuda", "models", "weights", "export")
    assert found["torch"].verdict == "fail"
    assert "ImportError: libtorch_cpu.so: cannot open shared object file" in found["torch"].found
    assert found["cores"].verdict == "ok"
    skipped = [found[name] for name in ("cuda", "v1", "v2", "shipped", "weights", "export")]
    assert {f.verdict for f in skipped} == {"skip"}
    assert {f.fix for f in [found["torch"], *skipped]} == {
        f"pip install --force-reinstall torch=={version('torch').partition('+')[0]}"
    }


def test_a_broken_onnxruntime_leaves_the_rest_working(tmp_path):
    fake(tmp_path, "onnxruntime", 'raise ImportError("DLL load failed")')
    found = run_beside(tmp_path, "onnxruntime", "providers", "rich")
    assert {name: f.verdict for name, f in found.items()} == {
        "onnxruntime": "fail",
        "rich": "ok",
        "providers": "skip",
    }
    for name in ("onnxruntime", "providers"):
        assert found[name].fix == f"pip install --force-reinstall onnxruntime=={version('onnxruntime')}"
        assert "DLL load failed" in found[name].found


def test_opencv_without_its_system_libraries_gets_their_names(tmp_path):
    fake(tmp_path, "cv2", 'raise ImportError("libGL.so.1: cannot open shared object file: No such file or directory")')
    finding = run_beside(tmp_path, "opencv-python")["opencv-python"]
    assert finding.verdict == "fail"
    assert "libGL.so.1" in finding.found
    assert "apt-get install libgl1 libglib2.0-0" in finding.fix
    assert "opencv-python-headless" in finding.fix


def test_a_package_that_is_not_there(monkeypatch):
    monkeypatch.setattr(packages, "declared", lambda: {"nowhere-at-all": "nowhere-at-all>=3"})
    monkeypatch.setattr(doctor, "CHECKS", (Check("packages", "x", lambda o: packages.required("nowhere-at-all", o)),))
    (finding,) = doctor.run_doctor().findings
    assert (finding.verdict, finding.found) == ("fail", "not installed, needs >=3")
    assert finding.fix == 'pip install "nowhere-at-all>=3"'


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("import time; time.sleep(60)", "not done after 1 s"),
        ("raise SystemExit(2)", "SystemExit: 2"),
        ("import not_there_either", "No module named 'not_there_either'"),
        (None, "only a folder named"),
    ],
)
def test_an_import_that_dies_or_hangs_is_survived(tmp_path, monkeypatch, code, problem):
    (tmp_path / "trial_module").mkdir()
    if code:
        (tmp_path / "trial_module" / "__init__.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(imports, "PATIENCE", 1.0 if "sleep" in (code or "") else 30.0)
    imported = imports.try_import("trial_module")
    assert problem in imported.problem
    assert not imported.missing


def test_a_module_that_prints_and_a_driver_that_hangs(tmp_path, monkeypatch):
    code = """
print('{"problem": 1', end="")
class cuda:
    def is_available():
        import time
        time.sleep(60)
class version:
    cuda = hip = None
"""
    fake(tmp_path, "torch", code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(imports, "PATIENCE", 1.0)
    report = doctor.run_doctor(only=["torch", "cuda"])
    assert one(report, "torch").verdict == "ok"
    assert one(report, "cuda").verdict == "fail"
    assert "not done after 1 s" in one(report, "cuda").found


# versions


@pytest.mark.usefixtures("imports_well")
def test_a_version_that_is_too_old(monkeypatch):
    monkeypatch.setattr(metadata, "version", lambda name: "2.8.1+cpu")
    finding = one(doctor.run_doctor(only=["torch"]), "torch")
    needed = packages.declared()["torch"]
    assert (finding.verdict, finding.fix) == ("fail", f'pip install --upgrade "{needed}"')
    assert finding.found == f"2.8.1+cpu, needs {needed.removeprefix('torch')}"


@pytest.mark.usefixtures("imports_well")
@pytest.mark.parametrize(
    ("line", "verdict"),
    [
        ("rich>=13.7", "ok"),
        ("rich", "ok"),
        ("rich[jupyter]>=13.7,<999", "ok"),
        ("rich>=999", "fail"),
        ('rich>=999; sys_platform == "nowhere"', "skip"),
    ],
)
def test_requirements_in_every_form(monkeypatch, line, verdict):
    monkeypatch.setattr(metadata, "requires", lambda name: [line, "ray>=2; extra == 'tune'"])
    assert packages.declared() == {"rich": line}
    assert packages.required("rich", DoctorOptions()).verdict == verdict


@pytest.mark.usefixtures("imports_well")
def test_without_packaging_versions_are_not_compared(monkeypatch):
    monkeypatch.setitem(sys.modules, "packaging", None)
    monkeypatch.setitem(sys.modules, "packaging.specifiers", None)
    monkeypatch.setitem(sys.modules, "packaging.requirements", None)
    report = doctor.run_doctor(only=["rich", "python"])
    assert {f.verdict for f in report.findings} == {"skip"}
    assert {f.fix for f in report.findings} == {"pip install packaging"}


@pytest.mark.usefixtures("imports_well")
def test_another_package_may_provide_the_module(monkeypatch):
    def version(name: str) -> str:
        if name == "opencv-python":
            raise metadata.PackageNotFoundError(name)
        return "4.10.0"

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(metadata, "packages_distributions", lambda: {"cv2": ["opencv-python-headless"]})
    finding = one(doctor.run_doctor(only=["opencv-python"]), "opencv-python")
    assert finding.verdict == "ok"
    assert finding.found.startswith("opencv-python-headless 4.10.0")


@pytest.mark.usefixtures("imports_well")
def test_a_checkout_that_is_not_installed_says_so(monkeypatch):
    def requires(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", requires)
    finding = one(doctor.run_doctor(only=["requirements"]), "requirements")
    assert finding.verdict == "warn"
    assert "pip install -e ." in finding.fix


@pytest.mark.parametrize(
    ("use", "hint"),
    [(import_openvino, "pip install openvino"), (import_onnxruntime, "pip install --force-reinstall onnxruntime")],
)
def test_where_a_runtime_is_missing_the_package_itself_is_named(
    monkeypatch: pytest.MonkeyPatch, use: Callable[[], object], hint: str
) -> None:
    for name in ("openvino", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingPackageError) as missing:
        use()
    assert missing.value.hint == hint  # a registry's featherface[openvino] would be another project


def test_a_torchvision_that_does_not_import_is_a_warning(monkeypatch):
    monkeypatch.setattr(metadata, "version", lambda name: "0.20.0")
    monkeypatch.setattr(imports, "try_import", lambda m: Imported(m, "RuntimeError: operator torchvision::nms"))
    finding = one(doctor.run_doctor(only=["torchvision"]), "torchvision")
    assert finding.verdict == "warn"
    assert "pip uninstall -y torchvision" in finding.fix


def test_make_oldest_tests_the_oldest_versions_allowed() -> None:
    root = Path(__file__).parents[1]
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    allowed = dict(line.split(">=") for line in project["dependencies"] + project["optional-dependencies"]["openvino"])
    lines = (root / "constraints-oldest.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert pinned.keys() == allowed.keys()
    for name, oldest in allowed.items():  # 4.9 allows 4.9.0.80
        assert pinned[name].split(".")[: oldest.count(".") + 1] == oldest.split("."), name
