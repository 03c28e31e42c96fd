"""Reports of the doctor, and what its trial imports tell."""

from featherface_core.doctor import checks as imports
from featherface_core.doctor.checks import Imported
from featherface_core.results import DoctorReport, Finding


def one(report: DoctorReport, check: str) -> Finding:
    (finding,) = [f for f in report.findings if f.check == check]
    return finding


def facts(monkeypatch, **values):
    """Every trial import succeeds at once and tells these values."""
    known = {"threads": 1, "gpu_build": None, "devices": [], "mps": False, **values}
    monkeypatch.setattr(imports, "try_import", lambda module: Imported(module, facts=known))
