"""Group ``weights``: a weights file can be read, and finds the face in the shipped portrait."""

from featherface_core.doctor.check import DoctorOptions
from featherface_core.results import Finding

FEW = 10  # faces; the portrait shows one, and an untrained network "finds" hundreds


def weights(options: DoctorOptions) -> Finding | list[Finding]:
    """Load the file and detect with it. Raises WeightsError for a file that cannot be used."""
    if options.weights is None:
        return Finding("weights", "weights", "skip", "no file was named", "featherface doctor --weights FILE")
    from featherface_core.checkpoint import load_weights, model_of
    from featherface_core.detect import TorchDetector
    from featherface_core.pictures import PORTRAIT, read_picture

    read = load_weights(options.weights)
    found = (
        f"{read.path.name}: {read.config.name}, {read.layout} names, {len(read.state)} tensors, "
        f"sha256 {read.sha256[:12]}"
    )
    faces = len(TorchDetector(model_of(read)).detect(read_picture(PORTRAIT)))
    return [Finding("weights", "weights", "ok", found), _portrait(faces)]


def _portrait(faces: int) -> Finding:
    found = f"{faces} face{'s' * (faces != 1)} found in the shipped portrait, which shows 1"
    if 0 < faces <= FEW:
        return Finding("weights", "weights", "ok", found)
    fix = "these weights look untrained: train them further, or name another file"
    return Finding("weights", "weights", "warn", found, fix)
