"""``featherface export --int8``: quantise an exported network, measure what that costs, and only then give it its name."""

import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx

from featherface_core.config import ExportConfig
from featherface_core.detect.detector import METADATA_KEY, OnnxDetector
from featherface_core.detect.session import import_onnxruntime
from featherface_core.errors import ExportError
from featherface_core.evaluation.compare import ROUNDING
from featherface_core.evaluation.dataset import spread
from featherface_core.events import Listener, Progress, ignore
from featherface_core.exporting.export import export
from featherface_core.exporting.verify import check_file
from featherface_core.files import replacing
from featherface_core.int8.calibration import Pictures, find_pictures, measure_ranges, network_input
from featherface_core.int8.config import Int8Config
from featherface_core.int8.forms import (
    NAMES,
    Figures,
    HeldOut,
    compare_faces,
    forms_of,
    largest_drop,
    time_forms,
    timed_size,
)
from featherface_core.int8.quantise import PICTURES, Group, find_groups, half, measure_groups, quantised
from featherface_core.int8.report import Calibration, GroupChange, Int8Report
from featherface_core.machine import adds_up_int8, machine_facts
from featherface_core.models.checkpoint import Weights
from featherface_core.models.featherface import FeatherFace
from featherface_core.pictures import read_picture
from featherface_core.results import Floats


def export_int8(
    source: Weights | FeatherFace,
    path: str | Path,
    config: ExportConfig,
    int8: Int8Config,
    on_event: Listener = ignore,
    named: str = "weights in memory",
) -> Int8Report:
    """Export a network as ``exporting.export.export`` does, proof included, and quantise that.

    Raises as ``quantise`` and ``export`` do.
    """
    began = time.perf_counter()
    given = _open(int8, None if config.dynamic else (1, *config.size))  # before the work, not after it
    with tempfile.TemporaryDirectory() as folder, replacing(Path(path), ExportError) as temporary:
        file = Path(folder) / "float32.onnx"
        proven = export(source, file, config, None, on_event, named)
        report = _quantise(file, OnnxDetector(file), Path(path), temporary, int8, given, on_event)
    return replace(report, checks=proven.checks, seconds=time.perf_counter() - began)


def quantise(file: Path, path: str | Path, config: Int8Config, on_event: Listener = ignore) -> Int8Report:
    """Write an exported float32 ``file`` of ours as an int8 one, whole or not at all.

    Layers that change its outputs much stay in float32 (see ``sensitivity``). Raises ExportError (exit code 5) where AP falls
    too far or nothing can be quantised, DataError for calibration or validation pictures that cannot be used, ConfigError
    where the two overlap, WeightsError for a file that is not ours.
    """
    detector = OnnxDetector(file)
    given = _open(config, detector.network.fixed)
    with replacing(Path(path), ExportError) as temporary:
        return _quantise(file, detector, Path(path), temporary, config, given, on_event)


@dataclass(frozen=True)
class _Given:
    """What a user named, looked at. held_out: None where AP is not to be measured."""

    pictures: Pictures
    held_out: HeldOut | None


def _open(config: Int8Config, fixed: tuple[int, int, int] | None) -> _Given:
    """fixed: the (batch, height, width) of a file that takes no other."""
    pictures = find_pictures(Path(config.calibration), config.pictures)
    return _Given(pictures, HeldOut(config.val, fixed, pictures.files) if config.val else None)


def _quantise(
    file: Path,
    detector: OnnxDetector,
    path: Path,
    temporary: Path,
    config: Int8Config,
    given: _Given,
    on_event: Listener,
) -> Int8Report:
    """Write ``temporary``, which is to become ``path``."""
    began = time.perf_counter()
    pictures, held_out = given.pictures, given.held_out
    graph = onnx.load(file)
    groups = find_groups(graph)
    ranges = _ranges(file, graph.graph.input[0].name, detector, pictures, config, on_event)
    some = [pictures.files[i] for i in spread(len(pictures.files), PICTURES)]
    inputs = [network_input(detector, read_picture(picture)) for picture in some]
    changes = list(_changes(graph, ranges, groups, detector, inputs, on_event))
    kept = [group for group, change in zip(groups, changes, strict=True) if change.quantised]
    if not kept:
        raise ExportError(
            f"every group of layers changes the outputs too much to be quantised; {path} was not written",
            "are the pictures of --calibration like those that the network was trained on?",
        )
    calibration = Calibration(config.calibration, config.method, len(pictures.files), pictures.unreadable)
    layers = sum(group.layers for group in kept), sum(group.layers for group in groups)
    made = quantised(graph, ranges, [node for group in kept for node in group.nodes])
    _describe(made, detector.description, calibration, changes, layers)
    with tempfile.TemporaryDirectory() as folder:
        other = Path(folder) / "float16.onnx"
        onnx.save(half(graph), other)
        onnx.save(made, temporary)
        check_file(temporary)
        files = (file, other, temporary)
        detectors = [detector, OnnxDetector(other), OnnxDetector(temporary)]
        agreement = compare_faces(detectors[0], detectors[2], inputs)
        figures: list[Figures] = [{}, {}, {}]
        if held_out is not None:
            for i, (name, each) in enumerate(zip(NAMES, detectors, strict=True)):
                figures[i] = held_out.measure(each, _about(f"AP of {name}", on_event))
        drop = largest_drop(figures[0], figures[2])
        if drop is not None and 100 * drop > config.max_drop + ROUNDING:
            raise _fallen(path, drop, config, figures)
        size = timed_size(detector)
        rounds = time_forms(files, size, config.runs, on_event)
        return Int8Report(
            str(path),
            detector.model,
            detector.weights,
            calibration,
            tuple(changes),
            layers,
            forms_of(files, rounds, figures),
            agreement,
            held_out.words if held_out is not None else "",
            drop,
            config.max_drop / 100,
            size,
            config.runs,
            rounds.cpu_share,
            machine_facts() | {"onnxruntime": import_onnxruntime().__version__, "int8_dot_products": adds_up_int8()},
            time.perf_counter() - began,
        )


def _ranges(
    file: Path, name: str, detector: OnnxDetector, pictures: Pictures, config: Int8Config, on_event: Listener
) -> Any:
    done = 0

    def told() -> None:
        nonlocal done
        done += 1
        on_event(Progress(done, len(pictures.files), "calibrating"))

    inputs: Iterator[Floats] = (network_input(detector, read_picture(picture)) for picture in pictures.files)
    return measure_ranges(file, inputs, name, config.method, told)


def _changes(
    graph: onnx.ModelProto,
    ranges: Any,
    groups: Sequence[Group],
    detector: OnnxDetector,
    inputs: Sequence[Floats],
    on_event: Listener,
) -> Iterator[GroupChange]:
    done = 0

    def told(group: Group) -> None:
        nonlocal done
        on_event(Progress(done, len(groups), f"{group.name} alone"))
        done += 1

    return measure_groups(graph, ranges, groups, detector, inputs, told)


def _describe(
    graph: onnx.ModelProto,
    description: dict[str, Any],
    calibration: Calibration,
    changes: Sequence[GroupChange],
    layers: tuple[int, int],
) -> None:
    """Add to what the file says of itself; of the calibration folder its name alone, for a path tells of the machine."""
    said = {
        "form": "QDQ: uint8 activations, int8 weights by channel, of seven bits",
        "layers": layers[0],
        "of": layers[1],
        "groups": [change.name for change in changes if change.quantised],
        "float32": [change.name for change in changes if not change.quantised],
        "calibration": {
            "source": Path(calibration.folder).resolve().name,
            "method": calibration.method,
            "pictures": calibration.pictures,
        },
    }
    (entry,) = (entry for entry in graph.metadata_props if entry.key == METADATA_KEY)
    entry.value = json.dumps({**description, "quantised": said})


def _about(what: str, on_event: Listener) -> Listener:
    """The same events under one name."""
    return lambda event: on_event(Progress(event.done, event.total, what))


def _fallen(path: Path, drop: float, config: Int8Config, figures: Sequence[Figures]) -> ExportError:
    details = [
        f"{name}: {_points(figures[0][name])} in float32, {_points(figures[2][name])} in int8" for name in figures[0]
    ]
    return ExportError(
        f"AP on {config.val} falls by {100 * drop:.2f} percentage points in int8, {config.max_drop:g} may be lost; "
        f"{path} was not written",
        "try another --calibration-method or more --calibration-pictures; --max-drop 100 writes it as it is",
        details,
    )


def _points(ap: float | None) -> str:
    return "unknown" if ap is None else f"{ap:.4f}"
