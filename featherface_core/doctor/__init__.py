"""``featherface doctor``: is this machine fit for FeatherFace, and if not, which command mends it?

Imports no torch, OpenCV, onnx or onnxruntime, and stays alive where they are broken.
"""

import time
import traceback
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from featherface_core import __version__
from featherface_core.doctor import export, machine, models, packages, weights
from featherface_core.doctor.check import Check, DoctorOptions
from featherface_core.errors import ConfigError, FeatherFaceError, did_you_mean
from featherface_core.events import Listener, Progress, ignore
from featherface_core.models.variants import VARIANTS
from featherface_core.results import DoctorReport, Finding

_DETECT = ("torch", "numpy", "cv2")

# A new check is a function (DoctorOptions) -> Finding or list of them, and one line here; a new group is a new name.
CHECKS: tuple[Check, ...] = (
    Check("machine", "python", machine.python),
    Check("machine", "system", machine.system),
    Check("machine", "cpu", machine.cpu),
    Check("machine", "cores", machine.cores, tries=("torch",)),
    Check("machine", "memory", machine.memory),
    Check("machine", "disk", machine.disk),
    Check("machine", "writable", machine.writable),
    Check("packages", "requirements", packages.requirements),
    *(
        Check("packages", name, partial(packages.required, name), tries=(packages.module_of(name),))
        for name in packages.declared()
    ),
    Check("packages", "torchvision", packages.torchvision),
    Check("packages", "optional", packages.optional),
    Check("packages", "providers", packages.providers, needs=("onnxruntime",)),
    Check("packages", "cuda", packages.cuda, needs=("torch",)),
    *(Check("models", name, partial(models.variant, name), needs=("torch",)) for name in VARIANTS),
    Check("weights", "weights", weights.weights, needs=(*_DETECT, "safetensors", "pydantic")),
    Check("export", "export", export.export, needs=(*_DETECT, "onnx", "onnxscript", "onnxruntime")),
)
GROUPS: tuple[str, ...] = tuple(dict.fromkeys(check.group for check in CHECKS))


def run_doctor(
    only: Sequence[str] = (), skip: Sequence[str] = (), weights: Path | None = None, on_event: Listener = ignore
) -> DoctorReport:
    """Run the checks and report what each found, in the order of CHECKS.

    only, skip: names of groups or of single checks; without ``only`` all are run. weights: a weights file to look into.
    on_event: told of each check before it runs.

    Raises ConfigError for a name that is neither, where no check is left, and where ``weights`` would go unused. What a
    check finds raises nothing, and nor does a check that crashes: that is a finding with the verdict ``fail``.
    """
    chosen = _choose(only, skip)
    if weights is not None and all(check.group != "weights" for check in chosen):
        raise ConfigError(f"--weights {weights} is given, but the check of weights is left out", "add --only weights")
    start = time.perf_counter()
    options = DoctorOptions(weights)
    findings: list[Finding] = []
    try:
        for check in chosen:
            for module in (*check.tries, *check.needs):
                options.imports.start(module)
        for done, check in enumerate(chosen):
            on_event(Progress(done, len(chosen), f"{check.group}: {check.name}"))
            findings += _run(check, options)
    finally:
        options.imports.close()
    on_event(Progress(len(chosen), len(chosen), "done"))
    return DoctorReport(tuple(findings), __version__, time.perf_counter() - start)


def _choose(only: Sequence[str], skip: Sequence[str]) -> list[Check]:
    known = {*GROUPS, *(check.name for check in CHECKS)}
    for option, names in (("--only", only), ("--skip", skip)):
        for name in names:
            if name not in known:
                raise ConfigError(f"{option} {name!r} is neither a check nor a group", did_you_mean(name, known))
    chosen = [
        check
        for check in CHECKS
        if (not only or {check.group, check.name} & set(only)) and not {check.group, check.name} & set(skip)
    ]
    if not chosen:
        raise ConfigError("--only and --skip together leave no check", "take a name out of --skip")
    return chosen


def _run(check: Check, options: DoctorOptions) -> list[Finding]:
    """A check's findings; a package that it lacks, and whatever it raises, becomes one."""
    try:
        for module in check.needs:
            imported = options.imports.of(module)
            if imported.problem:
                found = f"not run: {module} does not import: {imported.problem}"
                return [Finding(check.group, check.name, "skip", found, packages.mend(imported))]
        findings = check.run(options)
    except KeyboardInterrupt:
        raise
    except FeatherFaceError as problem:
        found = "; ".join((problem.message, *problem.details[:3]))
        return [Finding(check.group, check.name, "fail", found, problem.hint)]
    except BaseException as problem:  # a Rust extension's panic and SystemExit are no Exception
        found = f"the check crashed: {type(problem).__name__}: {' '.join(str(problem).split())} ({_place(problem)})"
        fix = "please report this with the output of: featherface doctor --json"
        return [Finding(check.group, check.name, "fail", found, fix)]
    return findings if isinstance(findings, list) else [findings]


def _place(problem: BaseException) -> str:
    last = traceback.extract_tb(problem.__traceback__)[-1]
    return f"{Path(last.filename).name}:{last.lineno}"
