"""Group ``weights``: weights can be read, and find the face in the shipped portrait."""

from pathlib import Path

from featherface_core.doctor.check import DoctorOptions
from featherface_core.results import Finding

FEW = 10  # faces; the portrait shows one, and an untrained network "finds" hundreds


def shipped(options: DoctorOptions) -> list[Finding]:
    """The weights that ship. Raises WeightsError for a file that cannot be used."""
    from featherface_core.models.variants import VARIANTS
    from featherface_core.shipped import SHIPPED, shipped_weights

    findings = []
    for name in SHIPPED:
        path = shipped_weights(VARIANTS[name])
        assert path is not None
        found, faces = _look(path)
        verdict = _portrait(faces)
        fix = "install the package again: pip install --force-reinstall featherface" if verdict.fix else ""
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
    from featherface_core.checkpoint import load_weights, model_of
    from featherface_core.detect import TorchDetector
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
