"""The commands ``train`` and ``distill``."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featherface_cli import train_options as o
from featherface_cli.options import JsonOption, QuietOption, command_line
from featherface_core.config import SYNTHETIC
from featherface_core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from featherface_core.data.sets import DataNames
    from featherface_core.events import RunListener


def train(
    data: o.Data = None,
    val: o.Val = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", metavar="NAME|YAML", help="Default: the recipe's.", rich_help_panel=o.MODEL),
    ] = None,
    recipe: o.RecipeFile = None,
    init: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|v2|random",
            help="Where to start: the ImageNet backbone, or weights of any variant, of which what fits is taken; v1 and v2 "
            "are those that ship.",
            rich_help_panel=o.MODEL,
        ),
    ] = None,
    epochs: o.Epochs = None,
    batch_size: o.BatchSize = None,
    size: o.Size = None,
    seed: o.Seed = None,
    overrides: o.Overrides = None,
    lr: o.LearningRate = None,
    warmup_epochs: o.Warmup = None,
    clip: o.Clip = None,
    accumulate: o.Accumulate = None,
    ema: o.Ema = None,
    monitor: o.Monitor = False,
    no_early_stopping: o.NoEarlyStopping = False,
    patience: o.Patience = None,
    window_start: o.WindowStart = None,
    window_end: o.WindowEnd = None,
    device: o.Device = None,
    threads: o.Threads = None,
    workers: o.Workers = None,
    nproc: o.Nproc = 1,
    out: o.Out = None,
    resume: o.Resume = None,
    force: o.Force = False,
    stop_after: o.StopAfter = 0,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train a detector on labelled pictures, or on the drawn ones that need no download.

    Examples:

        featherface train --model v2 --data widerface/ --init mobilenetV1X0.25_pretrain.tar

        featherface train --model v2 --data faces/ --recipe recipes/cpu.yaml --init v2

        featherface train --data faces/ --data more/ --set set_weights=[1,0.5]

        featherface train --resume runs/v2-train-1
    """
    from featherface_core.training.runs import default_recipe
    from featherface_core.training.runs import resume as go_on
    from featherface_core.training.runs import train as run
    from featherface_core.training.setup import Where

    options = _options(
        epochs,
        batch_size,
        size,
        seed,
        lr,
        warmup_epochs,
        clip,
        accumulate,
        ema,
        False if no_early_stopping else None,
        patience,
        window_start,
        window_end,
        device,
        threads,
        workers,
    )
    options |= {"model": model, "init": init}
    machine = {key: options[f"machine.{key}"] for key in ("device", "threads", "workers")}
    if resume is not None:
        _alone(data, val, recipe, overrides, out, force, options)

        def work(listen: "RunListener") -> Any:
            return go_on(resume, "train", stop_after, listen, _given(machine))
    else:
        made = o.make_recipe(recipe or default_recipe(model or "v2", data or SYNTHETIC), options, overrides)
        where = Where(out, False, force, stop_after, command_line())

        def work(listen: "RunListener") -> Any:
            return run(made, data or SYNTHETIC, val or None, where, listen)

    _carry_out(work, "train", nproc, quiet, monitor, as_json)


def distill(
    alpha: Annotated[
        str | None,
        typer.Option(
            metavar="START:END",
            help="The teacher's weight, 0 to 1, at the first and the last epoch; one number keeps it.",
            rich_help_panel="Distillation",
        ),
    ] = None,
    teacher: Annotated[
        str, typer.Option(metavar="NAME|YAML", help="The network that teaches.", rich_help_panel="Distillation")
    ] = "v1",
    teacher_weights: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|v1|train",
            help="Its weights, or train it first, on the same data. Default: those that ship; on drawn faces, and for a "
            "variant that none ship for, train.",
            rich_help_panel="Distillation",
        ),
    ] = None,
    student: Annotated[
        str | None,
        typer.Option(
            "--student",
            "-m",
            metavar="NAME|YAML",
            help="The network that learns. Default: v2.",
            rich_help_panel="Distillation",
        ),
    ] = None,
    teacher_epochs: Annotated[
        int,
        typer.Option(
            help="Epochs of a teacher that is trained first; 0 for as many as the student.",
            rich_help_panel="Distillation",
        ),
    ] = 0,
    temperature: Annotated[
        float | None, typer.Option(help="That scores are softened by.", rich_help_panel="Distillation")
    ] = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            metavar="linear|cosine|exponential", help="Alpha's way from start to end.", rich_help_panel="Distillation"
        ),
    ] = None,
    no_adapt: Annotated[
        bool,
        typer.Option(
            "--no-adapt",
            help="Without alpha's rules: x0.9 after ten validations without improvement, at most 0.4 in the last fifth, "
            "always within 0.1 to 0.9.",
            rich_help_panel="Distillation",
        ),
    ] = False,
    feature_weight: Annotated[
        float | None, typer.Option(help="Weight of the neck's outputs.", rich_help_panel="Distillation")
    ] = None,
    feature_loss: Annotated[
        str | None,
        typer.Option(metavar="pearson|cwd|mse|none", help="How they are compared.", rich_help_panel="Distillation"),
    ] = None,
    control: Annotated[
        bool,
        typer.Option(
            "--control", help="Train the student without a teacher too, and compare.", rich_help_panel="Distillation"
        ),
    ] = False,
    data: o.Data = None,
    val: o.Val = None,
    recipe: o.RecipeFile = None,
    init: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|v2|teacher|random",
            help="Where the student starts: a file, weights that ship, the teacher's backbone, or random.",
            rich_help_panel=o.MODEL,
        ),
    ] = None,
    epochs: o.Epochs = None,
    batch_size: o.BatchSize = None,
    size: o.Size = None,
    seed: o.Seed = None,
    overrides: o.Overrides = None,
    lr: o.LearningRate = None,
    warmup_epochs: o.Warmup = None,
    clip: o.Clip = None,
    accumulate: o.Accumulate = None,
    ema: o.Ema = None,
    monitor: o.Monitor = False,
    no_early_stopping: o.NoEarlyStopping = False,
    patience: o.Patience = None,
    window_start: o.WindowStart = None,
    window_end: o.WindowEnd = None,
    device: o.Device = None,
    threads: o.Threads = None,
    workers: o.Workers = None,
    nproc: o.Nproc = 1,
    out: o.Out = None,
    resume: o.Resume = None,
    force: o.Force = False,
    stop_after: o.StopAfter = 0,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Teach a small detector by a larger one, with a weight alpha that falls, and compare the two.

    Examples:

        featherface distill --alpha 0.8:0.5

        featherface distill --alpha 0.8:0.5 --data widerface/ --init teacher --control

        featherface distill --resume runs/v2-distill-1
    """
    from featherface_core.training.alpha import parse_alpha
    from featherface_core.training.runs import default_recipe
    from featherface_core.training.runs import distill as run
    from featherface_core.training.runs import resume as go_on
    from featherface_core.training.setup import Where

    options = _options(
        epochs,
        batch_size,
        size,
        seed,
        lr,
        warmup_epochs,
        clip,
        accumulate,
        ema,
        False if no_early_stopping else None,
        patience,
        window_start,
        window_end,
        device,
        threads,
        workers,
    )
    options |= {
        "model": student,
        "init": init,
        "distill.alpha": parse_alpha(alpha) if alpha is not None else None,
        "distill.strategy": strategy,
        "distill.temperature": temperature,
        "distill.feature": feature_weight,
        "distill.features": feature_loss,
        "distill.shrink": False if no_adapt else None,
        "distill.late_cap": False if no_adapt else None,
        "distill.bounds": False if no_adapt else None,
    }
    machine = {key: options[f"machine.{key}"] for key in ("device", "threads", "workers")}
    if resume is not None:
        _alone(
            data,
            val,
            recipe,
            overrides,
            out,
            force,
            {
                **options,
                "--teacher": teacher if teacher != "v1" else None,
                "--teacher-weights": teacher_weights,
                "--teacher-epochs": teacher_epochs or None,
                "--control": control or None,
            },
        )

        def work(listen: "RunListener") -> Any:
            return go_on(resume, "distill", stop_after, listen, _given(machine))
    else:
        made = o.make_recipe(recipe or default_recipe(student or "v2", data or SYNTHETIC), options, overrides)
        where = Where(out, False, force, stop_after, command_line())
        taught = _teacher_file(teacher, teacher_weights, data or SYNTHETIC)

        def work(listen: "RunListener") -> Any:
            return run(
                made,
                data or SYNTHETIC,
                val or None,
                teacher,
                taught,
                control,
                teacher_epochs,
                where,
                listen,
            )

    _carry_out(work, "distill", nproc, quiet, monitor, as_json)


def _teacher_file(teacher: str, given: str | None, data: "DataNames") -> Path | None:
    """The file behind --teacher-weights; None where the teacher is to be trained first."""
    from featherface_core.data.sets import is_synthetic
    from featherface_core.models.variants import resolve_model, shipped_weights

    if given is not None:
        return None if given == "train" else Path(given)
    # the weights that ship have seen photographs, and drawn faces are another world
    return None if is_synthetic(data) else shipped_weights(resolve_model(teacher))


def _options(
    epochs: int | None,
    batch_size: int | None,
    size: int | None,
    seed: int | None,
    lr: float | None,
    warmup: float | None,
    clip: float | None,
    accumulate: int | None,
    ema: float | None,
    stopping: bool | None,
    patience: int | None,
    start: int | None,
    end: int | None,
    device: str | None,
    threads: int | None,
    workers: int | None,
) -> dict[str, Any]:
    """The shared options by their key in a recipe; None where one was not given."""
    return {
        "epochs": epochs,
        "batch_size": batch_size,
        "size": size,
        "seed": seed,
        "optimiser.lr": lr,
        "optimiser.warmup_epochs": warmup,
        "optimiser.clip": clip,
        "optimiser.accumulate": accumulate,
        "optimiser.ema": ema,
        # whoever sets its patience wants it to stop, whatever the recipe says
        "stopping.enabled": True
        if stopping is None and any(v is not None for v in (patience, start, end))
        else stopping,
        "stopping.patience": patience,
        "stopping.window_start": start,
        "stopping.min_epoch": start,
        "stopping.window_end": end,
        "machine.device": device,
        "machine.threads": threads,
        "machine.workers": workers,
    }


def _alone(
    data: list[str] | None,
    val: list[str] | None,
    recipe: Path | None,
    overrides: list[str] | None,
    out: Path | None,
    force: bool,
    options: dict[str, Any],
) -> None:
    """Nothing that the resumed run's folder keeps may be given again; the machine may be another."""
    given: dict[str, Any] = {
        "--data": data or None,
        "--val": val or None,
        "--recipe": recipe,
        "--set": overrides or None,
        "--out": out,
        "--force": force or None,
    }
    given |= {f"the option for {key}": value for key, value in options.items() if not key.startswith("machine.")}
    o.refuse_beside_resume(given)


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value is not None}


def _carry_out(
    work: "Callable[[RunListener], Any]", command: str, nproc: int, quiet: bool, monitor: bool, as_json: bool
) -> None:
    """Do the work here, or again in ``nproc`` processes, and show its report."""
    from featherface_cli import render
    from featherface_cli.render_train import show_distill, show_train
    from featherface_cli.training_display import training_display
    from featherface_core.training.processes import is_first

    if nproc > 1:
        _launch(nproc)
        return
    with training_display(quiet or as_json or not is_first(), monitor) as listen:
        report = work(listen)
    if not is_first():
        return
    if as_json:
        render.print_json(report, command)
    else:
        (show_train if command == "train" else show_distill)(report)


def _launch(nproc: int) -> None:
    """Run this command again in ``nproc`` processes of torch's launcher, without its --nproc."""
    import os
    import signal
    import subprocess

    if "WORLD_SIZE" in os.environ:
        raise ConfigError("--nproc does not go with torchrun, which has started its processes already", "leave it out")
    words, rest = sys.argv[1:], []
    while words:
        word = words.pop(0)
        if word == "--nproc":
            words.pop(0)
        elif not word.startswith("--nproc="):
            rest.append(word)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={nproc}"]
    environment = dict(os.environ)
    # one process a core, unless the caller knows better; torchrun would set it with a warning
    environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // nproc)))
    # a session of its own: a Ctrl-C comes to this process alone, which passes it on once, and waits for all to save
    child = subprocess.Popen([*launcher, "-m", "featherface_cli.app", *rest], env=environment, start_new_session=True)
    stopped = False

    def pass_on(number: int, frame: object) -> None:
        nonlocal stopped
        stopped = True
        child.send_signal(signal.SIGTERM)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        code = child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if code or stopped:
        raise typer.Exit(130 if stopped else 1)
