"""Group ``run``: what went wrong in a training run, told from its folder, and the option that mends it.

``metrics``, ``config`` and ``finished`` look at the files; the others at the epochs in metrics.jsonl, and are skipped where it
holds none.
"""

import json
import shlex
import statistics
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from featherface_core.config import load_yaml
from featherface_core.doctor.finding import DoctorOptions
from featherface_core.errors import ConfigError, DataError, counted
from featherface_core.files import CONFIG
from featherface_core.results import Finding
from featherface_core.training.monitor import HIGH_NORM, LOW_NORM
from featherface_core.training.records import METRICS, MetricsFile, read_metrics

Epochs = list[dict[str, Any]]

OFTEN = 0.2  # share of the epochs; a few high norms at the start of a run are no illness
SPIKE = 2.0
BEFORE = 5  # epochs that a spike is measured against
ENOUGH = 6  # epochs before the direction of the loss says anything
FALLEN = 0.95  # of the best AP; validations differ by a few hundredths from one epoch to the next
LARGEST = 1e300
LAST = 3  # validations that the AP at the end is the median of
NAMED = 3  # epochs that a finding names


def metrics(options: DoctorOptions) -> Finding:
    """Whether there are metrics, whole and in order."""
    if options.run is None:
        return _nothing("metrics")
    folder = options.run
    if not folder.is_dir():
        found = f"{folder} is no folder" if folder.exists() else f"{folder} does not exist"
        return Finding("run", "metrics", "fail", found, "name the folder that featherface train made")
    file = _file(options)
    mend = f"go on from the checkpoint, which mends the file: {_resume(options)}"
    if not file.records:
        what = f"holds no whole line, {len(file.damaged)} damaged" if file.damaged else "does not exist or is empty"
        found = f"{folder / METRICS} {what}: not a run, or one that ended within its first epoch"
        return Finding("run", "metrics", "fail", found, mend if _is_run(folder) else "name the folder of a run")
    numbers = [record["epoch"] for record in file.records]
    problems = []
    if file.damaged:
        problems.append(f"{counted(len(file.damaged), 'line')} damaged ({_listed('line', file.damaged)})")
    gaps = [(a + 1, b - a - 1) for a, b in pairwise((0, *sorted(set(numbers)))) if b > a + 1]
    if gaps:
        missing = sum(length for _, length in gaps)
        problems.append(f"{counted(missing, 'epoch')} missing (from {_listed('epoch', [e for e, _ in gaps])})")
    if len(set(numbers)) < len(numbers) or numbers != sorted(numbers):
        problems.append("epochs are there twice or out of order")
    found = f"{counted(len(set(numbers)), 'epoch')} in {METRICS}"
    if problems:
        return Finding("run", "metrics", "warn", "; ".join((found, *problems)), mend)
    return Finding("run", "metrics", "ok", found)


def config(options: DoctorOptions) -> Finding:
    """Whether the recipe that a resume goes by is there. Raises ConfigError for one that is not YAML."""
    if options.run is None or not options.run.is_dir():
        return _nothing("config", "no folder to look into")
    path = options.run / CONFIG
    if path.is_file():
        load_yaml(path)
        return Finding("run", "config", "ok", f"{CONFIG} can be read")
    if not _is_run(options.run):
        return _nothing("config", f"no {CONFIG}: not the folder of a run")
    fix = f"write the recipe of the run as {path}, then: {_resume(options)}"
    return Finding("run", "config", "warn", f"no {CONFIG}: the run cannot be resumed", fix)


def finished(options: DoctorOptions) -> Finding:
    """Whether the run came to its end, which report.json says."""
    if options.run is None or not options.run.is_dir():
        return _nothing("finished", "no folder to look into")
    report = options.run / "report.json"
    if report.is_file():
        try:
            content = json.loads(report.read_bytes())
        except (OSError, ValueError) as problem:
            found = f"{report.name} cannot be read: {' '.join(str(problem).split())}"
            return Finding("run", "finished", "warn", found, f"write it again: {_resume(options)}")
        if isinstance(content, dict):
            return Finding("run", "finished", "ok", "the run is finished")
        return Finding("run", "finished", "warn", f"{report.name} holds no report", f"again: {_resume(options)}")
    epochs, asked = _epochs(options), _asked(options)
    if not epochs and not _is_run(options.run):
        return Finding("run", "finished", "skip", "not the folder of a run")
    done = f"{max((r['epoch'] for r in epochs), default=0)} of {asked or 'an unknown number of'} epochs"
    found = f"unfinished: {done}, and no {report.name}"
    return Finding("run", "finished", "warn", found, f"if it is not running any more: {_resume(options)}")


def gradients(options: DoctorOptions) -> Finding:
    """Gradients that explode or vanish, by their norm before clipping."""
    epochs = _epochs(options)
    highs = _series(epochs, "grad_norm_max") or _series(epochs, "grad_norm_current")
    if not highs:
        return _nothing("gradients", "no gradient norms on record")
    typical = statistics.median([value for _, value in highs])
    high = [epoch for epoch, value in highs if value > HIGH_NORM]
    # the largest norm of the epoch is as small as this: every step of it was
    low = [epoch for epoch, value in highs if value < LOW_NORM]
    if low:
        found = f"vanishing: norm under {LOW_NORM:g} throughout {_epochs_named(low)}"
        fix = "raise --lr, or start from trained weights with --init; with a teacher, lower --alpha"
        return Finding("run", "gradients", "fail", found, fix)
    if len(high) >= 2 and len(high) >= OFTEN * len(highs):
        worst = max(value for _, value in highs)
        found = (
            f"exploding: norm over {HIGH_NORM:g} in {len(high)} of {counted(len(highs), 'epoch')}, at most {worst:.3g}"
        )
        fix = "set --gradient-clip-norm 1.0; where it is set, lower --lr or raise --batch-size"
        return Finding("run", "gradients", "warn", found, fix)
    return Finding("run", "gradients", "ok", f"largest norm of an epoch: {typical:.3g} in the median")


def non_finite(options: DoctorOptions) -> Finding:
    """Steps that were skipped for NaN or infinity, and epochs whose loss was none."""
    epochs = _epochs(options)
    if not epochs:
        return _nothing("non-finite")
    skipped = [(epoch, int(n)) for epoch, n in _series(epochs, "skipped_steps") if n > 0]
    bad = [record["epoch"] for record in epochs if not _is_number(record.get("train_loss"))]
    if not skipped and not bad:
        return Finding("run", "non-finite", "ok", "no step was skipped, and every loss is a number")
    found = []
    if bad:
        found.append(f"the training loss is not a number in {_epochs_named(bad)}")
    if skipped:
        steps = counted(sum(n for _, n in skipped), "step")
        found.append(f"{steps} skipped for NaN or infinity in {_epochs_named([e for e, _ in skipped])}")
    fix = "lower --lr, set --gradient-clip-norm 1.0, and look for bad boxes: featherface data check DIR"
    return Finding("run", "non-finite", "fail" if bad else "warn", "; ".join(found), fix)


def learning_rate(options: DoctorOptions) -> Finding:
    """A learning rate of zero; in the last epoch that was asked for it may be one."""
    epochs = _epochs(options)
    rates = _series(epochs, "learning_rate")
    if not rates:
        return _nothing("learning-rate", "no learning rate on record")
    asked = _asked(options)
    zero = [epoch for epoch, rate in rates if rate <= 0 and epoch != asked]
    if zero:
        found = f"0 in {_epochs_named(zero)}: nothing is learnt there"
        return Finding("run", "learning-rate", "fail", found, "set --lr 1e-3 and a shorter --warmup-epochs")
    low, high = min(rate for _, rate in rates), max(rate for _, rate in rates)
    return Finding("run", "learning-rate", "ok", f"{low:.2g} to {high:.2g}")


def loss_spikes(options: DoctorOptions) -> Finding:
    """Epochs whose training loss is twice the median of the five before."""
    losses = _series(_epochs(options), "train_loss")
    if len(losses) <= BEFORE:
        return _nothing("loss-spikes", f"fewer than {BEFORE + 1} epochs with a loss")
    spikes = [
        (epoch, loss / usual)
        for i, (epoch, loss) in enumerate(losses)
        if i >= BEFORE
        and (usual := statistics.median([value for _, value in losses[i - BEFORE : i]])) > 0
        and loss > SPIKE * usual
    ]
    if not spikes:
        return Finding("run", "loss-spikes", "ok", f"none in {counted(len(losses), 'epoch')}")
    found = (
        f"{_epochs_named([e for e, _ in spikes])}: up to {max(r for _, r in spikes):.1f} times the five epochs before"
    )
    return Finding("run", "loss-spikes", "warn", found, "set --gradient-clip-norm 1.0, or lower --lr")


def falling(options: DoctorOptions) -> Finding:
    """Whether the training loss falls: the median of the last third of the epochs against that of the first."""
    values = [loss for _, loss in _series(_epochs(options), "train_loss")]
    if len(values) < ENOUGH:
        return _nothing("falling", f"fewer than {ENOUGH} epochs with a loss")
    third = len(values) // 3
    first, last = statistics.median(values[:third]), statistics.median(values[-third:])
    found = f"training loss {first:.4g} at first, {last:.4g} at last"
    if last < first:
        return Finding("run", "falling", "ok", found)
    fix = "try --lr ten times lower, then ten times higher, and check the labels: featherface data check DIR"
    return Finding("run", "falling", "fail", f"{found}: nothing was learnt", fix)


def overfitting(options: DoctorOptions) -> Finding:
    """Whether the AP falls from its best while the training loss goes on falling."""
    epochs = _epochs(options)
    scores, losses = _series(epochs, "val_map"), dict(_series(epochs, "train_loss"))
    if len(scores) <= LAST:
        return _nothing("overfitting", f"fewer than {LAST + 1} validations")
    best_epoch, best = max(scores, key=lambda pair: pair[1])
    after = [(epoch, score) for epoch, score in scores if epoch > best_epoch][-LAST:]
    found = f"best AP {best:.3f} at epoch {best_epoch}"
    if len(after) == LAST and (final := statistics.median([s for _, s in after])) < FALLEN * best:
        before, last = losses.get(best_epoch), losses.get(after[-1][0])
        found += f", {final:.3f} in the last {LAST} validations"
        if before is not None and last is not None and last < before:
            found += f", while the training loss fell from {before:.4g} to {last:.4g}: overfitting"
            fix = (
                "best.safetensors holds the best epoch; stop there with --early-stopping-patience, or use more data "
                "or stronger augmentation"
            )
            return Finding("run", "overfitting", "warn", found, fix)
        fix = "best.safetensors holds the best epoch; the loss did not fall either, so lower --lr"
        return Finding("run", "overfitting", "warn", found, fix)
    return Finding("run", "overfitting", "ok", found)


def alpha(options: DoctorOptions) -> Finding:
    """Whether the weight of the teacher moves, where its schedule says that it should."""
    seen = _series(_epochs(options), "alpha")
    if not seen:
        return _nothing("alpha", "no teacher: nothing to move")
    first, last = seen[0][1], seen[-1][1]
    if max(value for _, value in seen) > min(value for _, value in seen):
        return Finding("run", "alpha", "ok", f"{first:.3g} at epoch {seen[0][0]}, {last:.3g} at epoch {seen[-1][0]}")
    found = f"{first:.3g} in all of {counted(len(seen), 'epoch')}"
    expected = _expected_alpha(options)
    if len(seen) == 1 or expected is None:
        return Finding("run", "alpha", "ok", found)
    wanted = [expected(epoch) for epoch, _ in seen]
    if max(wanted) == min(wanted):
        return Finding("run", "alpha", "ok", f"{found}, as asked for")
    found += f", but the schedule goes from {wanted[0]:.3g} to {wanted[-1]:.3g} over them"
    return Finding(
        "run", "alpha", "fail", found, "give the schedule again, for example --alpha 0.8:0.5 --strategy linear"
    )


def _nothing(check: str, why: str = "no epochs to look at") -> Finding:
    return Finding("run", check, "skip", why)


def _file(options: DoctorOptions) -> MetricsFile:
    return read_metrics(options.run / METRICS) if options.run is not None else MetricsFile(())


def _epochs(options: DoctorOptions) -> Epochs:
    """One record an epoch, in order; of two for one epoch the later counts, as for a resumed run."""
    try:
        by_epoch = {record["epoch"]: record for record in _file(options).records}
    except DataError:  # told once, by ``metrics``
        return []
    return [by_epoch[number] for number in sorted(by_epoch)]


def _series(epochs: Epochs, key: str) -> list[tuple[int, float]]:
    """(epoch, value) where there is a finite value."""
    return [(record["epoch"], float(record[key])) for record in epochs if _is_number(record.get(key))]


def _is_number(value: object) -> bool:
    # a comparison, for math.isfinite trips over a whole number of 400 digits
    return isinstance(value, int | float) and not isinstance(value, bool) and -LARGEST < value < LARGEST


def _config(options: DoctorOptions) -> tuple[dict[str, Any], dict[str, Any]]:
    """config.yaml of the run and the recipe in it; empty where it is missing or damaged."""
    path = (options.run or Path()) / CONFIG
    if not path.is_file():
        return {}, {}
    try:
        content = load_yaml(path)
    except (ConfigError, ImportError):  # the checks of the epochs go on without it
        return {}, {}
    recipe = content.get("recipe", content)
    return content, recipe if isinstance(recipe, dict) else {}


def _asked(options: DoctorOptions) -> int | None:
    """The epochs that were asked for."""
    epochs = _config(options)[1].get("epochs")
    return epochs if isinstance(epochs, int) and epochs > 0 else None


def _expected_alpha(options: DoctorOptions) -> Callable[[int], float] | None:
    """Alpha by epoch as config.yaml asks for it, without the shrinking; None where that is not known."""
    from featherface_core.training.alpha import AlphaSchedule, parse_alpha

    distill, asked = _config(options)[1].get("distill"), _asked(options)
    if not isinstance(distill, dict) or "alpha" not in distill or asked is None:
        return None
    text = distill["alpha"]
    # a rule that was switched off; what is not said is on
    rules: dict[str, Any] = {rule: None for rule in ("late_cap", "bounds") if distill.get(rule) is False}
    try:
        start, end = parse_alpha(":".join(map(str, text)) if isinstance(text, list | tuple) else str(text))
        return AlphaSchedule(start, end, distill.get("strategy", "linear"), asked, adapt=False, **rules).value
    except ConfigError:
        return None


def _is_run(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (CONFIG, "last.pt"))


def _resume(options: DoctorOptions) -> str:
    command = "distill" if _config(options)[0].get("task") == "distill" else "train"
    return f"featherface {command} --resume {shlex.quote(str(options.run))}"


def _epochs_named(numbers: list[int]) -> str:
    return f"{counted(len(numbers), 'epoch')} ({_listed('epoch', numbers)})"


def _listed(what: str, numbers: list[int] | tuple[int, ...]) -> str:
    """ "line 3, 4, 9 and 12 more"."""
    more = len(numbers) - NAMED
    return f"{what} {', '.join(map(str, numbers[:NAMED]))}" + (f" and {more} more" if more > 0 else "")
