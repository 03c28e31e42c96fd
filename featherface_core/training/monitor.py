"""What a run tells while it goes on: metrics.jsonl, a line for people, and what is wrong. Imports no torch."""

import logging
import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from featherface_core.config import check_range
from featherface_core.errors import ConfigError, FeatherFaceError
from featherface_core.files import make_folder
from featherface_core.recipe import MOST_EPOCHS
from featherface_core.training.run_folder import append_record, line_of, metrics_path, read_metrics, write_records

MOST_KEPT = 1024
HIGH_NORM = 10.0
LOW_NORM = 1e-6
HIGH_LOSS = 100.0
HealthKind = Literal[
    "non-finite-loss",
    "non-finite-gradient",
    "exploding-gradient",
    "vanishing-gradient",
    "high-loss",
    "non-finite-metric",
]
FIXES: dict[HealthKind, str] = {
    "non-finite-loss": "lower --lr or lengthen --warmup-epochs, and look for bad boxes: featherface data check DIR",
    "non-finite-gradient": "set --gradient-clip-norm 1.0 and lower --lr",
    "exploding-gradient": "set --gradient-clip-norm 1.0; where it is set, lower --lr or raise --batch-size",
    "vanishing-gradient": "raise --lr, or start from trained weights with --init; with a teacher, lower --alpha",
    "high-loss": "lower --lr or lengthen --warmup-epochs",
    "non-finite-metric": "lower --lr; a NaN in one validation metric alone may mean that its pictures show no face",
}
MOST_NON_FINITE = 3  # steps in a row
RECENT = 10  # epochs that the ETA goes by: a resumed run may stand on another machine


class GradientHistory:
    """Collects the norm of all gradients together, before clipping, at each step; its memory does not grow with the run.

    Minimum, mean, maximum and the share of clipped steps are exact. The median is that of at most 1024 norms, evenly spread:
    when there are more, every second one is dropped, and from then on half as many are kept.
    """

    _kept: list[float]
    _stride: int
    _count: int
    _clipped: int
    _current: float
    _mean: float
    _low: float
    _high: float

    def __init__(self) -> None:
        self.reset()

    def __len__(self) -> int:
        return self._count

    def add(self, norm: float, clipped: bool = False) -> None:
        """Take note of one step. norm: 0 or more; NaN and infinity are left out, for such a step is skipped."""
        norm = float(norm)
        if not math.isfinite(norm):
            return
        if self._count % self._stride == 0:
            self._kept.append(norm)
            if len(self._kept) > MOST_KEPT:
                self._kept = self._kept[::2]
                self._stride *= 2
        self._count += 1
        self._clipped += bool(clipped)
        self._current = norm
        self._mean += (norm - self._mean) / self._count  # a sum of huge norms would overflow
        self._low = min(self._low, norm) if self._count > 1 else norm
        self._high = max(self._high, norm)

    def stats(self) -> dict[str, float]:
        """``grad_norm_current`` (the last), ``_min``, ``_median``, ``_mean``, ``_max``; ``grad_clipped_share``, 0 to 1.

        Empty before the first step.
        """
        if not self._count:
            return {}
        return {
            "grad_norm_current": self._current,
            "grad_norm_min": self._low,
            "grad_norm_median": statistics.median(self._kept),
            "grad_norm_mean": self._mean,
            "grad_norm_max": self._high,
            "grad_clipped_share": self._clipped / self._count,
        }

    def reset(self) -> None:
        """Forget all, for the next epoch."""
        self._kept = []
        self._stride = 1
        self._count = 0
        self._clipped = 0
        self._current = self._mean = self._low = self._high = 0.0

    def state_dict(self) -> dict[str, Any]:
        """All of it, as plain values."""
        return {
            "kept": list(self._kept),
            "stride": self._stride,
            "count": self._count,
            "clipped": self._clipped,
            "current": self._current,
            "mean": self._mean,
            "low": self._low,
            "high": self._high,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what ``state_dict`` gave."""
        self._kept = list(state["kept"])
        self._stride = state["stride"]
        self._count = state["count"]
        self._clipped = state["clipped"]
        self._current = state["current"]
        self._mean = state["mean"]
        self._low = state["low"]
        self._high = state["high"]


@dataclass(frozen=True)
class Health:
    """A finding about a step or an epoch. found: what and where. fix: the options that mend it.

    verdict: ``fail`` for what cannot be learnt from, NaN and infinity; ``warn`` for the rest.
    """

    kind: HealthKind
    verdict: Literal["warn", "fail"]
    found: str
    fix: str


def finding(kind: HealthKind, found: str) -> Health:
    """A Health with the verdict and the fix of its kind."""
    return Health(kind, "fail" if kind in ("non-finite-loss", "non-finite-gradient") else "warn", found, FIXES[kind])


def look(loss: float, grad_norm: float | None, where: str) -> tuple[Health, ...]:
    """What is wrong with a loss and the norm of its gradients before clipping; empty where nothing is.

    grad_norm: None where there are no gradients yet. where: for people, such as "step 12".
    """
    found: list[Health] = []
    if not math.isfinite(loss):
        found.append(finding("non-finite-loss", f"the loss is {loss} at {where}"))
    elif loss > HIGH_LOSS:
        found.append(finding("high-loss", f"the loss is {loss:.4g}, over {HIGH_LOSS:g}, at {where}"))
    if grad_norm is None:
        return tuple(found)
    if not math.isfinite(grad_norm):
        found.append(finding("non-finite-gradient", f"the gradient norm is {grad_norm} at {where}"))
    elif grad_norm > HIGH_NORM:
        found.append(
            finding("exploding-gradient", f"the gradient norm is {grad_norm:.4g}, over {HIGH_NORM:g}, at {where}")
        )
    elif grad_norm < LOW_NORM:
        found.append(
            finding("vanishing-gradient", f"the gradient norm is {grad_norm:.4g}, under {LOW_NORM:g}, at {where}")
        )
    return tuple(found)


class TrainingMonitor:
    """Keeps the metrics of each epoch, and watches the health of each step.

    log_interval: epochs between two lines for people, 1 or more; the first and the last epoch have one too. path: a folder, for
    metrics.jsonl in it, or a file; None keeps the records in memory alone. epochs: how many were asked for; without it there is
    no ETA. listener: is given the lines for people; by default they go to the logger ``featherface`` at level INFO, which
    shows nothing until the program sets up logging. Raises ConfigError, and DataError where ``path`` cannot be written to.

    Before a run goes on in a folder with earlier metrics, call ``rewind``; ``rewind(0)`` begins anew.

    history: one dict an epoch, as in metrics.jsonl: ``epoch`` (from 1), ``train_loss``, ``val_loss``, ``val_map`` (AP, 0 to
    1), ``learning_rate``, ``alpha``, ``epoch_time`` (s), ``eta`` (s), ``skipped_steps``, then the keys of ``grad_stats`` and
    of ``extra``. None stands for what was not measured, and for NaN and infinity.

    >>> monitor = TrainingMonitor(log_interval=10, epochs=400, listener=print)
    >>> record = monitor.log_epoch_metrics(
    ...     epoch=100, train_loss=0.8, val_loss=0.7, val_map=0.89, learning_rate=1e-4,
    ...     grad_stats={"grad_norm_current": 0.5}, alpha=0.6, epoch_time=25.0)
    epoch 100/400: train loss 0.8000, val loss 0.7000, AP 0.8900, lr 1.0e-04, alpha 0.600, gradient norm 0.5, 25.0 s, ETA 2:05:00
    """

    def __init__(
        self,
        log_interval: int = 10,
        path: Path | str | None = None,
        epochs: int | None = None,
        listener: Callable[[str], None] | None = None,
    ) -> None:
        check_range("log_interval", log_interval, 1, MOST_EPOCHS)
        if epochs is not None:
            check_range("--epochs", epochs, 1, MOST_EPOCHS)
        self.log_interval = log_interval
        self.epochs = epochs
        self.path = None if path is None else metrics_path(Path(path))
        if self.path is not None:
            make_folder(self.path.parent)
        self.history: list[dict[str, Any]] = []
        self._listener = listener or logging.getLogger("featherface").info
        self._gradients = GradientHistory()  # of the whole run
        self._counts: dict[str, int] = {}  # of findings, by kind
        self._findings: dict[str, Health] = {}  # the last of each kind
        self._told: dict[str, int] = {}  # counts when people were last told
        self._steps = 0  # looked at in this epoch
        self._skipped = 0  # in this epoch
        self._skipped_before = 0  # in the epochs before
        self._in_a_row = 0

    def log_epoch_metrics(
        self,
        *,
        epoch: int,
        train_loss: float,
        learning_rate: float,
        epoch_time: float,
        val_loss: float | None = None,
        val_map: float | None = None,
        grad_stats: Mapping[str, float] | None = None,
        alpha: float | None = None,
        extra: Mapping[str, float] | None = None,
    ) -> dict[str, Any]:
        """Keep one epoch, append it to the file, and return its record (see the class).

        epoch: from 1, after the last one logged. grad_stats: as from ``GradientHistory.stats``. extra: more numbers by name,
        "loss/box" or "images_per_second". Where ``check_step`` was not called in this epoch, its checks look at ``train_loss``
        and ``grad_norm_current``. NaN and infinity are written as null and counted as a health finding.

        Raises ConfigError for an epoch out of order or a name used twice, DataError where the file cannot be written.
        """
        check_range("epoch", epoch, 1, MOST_EPOCHS)
        if self.history and epoch <= self.history[-1]["epoch"]:
            raise ConfigError(
                f"epoch {epoch} comes after epoch {self.history[-1]['epoch']} was logged",
                f"call rewind({epoch - 1}) first, to drop what comes after it",
            )
        values: dict[str, float | None] = {
            "train_loss": train_loss,
            "val_loss": val_loss,
            "val_map": val_map,
            "learning_rate": learning_rate,
            "alpha": alpha,
            "epoch_time": epoch_time,
            "eta": self._eta(epoch, epoch_time),
            "skipped_steps": self._skipped,
        }
        for more in (grad_stats or {}, extra or {}):
            if twice := sorted(more.keys() & {"epoch", *values}):
                raise ConfigError(f"the metric {twice[0]!r} is given twice", "choose another name for the extra one")
            values.update(more)
        if not self._steps:
            norm = (grad_stats or {}).get("grad_norm_current")
            self._note(look(float(train_loss), None if norm is None else float(norm), f"epoch {epoch}"))
        record: dict[str, Any] = {"epoch": epoch}
        for name, value in values.items():
            record[name] = self._written(name, value, epoch)
        if self.path is not None:
            append_record(self.path, record)
        self.history.append(record)
        self._skipped_before += self._skipped
        self._skipped = self._steps = 0
        if epoch % self.log_interval == 0 or len(self.history) == 1 or epoch == self.epochs:
            self._tell(record)
        return record

    def _eta(self, epoch: int, epoch_time: float) -> float | None:
        """Seconds left: the epochs still to come, as long as the recent ones took on average."""
        times = [r["epoch_time"] for r in self.history[-RECENT + 1 :]] + [epoch_time]
        known = [t for t in times if t is not None and math.isfinite(t)]
        if self.epochs is None or not known:
            return None
        return float(max(0, self.epochs - epoch) * sum(known) / len(known))

    def _written(self, name: str, value: float | None, epoch: int) -> float | int | None:
        if value is None or isinstance(value, int):
            return value
        value = float(value)
        if math.isfinite(value):
            return value
        self._note((finding("non-finite-metric", f"{name} is {value} at epoch {epoch}"),))
        return None

    def _note(self, found: tuple[Health, ...]) -> None:
        for health in found:
            self._counts[health.kind] = self._counts.get(health.kind, 0) + 1
            self._findings[health.kind] = health

    def _tell(self, record: dict[str, Any]) -> None:
        self._listener(describe(record, self.epochs))
        for kind, count in self._counts.items():
            if news := count - self._told.get(kind, 0):
                health = self._findings[kind]
                times = f" ({news} such since the last line)" if news > 1 else ""
                self._listener(f"{health.verdict}: {health.found}{times}; {health.fix}")
        self._told = dict(self._counts)

    def check_step(self, loss: float, grad_norm: float | None, step: int) -> tuple[Health, ...]:
        """What is wrong with one step; empty where nothing is. Counts it for the summary.

        Findings: a loss over 100, a gradient norm (before clipping, None where none was taken) over 10 or under 1e-6, and NaN
        or infinity in either. Where one is ``fail``, skip the step and call ``non_finite``; otherwise call ``finite_step``.
        """
        loss, norm = float(loss), None if grad_norm is None else float(grad_norm)
        found = look(loss, norm, f"step {step}")
        self._steps += 1
        if norm is not None:
            self._gradients.add(norm)
        self._note(found)
        return found

    def non_finite(self, saved: Path | str | None = None) -> int:
        """Count a step that was skipped for NaN or infinity, and return how many there were in a row.

        saved: where its batch was written, for the message. Raises FeatherFaceError (exit code 1) at the third in a row.
        """
        self._skipped += 1
        self._in_a_row += 1
        if self._in_a_row < MOST_NON_FINITE:
            return self._in_a_row
        last = [h.found for kind, h in self._findings.items() if h.verdict == "fail"]
        where = f", saved as {saved}" if saved is not None else ""
        raise FeatherFaceError(
            f"{self._in_a_row} steps in a row gave NaN or infinity; the run is stopped",
            f"lower --lr, set --gradient-clip-norm 1.0, and look at the batch{where}",
            last,
        )

    def finite_step(self) -> None:
        """A step went well: ``non_finite`` counts from zero again."""
        self._in_a_row = 0

    def rewind(self, epoch: int) -> None:
        """Drop all records after ``epoch`` (0 or more) from memory and file, as a run does when it goes on from a checkpoint.

        A killed run may have logged an epoch that the checkpoint does not hold, or half a line. What the file lost up to
        ``epoch`` and the loaded state still has is written again. The file is replaced whole or not at all. Raises DataError.
        """
        check_range("epoch", epoch, 0, MOST_EPOCHS)
        on_file = () if self.path is None else read_metrics(self.path).records
        # of two records of an epoch the later counts, and that of the checkpoint most of all
        by_epoch = {record["epoch"]: record for record in (*on_file, *self.history) if record["epoch"] <= epoch}
        self.history = [by_epoch[number] for number in sorted(by_epoch)]
        if self.path is None or not (self.path.exists() or self.history):
            return
        wanted = "".join(line_of(record) for record in self.history).encode()
        if not self.path.exists() or self.path.read_bytes() != wanted:
            write_records(self.path, self.history)

    @property
    def findings(self) -> tuple[Health, ...]:
        """The last finding of each kind."""
        return tuple(self._findings.values())

    def summary(self) -> dict[str, Any]:
        """For a report: ``epochs`` logged, their ``seconds``, ``skipped_steps``, ``health`` (counts by kind), ``findings``
        (the last of each kind), and ``gradient_norm`` {min, median, max} of the steps seen by ``check_step``, None without any.
        """
        norms = self._gradients.stats()
        return {
            "epochs": len(self.history),
            "seconds": sum(record.get("epoch_time") or 0.0 for record in self.history),
            "skipped_steps": self._skipped_before + self._skipped,
            "health": dict(self._counts),
            "findings": [asdict(health) for health in self.findings],
            "gradient_norm": {name: norms.get(f"grad_norm_{name}") for name in ("min", "median", "max")},
        }

    def state_dict(self) -> dict[str, Any]:
        """All of it, the history too, as plain values."""
        return {
            "history": [dict(record) for record in self.history],
            "gradients": self._gradients.state_dict(),
            "counts": dict(self._counts),
            "findings": [asdict(health) for health in self.findings],
            "told": dict(self._told),
            "steps": self._steps,
            "skipped": self._skipped,
            "skipped_before": self._skipped_before,
            "in_a_row": self._in_a_row,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what ``state_dict`` gave; then ``rewind`` brings the file into line."""
        self.history = [dict(record) for record in state["history"]]
        self._gradients.load_state_dict(state["gradients"])
        self._counts = dict(state["counts"])
        self._findings = {health["kind"]: Health(**health) for health in state["findings"]}
        self._told = dict(state["told"])
        self._steps = state["steps"]
        self._skipped = state["skipped"]
        self._skipped_before = state["skipped_before"]
        self._in_a_row = state["in_a_row"]


def describe(record: Mapping[str, Any], epochs: int | None = None) -> str:
    """A record of metrics.jsonl as one line for people; what was not measured is left out. epochs: asked for, or None."""
    parts = [f"train loss {_number(record['train_loss'], '.4f')}"]
    for name, key, form in (
        ("val loss", "val_loss", ".4f"),
        ("AP", "val_map", ".4f"),
        ("at full size", "val_map_whole", ".4f"),
        ("small", "val_map_small", ".4f"),
        ("lr", "learning_rate", ".1e"),
        ("alpha", "alpha", ".3f"),
        ("gradient norm", "grad_norm_current", ".3g"),
    ):
        if record.get(key) is not None:
            parts.append(f"{name} {_number(record[key], form)}")
    if record.get("skipped_steps"):
        parts.append(f"{record['skipped_steps']} steps skipped")
    parts.append(f"{_number(record['epoch_time'], '.1f')} s")
    if record.get("eta") is not None:
        parts.append(f"ETA {timedelta(seconds=round(record['eta']))}")
    of = f"/{epochs}" if epochs else ""
    return f"epoch {record['epoch']}{of}: " + ", ".join(parts)


def _number(value: float | None, form: str) -> str:
    return "not finite" if value is None else format(value, form)
