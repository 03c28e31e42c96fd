"""Models that are to run in onnxruntime, as temporary ONNX files."""

from dataclasses import replace
from pathlib import Path

from featherface_core.bench.candidate import Source
from featherface_core.bench.config import SIZE, BenchConfig
from featherface_core.session import provider_of


def needs_export(source: Source) -> bool:
    """Whether a source is to run in onnxruntime and is no ONNX file."""
    return source.runtime == "onnxruntime" and not source.onnx


def export_into(folder: Path, source: Source, config: BenchConfig) -> Source:
    """The same source as an ONNX file in ``folder``, for all that the benchmark asks of it.

    The file is not proven equal to PyTorch, which ``featherface export`` does. Raises as ``open_candidate`` does, and
    ExportError.
    """
    from featherface_core.bench.torch_candidate import network_of
    from featherface_core.config import ExportConfig
    from featherface_core.onnx.export import describe
    from featherface_core.onnx.graph import make_graph

    provider_of(config.device)  # before the work, not after it
    model, _ = network_of(source)
    # a static file takes a third of the time to make, and one picture at a time
    kind = ExportConfig(dynamic=config.batches != (1,), size=config.size or (SIZE, SIZE))
    graph = make_graph(model, kind, describe(model, source.subject))
    path = folder / f"{len(list(folder.iterdir()))}.onnx"
    path.write_bytes(graph.SerializeToString())
    return replace(source, onnx=str(path))
