"""``export --int8``: its options, and what goes with them."""

from pathlib import Path
from typing import Annotated, Any

import typer

from featherface_core.config import UNTRAINED, ExportConfig
from featherface_core.errors import ConfigError
from featherface_core.int8.config import Int8Config

PANEL = "INT8"

Int8Option = Annotated[
    bool,
    typer.Option("--int8", help="Quantise the ONNX file: int8 where it does little harm.", rich_help_panel=PANEL),
]
CalibrationOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Pictures like those to come, or a data set's folder; needed.", rich_help_panel=PANEL
    ),
]
MethodOption = Annotated[
    str,
    typer.Option(
        metavar="RULE",
        help="How they give the range of a tensor: percentile, entropy or minmax.",
        rich_help_panel=PANEL,
    ),
]
PicturesOption = Annotated[
    int, typer.Option(metavar="N", help="Of them, evenly spread, at most so many.", rich_help_panel=PANEL)
]
ValOption = Annotated[
    str | None,
    typer.Option(
        metavar="DIR", help="Labelled pictures to measure AP on, as eval --data has them.", rich_help_panel=PANEL
    ),
]
MaxDropOption = Annotated[
    float,
    typer.Option(
        metavar="POINTS",
        help="Write nothing (exit code 5) where an AP on --val falls by more percentage points; 100 writes always.",
        rich_help_panel=PANEL,
    ),
]


def int8_config(
    int8: bool, calibration: Path | None, method: str, pictures: int, val: str | None, max_drop: float
) -> Int8Config | None:
    """What --int8 was asked for, None without it. Raises ConfigError."""
    if not int8:
        options = {
            "--calibration": calibration is not None,
            "--calibration-method": method != Int8Config.method,
            "--calibration-pictures": pictures != Int8Config.pictures,
            "--val": val is not None,
            "--max-drop": max_drop != Int8Config.max_drop,
        }
        given = [name for name, there in options.items() if there]
        if given:
            raise ConfigError(f"{', '.join(given)} without --int8 has no meaning", "add --int8")
        return None
    if val is not None and not val.strip():
        raise ConfigError(f"--val {val!r} names nothing", "name labelled pictures, or leave --val out")
    if max_drop != Int8Config.max_drop and val is None:
        raise ConfigError(f"--max-drop {max_drop:g} needs an AP to hold against", "name labelled pictures with --val")
    method_: Any = method  # Int8Config says what is wrong with it
    return Int8Config(str(calibration or ""), method_, pictures, val or "", max_drop)


def check_int8(form: str, package: bool, with_postprocess: bool) -> None:
    """Raise ConfigError for what does not go with --int8."""
    if form != "onnx":
        raise ConfigError(f"--int8 writes an ONNX file, and --format {form} is none", "leave out --format, or --int8")
    if package:
        raise ConfigError(
            "--package promises the outputs of PyTorch, and --int8 changes them", "leave out --package, or --int8"
        )
    if with_postprocess:
        raise ConfigError(
            "--int8 measures the raw outputs, and --with-postprocess has none",
            "leave out --with-postprocess, or --int8",
        )


def run_int8(source: Any, path: Path, config: ExportConfig, int8: Int8Config, as_json: bool, quiet: bool) -> None:
    """Export, quantise and show."""
    from featherface_cli import render
    from featherface_cli.progress import progress_bar
    from featherface_cli.render_int8 import show_int8
    from featherface_core.int8.export_int8 import export_int8

    with progress_bar("export", quiet or as_json) as on_event:
        report = export_int8(source, path, config, int8, on_event, UNTRAINED)
    render.print_json(report, "export --int8") if as_json else show_int8(report)
