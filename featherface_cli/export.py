"""The command ``export``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from featherface_cli.detector import open_source
from featherface_cli.int8 import (
    CalibrationOption,
    Int8Option,
    MaxDropOption,
    MethodOption,
    PicturesOption,
    ValOption,
    check_int8,
    int8_config,
    run_int8,
)
from featherface_cli.options import JsonOption, ModelOption, QuietOption, WeightsOption
from featherface_core.config import DEFAULT_TEST_SIZES, UNTRAINED, ExportConfig, PostprocessConfig, parse_sizes
from featherface_core.errors import ConfigError
from featherface_core.int8.config import Int8Config

FACES = "Faces in the graph"


def export(
    model: ModelOption = None,
    weights: WeightsOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Default: featherface_MODEL and the suffix.")
    ] = None,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="onnx|openvino|safetensors|pth",
            help="openvino needs the extra of that name; pth writes weights under upstream's names.",
        ),
    ] = "onnx",
    dynamic: Annotated[
        bool, typer.Option("--dynamic/--static", help="Free batch, height and width, or one --size.")
    ] = True,
    size: Annotated[
        str | None, typer.Option(metavar="SIDE|HxW", help="Input size of --static, in pixels. Default: 640.")
    ] = None,
    test_sizes: Annotated[
        str | None,
        typer.Option(
            "--test-sizes",
            metavar="SIZES",
            help=f"Sizes to prove, e.g. 320,480x640. Alone: {', '.join(DEFAULT_TEST_SIZES)}. Not given: 320, 640, 333x517.",
        ),
    ] = None,
    opset: Annotated[int, typer.Option(help="ONNX operator set, 19 to 23.")] = ExportConfig.opset,
    simplify: Annotated[bool, typer.Option("--simplify", help="Run onnxsim on the graph.")] = False,
    plain: Annotated[
        bool, typer.Option("--plain", help="Write the network as it is, without the rewrites that make it faster.")
    ] = False,
    decompose: Annotated[
        bool,
        typer.Option(
            "--decompose", help="Write deformable layers as GridSample, for runtimes without DeformConv; slower."
        ),
    ] = False,
    with_postprocess: Annotated[
        bool,
        typer.Option(
            "--with-postprocess",
            help="The file finds the faces itself: boxes, scores and landmarks in pixels.",
            rich_help_panel=FACES,
        ),
    ] = False,
    score: Annotated[
        float | None,
        typer.Option(help=f"Lowest score, as in detect. Default: {PostprocessConfig.score}.", rich_help_panel=FACES),
    ] = None,
    nms: Annotated[
        float | None,
        typer.Option(
            help=f"IoU that suppresses, as in detect. Default: {PostprocessConfig.nms}.", rich_help_panel=FACES
        ),
    ] = None,
    top_k: Annotated[
        int | None,
        typer.Option(help=f"Most faces, as in detect. Default: {PostprocessConfig.top_k}.", rich_help_panel=FACES),
    ] = None,
    package: Annotated[
        Path | None, typer.Option("--package", metavar="DIR", help="Also write a deployment folder.")
    ] = None,
    int8: Int8Option = False,
    calibration: CalibrationOption = None,
    calibration_method: MethodOption = Int8Config.method,
    calibration_pictures: PicturesOption = Int8Config.pictures,
    val: ValOption = None,
    max_drop: MaxDropOption = Int8Config.max_drop,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
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
    from featherface_cli import render
    from featherface_cli.progress import progress_bar

    sizes = parse_sizes(test_sizes) if test_sizes is not None else ExportConfig.test_sizes
    if dynamic and size is not None:
        raise ConfigError(f"--size {size} goes with --static; a dynamic file takes every size", "add --static")
    fixed = parse_sizes(size or "640")
    if len(fixed) != 1:
        raise ConfigError(f"--size {size} is more than one", "a static file has one: 640 or 480x640")
    if not dynamic and test_sizes is not None:
        raise ConfigError("--test-sizes does not go with --static, which has one size", "name that one with --size")
    networks, weights_forms = ("onnx", "openvino"), ("safetensors", "pth")
    if form not in networks + weights_forms:
        raise ConfigError(f"--format {form!r} is not known", f"use {', '.join(networks + weights_forms)}")
    if form in weights_forms and (
        package or simplify or plain or decompose or with_postprocess or not dynamic or test_sizes is not None
    ):
        raise ConfigError(
            f"--format {form} converts weights alone",
            "leave out --package, --simplify, --plain, --decompose, --with-postprocess, --static and --test-sizes",
        )
    limits = {"score": score, "nms": nms, "top_k": top_k}
    given: dict[str, Any] = {name: value for name, value in limits.items() if value is not None}
    if given and not (with_postprocess and form == "onnx"):
        name, value = next(iter(given.items()))
        raise ConfigError(
            f"--{name.replace('_', '-')} {value} is for ONNX files --with-postprocess, which fall back to it",
            "leave it out, and give it to detect; or add --with-postprocess, with --format onnx",
        )
    if form == "openvino" and package:
        raise ConfigError("--package goes with --format onnx", "leave out --package, or --format openvino")
    quantising = int8_config(int8, calibration, calibration_method, calibration_pictures, val, max_drop)
    if quantising:
        check_int8(form, package is not None, with_postprocess)
    suffixes = {
        "onnx": (".onnx",),
        "openvino": (".xml",),
        "safetensors": (".safetensors",),
        "pth": (".pth", ".pt", ".tar"),
    }[form]
    if out is not None and out.suffix.lower() not in suffixes:
        raise ConfigError(f"--out {out} does not end as {form} files do", f"use {suffixes[0]}, or another --format")
    if out is not None and weights and out.resolve() == Path(weights).resolve():
        raise ConfigError(f"--out {out} is the weights file itself", "give the new file another name")
    source = open_source(weights, model, quiet)
    if form in networks:
        from featherface_core.exporting.export import export as run

        config = ExportConfig(
            dynamic,
            fixed[0],
            sizes,
            opset=opset,
            simplify=simplify,
            optimise=not plain,
            form="openvino" if form == "openvino" else "onnx",
            decompose=decompose,
            post=PostprocessConfig(**given) if with_postprocess else None,
        )
        name = source.config.name.removesuffix("*")
        if quantising:
            run_int8(source, out or Path(f"featherface_{name}_int8.onnx"), config, quantising, as_json, quiet)
            return
        with progress_bar("export", quiet or as_json) as on_event:
            report = run(source, out or Path(f"featherface_{name}{suffixes[0]}"), config, package, on_event, UNTRAINED)
        render.print_json(report, "export") if as_json else render.show_export(report)
        return
    from featherface_core.models.checkpoint import Weights, convert

    if not isinstance(source, Weights):
        raise ConfigError(f"--format {form} converts weights, and none are named", "name a file with --weights")
    target = out or Path(f"featherface_{source.config.name}.{form}")
    conversion = convert(source, target, "upstream" if form == "pth" else "featherface")
    render.print_json(conversion, "export") if as_json else render.show_conversion(conversion)
