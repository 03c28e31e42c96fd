"""``featherface bench``: open the candidates, run them in turns, and report their times."""

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from featherface_core.bench.candidate import Candidate, open_candidate
from featherface_core.bench.children import STARTS, measure_alone, measure_limit, measure_rounds
from featherface_core.bench.config import SIZE, BenchConfig, Setting, Source, with_names
from featherface_core.bench.report import Achieved, BenchReport, CandidateReport, Cost, Latency, Limit, Stages
from featherface_core.bench.rounds import BUSY, WARM_UP, latency, ratio
from featherface_core.bench.stages import Pipeline, measure_stages, measure_throughput
from featherface_core.detect.onnx_session import provider_of
from featherface_core.detect.open_exported import is_openvino
from featherface_core.errors import ConfigError, ParameterError
from featherface_core.events import Listener, Progress, ignore
from featherface_core.machine import machine_facts
from featherface_core.models.variants import DEFAULT, SHIPPED, VARIANTS
from featherface_core.pictures import PORTRAIT, Picture, read_picture

UNEVEN = 1.5  # p95 over the median above which figures are doubtful
RUNTIMES = ("onnxruntime", "openvino", "torch")


def sources_of(
    named: Sequence[tuple[str, str | Path]], export: bool | None = None, profile: bool = False
) -> list[Source]:
    """What is to be timed, in the order in which it was named; without names, the networks that ship.

    named: pairs of ``model``, ``weights`` or ``onnx`` and a variant or a file. export: time models and weights in onnxruntime
    too; None: where nothing is named. profile: whether nodes of ONNX files are asked for. Raises ConfigError.
    """
    sources = [_source(kind, name) for kind, name in named]
    if not named:
        shipped = sorted(SHIPPED, key=lambda name: name != DEFAULT)
        sources, export = [Source("torch", model=name) for name in shipped], export is not False
    elif export and all(source.runtime != "torch" for source in sources):
        raise ParameterError("`export` takes a `model` or `weights` to export", "name one, or leave `export` out")
    if export:
        both = [(s, replace(s, runtime="onnxruntime")) if s.runtime == "torch" else (s,) for s in sources]
        sources = [source for pair in both for source in pair]
    if profile and all(source.runtime != "onnxruntime" for source in sources):
        raise ParameterError("`profile` lists nodes of ONNX files, and none is timed", "add `export`, or `onnx` FILE")
    return sources


def _source(kind: str, name: str | Path) -> Source:
    if kind == "model":
        return Source("torch", model=str(name))
    if kind == "weights":
        return Source("torch", weights=str(name))
    path = Path(name)
    if str(name) in VARIANTS:
        raise ParameterError(f"{str(name)!r} is a variant, not an ONNX file", f"use `model` {name}")
    if path.suffix.lower() in (".safetensors", ".pth", ".pt", ".tar"):
        raise ParameterError(f"{name} holds weights, it is no ONNX file", f"use `weights` {name}")
    return Source("openvino" if is_openvino(path) else "onnxruntime", onnx=str(name))


def needs_export(source: Source) -> bool:
    """Whether a source is to run in onnxruntime and is no ONNX file."""
    return source.runtime == "onnxruntime" and not source.onnx


def export_into(folder: Path, source: Source, config: BenchConfig) -> Source:
    """The same source as an ONNX file in ``folder``, for all measurements. The file is not verified against PyTorch, as
    ``featherface export`` does. Raises as ``open_candidate`` does, and ExportError.
    """
    from featherface_core.bench.torch_candidate import network_of
    from featherface_core.config import ExportConfig
    from featherface_core.exporting.export import describe
    from featherface_core.exporting.graph import make_graph

    provider_of(config.device)  # before the work, not after it
    model, _ = network_of(source)
    # a static file takes a third of the time to export, and takes one picture at a time
    kind = ExportConfig(dynamic=config.batches != (1,), size=config.size or (SIZE, SIZE))
    graph = make_graph(model, kind, describe(model, source.subject))
    path = folder / f"{len(list(folder.iterdir()))}.onnx"
    path.write_bytes(graph.SerializeToString())
    return replace(source, onnx=str(path))


def bench(
    sources: Sequence[Source],
    config: BenchConfig | None = None,
    picture: Path = PORTRAIT,
    on_event: Listener = ignore,
) -> BenchReport:
    """Time candidates in turns; ratios are to the first.

    sources: models and weights that are to run in onnxruntime are exported to temporary files first. picture: the networks'
    input, and the file that the stages read. Raises ConfigError for a setting that a candidate cannot run at, WeightsError for
    a file that cannot be used, DataError for a picture that cannot be read, MissingPackageError for a runtime that is not
    installed.
    """
    config = config or BenchConfig()
    if not sources:
        raise ConfigError("there is nothing to time", "name a variant with --model or a file with --onnx")
    began = time.perf_counter()
    seen = read_picture(picture)
    setting = Setting(config.size, config.batches[0], config.threads[0], config.device)
    sources = with_names(sources)
    with tempfile.TemporaryDirectory() as folder:
        files, candidates = _open(sources, setting, config, seen, Path(folder), on_event)
        rounds = measure_rounds(
            files, setting, picture, config.runs, lambda done, total: on_event(Progress(done, total, "rounds"))
        )
        stages = _stages(candidates, picture, setting, config, on_event)
        on_event(Progress(0, None, "the machine's limits"))
        limit = measure_limit(setting.threads) if config.device == "cpu" else None
        reports = []
        for i, (source, file, candidate) in enumerate(zip(sources, files, candidates, strict=True)):
            on_event(Progress(i, len(sources), f"{source.name}: memory, cost"))
            times, cost = latency(rounds.seconds[:, i]), candidate.cost()
            reports.append(
                CandidateReport(
                    source.name,
                    source.runtime,
                    source.onnx or source.weights,
                    candidate.height,
                    candidate.width,
                    times,
                    setting.batch * 1000 / times.median,
                    ratio(rounds.seconds[:, i], rounds.seconds[:, 0]) if i else None,
                    cost,
                    achieved(cost, times, setting.batch, limit),
                    stages[i],
                    measure_alone(file, setting, picture),
                    candidate.nodes() if config.profile else (),
                )
            )
        notes = tuple(dict.fromkeys(candidate.note for candidate in candidates if candidate.note))
        del candidates, candidate  # the next part opens its own
        throughput = measure_throughput(files, config, seen, on_event)
    return BenchReport(
        setting.batch,
        setting.threads,
        config.device,
        config.runs,
        STARTS,
        WARM_UP,
        rounds.cpu_share,
        picture.name if picture == PORTRAIT else str(picture),
        tuple(reports),
        limit,
        throughput,
        {**machine_facts(), **_versions()},
        (*notes, *_warnings(config, rounds.cpu_share, reports)),
        time.perf_counter() - began,
    )


def _open(
    sources: Sequence[Source],
    setting: Setting,
    config: BenchConfig,
    picture: Picture,
    folder: Path,
    on_event: Listener,
) -> tuple[list[Source], list[Candidate]]:
    """The sources as they can be opened again, and the candidates; those to be exported come last, since that takes longest."""
    files, opened = list(sources), dict[int, Candidate]()
    for place in sorted(range(len(sources)), key=lambda i: needs_export(sources[i])):
        source = sources[place]
        if needs_export(source):
            on_event(Progress(len(opened), len(sources), f"exporting {source.name}"))
            files[place] = export_into(folder, source, config)
        else:
            on_event(Progress(len(opened), len(sources), f"opening {source.name}"))
        candidate = open_candidate(files[place], setting)
        candidate.load(picture)
        candidate.run()  # errors of candidates come before others are exported
        opened[place] = candidate
    return files, [opened[place] for place in range(len(sources))]


def _stages(
    candidates: Sequence[Candidate], picture: Path, setting: Setting, config: BenchConfig, on_event: Listener
) -> list[Stages | None]:
    pipelines = []
    for candidate in candidates:
        detector = candidate.detector()
        size = candidate.height, candidate.width
        pipelines.append(None if detector is None else Pipeline(detector, picture, *size, setting.batch))
    return measure_stages(pipelines, config.runs, lambda done: on_event(Progress(done, None, "stages")))


def achieved(cost: Cost, times: Latency, batch: int, limit: Limit | None) -> Achieved:
    """The speed at the median time, and its shares of the machine's limits."""
    seconds = times.median / 1000
    macs = None if cost.macs is None else cost.macs * batch / seconds
    moved = None if cost.bytes_moved is None else cost.bytes_moved / seconds
    return Achieved(
        macs,
        macs / limit.macs_per_second if macs is not None and limit else None,
        moved,
        moved / limit.bytes_per_second if moved is not None and limit else None,
    )


def _warnings(config: BenchConfig, cpu_share: float, reports: Sequence[CandidateReport]) -> list[str]:
    said = []
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if config.device == "cpu" and max(config.threads) > cores:
        said.append(f"{max(config.threads)} threads share {cores} of the machine's cores: they slow each other down")
    if config.device == "cpu" and config.threads[0] == 1 and cpu_share < BUSY:
        said.append(
            f"other programs wanted the same core: the networks had it for {cpu_share:.0%} of the time, so their times are too "
            "long; ratios suffer less"
        )
    uneven = [report.name for report in reports if report.milliseconds.p95 > UNEVEN * report.milliseconds.median]
    if uneven:
        said.append(f"rounds differ much ({', '.join(uneven)}): close other programs, or take more of them with --runs")
    return said


def _versions() -> dict[str, Any]:
    """Of the runtimes that were loaded; the package's name may be another, such as onnxruntime-gpu."""
    return {name: sys.modules[name].__version__ for name in RUNTIMES if name in sys.modules}
