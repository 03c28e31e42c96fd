"""The command ``distill``."""

from functools import partial

import typer

from featherface_cli import options as o
from featherface_cli.commands.train import carry_out, plan, resumption
from featherface_cli.parser import grouped


@grouped
def distill(
    ctx: typer.Context,
    lesson: o.Lesson,
    teacher: o.Teacher,
    data: o.Training,
    start: o.DistillStart,
    settings: o.Settings,
    run: o.Run,
) -> None:
    """Teach a small detector by a larger one, with a weight alpha that falls, and compare the two.

    Examples:

        featherface distill --alpha 0.8:0.5

        featherface distill --alpha 0.8:0.5 --data widerface/ --init teacher --control

        featherface distill --resume runs/v2-distill-1
    """
    from featherface_cli.screens.train_screen import show_distill
    from featherface_core.training.runs import distill as core_distill
    from featherface_core.training.runs import find_teacher

    if run.resume is not None:
        work = resumption(ctx, run, settings)
    else:
        recipe, names, where = plan(data, lesson | start | settings, run)
        weights = find_teacher(teacher.teacher, teacher.teacher_weights, names)
        work = partial(
            core_distill,
            recipe,
            names,
            data.val or None,
            teacher.teacher,
            weights,
            teacher.control,
            teacher.teacher_epochs,
            where,
        )
    carry_out(work, "distill", run, show_distill)
