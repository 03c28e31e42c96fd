"""The options that train and distill share, and the recipe that they make with a recipe file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from featherface_core.config import parse_overrides, with_values
from featherface_core.errors import ConfigError
from featherface_core.recipe import Recipe, load_recipe

DATA, MODEL, OPTIM, STOP, RUN = "Data", "Network and recipe", "Optimiser", "Early stopping", "Run and machine"


def _option(*names: str, panel: str, text: str, metavar: str | None = None, least: int | None = None) -> Any:
    return typer.Option(*names, rich_help_panel=panel, help=text, metavar=metavar, min=least)


Data = Annotated[
    list[str] | None,
    _option(
        "--data",
        "-d",
        panel=DATA,
        metavar="DIR|synthetic",
        text="Labelled pictures in any format that `data check` reads; synthetic, or synthetic:N, for drawn faces, which is "
        "the default. May be repeated.",
    ),
]
Val = Annotated[
    list[str] | None,
    _option(
        "--val",
        panel=DATA,
        metavar="DIR",
        text="Pictures to validate on; may be repeated. Default: the val part of each --data, else every tenth picture.",
    ),
]
RecipeFile = Annotated[
    Path | None,
    _option(
        "--recipe",
        "-r",
        panel=MODEL,
        metavar="YAML",
        text="Default: recipes/synthetic.yaml for drawn faces, else recipes/MODEL-widerface.yaml.",
    ),
]
Overrides = Annotated[
    list[str] | None,
    _option(
        "--set",
        panel=MODEL,
        metavar="KEY=VALUE",
        text="Change any key of the recipe, e.g. augment.mosaic=0.5; may be repeated.",
    ),
]
Epochs = Annotated[int | None, _option("--epochs", "-e", panel=MODEL, text="Epochs to train.")]
BatchSize = Annotated[
    int | None, _option("--batch-size", "-b", panel=MODEL, text="Pictures a batch, over all processes.")
]
Size = Annotated[
    int | None, _option("--size", panel=MODEL, text="Side of the square input in pixels, a multiple of 32.")
]
Seed = Annotated[int | None, _option("--seed", panel=MODEL, text="Of weights, order and augmentation.")]
LearningRate = Annotated[float | None, _option("--lr", panel=OPTIM, text="Peak learning rate of AdamW.")]
Warmup = Annotated[
    float | None, _option("--warmup-epochs", panel=OPTIM, text="Epochs to the peak; a fifth of the run at most.")
]
Clip = Annotated[
    float | None,
    _option("--gradient-clip-norm", panel=OPTIM, text="Largest norm of all gradients together; 0 for none."),
]
Accumulate = Annotated[int | None, _option("--accumulate", panel=OPTIM, text="Batches whose gradients make one step.")]
Ema = Annotated[
    float | None, _option("--ema", panel=OPTIM, text="Decay of the averaged weights that are kept; 0 for none.")
]
Monitor = Annotated[
    bool,
    _option("--monitor-gradients", panel=OPTIM, text="Show each epoch's gradient norms (they are always recorded)."),
]
NoEarlyStopping = Annotated[
    bool,
    _option("--no-early-stopping", panel=STOP, text="Train all epochs."),
]
Patience = Annotated[
    int | None,
    _option(
        "--early-stopping-patience",
        panel=STOP,
        text="Epochs without improvement; half of it inside the optimal window.",
    ),
]
WindowStart = Annotated[
    int | None, _option("--optimal-window-start", panel=STOP, text="First epoch at which a run may stop.")
]
WindowEnd = Annotated[int | None, _option("--optimal-window-end", panel=STOP, text="Last epoch of the optimal window.")]
Device = Annotated[str | None, _option("--device", panel=RUN, text="cpu, cuda, cuda:1, mps, or auto.")]
Threads = Annotated[
    int | None, _option("--threads", panel=RUN, text="CPU threads of the network; 0 lets torch choose.")
]
Workers = Annotated[
    int | None, _option("--workers", panel=RUN, text="Processes that read and vary pictures; 0 for none.")
]
Nproc = Annotated[
    int,
    _option("--nproc", panel=RUN, text="Data parallel processes on this machine, one a device, by torchrun.", least=1),
]
Out = Annotated[
    Path | None,
    _option("--out", "-o", panel=RUN, metavar="DIR", text="Run folder. Default: the next free one below runs/."),
]
Resume = Annotated[
    Path | None,
    _option("--resume", panel=RUN, metavar="DIR", text="Go on with the run in this folder; all else comes from it."),
]
Force = Annotated[bool, _option("--force", panel=RUN, text="Empty the run folder first.")]
StopAfter = Annotated[
    int,
    _option(
        "--stop-after", panel=RUN, text="End after this epoch and leave a run to resume; 0 for no such end.", least=0
    ),
]


def make_recipe(file: Path, options: Mapping[str, Any], overrides: list[str] | None) -> Recipe:
    """The recipe of ``file`` with the options that were given (not None), by dotted key, and ``--set`` on top."""
    recipe = load_recipe(file)
    values: dict[str, Any] = {}
    for key, value in options.items():
        if value is None:
            continue
        place = values
        *parents, last = key.split(".")
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    recipe = with_values(recipe, values, "the command line")
    return with_values(recipe, parse_overrides(overrides or []), "--set")


def refuse_beside_resume(given: Mapping[str, Any]) -> None:
    """Raise ConfigError for options that were given (not None) and that a resumed run's folder keeps."""
    for name, value in given.items():
        if value is not None:
            raise ConfigError(f"{name} does not go with --resume: the run's folder keeps it", "leave it out")
