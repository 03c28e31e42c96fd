"""An exported ONNX graph as OpenVINO's intermediate representation, deformable convolutions included."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from featherface_core.detect.detector import METADATA_KEY
from featherface_core.detect.openvino import core, import_openvino, reason
from featherface_core.errors import ExportError


def save_openvino(graph: onnx.ModelProto, path: Path) -> None:
    """Write ``graph`` as an .xml with its .bin beside it, float32, its metadata in the runtime information.

    The input is (N, H, W, 3) in place of (N, 3, H, W): pictures have this layout, and so do the CPU plugin's kernels, which
    would reorder every input otherwise. Inputs that are optional in ONNX are required. Raises ExportError, and
    MissingPackageError without the openvino package.
    """
    openvino = import_openvino()
    from openvino.preprocess import PrePostProcessor

    try:
        model = _reader().read_model(_without_defaults(graph).SerializeToString(), b"")
        pixels = graph.graph.input[0].name
        steps = PrePostProcessor(model)
        steps.input(pixels).tensor().set_layout(openvino.Layout("NHWC"))
        steps.input(pixels).model().set_layout(openvino.Layout("NCHW"))
        model = steps.build()
    except RuntimeError as problem:
        raise ExportError(
            f"OpenVINO cannot convert the graph: {reason(problem)}", "export with --format onnx"
        ) from problem
    said = {entry.key: entry.value for entry in graph.metadata_props}
    model.set_rt_info(said[METADATA_KEY], [METADATA_KEY])
    openvino.save_model(model, path, compress_to_fp16=False)


@cache
def _reader() -> Any:
    """The process's one core, which from now on reads graphs of ours."""
    made = core()
    made.add_extension(_deform_conv())
    made.add_extension(_non_max_suppression())
    return made


def _without_defaults(graph: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose inputs have no default values, which OpenVINO would read as constants."""
    made = onnx.ModelProto()
    made.CopyFrom(graph)
    names = {given.name for given in graph.graph.input}
    fixed = [tensor for tensor in graph.graph.initializer if tensor.name not in names]
    del made.graph.initializer[:]
    made.graph.initializer.extend(fixed)
    return made


def _non_max_suppression() -> Any:
    """NonMaxSuppression as ONNX has it: it removes boxes above the threshold; OpenVINO's also removes those at the threshold."""
    from openvino import opset1, opset9
    from openvino.frontend.onnx import ConversionExtension

    just_above, least = np.nextafter(np.float32(1), np.float32(2)), np.finfo(np.float32).tiny

    def convert(node: Any) -> Any:
        boxes, scores, most, iou, score = (node.get_input(i) for i in range(5))
        iou = opset1.maximum(opset1.multiply(iou, just_above), least)
        chosen = opset9.non_max_suppression(
            boxes,
            scores,
            most,
            iou,
            score,
            box_encoding="corner",
            sort_result_descending=False,
            output_type="i64",
        )
        return [chosen.output(0)]

    return ConversionExtension("NonMaxSuppression", convert)


def _deform_conv() -> Any:
    """The translation of DeformConv, which OpenVINO's ONNX frontend lacks."""
    from openvino import opset1, opset8
    from openvino.frontend.onnx import ConversionExtension

    def convert(node: Any) -> Any:
        x, weight, offset, bias, mask = (node.get_input(i) for i in range(5))
        around = [weight.get_shape()[2] // 2] * 2
        sampled = opset8.deformable_convolution(
            x,
            offset,
            weight,
            strides=[1, 1],
            pads_begin=around,
            pads_end=around,
            dilations=[1, 1],
            mask=mask,
            auto_pad="explicit",
            group=1,
            deformable_group=node.get_attribute("offset_group", 1),
            bilinear_interpolation_pad=True,  # zeros around the picture, as ONNX has it
        )
        shape = np.array([1, -1, 1, 1], np.int64)
        return opset1.add(sampled, opset1.reshape(bias, shape, special_zero=False)).outputs()

    return ConversionExtension("DeformConv", convert)
