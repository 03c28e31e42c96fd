"""A network as an ONNX graph: torch.export, the translation of two operators of this project, and cleaning."""

import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import onnx
import torch
from torch import nn

from featherface_core.boxes import count_anchors
from featherface_core.config import ExportConfig
from featherface_core.detect.detector import METADATA_KEY, OUTPUTS
from featherface_core.errors import ExportError, first_line
from featherface_core.exporting.rewrites import chosen, decompose_deformables, rewritten
from featherface_core.models import blocks, deform  # noqa: F401 (they register the two operators)
from featherface_core.models.featherface import FeatherFace
from featherface_core.version import __version__

if TYPE_CHECKING:
    from onnxscript.values import Opset

INPUT = "input"
LARGEST_SIDE = 32768
# What a max pool is padded with. onnxruntime 1.25 to 1.31 makes a Pad of zeros a part of the pool, whose own padding never is
# the maximum: features below zero at the edges, and with them boxes, came out wrong.
ALMOST_ZERO = 1e-37


def make_graph(model: FeatherFace, config: ExportConfig, description: dict[str, Any]) -> onnx.ModelProto:
    """The network in evaluation mode as an ONNX model, rewritten, ``description`` in its metadata.

    Raises ExportError where torch or onnxsim cannot make it.
    """
    folded = rewritten(model, chosen(config))
    if config.decompose:
        decompose_deformables(folded)
    graph = trace(folded, config.opset, None if config.dynamic else config.size, OUTPUTS, model.config.name)
    if config.simplify:
        graph = _simplify(graph)
    _tidy(graph, config, description)
    return graph


def trace(
    module: nn.Module, opset: int, size: tuple[int, int] | None, outputs: Sequence[str], named: str
) -> onnx.ModelProto:
    """What ``module`` does with pixels (N, 3, H, W) as a bare ONNX model of one input, INPUT, and these outputs.

    size: height and width of one picture, None for any batch and size. Raises ExportError, which calls the module ``named``,
    where torch cannot export it.
    """
    # any size works; two different odd multiples of 32 keep the exporter from specialising on a shape
    example = torch.zeros(1, 3, *size) if size else torch.zeros(2, 3, 96, 160)
    dims = {
        0: torch.export.Dim("batch", min=1, max=4096),
        2: torch.export.Dim("height", min=32, max=LARGEST_SIDE),
        3: torch.export.Dim("width", min=32, max=LARGEST_SIDE),
    }
    with _quiet():
        try:
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                opset_version=opset,
                dynamic_shapes=None if size else {"x": dims},
                input_names=[INPUT],
                output_names=list(outputs),
                custom_translation_table=_translations(opset),
                verbose=False,
            )
        except Exception as problem:  # the exporter wraps any exception
            raise ExportError(
                f"torch cannot export {named}: {first_line(problem)}", "run: featherface doctor --only packages"
            ) from problem
    assert program is not None
    return program.model_proto


def _translations(opset: int) -> dict[Any, Any]:
    """ONNX for the operators that ``models.deform`` and ``models.blocks`` register."""
    import onnxscript

    op: Opset = getattr(onnxscript, f"opset{opset}")

    def deform_conv2d(x: Any, offset: Any, mask: Any, weight: Any, bias: Any = None, offset_groups: int = 1) -> Any:
        side = int(weight.shape[2])
        return op.DeformConv(
            x,
            weight,
            offset,
            bias,
            mask,
            kernel_shape=[side, side],
            pads=[side // 2] * 4,
            offset_group=offset_groups,
        )

    def same_max_pool(x: Any) -> Any:
        odd = op.Mod(op.Shape(x, start=2), op.Constant(value_ints=[2, 2]))
        before, after = op.Constant(value_ints=[0, 0]), op.Constant(value_ints=[0, 0, 1, 1])
        padded = op.Pad(x, op.Concat(before, odd, after, axis=0), op.Constant(value_float=ALMOST_ZERO))
        pooled, _ = op.MaxPool(padded, kernel_shape=[3, 3], strides=[2, 2])
        return pooled

    ours = torch.ops.featherface
    return {ours.deform_conv2d.default: deform_conv2d, ours.same_max_pool.default: same_max_pool}


def _simplify(graph: onnx.ModelProto) -> onnx.ModelProto:
    try:
        import onnxsim

        simplified, valid = onnxsim.simplify(graph)
    except Exception as problem:  # a C++ library without a common exception class
        raise ExportError(f"onnxsim failed: {first_line(problem)}", "export without --simplify") from problem
    if not valid:
        raise ExportError("onnxsim's result differs from its input", "export without --simplify")
    return simplified  # type: ignore[no-any-return]


def _tidy(graph: onnx.ModelProto, config: ExportConfig, description: dict[str, Any]) -> None:
    """Readable dimension names, our metadata, and no traces of the exporting machine (the exporter stores stack traces)."""
    graph.producer_name, graph.producer_version = "featherface", __version__
    graph.doc_string = ""
    del graph.graph.value_info[:]
    for holder in (
        graph,
        graph.graph,
        *graph.graph.node,
        *graph.graph.initializer,
        *graph.graph.input,
        *graph.graph.output,
    ):
        del holder.metadata_props[:]
        holder.doc_string = ""
    for output in graph.graph.output:
        batch, anchors, _ = output.type.tensor_type.shape.dim
        if config.dynamic:
            batch.dim_param, anchors.dim_param = "batch", "anchors"
        else:
            batch.dim_value, anchors.dim_value = 1, count_anchors(*config.size)
    describe_in(graph, description)


def describe_in(graph: onnx.ModelProto, description: dict[str, Any]) -> None:
    """Replace the graph's metadata by ``description``."""
    del graph.metadata_props[:]
    entry = graph.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, json.dumps(description)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notes on torchvision and its own internals off the user's screen."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
