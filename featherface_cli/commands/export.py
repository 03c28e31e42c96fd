"""The command ``export``."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import typer

from featherface_cli import options as o
from featherface_cli.detector import open_source
from featherface_cli.parser import given, grouped
from featherface_core.config import (
    EXPORT_SUFFIXES,
    UNTRAINED,
    ExportConfig,
    PostprocessConfig,
    check_export,
    parse_sizes,
)
from featherface_core.errors import ConfigError
from featherface_core.int8.config import Int8Config, check_together


@grouped
def export(
    ctx: typer.Context,
    *,
    model: o.Model = None,
    weights: o.Weights = None,
    out: o.ExportOut = None,
    form: o.Form = ExportConfig.form,
    size: o.FixedSize = None,
    test_sizes: o.TestSizes = None,
    graph: o.Graph,
    plain: o.Plain = False,
    with_postprocess: o.WithPostprocess = False,
    limits: o.GraphLimits,
    package: o.Package = None,
    int8: o.Int8 = False,
    calibration: o.Calibration = None,
    settings: o.Int8Settings,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Export to ONNX or OpenVINO and prove the file equal to PyTorch at many sizes; or convert weights.

    Every size and batch is compared: output shapes, raw outputs, and the faces found in a real picture. If one fails, no file
    is written (exit code 5). With --int8 the proven file is quantised, and held against float32 and float16.

    Examples:

        featherface export --dynamic --test-sizes

        featherface export --weights v1.safetensors --test-sizes 320,480x640 --package deploy

        featherface export --format openvino --static --size 640

        featherface export --with-postprocess --score 0.6

        featherface export --int8 --calibration faces/train --val faces/val

        featherface export --weights mobilenet0.25_Final.pth --format safetensors --out v1.safetensors
    """
    from featherface_cli.progress import progress_bar
    from featherface_cli.screens.console import print_json
    from featherface_cli.screens.export_screen import show_export

    check_export(given(ctx))
    check_together(given(ctx))
    quantising = Int8Config(str(calibration or ""), **settings) if int8 else None
    source = open_source(weights, model, quiet)
    if form not in ("onnx", "openvino"):
        _convert(source, form, out, as_json)
        return
    config = replace(
        graph,
        optimise=not plain,
        size=parse_sizes(size)[0] if size is not None else graph.size,
        test_sizes=parse_sizes(test_sizes) if test_sizes is not None else graph.test_sizes,
        form="openvino" if form == "openvino" else "onnx",
        post=PostprocessConfig(**limits) if with_postprocess else None,
    )
    name = f"featherface_{source.config.name.removesuffix('*')}"
    if quantising:
        _quantise(source, out or Path(f"{name}_int8.onnx"), config, quantising, as_json, quiet)
        return
    from featherface_core.exporting.export import export as core_export

    path = out or Path(name + EXPORT_SUFFIXES[form][0])
    with progress_bar("export", quiet or as_json) as on_event:
        report = core_export(source, path, config, package, on_event, UNTRAINED)
    print_json(report, "export") if as_json else show_export(report)


def _quantise(source: Any, path: Path, config: ExportConfig, int8: Int8Config, as_json: bool, quiet: bool) -> None:
    """Export, and quantise that."""
    from featherface_cli.progress import progress_bar
    from featherface_cli.screens.console import print_json
    from featherface_cli.screens.int8_screen import show_int8
    from featherface_core.int8.export_int8 import export_int8

    with progress_bar("export", quiet or as_json) as on_event:
        report = export_int8(source, path, config, int8, on_event, UNTRAINED)
    print_json(report, "export --int8") if as_json else show_int8(report)


def _convert(source: Any, form: str, out: Path | None, as_json: bool) -> None:
    """Write weights in another form."""
    from featherface_cli.screens.console import print_json
    from featherface_cli.screens.export_screen import show_conversion
    from featherface_core.models.checkpoint import Weights, convert

    if not isinstance(source, Weights):
        raise ConfigError(f"--format {form} converts weights, and none are named", "name a file with --weights")
    target = out or Path(f"featherface_{source.config.name}.{form}")
    conversion = convert(source, target, "upstream" if form == "pth" else "featherface")
    print_json(conversion, "export") if as_json else show_conversion(conversion)
