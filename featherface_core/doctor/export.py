"""Group ``export``: a small network goes to ONNX and gives there what it gives in PyTorch."""

import tempfile
from pathlib import Path

from featherface_core.config import ExportConfig
from featherface_core.doctor.check import DoctorOptions
from featherface_core.results import Finding

SIZES = ((64, 64), (97, 65))  # pixels; an odd one is where padding goes wrong


def export(options: DoctorOptions) -> Finding:
    """Export v2 with seeded weights and compare it with PyTorch. Raises ExportError where they differ."""
    from featherface_core.models.variants import build_model
    from featherface_core.onnx.export import export as export_model

    with tempfile.TemporaryDirectory(prefix="featherface-doctor-") as folder:
        config = ExportConfig(test_sizes=SIZES, test_batches=(1,))
        report = export_model(build_model("v2", seed=0), Path(folder) / "v2.onnx", config)
    worst = max(report.checks, key=lambda check: check.onnx_error)
    sizes = ", ".join(f"{check.height}x{check.width}" for check in report.checks)
    found = (
        f"v2 at {sizes}: largest difference from PyTorch {worst.onnx_error:.1e} (allowed {worst.allowed:.1e}), "
        f"{report.total_seconds:.1f} s"
    )
    return Finding("export", "export", "ok", found)
