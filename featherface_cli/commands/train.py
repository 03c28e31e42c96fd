"""The command ``train``, and what it shares with ``distill``."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import typer

from featherface_cli import options as o
from featherface_cli.parser import command_line, given, grouped

if TYPE_CHECKING:
    from featherface_core.data.sets import DataNames
    from featherface_core.events import RunListener
    from featherface_core.recipe import Recipe
    from featherface_core.training.setup import Where

    Work = Callable[[RunListener], Any]

OURS = ("resume", "nproc", "monitor", "as_json", "quiet")  # of no interest to the run itself


@grouped
def train(ctx: typer.Context, data: o.Training, start: o.TrainStart, settings: o.Settings, run: o.Run) -> None:
    """Train a detector on labelled pictures, or on the drawn ones that need no download.

    Examples:

        featherface train --model v2 --data widerface/ --init mobilenetV1X0.25_pretrain.tar

        featherface train --model v2 --data faces/ --recipe recipes/cpu.yaml --init v2

        featherface train --data faces/ --data more/ --set set_weights=[1,0.5]

        featherface train --resume runs/v2-train-1
    """
    from featherface_cli.screens.train_screen import show_train
    from featherface_core.training.runs import train as core_train

    if run.resume is not None:
        work = resumption(ctx, run, settings)
    else:
        recipe, names, where = plan(data, start | settings, run)
        work = partial(core_train, recipe, names, data.val or None, where)
    carry_out(work, "train", run, show_train)


def plan(data: o.DataOptions, changes: dict[str, Any], run: o.RunOptions) -> "tuple[Recipe, DataNames, Where]":
    """The recipe, the data and the place of a new run."""
    from featherface_core.config import SYNTHETIC
    from featherface_core.recipe import make_recipe
    from featherface_core.training.runs import default_recipe
    from featherface_core.training.setup import Where

    names = data.data or SYNTHETIC
    file = data.recipe or default_recipe(changes.get("model", "v2"), names)
    recipe = make_recipe(file, changes, data.overrides or ())
    return recipe, names, Where(run.out, False, run.force, run.stop_after, command_line())


def resumption(ctx: typer.Context, run: o.RunOptions, settings: dict[str, Any]) -> "Work":
    """The work that is left of the run in ``run.resume``, of the command in ``ctx``; settings: of the machine alone."""
    from featherface_core.training.runs import check_resume, resume

    assert run.resume is not None
    check_resume(name for name in given(ctx) if name not in OURS)
    machine = {key.removeprefix("machine."): value for key, value in settings.items()}
    return partial(resume, run.resume, str(ctx.command.name), run.stop_after, machine=machine)


def carry_out(work: "Work", command: str, run: o.RunOptions, show: Callable[[Any], None]) -> None:
    """Do the work here, or again in several processes, and show its report."""
    from featherface_cli.launch import launch
    from featherface_cli.progress import training_display
    from featherface_cli.screens.console import print_json
    from featherface_core.training.processes import is_first

    if run.nproc > 1:
        launch(run.nproc)
        return
    with training_display(run.quiet or run.as_json or not is_first(), run.monitor) as listen:
        report = work(listen)
    if is_first():
        print_json(report, command) if run.as_json else show(report)
