"""The ``featherface data`` commands: check, convert, count and look at labelled faces."""

from pathlib import Path

import typer

from featherface_cli import options as o
from featherface_cli.parser import Command
from featherface_core.errors import ConfigError

data_app = typer.Typer(
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["--help", "-h"]},
)


@data_app.callback(invoke_without_command=True)
def data(ctx: typer.Context) -> None:
    """Check, convert, count and look at labelled faces: RetinaFace, WIDER FACE, COCO, YOLO and Pascal VOC labels.

    Examples:

        featherface data check faces/

        featherface data preview faces/
    """
    if ctx.invoked_subcommand is None:
        print(ctx.get_help())


@data_app.command(cls=Command)
def check(
    path: o.Labels,
    pictures: o.OpenPictures = True,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Find what ruins a training run: missing and broken pictures, wrong boxes and landmarks, val pictures in train.

    The exit code is 1 where something is found that has to be mended first.

    Examples:

        featherface data check widerface/

        featherface data check widerface/train/label.txt --no-pictures --json
    """
    from featherface_cli.progress import progress_bar
    from featherface_cli.screens.console import print_json
    from featherface_cli.screens.data_screen import show_check
    from featherface_core.data.check import check_data

    with progress_bar("check", quiet or as_json) as on_event:
        report = check_data(path, on_event, pictures)
    if as_json:
        print_json(report, "data check", {"verdict": report.verdict})
    else:
        show_check(report)
    if report.verdict == "fail":
        raise typer.Exit(1)


@data_app.command(cls=Command)
def convert(
    source: o.Source,
    form: o.LabelForm,
    out: o.NewFolder,
    copy: o.Copy = False,
    force: o.OverFiles = False,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Write labels in another format, with links to their pictures, and say what that format cannot hold.

    Examples:

        featherface data convert widerface/ --to yolo --out widerface-yolo

        featherface data convert instances_val.json --to retinaface --out val --copy
    """
    from featherface_cli.progress import progress_bar
    from featherface_cli.screens.console import print_json
    from featherface_cli.screens.data_screen import show_conversion
    from featherface_core.data.convert import convert as run

    with progress_bar("convert", quiet or as_json) as on_event:
        report = run(source, out, form, on_event, copy, force)
    print_json(report, "data convert") if as_json else show_conversion(report)


@data_app.command(cls=Command)
def stats(
    paths: o.Counted,
    out: o.Histograms = None,
    recipe: o.SeenRecipe = None,
    overrides: o.SeenOverrides = None,
    count: o.SeenCount = 1000,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Count faces, their sizes, and how they are spread over the pictures.

    Examples:

        featherface data stats widerface/ --out histograms.png

        featherface data stats faces/ more/

        featherface data stats faces/ --recipe recipes/v2-small-faces.yaml --out seen.png
    """
    from featherface_cli.progress import progress_bar
    from featherface_cli.screens.console import print_json
    from featherface_cli.screens.data_screen import show_stats
    from featherface_core.data.stats import data_stats, with_drawing

    if recipe is not None:
        _seen([str(path) for path in paths], recipe, overrides, count, out, as_json, quiet)
        return
    if overrides:
        raise ConfigError("--set changes a recipe, and none is named", "add --recipe, or leave --set out")
    with progress_bar("stats", quiet or as_json) as on_event:
        report = data_stats(paths, count, on_event=on_event)
    if out is not None:
        report = with_drawing(report, out)
    print_json(report, "data stats") if as_json else show_stats(report)


def _seen(
    data: list[str],
    recipe: Path,
    overrides: list[str] | None,
    count: int,
    out: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Count what a recipe shows the network."""
    from featherface_cli.progress import training_display
    from featherface_cli.screens.console import print_json
    from featherface_cli.screens.data_screen import show_seen
    from featherface_core.recipe import make_recipe
    from featherface_core.training.seen import seen, with_drawing

    made = make_recipe(recipe, {}, overrides or ())
    with training_display(quiet or as_json, False) as listen:
        report = seen(data, made, count, listen)
    if out is not None:
        report = with_drawing(report, out)
    print_json(report, "data stats") if as_json else show_seen(report)


@data_app.command(cls=Command)
def preview(
    data: o.Previewed,
    recipe: o.PreviewRecipe = None,
    overrides: o.PreviewOverrides = None,
    count: o.PreviewCount = 24,
    out: o.Sheet = Path("preview.jpg"),
    as_json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Draw training pictures as the network will see them, cropped and varied, with their boxes and landmarks.

    Examples:

        featherface data preview widerface/ --recipe recipes/cpu.yaml

        featherface data preview synthetic --set augment.mosaic=1 --out mosaic.jpg
    """
    from featherface_cli.progress import training_display
    from featherface_cli.screens.console import print_json
    from featherface_cli.screens.data_screen import show_preview
    from featherface_core.recipe import make_recipe
    from featherface_core.training.runs import default_recipe
    from featherface_core.training.seen import preview as run

    made = make_recipe(recipe or default_recipe("v2", data), {}, overrides or ())
    with training_display(quiet or as_json, False) as listen:
        report = run(data, made, count, out, listen)
    print_json(report, "data preview") if as_json else show_preview(report)
