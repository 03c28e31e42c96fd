"""The doctor as a whole: a healthy machine, choosing checks, and checks that crash."""

import subprocess
import sys
from importlib import metadata

import pytest

from featherface_core import doctor
from featherface_core.doctor import system as machine
from featherface_core.doctor.checks import Check, DoctorOptions
from featherface_core.errors import ConfigError
from featherface_core.events import Progress
from featherface_core.results import DoctorReport, Finding


@pytest.fixture(scope="module")
def healthy() -> DoctorReport:
    return doctor.run_doctor(only=["machine", "packages", "models"])


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
