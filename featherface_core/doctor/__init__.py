"""``featherface doctor``: is this machine fit for FeatherFace, and if not, which command mends it?

Imports no torch, OpenCV, onnx or onnxruntime, and stays alive where they are broken.
"""

import time
import traceback
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from featherface_core import __version__
from featherface_core.doctor import networks, packages, system, training_run
from featherface_core.doctor.checks import Check, DoctorOptions
from featherface_core.errors import ConfigError, FeatherFaceError, did_you_mean
from featherface_core.events import Listener, Progress, ignore
from featherface_core.models.variants import VARIANTS
from featherface_core.results import DoctorReport, Finding

_DETECT = ("torch", "numpy", "cv2")

# A new check is a function (DoctorOptions) -> Finding or list of them, and one line here; a new group is a new name.
CHECKS: tuple[Check, ...] = (
    Check("machine", "python", system.python),
    Check("machine", "system", system.system),
    Check("machine", "cpu", system.cpu),
    Check("machine", "cores", system.cores, tries=("torch",)),
    Check("machine", "memory", system.memory),
    Check("machine", "disk", system.disk),
    Check("machine", "writable", system.writable),
    Check("packages", "requirements", packages.requirements),
    *(
        Check("packages", name, partial(packages.required, name), tries=(packages.module_of(name),))
        for name in packages.declared()
    ),
    Check("packages", "torchvision", packages.torchvision),
    Check("packages", "optional", packages.optional),
    Check("packages", "providers", packages.providers, needs=("onnxruntime",)),
    Check("packages", "cuda", packages.cuda, needs=("torch",)),
    *(Check("models", name, partial(networks.variant, name), needs=("torch",)) for name in VARIANTS),
    Check("weights", "shipped", networks.shipped, needs=(*_DETECT, "safetensors", "pydantic")),
    Check("weights", "weights", networks.weights, needs=(*_DETECT, "safetensors", "pydantic")),
    Check("export", "export", networks.export, needs=(*_DETECT, "onnx", "onnxscript", "onnxruntime")),
)
# Part of the report where their folder is named: most looks at a machine have neither data nor a run.
CHECKS_ON_REQUEST: tuple[Check, ...] = (
    Check("data", "data", networks.data, needs=("numpy", "cv2")),
    Check("run", "metrics", training_run.metrics),
    Check("run", "config", training_run.config, needs=("yaml",)),
    Check("run", "finished", training_run.finished),
    Check("run", "gradients", training_run.gradients),
    Check("run", "non-finite", training_run.non_finite),
    Check("run", "learning-rate", training_run.learning_rate),
    Check("run", "loss-spikes", training_run.loss_spikes),
    Check("run", "falling", training_run.falling),
    Check("run", "overfitting", training_run.overfitting),
    Check("run", "alpha", training_run.alpha),
)
GROUPS: tuple[str, ...] = tuple(dict.fromkeys(check.group for check in CHECKS))


def run_doctor(
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    weights: Path | None = None,
    on_event: Listener = ignore,
    data: Path | None = None,
    run: Path | None = None,
) -> DoctorReport:
    """Run the checks and report what each found, in the order of CHECKS, then of CHECKS_ON_REQUEST.

    only, skip: names of groups or of single checks; without ``only`` all are run. weights: a weights file to look into.
    on_event: told of each check before it runs. data, run: a data set's and a training run's folder; without them the groups
    of these names are not part of the report.

    Raises ConfigError for a name that is neither, where no check is left, where ``weights``, ``data`` or ``run`` would go
    unused, and where ``only`` names a check whose folder is not given. What a check finds raises nothing, and nor does a check
    that crashes: that is a finding with the verdict ``fail``.
    """
    given = {"weights": weights, "data": data, "run": run}
    chosen = _choose(only, skip, given)
    for option, path in given.items():
        if path is not None and all(check.group != option for check in chosen):
            raise ConfigError(
                f"--{option} {path} is given, but the check of {option} is left out", f"add --only {option}"
            )
    start = time.perf_counter()
    options = DoctorOptions(weights, data=data, run=run)
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


def _choose(only: Sequence[str], skip: Sequence[str], given: dict[str, Path | None]) -> list[Check]:
    every = (*CHECKS, *CHECKS_ON_REQUEST)
    known = {*(check.group for check in every), *(check.name for check in every)}
    for option, names in (("--only", only), ("--skip", skip)):
        for name in names:
            if name not in known:
                raise ConfigError(f"{option} {name!r} is neither a check nor a group", did_you_mean(name, known))
    for check in CHECKS_ON_REQUEST:
        for name in only:
            if name in (check.group, check.name) and given[check.group] is None:
                raise ConfigError(f"--only {name} has nothing to look into", f"add --{check.group} DIR")
    chosen = [
        check
        for check in (*CHECKS, *(check for check in CHECKS_ON_REQUEST if given[check.group] is not None))
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
