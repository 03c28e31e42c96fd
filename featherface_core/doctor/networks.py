"""Checks of FeatherFace itself: variants build, weights find a face, an export gives the same, a data set is sound."""

import tempfile
from pathlib import Path

from featherface_core.config import ExportConfig
from featherface_core.doctor.checks import DoctorOptions
from featherface_core.errors import counted
from featherface_core.events import ignore
from featherface_core.machine import how_to_install
from featherface_core.results import Finding

EXAMPLES = 2  # of a kind of problem; `featherface data check` shows more
PARAMETERS = {  # counted in the published networks
    "v1": 487_263,
    "v1-original": 592_371,
    "v1-24": 321_041,
    "v1-56": 489_015,
    "v2": 256_156,
}
FEW = 10  # faces; the portrait shows one, and an untrained network "finds" hundreds
SIZES = ((64, 64), (97, 65))  # pixels; an odd one is where padding goes wrong


def data(options: DoctorOptions) -> Finding | list[Finding]:
    """Check the folder: what it holds, and a finding for each kind of problem. Raises DataError where it holds no data."""
    if options.data is None:
        return Finding("data", "data", "skip", "no folder was named", "featherface doctor --data DIR")
    from featherface_core.data.check import check_data

    report = check_data(options.data, ignore, pictures=True)
    sets = [
        f"{s.name}: {s.form}, {counted(s.pictures, 'picture')}, {counted(s.faces, 'face')}, "
        f"{s.with_landmarks:,} with landmarks"
        for s in report.sets
    ]
    opened = f"{counted(report.decoded, 'picture')} opened in {report.seconds:.1f} s"
    findings = [Finding("data", "data", "ok", "; ".join((*sets, opened)))]
    for group in report.problems:
        found = f"{group.kind} x {group.count:,}: " + "; ".join(group.examples[:EXAMPLES])
        findings.append(Finding("data", "data", "fail" if group.severity == "error" else "warn", found, group.fix))
    return findings


def variant(name: str, options: DoctorOptions) -> Finding:
    """Build one variant and count its parameters."""
    from featherface_core.models.variants import build_model

    count = sum(p.numel() for p in build_model(name).parameters())
    expected = PARAMETERS.get(name)
    if expected is None:
        fix = f"add {name!r} to PARAMETERS in featherface_core/doctor/networks.py"
        return Finding("models", name, "warn", f"{count:,} parameters, with no figure to compare with", fix)
    if count != expected:
        found = f"{count:,} parameters instead of {expected:,}: the code was changed"
        return Finding(
            "models",
            name,
            "fail",
            found,
            f"undo the change, or install again, {how_to_install(options='--force-reinstall --no-deps')}",
        )
    return Finding("models", name, "ok", f"{count:,} parameters")


def shipped(options: DoctorOptions) -> list[Finding]:
    """The weights that ship. Raises WeightsError for a file that cannot be used."""
    from featherface_core.models.variants import SHIPPED, VARIANTS, shipped_weights

    findings = []
    for name in SHIPPED:
        path = shipped_weights(VARIANTS[name])
        assert path is not None
        found, faces = _look(path)
        verdict = _portrait(faces)
        fix = f"install again, {how_to_install(options='--force-reinstall --no-deps')}" if verdict.fix else ""
        findings.append(Finding("weights", "shipped", verdict.verdict, f"{found}; {verdict.found}", fix))
    return findings


def weights(options: DoctorOptions) -> Finding | list[Finding]:
    """The file that was named. Raises WeightsError for one that cannot be used."""
    if options.weights is None:
        return Finding("weights", "weights", "skip", "no file was named", "featherface doctor --weights FILE")
    found, faces = _look(options.weights)
    return [Finding("weights", "weights", "ok", found), _portrait(faces)]


def _look(path: Path) -> tuple[str, int]:
    """What there is to say of a file, and how many faces it finds in the portrait."""
    from featherface_core.detect.detector import TorchDetector
    from featherface_core.models.checkpoint import load_weights, model_of
    from featherface_core.pictures import PORTRAIT, read_picture

    read = load_weights(path)
    found = (
        f"{read.path.name}: {read.config.name}, {read.layout} names, {len(read.state)} tensors, "
        f"sha256 {read.sha256[:12]}"
    )
    return found, len(TorchDetector(model_of(read)).detect(read_picture(PORTRAIT)))


def _portrait(faces: int) -> Finding:
    found = f"{faces} face{'s' * (faces != 1)} found in the shipped portrait, which shows 1"
    if 0 < faces <= FEW:
        return Finding("weights", "weights", "ok", found)
    fix = "these weights look untrained: train them further, or name another file"
    return Finding("weights", "weights", "warn", found, fix)


def export(options: DoctorOptions) -> Finding:
    """Export v2 with seeded weights and compare it with PyTorch. Raises ExportError where they differ."""
    from featherface_core.exporting.export import export as export_model
    from featherface_core.models.variants import build_model

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
