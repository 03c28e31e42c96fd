import json
import os
import subprocess
import sys
from importlib import metadata
from importlib.metadata import version
from pathlib import Path

import pytest

from featherface_core import doctor
from featherface_core.doctor import imports, machine, models, packages
from featherface_core.doctor.check import Check, DoctorOptions
from featherface_core.doctor.imports import Imported
from featherface_core.doctor.weights import _portrait
from featherface_core.errors import ConfigError
from featherface_core.events import Progress
from featherface_core.results import DoctorReport, Finding

RUN = """
import json, sys
from dataclasses import asdict
from featherface_core.doctor import run_doctor
print(json.dumps([asdict(f) for f in run_doctor(only=sys.argv[1:]).findings]))
"""


@pytest.fixture
def imports_well(monkeypatch):
    """Every trial import succeeds at once, for tests that are not about imports."""
    facts = {"threads": 1, "gpu_build": None, "devices": [], "mps": False, "providers": ["CPUExecutionProvider"]}
    monkeypatch.setattr(imports, "try_import", lambda module: Imported(module, facts=facts))


@pytest.fixture(scope="module")
def healthy() -> DoctorReport:
    return doctor.run_doctor(only=["machine", "packages", "models"])


def one(report: DoctorReport, check: str) -> Finding:
    (finding,) = [f for f in report.findings if f.check == check]
    return finding


def facts(monkeypatch, **values):
    known = {"threads": 1, "gpu_build": None, "devices": [], "mps": False, **values}
    monkeypatch.setattr(imports, "try_import", lambda module: Imported(module, facts=known))


# the whole of it


def test_nothing_fails_on_a_healthy_machine(healthy):
    assert [f for f in healthy.findings if f.verdict == "fail"] == []
    assert all(f.fix for f in healthy.findings if f.verdict == "warn")
    assert healthy.counts["ok"] > 20
    assert healthy.seconds > 0


def test_every_finding_bears_the_name_of_its_check(healthy):
    names = [(check.group, check.name) for check in doctor.CHECKS]
    places = [names.index((f.group, f.check)) for f in healthy.findings]
    assert places == sorted(places)
    assert set(places) == {i for i, (group, _) in enumerate(names) if group not in ("weights", "export")}


def test_check_names_are_unique_and_are_not_other_groups_names():
    names = [check.name for check in doctor.CHECKS]
    assert len(set(names)) == len(names)
    assert all(c.group == c.name for c in doctor.CHECKS if c.name in doctor.GROUPS)
    assert doctor.GROUPS == ("machine", "packages", "models", "weights", "export")


def test_every_required_package_is_looked_at(healthy):
    found = {f.check: f.found for f in healthy.findings if f.group == "packages"}
    for name in ("torch", "numpy", "opencv-python", "onnx", "onnxruntime", "onnxscript", "pyyaml", "typer"):
        assert metadata.version(name) in found[name]
        assert "needs >=" in found[name]
        assert "imports in" in found[name]


def test_the_doctor_loads_no_heavy_package_itself():
    heavy = "('torch', 'cv2', 'onnx', 'onnxruntime', 'yaml', 'pydantic')"
    code = f"import sys, featherface_core.doctor; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# choosing


@pytest.mark.usefixtures("imports_well")
def test_only_and_skip_take_groups_and_checks():
    assert {f.group for f in doctor.run_doctor(only=["machine"]).findings} == {"machine"}
    assert [f.check for f in doctor.run_doctor(only=["v2", "python"]).findings] == ["python", "v2"]
    checks = {f.check for f in doctor.run_doctor(only=["machine", "v2"], skip=["disk", "cpu"]).findings}
    assert checks == {"python", "system", "cores", "memory", "writable", "v2"}


@pytest.mark.parametrize("option", ["only", "skip"])
def test_an_unknown_name_is_refused_with_the_nearest(option):
    with pytest.raises(ConfigError, match=f"--{option} 'pakages'") as caught:
        doctor.run_doctor(**{option: ["pakages"]})
    assert "did you mean 'packages'" in caught.value.hint


def test_a_choice_that_leaves_nothing_or_ignores_the_weights_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="leave no check"):
        doctor.run_doctor(only=["v1"], skip=["models"])
    with pytest.raises(ConfigError, match="--weights"):
        doctor.run_doctor(only=["python"], weights=tmp_path / "w.safetensors")


@pytest.mark.usefixtures("imports_well")
def test_events_count_the_checks():
    events: list[Progress] = []
    doctor.run_doctor(only=["python", "system"], on_event=events.append)
    assert events == [Progress(0, 2, "machine: python"), Progress(1, 2, "machine: system"), Progress(2, 2, "done")]


# checks that go wrong


class Panic(BaseException):
    """As pyo3's PanicException, which is no Exception."""


@pytest.mark.parametrize("problem", [ZeroDivisionError("by\nzero"), Panic("index"), SystemExit(3)])
def test_a_check_that_crashes_is_a_finding_and_the_rest_go_on(monkeypatch, problem):
    def crash(options: DoctorOptions) -> Finding:
        raise problem

    checks = (Check("machine", "crash", crash), Check("machine", "system", machine.system))
    monkeypatch.setattr(doctor, "CHECKS", checks)
    crashed, system = doctor.run_doctor().findings
    assert (crashed.group, crashed.check, crashed.verdict) == ("machine", "crash", "fail")
    assert f"the check crashed: {type(problem).__name__}: " in crashed.found
    assert "\n" not in crashed.found
    assert "test_doctor.py:" in crashed.found
    assert crashed.fix
    assert system.verdict == "ok"


def test_ctrl_c_stops_the_doctor(monkeypatch):
    def interrupt(options: DoctorOptions) -> Finding:
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "CHECKS", (Check("machine", "wait", interrupt),))
    with pytest.raises(KeyboardInterrupt):
        doctor.run_doctor()


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
    assert (finding.verdict, finding.fix) == ("fail", 'pip install --upgrade "torch>=2.9"')
    assert finding.found == "2.8.1+cpu, needs >=2.9"


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


def test_a_torchvision_that_does_not_import_is_a_warning(monkeypatch):
    monkeypatch.setattr(metadata, "version", lambda name: "0.20.0")
    monkeypatch.setattr(imports, "try_import", lambda m: Imported(m, "RuntimeError: operator torchvision::nms"))
    finding = one(doctor.run_doctor(only=["torchvision"]), "torchvision")
    assert finding.verdict == "warn"
    assert "pip uninstall -y torchvision" in finding.fix


# graphics cards


@pytest.mark.parametrize(
    ("known", "smi", "verdict", "says"),
    [
        ({}, None, "ok", "no NVIDIA GPU"),
        ({"gpu_build": "CUDA 12.8", "devices": ["NVIDIA H100"]}, None, "ok", "CUDA 12.8: NVIDIA H100"),
        ({"mps": True}, None, "ok", "--device mps"),
        ({}, "echo 'GPU 0: NVIDIA H100 (UUID: GPU-1)'", "warn", "built for the CPU alone"),
        ({"gpu_build": "CUDA 12.8"}, "echo 'no driver' >&2; exit 9", "warn", "finds no GPU; nvidia-smi: no driver"),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="the stand-in for nvidia-smi is a shell script")
def test_cuda(monkeypatch, tmp_path, known, smi, verdict, says):
    facts(monkeypatch, **known)
    monkeypatch.setenv("PATH", str(tmp_path))
    if smi:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{smi}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    finding = one(doctor.run_doctor(only=["cuda"]), "cuda")
    assert finding.verdict == verdict
    assert says in finding.found
    assert bool(finding.fix) == (verdict == "warn")


# the machine


@pytest.mark.parametrize(
    ("text", "verdict", "says"),
    [
        (
            "model name\t: AMD EPYC\nflags\t\t: fpu avx2 avx512f avx512_vnni\n",
            "ok",
            "AMD EPYC: AVX2, AVX-512, AVX-512 VNNI",
        ),
        ("model name : Pentium\nflags : fpu sse4_2\n", "warn", "no AVX2"),
        (
            "processor : 0\nFeatures : fp asimd asimddp i8mm\nModel : Raspberry Pi 5\n",
            "ok",
            "Pi 5: NEON, NEON dot product",
        ),
    ],
)
def test_processors(monkeypatch, tmp_path, text, verdict, says):
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")
    finding = machine.cpu(DoctorOptions())
    assert finding.verdict == verdict
    assert says in finding.found


def test_a_system_without_proc_is_no_failure(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "none")
    monkeypatch.setattr(machine, "MEMINFO", tmp_path / "none")
    assert machine.cpu(DoctorOptions()).verdict == "skip"
    assert machine.memory(DoctorOptions()).verdict in ("ok", "skip")


def test_memory_keeps_to_a_containers_limit(monkeypatch, tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal: 33554432 kB\nMemAvailable: 16777216 kB\n")
    monkeypatch.setattr(machine, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(machine, "CONTAINER_LIMIT", tmp_path / "limit")
    assert machine.memory(DoctorOptions()).found == "16.0 GiB available of 32.0 GiB"
    (tmp_path / "limit").write_text("max\n")
    assert machine.memory(DoctorOptions()).found == "16.0 GiB available of 32.0 GiB"
    (tmp_path / "limit").write_text(f"{2**29}\n")
    finding = machine.memory(DoctorOptions())
    assert finding.verdict == "warn"
    assert finding.found == "0.5 GiB available of 0.5 GiB, at most 0.5 GiB for this container"


def test_more_threads_than_cores(monkeypatch):
    facts(monkeypatch, threads=4096)
    finding = machine.cores(DoctorOptions())
    assert finding.verdict == "warn"
    assert "OMP_NUM_THREADS=" in finding.fix


def test_a_full_disk_and_a_folder_closed_to_writing(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "LOW_DISK", 2**80)
    assert {f.verdict for f in machine.disk(DoctorOptions())} == {"warn"}

    def refuse(**options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("featherface_core.files.tempfile.TemporaryFile", refuse)  # root may write anywhere
    finding = machine.writable(DoctorOptions())
    assert finding.verdict == "warn"
    assert "Permission denied" in finding.found


# networks


@pytest.mark.usefixtures("imports_well")
def test_a_wrong_parameter_count_is_found(monkeypatch):
    monkeypatch.setitem(models.PARAMETERS, "v2", 256_157)
    monkeypatch.delitem(models.PARAMETERS, "v1-24")
    report = doctor.run_doctor(only=["models"])
    verdicts = {f.check: f.verdict for f in report.findings}
    assert verdicts == {"v1": "ok", "v1-original": "ok", "v1-24": "warn", "v1-56": "ok", "v2": "fail"}
    assert "256,156 parameters instead of 256,157" in one(report, "v2").found


@pytest.mark.usefixtures("imports_well")
def test_weights_are_read_and_tried(tmp_path):
    from featherface_core import VARIANTS, build_model, save_weights

    model = build_model("v2", seed=0)
    for head in model.heads:
        head.classes.bias.data[1::2] = -100  # of the scores for a face
    path = save_weights(tmp_path / "v2.safetensors", model.state_dict(), VARIANTS["v2"])
    read, portrait = doctor.run_doctor(only=["weights"], skip=["shipped"], weights=path).findings
    assert read.verdict == "ok"
    assert "v2.safetensors: v2, featherface names, " in read.found
    assert "sha256 " in read.found
    assert portrait.verdict == "warn"
    assert portrait.found.startswith("0 faces found in the shipped portrait")


@pytest.mark.parametrize(("faces", "verdict"), [(0, "warn"), (1, "ok"), (3, "ok"), (750, "warn")])
def test_faces_in_the_portrait(faces, verdict):
    finding = _portrait(faces)
    assert finding.verdict == verdict
    assert finding.found.startswith(f"{faces} face")
    assert bool(finding.fix) == (verdict == "warn")


@pytest.mark.usefixtures("imports_well")
@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "does not exist"), (b"", "is empty"), (b"PK\x03\x04 cut short", "damaged"), (b"hello", "not a")],
)
def test_weights_that_cannot_be_read(tmp_path, content, says):
    path = tmp_path / "weights.pth"
    if content is not None:
        path.write_bytes(content)
    (finding,) = doctor.run_doctor(only=["weights"], skip=["shipped"], weights=path).findings
    assert finding.verdict == "fail"
    assert says in finding.found
    assert "crashed" not in finding.found
    assert finding.fix


@pytest.mark.usefixtures("imports_well")
def test_without_a_weights_file_the_doctor_says_how():
    *_, finding = doctor.run_doctor(only=["weights"]).findings
    assert (finding.verdict, finding.fix) == ("skip", "featherface doctor --weights FILE")


@pytest.mark.usefixtures("imports_well")
def test_the_weights_that_ship_find_the_face():
    v1, v2 = doctor.run_doctor(only=["shipped"]).findings
    for name, finding in (("v1", v1), ("v2", v2)):
        assert finding.verdict == "ok"
        assert finding.found.startswith(f"{name}.safetensors: {name}, featherface names, ")
        assert finding.found.endswith("; 1 face found in the shipped portrait, which shows 1")


@pytest.mark.usefixtures("imports_well")
def test_shipped_weights_that_are_lost_or_find_nothing(tmp_path, monkeypatch):
    from featherface_core import VARIANTS, build_model, save_weights, shipped

    monkeypatch.setattr(shipped, "_FOLDER", tmp_path)
    (finding,) = doctor.run_doctor(only=["shipped"]).findings
    assert (finding.verdict, finding.check) == ("fail", "shipped")
    assert "v1.safetensors does not exist" in finding.found
    for name in shipped.SHIPPED:
        model = build_model(name, seed=0)
        for head in model.heads:
            head.classes.bias.data[1::2] = -100
        save_weights(tmp_path / f"{name}.safetensors", model.state_dict(), VARIANTS[name])
    findings = doctor.run_doctor(only=["shipped"]).findings
    assert [finding.verdict for finding in findings] == ["warn", "warn"]
    assert all("pip install --force-reinstall featherface" in finding.fix for finding in findings)


@pytest.mark.usefixtures("imports_well")
def test_an_export_that_differs_is_a_failure_with_its_sizes(monkeypatch):
    import featherface_core.onnx.export as module
    from featherface_core.errors import ExportError

    def refuse(*arguments: object) -> None:
        raise ExportError("1 of 2 checks failed", "look at the sizes", ["97x65, batch 1: raw outputs differ"])

    monkeypatch.setattr(module, "export", refuse)
    (finding,) = doctor.run_doctor(only=["export"]).findings
    assert finding.verdict == "fail"
    assert finding.found == "1 of 2 checks failed; 97x65, batch 1: raw outputs differ"
    assert finding.fix == "look at the sizes"


@pytest.mark.slow
def test_export_round_trip():
    (finding,) = doctor.run_doctor(only=["export"]).findings
    assert finding.verdict == "ok"
    assert "64x64, 97x65" in finding.found
    assert "largest difference" in finding.found
