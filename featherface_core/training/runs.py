"""Whole runs: ``train`` teaches one network, ``distill`` a student by a teacher, beside a control where wanted."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from featherface_core.config import ModelConfig, check_range, configs_folder, with_values
from featherface_core.data.sets import DataNames, is_synthetic
from featherface_core.errors import ConfigError, ParameterError, WeightsError
from featherface_core.events import RunListener
from featherface_core.models.checkpoint import (
    Weights,
    load_weights,
)
from featherface_core.models.variants import resolve_model, shipped_weights
from featherface_core.recipe import MOST_EPOCHS, Recipe
from featherface_core.training.alpha import BOUNDS, LATE_CAP, AlphaSchedule
from featherface_core.training.order import ECHO
from featherface_core.training.processes import find_processes
from featherface_core.training.records import RunFolder
from featherface_core.training.report import DistillReport, TrainReport
from featherface_core.training.setup import Where, kept_name, open_run
from featherface_core.training.task import DistillTask, LabelsTask, Task
from featherface_core.training.teacher import check_runtime


def default_recipe(model: str, data: DataNames) -> Path:
    """The recipe that fits what was named: the embedded data set's where it is all, else the model's at full length."""
    name = "synthetic" if is_synthetic(data) else "v2-widerface" if model == "v2" else "v1-widerface"
    return configs_folder() / "recipes" / f"{name}.yaml"


def find_teacher(teacher: str, named: str | None, data: DataNames) -> Path | None:
    """The file of a teacher's weights, None where it has to be trained first.

    teacher: a variant's name or YAML file. named: a file, or ``train``; None for the weights that ship, which fit all but drawn
    faces: they were trained on photographs.
    """
    if named is not None:
        return None if named == "train" else Path(named)
    return None if is_synthetic(data) else shipped_weights(resolve_model(teacher))


def train(
    recipe: Recipe, data: DataNames, held_out: DataNames | None, where: Where, on_event: RunListener
) -> TrainReport:
    """Train ``recipe.model`` on ``data`` and return what came of it; the run's folder holds the rest.

    data, held_out: see data.sets.open_data. Raises StoppedError when interrupted, after saving; FeatherFaceError subclasses
    for what cannot be used.
    """
    if recipe.init == "teacher":
        raise ConfigError("--init teacher goes with featherface distill", "name a file with --init, or random")
    with open_run(recipe, data, held_out, where, on_event, "train", {}) as run:
        recipe = run.recipe
        model, start = run.student(run.folder)
        report = run.fitted("model", run.folder, model, start, LabelsTask(recipe.loss, run.processes), recipe)
        run.finish(run.folder, report)
        return report


def distill(
    recipe: Recipe,
    data: DataNames,
    held_out: DataNames | None,
    teacher: str,
    teacher_weights: Path | None,
    control: bool,
    teacher_epochs: int,
    where: Where,
    on_event: RunListener,
) -> DistillReport:
    """Train ``recipe.model`` by the network ``teacher`` and return how they, and the control, compare.

    teacher: a variant's name or YAML file. teacher_weights: its weights, a file or a name that ships; None trains one first,
    on the same data, for ``teacher_epochs`` epochs (0: as many as the student). control: train the student's network without
    a teacher too, with the same start, seed, data and epochs. Raises as ``train`` does, and WeightsError for weights of
    another network.
    """
    kept = {
        "teacher": kept_name(teacher),
        "teacher_weights": kept_name(str(teacher_weights)) if teacher_weights else None,
        "control": control,
        "teacher_epochs": teacher_epochs,
    }
    config = resolve_model(teacher)
    given = _teacher_file(teacher_weights, config) if teacher_weights else None
    if recipe.optimiser.learn == "landmarks" and given is None:
        raise ConfigError(
            "optimiser.learn landmarks trains no teacher first: its other heads would stay as they start",
            "name trained weights with --teacher-weights",
        )
    schedule = _alpha(recipe)
    check_range("--teacher-epochs", teacher_epochs, 0, MOST_EPOCHS)
    if schedule.distils:
        check_runtime(recipe.machine.teacher, find_processes(recipe.machine.device)[1])
    with open_run(recipe, data, held_out, where, on_event, "distill", kept) as run:
        recipe = run.recipe
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
            from featherface_core.training.onnx_teacher import make_teacher  # loads the exporter

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


RENEWED = ("device", "threads", "workers", "stop_after")  # what a resumed run may be given anew


def check_resume(given: Iterable[str]) -> None:
    """Raise ParameterError where a resumed run is given what its folder keeps.

    given: names of what the caller chose, ``resume`` left out; all but ``RENEWED`` are refused.
    """
    for name in given:
        if name not in RENEWED:
            raise ParameterError(f"`{name}` does not go with `resume`: the run's folder keeps it", "leave it out")


def resume(
    path: Path,
    task: str,
    stop_after: int,
    on_event: RunListener,
    machine: Mapping[str, Any] | None = None,
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
    )


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
        late_cap=LATE_CAP if d.late_cap else None,
        bounds=BOUNDS if d.bounds else None,
    )


def _alpha_rows(schedule: AlphaSchedule) -> list[tuple[str, str]]:
    table = schedule.table()
    return [("at epoch", "  ".join(f"{epoch}: {alpha:.2f}" for epoch, alpha in table))]
