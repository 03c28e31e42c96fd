"""What the networks of one ``train`` or ``distill`` command share: processes, data, a folder, events, and how each is trained."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from featherface_core.config import ModelConfig
from featherface_core.data.annotation import PictureSource, set_sizes
from featherface_core.data.sets import DataNames, is_synthetic, names_of, open_data
from featherface_core.errors import ConfigError
from featherface_core.events import Note, Plan, RunEvent, RunListener
from featherface_core.files import RUNS, next_folder
from featherface_core.models.checkpoint import (
    Weights,
    load_model,
    load_start,
    start_from,
)
from featherface_core.models.featherface import FeatherFace
from featherface_core.models.heads import Heads, set_prior
from featherface_core.models.params import measure
from featherface_core.models.variants import build_model, resolve_model
from featherface_core.recipe import Recipe
from featherface_core.training.device import Format, choose_format, keep_memory, use_tensor_cores
from featherface_core.training.loader import CachedPictures
from featherface_core.training.loop import Engine, Outcome
from featherface_core.training.order import Order
from featherface_core.training.picture_store import PictureStore, StoreError
from featherface_core.training.preview import save_samples
from featherface_core.training.processes import Processes, find_processes, process_group
from featherface_core.training.report import DistillReport, NetworkRow, TrainReport
from featherface_core.training.run_folder import RunFolder
from featherface_core.training.score_calibration import calibrate_file
from featherface_core.training.task import LabelsTask, Task
from featherface_core.training.validation import Best, describe, validate


@dataclass(frozen=True)
class Where:
    """Where a run is kept. out: its folder, None for the next free one below runs/. resume: go on in that folder.

    force: empty ``out`` first. stop_after: end after this epoch and leave a resumable run, 0 for no such end. command: for the
    first line of config.yaml.
    """

    out: Path | None = None
    resume: bool = False
    force: bool = False
    stop_after: int = 0
    command: str = "featherface train"


@dataclass(frozen=True, kw_only=True)
class CommandRun:
    """What the networks of one command share; ``open_run`` opens and closes it.

    recipe: as given, but with the number format that was chosen. source: the pictures as the run reads them. data_names: of the
    training data, for people. folder: of the whole command.
    """

    recipe: Recipe
    where: Where
    processes: Processes
    device: torch.device
    on_event: RunListener
    source: PictureSource
    held_out: PictureSource
    data_names: str
    format: Format
    folder: RunFolder

    def looked_at(self) -> int:
        """How many pictures this process shows in the whole run, each repeated one once."""
        order = Order.of(self.recipe, set_sizes(self.source), self.processes.rank, self.processes.world)
        return _shown(self.recipe, order, self.processes)

    def student(self, folder: RunFolder, teacher: FeatherFace | None = None) -> tuple[FeatherFace, str]:
        """The network to be trained in ``folder``, at its start, and the start in words; its checkpoint overrides both."""
        model = build_model(resolve_model(self.recipe.model), seed=self.recipe.seed)
        init = self.recipe.init
        if self.where.resume and folder.last.is_file():
            return model, f"random (seed {self.recipe.seed})"
        if init == "teacher":
            assert teacher is not None
            state = {name: t.detach().cpu() for name, t in teacher.state_dict().items()}
            start = start_from(model, state, teacher.config, "the teacher", backbone_only=True)
            return _with_prior(model, self.recipe), start
        return _started(model, self.recipe)

    def teacher(self, config: ModelConfig, given: Weights | None, epochs: int) -> tuple[FeatherFace, NetworkRow, str]:
        """The trained teacher, from its file or from a run of its own first, with its row of the report."""
        if given is not None:
            model = build_model(given.config)
            model.load_state_dict(given.state)
            model = model.to(self.device)
            self.on_event(Note(f"teacher: {config.name} from {given.path}"))
            name = f"{given.path} (sha256 {given.sha256[:12]})"
            row = _row("teacher", given.config, name, "", 0, 0, 0.0, trained=False)
            if self.processes.first:
                v = self.recipe.validation
                result = validate(model, self.held_out, v, self.recipe.loss, self.device, self.on_event)
                row = _with_aps(row, Best.of(0, result, result.loss))
            return model, self.processes.tell(row), describe(self.recipe.validation, self.held_out)
        recipe = replace(
            self.recipe,
            model=config.name,
            init="random" if self.recipe.init == "teacher" else self.recipe.init,
            epochs=epochs or self.recipe.epochs,
        )
        self.on_event(Note(f"no teacher weights are named: a {config.name} is trained first (epochs: {recipe.epochs})"))
        model = build_model(config, seed=recipe.seed)
        model, start = _started(model, recipe)
        report = self.part("teacher", model, start, LabelsTask(recipe.loss, self.processes), recipe)
        trained = load_model(RunFolder(self.folder.path / "teacher").best, device=str(self.device))
        return trained, report.network, report.protocol

    def part(self, role: str, model: FeatherFace, start: str, task: Task, recipe: Recipe) -> TrainReport:
        """A run within this one, in the folder of its role; one that is finished is not done again."""
        path = self.folder.path / role
        folder = RunFolder(path)
        old = self.processes.tell(folder.read_report() if self.processes.first else None)
        if old is not None:
            return TrainReport(**{**old, "network": NetworkRow(**old["network"])})
        if self.processes.first and not folder.config.is_file():
            path.mkdir(exist_ok=True)
            folder.write_config(
                recipe, {"task": "train", "part_of": str(self.folder.path)}, f"part of {self.folder.path}"
            )
            folder.write_environment(self.device, self.processes.world)
        report = self.fitted(role, folder, model, start, task, recipe)
        self.finish(folder, report)
        self.processes.tell(None)  # until the first has written its weights, the others must not read them
        return report

    def fitted(
        self, role: str, folder: RunFolder, model: FeatherFace, start: str, task: Task, recipe: Recipe
    ) -> TrainReport:
        """Train one network in its folder, from its checkpoint if there is one."""
        engine = Engine(
            role,
            model,
            task,
            self.source,
            self.held_out,
            recipe,
            folder,
            self.processes,
            self.device,
            self.on_event,
            start,
        )
        resumed = engine.resume()
        if self.processes.first and not resumed:
            save_samples(folder, engine.pictures, recipe)
        self.tell_plan(
            role,
            [
                ("network", f"{model.config.name}, start: {engine.start}"),
                ("data", f"{len(self.source):,} pictures of {self.source.name}"),
                *self._weights(recipe),
                ("validation", f"{len(self.held_out):,} pictures of {self.held_out.name}"),
                (
                    "epochs",
                    f"{recipe.epochs} of {engine.steps} steps, {recipe.batch_size} pictures of {recipe.size} px each",
                ),
                ("number format", self.format.words),
                ("resumed", f"at step {engine.step:,} of {engine.steps * recipe.epochs:,}")
                if resumed
                else ("run", str(folder.path)),
            ],
        )
        # --stop-after counts the epochs of the run that was asked for, not those of its teacher or control
        outcome = engine.fit(self.where.stop_after if folder.path == self.folder.path else 0)
        calibrated = recipe.calibration.sizes and recipe.optimiser.learn == "all"  # it would move scores
        if outcome.finished and calibrated and self.processes.first:
            said = calibrate_file(folder.best, self.held_out, recipe, self.on_event)
            self.on_event(Note(f"scores shifted, in log odds by anchor size: {said}"))
        return self._report(role, folder, model.config, engine.start, recipe, outcome)

    def _weights(self, recipe: Recipe) -> list[tuple[str, str]]:
        """A row of the plan, where some sets come more often than others."""
        pairs = zip(recipe.set_weights, self.source.sets, strict=False)
        said = ", ".join(f"{name} {weight:g}" for weight, (name, _) in pairs)
        return [("set weights", said)] if said else []

    def _report(
        self, role: str, folder: RunFolder, config: ModelConfig, start: str, recipe: Recipe, outcome: Outcome
    ) -> TrainReport:
        row = _row(role, config, str(folder.best), start, outcome.epochs, outcome.best.epoch, outcome.seconds)
        if outcome.best.epoch:
            row = _with_aps(row, outcome.best)
        return TrainReport(
            str(folder.path),
            row,
            outcome.protocol,
            self.data_names,
            recipe.epochs,
            outcome.finished,
            outcome.stopped,
            outcome.health,
        )

    def finish(self, folder: RunFolder, report: TrainReport | DistillReport) -> None:
        """Keep the report of a run that is done; one that stopped early stays resumable."""
        if self.processes.first and report.finished:
            folder.write_report(report)

    def tell_plan(self, role: str, rows: list[tuple[str, str]]) -> None:
        """Say what is going to be done."""
        self.on_event(Plan(role, tuple(rows)))


@contextmanager
def open_run(
    recipe: Recipe,
    data: DataNames,
    held_out: DataNames | None,
    where: Where,
    on_event: RunListener,
    task: str,
    kept: dict[str, Any],
) -> Iterator[CommandRun]:
    """Open what the networks of one command share, and close it at the end of the block.

    kept: what config.yaml says besides the recipe, the task and the data. What is wrong with the recipe, the data or the folder
    is raised before this process meets the others. Raises FeatherFaceError's subclasses; an interruption names the command that
    goes on.
    """
    processes, device = find_processes(recipe.machine.device)
    listen: RunListener = on_event if processes.first else _quiet
    config = _checked_model(recipe, processes, where)
    source, validated = open_data(data, held_out, listen)
    # refuses weights that do not fit the sets
    order = Order.of(recipe, set_sizes(source), processes.rank, processes.world)
    if recipe.machine.threads:
        torch.set_num_threads(recipe.machine.threads)
    use_tensor_cores(device)
    if device.type == "cpu":
        keep_memory()
    chosen: tuple[Format, Path] | None = None
    if processes.first:  # the run's folder keeps the number format, and one that is resumed goes on in its own
        pixels = 0 if where.resume else _shown(recipe, order, processes) * recipe.repeats * recipe.size**2
        number_format = choose_format(recipe, config, device, pixels)
        described = {"task": task, "data": _kept(data), "val": _kept(held_out), **kept}
        made = _folder(_with_format(recipe, number_format), where, f"{config.name}-{task}", described)
        made.write_environment(device, processes.world)
        chosen = number_format, made.path
    with process_group(processes, device):
        number_format, path = processes.tell(chosen)
        recipe = _with_format(recipe, number_format)
        try:
            yield CommandRun(
                recipe=recipe,
                where=where,
                processes=processes,
                device=device,
                on_event=listen,
                source=_in_memory(source, recipe, device, listen),
                held_out=validated,
                data_names=source.name,
                format=number_format,
                folder=RunFolder(path),
            )
        except KeyboardInterrupt:
            listen(Note(f"stopped; go on with: featherface {task} --resume {path}", warning=True))
            raise


def _checked_model(recipe: Recipe, processes: Processes, where: Where) -> ModelConfig:
    """The model that is to be trained. Raises ConfigError or WeightsError before any picture is read or a folder is made."""
    if recipe.batch_size % processes.world:
        raise ConfigError(
            f"--batch-size {recipe.batch_size} does not divide among {processes.world} processes",
            f"use {max(1, recipe.batch_size // processes.world) * processes.world}",
        )
    if recipe.optimiser.learn == "landmarks":
        _check_landmarks(recipe)
    config = resolve_model(recipe.model)
    if recipe.init not in ("random", "teacher") and not where.resume:
        start = load_start(build_model(config), recipe.init)
        if recipe.optimiser.learn == "landmarks" and not start.startswith("all weights"):
            raise ConfigError(
                f"optimiser.learn landmarks leaves all but the landmark heads as it starts: {start} is not enough",
                f"name trained weights of {config.name} with --init",
            )
    return config


def _with_format(recipe: Recipe, number_format: Format) -> Recipe:
    return replace(recipe, machine=replace(recipe.machine, amp=number_format.amp))


def _folder(recipe: Recipe, where: Where, name: str, described: dict[str, Any]) -> RunFolder:
    """The run's folder, with its config.yaml: that of an earlier run to resume, or a new one."""
    if where.resume:
        assert where.out is not None
        return RunFolder.existing(where.out)
    folder = RunFolder.create(where.out or next_folder(RUNS, name), where.force)
    named = replace(recipe, model=kept_name(recipe.model), init=kept_name(recipe.init))
    folder.write_config(named, described, where.command)
    return folder


def _in_memory(source: PictureSource, recipe: Recipe, device: torch.device, on_event: RunListener) -> PictureSource:
    """The pictures as the run reads them: in a store that its device paints from, in memory, or as they are."""
    machine = recipe.machine
    if machine.paint == "device" or (machine.paint == "auto" and device.type == "cuda"):
        try:
            return PictureStore(source, machine.cache_gb, device, on_event)
        except StoreError as problem:
            said = f"OpenCV paints the training pictures: {problem.message}; {problem.hint}"
            on_event(Note(said, warning=machine.paint == "device"))
    if machine.cache_gb:
        return CachedPictures(source, machine.cache_gb, on_event)
    return source


def _shown(recipe: Recipe, order: Order, processes: Processes) -> int:
    """How many pictures one process shows in the whole run, each repeated one once."""
    return recipe.epochs * order.steps * recipe.batch_size // (processes.world * recipe.repeats)


def _started(model: FeatherFace, recipe: Recipe) -> tuple[FeatherFace, str]:
    """``model``, fresh from ``recipe.seed``, at the recipe's start, and the start in words."""
    if recipe.init == "random":
        return _with_prior(model, recipe), f"random (seed {recipe.seed})"
    fresh = [weight.clone() for weight in _class_weights(model)]
    start = load_start(model, recipe.init)
    if all(torch.equal(old, new) for old, new in zip(fresh, _class_weights(model), strict=True)):
        model = _with_prior(model, recipe)
    return model, start


def _with_prior(model: FeatherFace, recipe: Recipe) -> FeatherFace:
    """``model``, whose class heads are untrained; for a focal loss they start at its prior."""
    if recipe.loss.classification != "cross-entropy":
        assert isinstance(model.heads, Heads)
        set_prior(model.heads, recipe.loss.prior)
    return model


def _class_weights(model: FeatherFace) -> list[Tensor]:
    return [t for name, t in model.heads.state_dict().items() if name.endswith("classes.weight")]


def _check_landmarks(recipe: Recipe) -> None:
    """Raise ConfigError where landmark heads cannot learn alone."""
    if recipe.init in ("random", "teacher"):
        raise ConfigError(
            f"optimiser.learn landmarks leaves all but the landmark heads as it starts, and --init {recipe.init} is no start",
            "name trained weights, for example --init v2",
        )
    if not recipe.loss.landmark:
        raise ConfigError("loss.landmark 0 teaches landmark heads nothing", "use --set loss.landmark=1")


def _row(
    role: str,
    config: ModelConfig,
    weights: str,
    start: str,
    epochs: int,
    best: int,
    seconds: float,
    trained: bool = True,
) -> NetworkRow:
    total = measure(config, 640, None).total
    macs = total.macs + total.deformable_macs
    return NetworkRow(
        role, config.name, None, None, total.parameters, macs, weights, start, epochs, best, seconds, trained
    )


def _with_aps(row: NetworkRow, best: Best) -> NetworkRow:
    ap, recall, whole, small = (_number(value) for value in (best.ap, best.recall, best.whole, best.small))
    return replace(row, ap=ap, recall=recall, ap_whole=whole, ap_small=small)


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def kept_name(name: str) -> str:
    """A file's name so that it is found from any folder; a word, such as a variant's name, as it is."""
    return str(Path(name).resolve()) if Path(name).is_file() else name


def _kept(data: DataNames | None) -> str | list[str] | None:
    """The data sets so that they are found from any folder; one alone as a plain text."""
    if data is None:
        return None
    names = [name if is_synthetic(name) else str(Path(name).resolve()) for name in names_of(data)]
    return names[0] if len(names) == 1 else names


def _quiet(event: RunEvent) -> None:
    """The listener of all processes but the first."""
