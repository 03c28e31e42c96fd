"""The ``featherface data`` commands: check, convert, count and look at labelled faces."""

from pathlib import Path
from typing import Annotated

import typer

from featherface_cli.options import JsonOption, QuietOption
from featherface_core.errors import ConfigError

DataPath = Annotated[
    Path, typer.Argument(metavar="DIR", help="A folder with labels, or with train/ and val/; or a label file.")
]

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


@data_app.command()
def check(
    path: DataPath,
    pictures: Annotated[
        bool, typer.Option("--pictures/--no-pictures", help="Open every picture, or check the labels alone.")
    ] = True,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Find what ruins a training run: missing and broken pictures, wrong boxes and landmarks, val pictures in train.

    The exit code is 1 where something is found that has to be mended first.

    Examples:

        featherface data check widerface/

        featherface data check widerface/train/label.txt --no-pictures --json
    """
    from featherface_cli import render_data
    from featherface_cli.progress import progress_bar
    from featherface_cli.render import print_json
    from featherface_core.data.check import check_data

    with progress_bar("check", quiet or as_json) as on_event:
        report = check_data(path, on_event, pictures)
    if as_json:
        print_json(report, "data check", {"verdict": report.verdict})
    else:
        render_data.show_check(report)
    if report.verdict == "fail":
        raise typer.Exit(1)


@data_app.command()
def convert(
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="A folder with labels, or with train/ and val/; or a label file.")
    ],
    form: Annotated[
        str, typer.Option("--to", metavar="FORM", help="retinaface, coco, yolo, voc or wider.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="A new folder.", show_default=False)],
    copy: Annotated[bool, typer.Option("--copy", help="Copy the pictures instead of linking to them.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Write into a folder that is not empty, over files of the same names.")
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write labels in another format, with links to their pictures, and say what that format cannot hold.

    Examples:

        featherface data convert widerface/ --to yolo --out widerface-yolo

        featherface data convert instances_val.json --to retinaface --out val --copy
    """
    from featherface_cli import render_data
    from featherface_cli.progress import progress_bar
    from featherface_cli.render import print_json
    from featherface_core.data.convert import convert as run

    with progress_bar("convert", quiet or as_json) as on_event:
        report = run(source, out, form, on_event, copy, force)
    print_json(report, "data convert") if as_json else render_data.show_conversion(report)


@data_app.command()
def stats(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR...", help="As for check; or synthetic, or synthetic:N, for the drawn faces of train."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE.png", help="Also draw the histograms.")
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option("--recipe", "-r", metavar="YAML", help="Count what this recipe shows the network instead."),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="With --recipe: change any of its keys, e.g. loss.assign=iou."),
    ] = None,
    count: Annotated[
        int, typer.Option(min=1, help="Of synthetic, so many pictures from the first; with --recipe, pictures to plan.")
    ] = 1000,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Count faces, their sizes, and how they are spread over the pictures.

    Examples:

        featherface data stats widerface/ --out histograms.png

        featherface data stats faces/ more/

        featherface data stats faces/ --recipe recipes/v2-small-faces.yaml --out seen.png
    """
    from featherface_cli import render_data
    from featherface_cli.progress import progress_bar
    from featherface_cli.render import print_json
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
    print_json(report, "data stats") if as_json else render_data.show_stats(report)


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
    from featherface_cli import render_data
    from featherface_cli.render import print_json
    from featherface_cli.train_options import make_recipe
    from featherface_cli.training_display import training_display
    from featherface_core.training.seen import seen, with_drawing

    made = make_recipe(recipe, {}, overrides)
    with training_display(quiet or as_json, False) as listen:
        report = seen(data, made, count, listen)
    if out is not None:
        report = with_drawing(report, out)
    print_json(report, "data stats") if as_json else render_data.show_seen(report)


@data_app.command()
def preview(
    data: Annotated[
        list[str], typer.Argument(metavar="DIR|synthetic...", help="As for train --data; several are joined.")
    ],
    recipe: Annotated[
        Path | None,
        typer.Option(
            "--recipe", "-r", metavar="YAML", help="Whose augmentation to show. Default: as for train --data."
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change any key of the recipe, e.g. augment.mosaic=1."),
    ] = None,
    count: Annotated[int, typer.Option(min=1, max=600, help="Pictures to show.")] = 24,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The contact sheet, .jpg or .png.")] = Path(
        "preview.jpg"
    ),
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Draw training pictures as the network will see them, cropped and varied, with their boxes and landmarks.

    Examples:

        featherface data preview widerface/ --recipe recipes/cpu.yaml

        featherface data preview synthetic --set augment.mosaic=1 --out mosaic.jpg
    """
    from featherface_cli import render_data
    from featherface_cli.render import print_json
    from featherface_cli.train_options import make_recipe
    from featherface_cli.training_display import training_display
    from featherface_core.training.runs import default_recipe
    from featherface_core.training.seen import preview as run

    made = make_recipe(recipe or default_recipe("v2", data), {}, overrides)
    with training_display(quiet or as_json, False) as listen:
        report = run(data, made, count, out, listen)
    print_json(report, "data preview") if as_json else render_data.show_preview(report)
