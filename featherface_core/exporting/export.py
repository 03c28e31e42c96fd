"""``featherface export``: write the file, verify it, and only then give it its name."""

import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import onnx

from featherface_core.config import ExportConfig, PostprocessConfig
from featherface_core.detect.detector import FACES, METADATA_SCHEMA, OUTPUTS, default_constants
from featherface_core.errors import ExportError
from featherface_core.events import Listener, Progress, ignore
from featherface_core.exporting.graph import describe_in, make_graph
from featherface_core.exporting.openvino_ir import save_openvino
from featherface_core.exporting.package import check_folder, write_package
from featherface_core.exporting.postprocess import add_postprocess
from featherface_core.exporting.rewrites import chosen
from featherface_core.exporting.verify import verify
from featherface_core.files import replacing
from featherface_core.models.checkpoint import Weights, model_of, save_weights
from featherface_core.models.featherface import FeatherFace
from featherface_core.results import ExportReport, SizeCheck
from featherface_core.version import __version__

RAW_MEANING = (
    "(batch, anchors, 4): centre and size, coded against the anchors with the variances",
    "(batch, anchors, 2): softmax scores, background and face",
    "(batch, anchors, 10): five points x, y, coded against the anchors with the first variance",
)
MEANING = (
    "(faces, 4): x1, y1, x2, y2 in pixels of the input; pictures in turn, best first in each",
    "(faces,): 0 to 1, above score_threshold",
    "(faces, 5, 2): x, y of the eyes, the nose and the corners of the mouth, in pixels of the input",
    "(faces,): which picture of the batch, from 0",
)


def export(
    source: Weights | FeatherFace,
    path: str | Path,
    config: ExportConfig | None = None,
    package: Path | None = None,
    on_event: Listener = ignore,
    named: str = "weights in memory",
) -> ExportReport:
    """Write a network as ONNX or for OpenVINO, after verifying that it equals PyTorch at every size and batch of ``config``.

    source: weights as read, or a network. path: of the file (OpenVINO's .xml), written completely or not at all. package: a
    folder to make a deployment package in (see ``package.write_package``). named: what the metadata says of the weights of a
    network in memory. Raises ExportError (exit code 5) with the failed rows as details; no file is left then.
    """
    config = config or ExportConfig()
    path = Path(path)
    start = time.perf_counter()
    fresh = package is not None and not package.exists()
    if package is not None:
        check_folder(package, besides=path)  # before the work, not after it
    try:
        if isinstance(source, Weights):
            named, source = f"{source.path.name} (sha256 {source.sha256[:12]})", model_of(source)
        return _export(source.eval(), named, path, config, package, on_event, start)
    except BaseException:
        if fresh and package is not None:
            with suppress(OSError):  # removes only an empty folder
                package.rmdir()
        raise


def _export(
    model: FeatherFace,
    weights: str,
    path: Path,
    config: ExportConfig,
    package: Path | None,
    on_event: Listener,
    start: float,
) -> ExportReport:
    steps = 1 + (len(config.test_sizes) * len(config.test_batches) if config.dynamic else 1)
    files = [path, path.with_suffix(".bin")] if config.form == "openvino" else [path]
    with ExitStack() as stack:
        # the temporary names differ in their suffixes as the files do, as OpenVINO wants it; the last gets its name first
        temporary, *_ = [stack.enter_context(replacing(file, ExportError)) for file in files]
        on_event(Progress(0, steps, f"tracing {model.config.name}"))
        description = describe(model, weights)
        graph = make_graph(model, config, description)
        network = temporary
        if config.post is not None:
            network = Path(stack.enter_context(tempfile.TemporaryDirectory())) / f"network{path.suffix}"
            _save(graph, network, config)
            description = describe(model, weights, config.post)
            add_postprocess(graph, config.post, description["constants"])
            describe_in(graph, description)
        _save(graph, temporary, config)
        export_seconds = time.perf_counter() - start
        checks: list[SizeCheck] = []
        on_event(Progress(1, steps, "comparing with PyTorch"))
        for check in verify(temporary, model, config, network):
            checks.append(check)
            on_event(Progress(1 + len(checks), steps, f"{check.height}x{check.width}, batch {check.batch}"))
        failed = [c for c in checks if not c.passed]
        if failed:
            raise ExportError(
                f"{len(failed)} of {len(checks)} checks of {path} failed; no file was written",
                "look at the sizes below; --test-sizes names which are tried",
                [f"{c.height}x{c.width}, batch {c.batch}: {c.problem}" for c in failed],
            )
    report = ExportReport(
        str(path),
        model.config.name,
        weights,
        sum(file.stat().st_size for file in files),
        config.opset,
        config.dynamic,
        len(graph.graph.node),
        sum(node.op_type == "DeformConv" for node in graph.graph.node),
        tuple(checks),
        export_seconds,
        time.perf_counter() - start,
        rewrites=chosen(config),
        post=config.post,
    )
    if package is None:
        return report
    with tempfile.TemporaryDirectory() as scratch:
        weights_file = save_weights(Path(scratch) / "weights.safetensors", model.state_dict(), model.config)
        names = write_package(package, path, weights_file, description, report)
    return replace(report, package=str(package), package_files=names)


def _save(graph: onnx.ModelProto, path: Path, config: ExportConfig) -> None:
    if config.form == "openvino":
        save_openvino(graph, path)
    else:
        path.write_bytes(graph.SerializeToString())


def describe(model: FeatherFace, weights: str, post: PostprocessConfig | None = None) -> dict[str, Any]:
    """The metadata of an exported file: all that is needed to go from a picture to faces without this package.

    post: of a file with post-processing, None for one that gives the network's raw outputs.
    """
    limits = post or PostprocessConfig()
    return {
        "schema": METADATA_SCHEMA,
        "version": __version__,
        "model": asdict(model.config),
        "weights": weights,
        "constants": default_constants(),
        "with_postprocess": post is not None,
        "postprocess": {"score_threshold": limits.score, "nms_iou": limits.nms, "top_k": limits.top_k},
        "outputs": dict(zip(OUTPUTS, RAW_MEANING, strict=True) if post is None else zip(FACES, MEANING, strict=True)),
    }
