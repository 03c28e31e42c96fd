"""Group ``models``: every variant builds, and has the parameters it should have."""

from featherface_core.doctor.check import DoctorOptions
from featherface_core.results import Finding

PARAMETERS = {  # counted in the published networks
    "v1": 487_263,
    "v1-original": 592_371,
    "v1-24": 321_041,
    "v1-56": 489_015,
    "v2": 256_156,
}


def variant(name: str, options: DoctorOptions) -> Finding:
    """Build one variant and count its parameters."""
    from featherface_core.models.variants import build_model

    count = sum(p.numel() for p in build_model(name).parameters())
    expected = PARAMETERS.get(name)
    if expected is None:
        fix = f"add {name!r} to PARAMETERS in featherface_core/doctor/models.py"
        return Finding("models", name, "warn", f"{count:,} parameters, with no figure to compare with", fix)
    if count != expected:
        found = f"{count:,} parameters instead of {expected:,}: the code was changed"
        return Finding(
            "models",
            name,
            "fail",
            found,
            "undo the change, or install again, in the project's folder: pip install --force-reinstall --no-deps .",
        )
    return Finding("models", name, "ok", f"{count:,} parameters")
