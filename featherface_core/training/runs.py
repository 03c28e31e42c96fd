"""Whole runs: ``train`` teaches one network, ``distill`` a student by a teacher, beside a control where wanted."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from featherface_core.checkpoint import (
    Weights,
    load_model,
    load_start,
    load_weights,
    start_from,
)
from featherface_core.config import ModelConfig, check_range, configs_folder, with_values
from featherface_core.data.open import SYNTHETIC, open_data
from featherface_core.distill import Teacher
from featherface_core.errors import ConfigError, WeightsError
from featherface_core.events import Note, Plan, RunEvent, RunListener
from featherface_core.models.featherface import FeatherFace
from featherface_core.models.variants import build_model, resolve_model
from featherface_core.params import measure
from featherface_core.recipe import Recipe
from featherface_core.run_folder import RUNS, next_folder
from featherface_core.training.alpha import AlphaSchedule
from featherface_core.training.calibration import calibrate_file
from featherface_core.training.engine import Engine, Outcome
from featherface_core.training.folder import RunFolder
from featherface_core.training.loader import CachedPictures
from featherface_core.training.order import ECHO, Order
from featherface_core.training.processes import join, leave
from featherface_core.training.reports import DistillReport, NetworkRow, TrainReport
from featherface_core.training.samples import save_samples
from featherface_core.training.tasks import DistillTask, LabelsTask, Task
from featherface_core.training.validation import describe, validate

# makes the teacher of a network, for a run of this recipe in which it looks at so many pictures
MakeTeacher = Callable[[FeatherFace, Recipe, int, RunListener], Teacher]


def teacher_in_torch(model: FeatherFace, recipe: Recipe, pictures: int, on_event: RunListener) -> Teacher:
    """The plain MakeTeacher."""
    return Teacher(model)


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


def default_recipe(model: str, data: str) -> Path:
    """The recipe that fits what was named: the embedded data set's, else the model's at full length."""
    name = "synthetic" if data.partition(":")[0] == SYNTHETIC else "v2-widerface" if model == "v2" else "v1-widerface"
    return configs_folder() / "recipes" / f"{name}.yaml"


def train(recipe: Recipe, data: str, held_out: str | None, where: Where, on_event: RunListener) -> TrainReport:
    """Train ``recipe.model`` on ``data`` and return what came of it; the run's folder holds the rest.

    data, held_out: see data.open.open_data. Raises StoppedError when interrupted, after saving; FeatherFaceError subclasses
    for what cannot be used.
    """
    if recipe.init == "teacher":
        raise ConfigError("--init teacher goes with featherface distill", "name a file with --init, or random")
    with _Run(recipe, data, held_out, where, on_event, "train", {}) as run:
        model, start = run.student(run.folder)
        report = run.fitted("model", run.folder, model, start, LabelsTask(recipe.loss, run.processes), recipe)
        run.finish(run.folder, report)
        return report


def distill(
    recipe: Recipe,
    data: str,
    held_out: str | None,
    teacher: str,
    teacher_weights: Path | None,
    control: bool,
    teacher_epochs: int,
    where: Where,
    on_event: RunListener,
    make_teacher: MakeTeacher = teacher_in_torch,
) -> DistillReport:
    """Train ``recipe.model`` by the network ``teacher`` and return how they, and the control, compare.

    teacher: a variant's name or YAML file. teacher_weights: its weights; None trains one first, on the same data, for
    ``teacher_epochs`` epochs (0: as many as the student). control: train the student's network without a teacher too, with
    the same start, seed, data and epochs. Raises as ``train`` does, and WeightsError for weights of another network.
    """
    kept = {
        "teacher": _kept_name(teacher),
        "teacher_weights": str(teacher_weights.resolve()) if teacher_weights else None,
        "control": control,
        "teacher_epochs": teacher_epochs,
    }
    config = resolve_model(teacher)
    given = _teacher_file(teacher_weights, config) if teacher_weights else None
    schedule = _alpha(recipe)
    check_range("--teacher-epochs", teacher_epochs, 0, 1_000_000)
    with _Run(recipe, data, held_out, where, on_event, "distill", kept) as run:
        distils = schedule.distils
        run.tell_plan(
            "distill",
            [
                ("teacher", config.name),
                ("student", recipe.model),
                ("alpha", schedule.describe().removeprefix("alpha ")),
                *_alpha_rows(schedule),
            ],
        )
        if distils or recipe.init == "teacher":
            taught, row, protocol = run.teacher(config, given, teacher_epochs)
        else:
            taught, row, protocol = None, None, ""
        model, start = run.student(run.folder, taught)
        if taught is None or not distils:
            task: Task = LabelsTask(recipe.loss, run.processes)
        else:
            width, remembered = model.config.width, ECHO if recipe.repeats > 1 else 0
            frozen = make_teacher(taught, recipe, run.looked_at(), run.on_event)
            task = DistillTask(
                recipe.loss, recipe.distill, frozen, width, schedule, run.processes, recipe.seed, remembered
            )
        student = run.fitted("student", run.folder, model, start, task, recipe)
        rows = [student.network] + ([row] if row else [])
        beside: TrainReport | None = None
        if control and student.finished:
            model, start = run.student(RunFolder(run.folder.path / "control"), taught)
            plain = LabelsTask(recipe.loss, run.processes)
            beside = run.part("control", model, start, plain, recipe)
            rows.append(beside.network)
        report = DistillReport(
            str(run.folder.path),
            tuple(rows),
            student.protocol or protocol,
            run.data_names,
            schedule.describe().removeprefix("alpha "),
            student.finished and (not control or (beside is not None and beside.finished)),
            student.stopped,
            student.network.gain_over(row),
            student.network.gain_over(beside.network if beside else None),
            student.health,
        )
        run.finish(run.folder, report)
        return report


def resume(
    path: Path,
    task: str,
    stop_after: int,
    on_event: RunListener,
    machine: Mapping[str, Any] | None = None,
    make_teacher: MakeTeacher = teacher_in_torch,
) -> TrainReport | DistillReport:
    """Go on with the run in the folder ``path``, with the recipe and the data that it keeps.

    task: ``train`` or ``distill``. machine: values of MachineConfig that replace those kept, such as ``workers``. Raises
    ConfigError if it is no run folder of that task, or its run is finished.
    """
    folder = RunFolder.existing(path)
    recipe, kept = folder.read_config()
    if "part_of" in kept:
        raise ConfigError(f"the run in {path} is a part of another", f"featherface distill --resume {kept['part_of']}")
    if kept.get("task") != task:
        raise ConfigError(f"the run in {path} is not of {task}", f"featherface {kept.get('task')} --resume {path}")
    if folder.read_report() is not None:
        raise ConfigError(f"the run in {path} is finished", f"its weights are {folder.best}; begin another with --out")
    needed = ["data", "val"] + (
        ["teacher", "teacher_weights", "control", "teacher_epochs"] if task == "distill" else []
    )
    if missing := [key for key in needed if key not in kept]:
        raise ConfigError(f"{folder.config} lacks the key {missing[0]!r}", "put it back, or begin anew with --force")
    recipe = with_values(recipe, {"machine": dict(machine or {})}, "the command line")
    where = Where(path, True, False, stop_after)
    if task == "train":
        return train(recipe, kept["data"], kept["val"], where, on_event)
    return distill(
        recipe,
        kept["data"],
        kept["val"],
        kept["teacher"],
        Path(kept["teacher_weights"]) if kept["teacher_weights"] else None,
        kept["control"],
        kept["teacher_epochs"],
        where,
        on_event,
        make_teacher,
    )


class _Run:
    """What the networks of one command share: processes, data, folder and events."""

    def __init__(
        self,
        recipe: Recipe,
        data: str,
        held_out: str | None,
        where: Where,
        on_event: RunListener,
        task: str,
        kept: dict[str, Any],
    ) -> None:
        self.recipe, self.where, self.task = recipe, where, task
        self.processes, self.device = join(recipe.machine.device)
        self.on_event: RunListener = on_event if self.processes.first else _quiet
        if recipe.batch_size % self.processes.world:
            raise ConfigError(
                f"--batch-size {recipe.batch_size} does not divide among {self.processes.world} processes",
                f"use {max(1, recipe.batch_size // self.processes.world) * self.processes.world}",
            )
        if recipe.machine.threads:
            torch.set_num_threads(recipe.machine.threads)
        # a wrong name or file is said before any picture is read, and before there is a folder
        config = resolve_model(recipe.model)
        if recipe.init not in ("random", "teacher") and not where.resume:
            load_start(build_model(config), recipe.init)
        self.source, self.held_out = open_data(data, held_out, self.on_event)
        self.data_names = self.source.name
        self.folder = self._folder(f"{config.name}-{task}", task, data, held_out, kept)

    def _folder(self, name: str, task: str, data: str, held_out: str | None, kept: dict[str, Any]) -> RunFolder:
        where = self.where
        if self.processes.first:
            if where.resume:
                assert where.out is not None
                folder = RunFolder.existing(where.out)
            else:
                folder = RunFolder.create(where.out or next_folder(RUNS, name), where.force)
                more = {"task": task, "data": _absolute(data), "val": _absolute(held_out), **kept}
                recipe = replace(self.recipe, model=_kept_name(self.recipe.model), init=_kept_name(self.recipe.init))
                folder.write_config(recipe, more, where.command)
            folder.write_environment(self.device, self.processes.world)
        return RunFolder(Path(self.processes.tell(str(folder.path) if self.processes.first else None)))

    def __enter__(self) -> "_Run":
        if self.recipe.machine.cache_gb:
            try:
                self.source = CachedPictures(self.source, self.recipe.machine.cache_gb, self.on_event)
            except KeyboardInterrupt:
                self.__exit__(KeyboardInterrupt)
                raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            go_on = f"featherface {self.task} --resume {self.folder.path}"
            self.on_event(Note(f"stopped; go on with: {go_on}", warning=True))
        leave()

    def looked_at(self) -> int:
        """How many pictures this process shows in the whole run, each repeated one once."""
        order = Order.of(self.recipe, len(self.source), self.processes.rank, self.processes.world)
        shown = self.recipe.epochs * order.steps * self.recipe.batch_size
        return shown // (self.processes.world * self.recipe.repeats)

    def student(self, folder: RunFolder, teacher: FeatherFace | None = None) -> tuple[FeatherFace, str]:
        """The network to be trained in ``folder``, at its start, and the start in words; its checkpoint overrides both."""
        model = build_model(resolve_model(self.recipe.model), seed=self.recipe.seed)
        init = self.recipe.init
        if init == "random" or (self.where.resume and folder.last.is_file()):
            return model, f"random (seed {self.recipe.seed})"
        if init == "teacher":
            assert teacher is not None
            state = {name: t.detach().cpu() for name, t in teacher.state_dict().items()}
            return model, start_from(model, state, teacher.config, "the teacher", backbone_only=True)
        return model, load_start(model, init)

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
                row = replace(row, ap=_number(result.precision.ap), recall=_number(result.precision.recall))
            return model, self.processes.tell(row), describe(self.recipe.validation, self.held_out)
        recipe = replace(
            self.recipe,
            model=config.name,
            init="random" if self.recipe.init == "teacher" else self.recipe.init,
            epochs=epochs or self.recipe.epochs,
        )
        self.on_event(Note(f"no teacher weights are named: a {config.name} is trained first (epochs: {recipe.epochs})"))
        model = build_model(config, seed=recipe.seed)
        start = f"random (seed {recipe.seed})" if recipe.init == "random" else load_start(model, recipe.init)
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
            save_samples(folder, self.source, recipe)
        self.tell_plan(
            role,
            [
                ("network", f"{model.config.name}, start: {engine.start}"),
                ("data", f"{len(self.source):,} pictures of {self.source.name}"),
                (
                    "epochs",
                    f"{recipe.epochs} of {engine.steps} steps, {recipe.batch_size} pictures of {recipe.size} px each",
                ),
                ("resumed", f"at step {engine.step:,} of {engine.steps * recipe.epochs:,}")
                if resumed
                else ("run", str(folder.path)),
            ],
        )
        # --stop-after counts the epochs of the run that was asked for, not those of its teacher or control
        outcome = engine.fit(self.where.stop_after if folder.path == self.folder.path else 0)
        if outcome.finished and recipe.calibration.sizes and self.processes.first:
            said = calibrate_file(folder.best, self.held_out, recipe, self.on_event)
            self.on_event(Note(f"scores shifted, in log odds by anchor size: {said}"))
        return self._report(role, folder, model.config, engine.start, recipe, outcome)

    def _report(
        self, role: str, folder: RunFolder, config: ModelConfig, start: str, recipe: Recipe, outcome: Outcome
    ) -> TrainReport:
        row = _row(role, config, str(folder.best), start, outcome.epochs, outcome.best_epoch, outcome.seconds)
        if outcome.best_epoch:
            row = replace(row, ap=outcome.best_ap, recall=outcome.best_recall)
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


def _teacher_file(path: Path, config: ModelConfig) -> Weights:
    """The teacher's weights, or an error in the words of this command."""
    try:
        return load_weights(path, config)
    except WeightsError as problem:
        hint = problem.hint.replace(", or leave --model out", "").replace("--model", "--teacher")
        raise WeightsError(problem.message, hint, problem.details) from None


def _alpha(recipe: Recipe) -> AlphaSchedule:
    d = recipe.distill
    return AlphaSchedule(
        *d.alpha,
        d.strategy,
        recipe.epochs,
        adapt=d.shrink,
        late_cap=0.4 if d.late_cap else None,
        bounds=(0.1, 0.9) if d.bounds else None,
    )


def _alpha_rows(schedule: AlphaSchedule) -> list[tuple[str, str]]:
    table = schedule.table()
    return [("at epoch", "  ".join(f"{epoch}: {alpha:.2f}" for epoch, alpha in table))]


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


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _kept_name(name: str) -> str:
    """A file's name so that it is found from any folder; a word, such as a variant's name, as it is."""
    return str(Path(name).resolve()) if Path(name).is_file() else name


def _absolute(data: str | None) -> str | None:
    if data is None or data.partition(":")[0] == SYNTHETIC:
        return data
    return str(Path(data).resolve())


def _quiet(event: RunEvent) -> None:
    """The listener of all processes but the first."""
