"""The one training loop. It knows steps, schedules, checkpoints and events; what is learnt is the task's business."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from featherface_core.data.annotation import PictureSource, set_sizes
from featherface_core.errors import ConfigError, FeatherFaceError
from featherface_core.events import Epoch, Note, RunListener, Step
from featherface_core.models.blocks import DropBlock
from featherface_core.models.checkpoint import save_weights
from featherface_core.models.featherface import FeatherFace
from featherface_core.recipe import Recipe
from featherface_core.training.device import CompilationError, Compiled, Reading, autocast_type, has_bfloat16, sent
from featherface_core.training.early_stopping import SmartEarlyStopping
from featherface_core.training.ema import Average
from featherface_core.training.loader import Batch, TrainingPictures, batches
from featherface_core.training.monitor import GradientHistory, TrainingMonitor
from featherface_core.training.order import Order
from featherface_core.training.parameters import freeze, parameter_groups, set_modes
from featherface_core.training.processes import Processes, StoppedError, asked_to_stop, synchronise_normalisations
from featherface_core.training.run_folder import MOST_BAD_BATCHES, Curves, RunFolder, Stateful
from featherface_core.training.schedule import LearningRate
from featherface_core.training.task import Task
from featherface_core.training.validation import Best, Validation, validate

SECONDS_BETWEEN_EVENTS = 1.0  # of a step: a terminal needs no more


@dataclass
class Totals:
    """What an epoch has added up so far; part of a checkpoint taken within an epoch."""

    losses: dict[str, float] = field(default_factory=dict)
    steps: int = 0
    skipped: int = 0
    seconds: float = 0.0
    unreadable: int = 0


@dataclass(frozen=True)
class Launched:
    """An optimiser step that the device may still be at. step: from 1. names: of its losses. batches: what it was taken on.

    reading: whether any process was asked to stop, the losses, the gradients' norm, whether it was skipped, the scale of
    float16's losses.
    """

    step: int
    names: tuple[str, ...]
    batches: tuple[Batch, ...]
    reading: Reading


@dataclass(frozen=True)
class Taken:
    """An optimiser step as it came out. losses: weighted, by name. norm: of the gradients, before clipping.

    stopping: whether any process was asked to stop when it began.
    """

    losses: dict[str, float]
    norm: float
    stopping: bool


@dataclass(frozen=True)
class Outcome:
    """How a run ended. stopped: why it ended before its last epoch, or ""."""

    epochs: int
    best: Best
    seconds: float
    stopped: str
    finished: bool
    protocol: str
    health: dict[str, Any]


class Engine:
    """One run of one task. Everything it was and will be is a function of its arguments and the folder's checkpoint."""

    def __init__(
        self,
        name: str,
        model: FeatherFace,
        task: Task,
        source: PictureSource,
        held_out: PictureSource,
        recipe: Recipe,
        folder: RunFolder,
        processes: Processes,
        device: torch.device,
        on_event: RunListener,
        start: str,
    ) -> None:
        self.name, self.task, self.recipe, self.folder = name, task, recipe, folder
        self.source, self.held_out = source, held_out
        self.processes, self.device, self.on_event, self.start = processes, device, on_event, start
        self.pictures = TrainingPictures(source, recipe)
        o, m = recipe.optimiser, recipe.machine
        self.config = model.config
        model = synchronise_normalisations(model.to(device), processes, device)  # type: ignore[assignment]
        if m.channels_last:
            model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        # frozen features are those of the network as it is used
        if recipe.augment.drop_block and o.learn == "all":
            model.drop_block = DropBlock(recipe.augment.drop_block)
        self.model = model
        self.task.companions.to(device)
        self.average = Average(model, o.ema)
        freeze(model, o)
        self.parameters = [p for module in (model, task.companions) for p in module.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(
            parameter_groups([model, task.companions], o),
            lr=o.lr,
            fused=device.type in ("cpu", "cuda"),
        )
        # a step's numbers are read one step later where reading them at once would keep a GPU waiting
        self.late = 1 if device.type == "cuda" else 0
        self.launched: deque[Launched] = deque()
        amp = autocast_type(m.amp, device)
        self.amp = amp
        if amp == torch.bfloat16 and device.type == "cpu" and not has_bfloat16():
            text = "this processor lacks AVX-512 and imitates bfloat16, several times slower: --set machine.amp=off"
            on_event(Note(text, warning=True))
        self.scaler = torch.amp.GradScaler(device.type, enabled=amp == torch.float16)
        self.order = Order.of(recipe, set_sizes(source), processes.rank, processes.world)
        self.per_step = o.accumulate
        self.steps = self.order.steps // o.accumulate
        total = self.steps * recipe.epochs
        # a fifth at most, so that short runs have more than their warm-up
        warmup = min(round(o.warmup_epochs * self.steps), total // 5)
        self.rate = LearningRate(o.lr, total, warmup, o.final, o.schedule)
        s = recipe.stopping
        self.stopper = SmartEarlyStopping(s.patience, s.min_epoch, (s.window_start, s.window_end))
        self.gradients = GradientHistory()
        self.curves = Curves(folder.path) if processes.first else None
        self.monitor = TrainingMonitor(
            log_interval=1, path=folder.metrics if processes.first else None, epochs=recipe.epochs, listener=_silent
        )
        # what a checkpoint holds, by its name there
        self.parts: dict[str, Stateful] = {
            "model": model,
            "companions": task.companions,
            "task": task,
            "optimiser": self.optimiser,
            "scaler": self.scaler,
            "stopper": self.stopper,
            "gradients": self.gradients,
            "monitor": self.monitor,
        }
        self.stopped = ""  # why early stopping ended the run
        self.alpha: float | None = None
        self.step = 0  # optimiser steps taken or skipped, from the beginning of the run
        self.totals = Totals()
        self.best = Best()
        self.protocol = ""
        self.validation_seconds = 0.0  # of the last one
        self.compiled = Compiled(model) if m.compile else None

    def resume(self) -> bool:
        """Go on from the folder's checkpoint; False if there is none yet."""
        state = self.folder.load()
        if state is None:
            return False
        if state["steps"] != self.steps or state["epochs"] != self.recipe.epochs:
            raise FeatherFaceError(
                f"{self.folder.last} is of {state['epochs']} epochs of {state['steps']} steps, "
                f"this run would have {self.recipe.epochs} of {self.steps}",
                "the data has changed since; begin anew with --force",
            )
        amp = self.recipe.machine.amp
        if state.get("amp", amp) != amp:  # the first checkpoints do not name it
            raise ConfigError(
                f"{self.folder.last} was trained with machine.amp={state['amp']}, {self.folder.config} has {amp}",
                f"write amp: {state['amp']} there, or begin anew with --force",
            )
        for name, part in self.parts.items():
            if state[name] or name != "scaler":  # float32 and bfloat16 have no scale
                part.load_state_dict(state[name])
        self.average.load(state["average"], state["average_steps"])
        self.step, self.totals = state["step"], Totals(**state["totals"])
        self.best = Best.read(state)
        self.protocol, self.stopped, self.start = state["protocol"], state["stopped"], state["start"]
        if self.processes.first:
            self.monitor.rewind(self.step // self.steps)
        return True

    def save(self) -> None:
        """Write the checkpoint; the first process alone does."""
        if not self.processes.first:
            return
        self.folder.save(
            {
                "steps": self.steps,
                "epochs": self.recipe.epochs,
                "amp": self.recipe.machine.amp,
                **{name: part.state_dict() for name, part in self.parts.items()},
                "average": self.average.state,
                "average_steps": self.average.steps,
                "step": self.step,
                "totals": vars(self.totals),
                "best": asdict(self.best),
                "start": self.start,
                "protocol": self.protocol,
                "stopped": self.stopped,
            }
        )

    def fit(self, stop_after: int = 0) -> Outcome:
        """Train to the last epoch, to early stopping, or to the end of epoch ``stop_after``, which leaves a resumable run.

        Raises StoppedError when it was interrupted, after saving; FeatherFaceError after three steps in a row whose loss or
        gradients are not finite.
        """
        start = self.step * self.per_step
        order = Order.of(self.recipe, set_sizes(self.source), self.processes.rank, self.processes.world, start)
        loader = batches(self.pictures, order, self.recipe.machine.workers)
        if self.compiled:
            self.on_event(Note("the network is compiled in the first step, which may take minutes"))
        with asked_to_stop() as asked:
            try:
                while not self.stopped and (epoch := self.step // self.steps + 1) <= self.recipe.epochs:
                    if 0 < stop_after < epoch:
                        break
                    interrupted = self._epoch(epoch, loader, asked)
                    self._end_of(epoch)
                    if interrupted and epoch < self.recipe.epochs and not self.stopped:
                        raise StoppedError
            finally:
                # ends the workers now, not when the garbage collector comes by
                close = getattr(loader, "close", None)
                if close:
                    close()
        done = self.step // self.steps
        finished = bool(self.stopped) or done == self.recipe.epochs
        summary = self.monitor.summary()
        seconds = sum(float(record.get("epoch_time") or 0) for record in self.monitor.history)
        return Outcome(done, self.best, seconds, self.stopped, finished, self.protocol, summary)

    def _epoch(self, epoch: int, loader: Iterator[Batch], asked: Callable[[], bool]) -> bool:
        """The steps of an epoch; True if the run was asked to stop in the last of them, before that it stops at once."""
        if self.compiled:
            self.compiled.use(True)
        torch.backends.cudnn.benchmark = (
            self.device.type == "cuda"
        )  # of one shape, the fastest convolutions are looked for
        self.alpha = self.task.begin(epoch)
        set_modes(self.model, self.recipe.optimiser)
        began, before = time.monotonic(), self.totals.seconds
        told = saved = began
        taken: Taken | None = None
        for place in range(self.step % self.steps, self.steps):
            last = place + 1 == self.steps
            try:
                with self.compiled.errors() if self.compiled else nullcontext():
                    self._launch(loader, asked())
            except CompilationError:
                if not asked():
                    raise
                self._read(0)
                self.save()  # the terminal's Ctrl-C stops the compiler too
                raise StoppedError from None
            taken = self._read(0 if last else self.late) or taken
            now = time.monotonic()
            self.totals.seconds = before + now - began
            if taken and self.processes.first and (now - told >= SECONDS_BETWEEN_EVENTS or last):
                told = now
                self._tell_step(epoch, place + 1, taken)
            if taken and taken.stopping and not last:
                self._read(0)
                self.save()
                raise StoppedError
            if now - saved >= 60 * self.recipe.machine.save_minutes and not last:
                self._read(0)
                self.save()
                saved = now
        return taken is not None and taken.stopping

    def take_step(self, loader: Iterator[Batch], stop: bool = False) -> Taken:
        """One optimiser step, waited for. stop: whether this process was asked to stop."""
        self._launch(loader, stop)
        taken = self._read(0)
        assert taken is not None
        return taken

    def _launch(self, loader: Iterator[Batch], stop: bool) -> None:
        """Give the device one optimiser step to do; on a GPU nothing here waits for its numbers."""
        # what a step draws at random depends on the seed and the step alone, so that there is no state to resume
        torch.manual_seed((self.recipe.seed * 1_000_003 + self.step) * 1_009 + self.processes.rank)
        rate = self.rate.at(self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["share"]
        self.optimiser.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        used: list[Batch] = []
        for part in range(self.per_step):
            batch = next(loader)
            number = self.order.number(self.step * self.per_step + part)
            used.append(batch)
            for problem in batch.problems:
                self.totals.unreadable += 1
                self.on_event(Note(problem, warning=True))
            here = sent(batch, self.device)
            pixels = here.network_input(self.device, self.recipe.machine.channels_last)
            with torch.autocast(self.device.type, self.amp or torch.bfloat16, enabled=self.amp is not None):
                terms = self._learnt(self.task.losses(self.model, pixels, here.targets, number))
            total = torch.stack(list(terms.values())).sum() / self.per_step
            self.scaler.scale(total).backward()  # type: ignore[no-untyped-call]
            for name, term in terms.items():
                sums[name] = sums.get(name, torch.zeros((), device=self.device)) + term.detach() / self.per_step
        # losses and flags travel with the gradients, so that all processes see, and decide, the same
        own = torch.stack([torch.full((), float(stop), device=self.device), *sums.values()])
        means = self.processes.average_gradients(self.parameters, own)
        if self.scaler.is_enabled():
            self.scaler.unscale_(self.optimiser)  # after the average, so that all processes skip the same steps
        norm = self._clip()
        skipped = (~torch.isfinite(torch.cat((means[1:], norm[None]))).all()).float()
        self._apply(skipped)
        self.step += 1
        numbers = [means, norm[None], skipped[None]]
        if self.scaler.is_enabled():
            self.scaler.update()  # float16 overflowed: its scale is lowered
            numbers.append(self.scaler._get_scale_async()[None])  # type: ignore[index]
        self.launched.append(Launched(self.step, tuple(sums), tuple(used), Reading(torch.cat(numbers))))

    def _learnt(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """The terms that are trained on."""
        if self.recipe.optimiser.learn == "all":
            return terms
        return {name: term for name, term in terms.items() if "landmark" in name}

    def _clip(self) -> Tensor:
        """The norm of all gradients together, before it is limited to the recipe's."""
        clip = self.recipe.optimiser.clip
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients, foreach=True)
        if clip:
            nn.utils.clip_grads_with_norm_(self.parameters, clip, norm, foreach=True)
        return norm

    def _apply(self, skipped: Tensor) -> None:
        """The optimiser's step, unless it is to be ``skipped`` (): 1.0 or 0.0."""
        if self.optimiser.defaults["fused"]:
            self.optimiser.found_inf = skipped  # type: ignore[attr-defined]  # as torch's GradScaler tells it: on the device
            self.optimiser.step()
        elif not skipped:
            self.optimiser.step()
        self.average.update(1 - skipped)

    def _read(self, keep: int) -> Taken | None:
        """Read the steps launched but the last ``keep``, oldest first; the last of those read, None where there is none."""
        taken = None
        while len(self.launched) > keep:
            taken = self._count(self.launched.popleft())
        return taken

    def _count(self, launched: Launched) -> Taken:
        """Take note of a step: what it gave, whether it was skipped, and what is wrong with it."""
        stopping, *rest = launched.reading.values()
        scale = rest.pop() if self.scaler.is_enabled() else 1.0
        *means, norm, skipped = rest
        losses = dict(zip(launched.names, means, strict=True))
        taken, loss = Taken(losses, norm, stopping > 0), sum(losses.values())
        if self.scaler.is_enabled() and math.isfinite(loss) and not math.isfinite(norm):
            self.totals.skipped += 1
            if scale < 1:
                raise FeatherFaceError(
                    f"float16 overflows at step {launched.step}, whatever the scale; the run is stopped",
                    "lower --lr, or train with --set machine.amp=bf16",
                )
            return taken
        for finding in self.monitor.check_step(loss, norm, launched.step):
            if finding.verdict == "fail":
                self.on_event(Note(f"{finding.found}; {finding.fix}", warning=True))
        if skipped:
            self.totals.skipped += 1
            self.monitor.non_finite(self._keep_bad_batch(launched, taken))
            return taken
        clip = self.recipe.optimiser.clip
        self.monitor.finite_step()
        self.gradients.add(norm, bool(clip) and norm > clip)
        self.totals.steps += 1
        for name, value in losses.items():
            self.totals.losses[name] = self.totals.losses.get(name, 0.0) + value
        return taken

    def _keep_bad_batch(self, launched: Launched, taken: Taken) -> Path:
        """Keep what gave NaN or infinity, for a person to look at."""
        said = f"step {launched.step} is skipped: its loss or gradients are not finite"
        parts = [{"pixels": b.pixels, **vars(b.targets)} for b in launched.batches]
        kept = {"step": launched.step, "losses": taken.losses, "grad_norm": taken.norm, "batches": parts}
        path, new = self.folder.keep_bad_batch(f"step_{launched.step}_process_{self.processes.rank}.pt", kept)
        where = f"kept in {path}" if new else f"{MOST_BAD_BATCHES} such batches are kept in {path} already"
        self.on_event(Note(f"{said}; {where}", True))
        return path

    def _tell_step(self, epoch: int, place: int, taken: Taken) -> None:
        t = self.totals
        done = max(1, t.steps + t.skipped)
        per_step = t.seconds / done
        epochs = self.recipe.epochs
        left = (epochs * self.steps - self.step) * per_step + self._validations_left(epoch) * self.validation_seconds
        speed = done * self.recipe.batch_size * self.per_step / max(t.seconds, 1e-9)
        rate = self.rate.at(self.step - 1)
        losses, norm = taken.losses, taken.norm
        self.on_event(Step(self.name, epoch, epochs, place, self.steps, losses, norm, rate, self.alpha, speed, left))

    def _validations_left(self, epoch: int) -> int:
        every, epochs = self.recipe.validation.every, self.recipe.epochs
        return sum(1 for e in range(epoch, epochs + 1) if e % every == 0 or e == epochs)

    def _end_of(self, epoch: int) -> None:
        """Validate, record, keep the best, ask early stopping, save."""
        t, recipe = self.totals, self.recipe
        validation: Validation | None = None
        last = epoch == recipe.epochs
        if last or epoch % recipe.validation.every == 0:
            began = time.monotonic()
            if self.processes.first:
                validation = self._validate()
            validation = self.processes.tell(validation)
            self.validation_seconds = time.monotonic() - began
            assert validation is not None
            self.protocol = validation.protocol
            if recipe.optimiser.learn == "all":  # where landmarks alone learn it stands still
                self.task.observe(validation.ap)
            elif math.isnan(validation.losses["landmark"]):
                self.on_event(Note("no validation picture has landmarks: the last epoch is kept, not the best", True))
        steps = max(1, t.steps)
        means = {name: value / steps for name, value in t.losses.items()}
        better = validation is not None and self._judge(epoch, validation)
        if self.processes.first:
            pictures = (t.steps + t.skipped) * recipe.batch_size * self.per_step
            extra = {f"loss/{name}": value for name, value in means.items()}
            extra |= {
                "images_per_second": pictures / max(t.seconds, 1e-9),
                "unreadable_pictures": float(t.unreadable),
            }
            if validation is not None:
                extra |= {"val_recall": validation.recall, "val_time": self.validation_seconds}
                if validation.small is not None:
                    extra |= {"val_map_whole": validation.whole.ap, "val_map_small": validation.small.ap}
                extra |= {f"val_loss/{name}": value for name, value in validation.losses.items()}
            self.monitor.log_epoch_metrics(
                epoch=epoch,
                train_loss=sum(means.values()) if t.steps else math.nan,
                val_loss=validation.loss if validation else None,
                val_map=validation.ap if validation else None,
                learning_rate=self.rate.at(self.step - 1),
                grad_stats=self.gradients.stats(),
                alpha=self.alpha,
                epoch_time=t.seconds + (self.validation_seconds if validation else 0.0),
                extra=extra,
            )
            if better or ((last or self.stopped) and self.best.epoch == 0):
                self._save_best(epoch, validation)
            if self.curves is not None:
                self.curves.add(self.monitor.history[-1])
        self.gradients.reset()
        self.totals = Totals()
        self.save()
        if self.processes.first:
            self.on_event(Epoch(self.name, epoch, recipe.epochs, self.monitor.history[-1], better))

    def _judge(self, epoch: int, validation: Validation) -> bool:
        """Whether a validation is the best so far; notes it if so, and whether the run is to stop early."""
        ap, loss = validation.ap, validation.loss
        if self.recipe.optimiser.learn == "all":
            # of equal APs, such as the zeros of the first epochs, the lower loss is better
            better = ap > self.best.ap or (ap == self.best.ap and loss < self.best.loss)
        else:
            loss = validation.losses["landmark"]
            better = loss < self.best.loss
        if better:
            self.best = Best.of(epoch, validation, loss)
        seen = ap if self.recipe.optimiser.learn == "all" else None  # where landmarks alone learn it stands still
        if self.recipe.stopping.enabled and self.stopper.should_stop(epoch, loss, seen):
            self.stopped = self.stopper.reason
        return better

    def _validate(self) -> Validation:
        """With the averaged weights, on the network itself: its own come back afterwards."""
        if self.compiled:
            self.compiled.use(False)
        torch.backends.cudnn.benchmark = False  # many shapes, each seen once
        own = {name: t.clone() for name, t in self.model.state_dict().items()}
        self.model.load_state_dict(self.average.state)
        try:
            return validate(
                self.model, self.held_out, self.recipe.validation, self.recipe.loss, self.device, self.on_event
            )
        finally:
            self.model.load_state_dict(own)

    def _save_best(self, epoch: int, validation: Validation | None) -> None:
        notes = {"epoch": str(epoch), "start": self.start, "seed": str(self.recipe.seed), "run": self.name}
        if validation is not None:
            notes |= validation.notes()
        save_weights(self.folder.best, self.average.state, self.config, notes)


def _silent(line: str) -> None:
    """The engine's own events say what the monitor's lines would."""
