"""Post-processing inside an ONNX graph: ``boxes.make_anchors`` and ``boxes.postprocess`` as nodes after a network's."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper, parser

from featherface_core.config import PostprocessConfig
from featherface_core.detect.detector import FACES, OUTPUTS, thresholds

RAW = tuple(f"raw_{name}" for name in OUTPUTS)
NAMES = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int64): TensorProto.INT64}


def add_postprocess(graph: onnx.ModelProto, post: PostprocessConfig, constants: dict[str, Any]) -> None:
    """Replace a network's raw outputs by faces; changes ``graph``.

    The outputs become ``detector.FACES``: boxes (faces, 4), scores (faces,), landmarks (faces, 5, 2) in pixels of the input,
    and the picture (faces,) of the batch that each is in; pictures in turn, best first in each. ``detector.THRESHOLDS`` become
    optional inputs, with ``post`` as their defaults. constants: as an exported file holds them.
    """
    given = graph.graph.input[0].name
    limits = thresholds(post)
    _rename(graph.graph.node, dict(zip(OUTPUTS, RAW, strict=True)))
    lines = [*_anchors(given, constants["strides"], constants["anchor_sizes"]), *_faces(given, constants["variances"])]
    nodes = [parser.parse_node(line) for line in lines]
    # new edges get names that the graph does not use
    inner = {name for node in nodes for name in node.output} - set(FACES)
    _rename(nodes, {name: f"post.{name}" for name in inner})
    graph.graph.node.extend(nodes)
    graph.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in limits.items())
    graph.graph.input.extend(
        helper.make_tensor_value_info(name, NAMES[value.dtype], []) for name, value in limits.items()
    )
    del graph.graph.output[:]
    shapes: dict[str, list[str | int]] = dict(
        zip(FACES, (["faces", 4], ["faces"], ["faces", 5, 2], ["faces"]), strict=True)
    )
    graph.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.INT64 if name == FACES[3] else TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    )


def _anchors(given: str, strides: list[int], sizes: list[list[int]]) -> Iterator[str]:
    """``boxes.make_anchors`` for the graph's own input: (anchors, 4)."""
    yield f"height = Shape <start = 2, end = 3> ({given})"
    yield f"width = Shape <start = 3, end = 4> ({given})"
    yield from _constants(down=[0.0, 1.0, 0.0, 0.0], right=[1.0, 0.0, 0.0, 0.0])
    yield from _constants(as_rows=[-1, 1, 1, 1], as_columns=[-1, 1, 1], as_fours=[-1, 4])
    for stride, level_sizes in zip(strides, sizes, strict=True):
        s = f"_{stride}"
        yield f"half{s} = Constant <value_int = {stride // 2}> ()"
        yield f"stride{s} = Constant <value_int = {stride}> ()"
        for side, factor, centres in (("height", "down", "as_rows"), ("width", "right", "as_columns")):
            # from half a cell on, as many cells as begin within the picture
            yield f"{side}_and_half{s} = Add({side}, half{s})"
            yield f"{side}_end{s} = Squeeze({side}_and_half{s})"
            yield f"{side}_pixels{s} = Range(half{s}, {side}_end{s}, stride{s})"
            yield f"{side}_floats{s} = Cast <to = {TensorProto.FLOAT}> ({side}_pixels{s})"
            yield f"{side}_grid{s} = Reshape({side}_floats{s}, {centres})"
            yield f"{side}_centres{s} = Mul({side}_grid{s}, {factor})"
        yield f"centres{s} = Add(height_centres{s}, width_centres{s})"  # (rows, columns, 1, 4), sizes still 0
        flat = ", ".join(f"0.0, 0.0, {float(size)}, {float(size)}" for size in level_sizes)
        yield f"sizes_flat{s} = Constant <value_floats = [{flat}]> ()"
        yield f"sizes{s} = Reshape(sizes_flat{s}, as_fours)"
        yield f"grid{s} = Add(centres{s}, sizes{s})"
        yield f"anchors{s} = Reshape(grid{s}, as_fours)"
    yield f"anchors = Concat <axis = 0> ({', '.join(f'anchors_{stride}' for stride in strides)})"


def _faces(given: str, variances: list[float]) -> Iterator[str]:
    """``boxes.postprocess`` for a batch, step by step."""
    raw_boxes, raw_scores, raw_landmarks = RAW
    yield from _constants(first=[0], zero=0, one=1, two=2, halves=[2, 2], zero_score=0.0, double=2.0, pixel=1.0)
    yield from _constants(centre_variance=variances[0], size_variance=variances[1], steepest=60.0)
    yield from _constants(largest=float(np.finfo(np.float32).max), along=[1], as_points=[-1, 5, 2])

    # only anchors with a score above the threshold are kept: (candidates, ...)
    yield f"face_scores = Gather <axis = 2> ({raw_scores}, one)"
    yield "above = Greater(face_scores, score_threshold)"
    yield "places = NonZero(above)"
    yield "pairs = Transpose <perm = [1, 0]> (places)"
    yield "picture = Gather <axis = 0> (places, zero)"
    yield "anchor = Gather <axis = 0> (places, one)"
    yield "score = GatherND(face_scores, pairs)"
    yield f"regressions = GatherND({raw_boxes}, pairs)"
    yield f"points = GatherND({raw_landmarks}, pairs)"
    yield "their_anchors = Gather <axis = 0> (anchors, anchor)"

    # as boxes.decode_boxes
    yield "middle, size = Split <axis = 1> (their_anchors, halves)"
    yield "move, growth = Split <axis = 1> (regressions, halves)"
    yield "move_small = Mul(move, centre_variance)"
    yield "move_pixels = Mul(move_small, size)"
    yield "centre = Add(middle, move_pixels)"
    yield "growth_small = Mul(growth, size_variance)"
    yield "growth_bounded = Min(growth_small, steepest)"
    yield "factor = Exp(growth_bounded)"
    yield "grown = Mul(size, factor)"
    yield "half_size = Div(grown, double)"
    yield "low = Sub(centre, half_size)"
    yield "high = Add(centre, half_size)"
    yield "all_boxes = Concat <axis = 1> (low, high)"

    # NaN or infinity, from a diverged network, is not a face
    yield "values = Concat <axis = 1> (regressions, points)"
    yield "magnitudes = Abs(values)"
    yield "is_finite = LessOrEqual(magnitudes, largest)"
    yield f"finite_flags = Cast <to = {TensorProto.FLOAT}> (is_finite)"
    yield "all_finite = ReduceMin <keepdims = 0> (finite_flags, along)"
    yield f"finite = Cast <to = {TensorProto.BOOL}> (all_finite)"

    # one NMS with the pictures as classes: each has only its own candidates, and boxes need no offset
    yield f"batch_shape = Shape <start = 0, end = 1> ({given})"
    yield "batch = Squeeze(batch_shape)"
    yield "all_pictures = Range(zero, batch, one)"
    yield "rows = Unsqueeze(all_pictures, along)"
    yield "is_here = Equal(rows, picture)"
    yield "is_face = And(is_here, finite)"
    yield "scores_by_picture = Where(is_face, score, zero_score)"
    yield "class_scores = Unsqueeze(scores_by_picture, first)"

    # sides count one pixel more than x2 - x1, as in boxes.nms; it takes x for y, which is the same to an IoU
    yield "high_pixel = Add(high, pixel)"
    yield "closed = Concat <axis = 1> (low, high_pixel)"
    yield "closed_boxes = Unsqueeze(closed, first)"
    yield "no_limit = Equal(top_k, zero)"
    yield "count = Size(score)"
    yield "most = Where(no_limit, count, top_k)"
    yield "chosen = NonMaxSuppression(closed_boxes, class_scores, most, nms_iou, score_threshold)"
    yield f"{FACES[3]} = Gather <axis = 1> (chosen, one)"
    yield "kept = Gather <axis = 1> (chosen, two)"

    yield f"{FACES[0]} = Gather <axis = 0> (all_boxes, kept)"
    yield f"{FACES[1]} = Gather <axis = 0> (score, kept)"
    # as boxes.decode_landmarks
    yield "kept_points = Gather <axis = 0> (points, kept)"
    yield "kept_middle = Gather <axis = 0> (middle, kept)"
    yield "kept_size = Gather <axis = 0> (size, kept)"
    yield "five = Reshape(kept_points, as_points)"
    yield "five_middle = Unsqueeze(kept_middle, along)"
    yield "five_size = Unsqueeze(kept_size, along)"
    yield "five_small = Mul(five, centre_variance)"
    yield "five_pixels = Mul(five_small, five_size)"
    yield f"{FACES[2]} = Add(five_middle, five_pixels)"


def _constants(**values: float | list[int] | list[float]) -> Iterator[str]:
    """A Constant node for each value: int64 of integers, else float32; a list gives one axis, a number none."""
    for name, value in values.items():
        numbers = value if isinstance(value, list) else [value]
        kind = "int" if all(isinstance(number, int) for number in numbers) else "float"
        form = f"{kind}s" if isinstance(value, list) else kind
        yield f"{name} = Constant <value_{form} = {value!r}> ()"


def _rename(nodes: Any, names: dict[str, str]) -> None:
    """Edges of ``nodes`` by their new names."""
    for node in nodes:
        assert isinstance(node, NodeProto)
        for edges in (node.input, node.output):
            for i, name in enumerate(edges):
                edges[i] = names.get(name, name)
