"""The command ``detect``."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from featherface_cli import options as o
from featherface_cli.parser import grouped

if TYPE_CHECKING:
    from featherface_core.results import PictureResult


@grouped
def detect(
    ctx: typer.Context,
    *,
    paths: o.Pictures,
    weights: o.Weights = None,
    onnx: o.Onnx = None,
    model: o.Model = None,
    config: o.Detection,
    post: o.Limits,
    landmarks_by: o.LandmarksBy = None,
    device: o.Device = "cpu",
    threads: o.Threads = 0,
    out: o.DetectOut = Path("detections"),
    as_json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Find faces in pictures, videos or a camera, draw them, and write them down as JSON Lines.

    Examples:

        featherface detect photo.jpg

        featherface detect photo.jpg --model v1

        featherface detect photo.jpg --landmarks-by v1

        featherface detect holiday/ 'more/*.png' --onnx featherface_v2.onnx --size 1024 --out found

        featherface detect 0 --onnx featherface_v2.onnx
    """
    import json

    from featherface_cli.detector import open_detector, open_second_look
    from featherface_cli.progress import progress_bar
    from featherface_cli.screens.detect_screen import show_detect, show_picture_line
    from featherface_core.detect.detect_files import as_line, detect_files

    config = replace(config, post=post)
    detector, _ = open_detector(weights, onnx, model, device, threads, quiet)
    detector.second_look = open_second_look(landmarks_by, detector, device, threads)

    def show(result: "PictureResult") -> None:
        if as_json:
            print(json.dumps(as_line(result)), flush=True)
        if result.problem or not (as_json or quiet or result.frame is not None):
            show_picture_line(result)

    with progress_bar("detect", quiet or as_json) as on_event:
        report = detect_files(detector, paths, config, out, show, on_event)
    if not (as_json or quiet):
        show_detect(report)
    if report.interrupted and not all(path.isdecimal() for path in paths):
        raise typer.Exit(130)
    if report.broken:
        raise typer.Exit(3)
