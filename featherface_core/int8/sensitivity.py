"""Which layers can be quantised: each group alone, and how far it moves what the network says."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx

from featherface_core import boxes
from featherface_core.detect import OUTPUTS, Detector
from featherface_core.int8.groups import Group
from featherface_core.int8.quantise import quantised
from featherface_core.int8.report import GroupChange
from featherface_core.results import Floats
from featherface_core.session import open_graph, session_options

PICTURES = 12  # of the calibration pictures, each of which every group runs on
ANCHORS = 100  # of a picture, those of the best scores; the others find nothing in either form
# a group that alone moves scores by so much, or boxes to an IoU of 1 less so much, stays in float32
LIMIT = 0.02

Outputs = tuple[Floats, Floats, Floats]


def measure_groups(
    graph: onnx.ModelProto,
    ranges: Any,
    groups: Sequence[Group],
    detector: Detector,
    inputs: Sequence[Floats],
    on_group: Callable[[Group], None] = lambda group: None,
) -> Iterator[GroupChange]:
    """Quantise each group of ``graph`` alone and compare its outputs on ``inputs``, (1, 3, h, w) each, with float32's.

    detector: of the same graph. on_group: called before each.
    """
    reference = [detector.network.run(pixels) for pixels in inputs]
    for group in groups:
        on_group(group)
        outputs = _run(quantised(graph, ranges, group.nodes), inputs)
        pairs = zip(inputs, reference, outputs, strict=True)
        changes = [change(detector, pixels.shape[2:], before, after) for pixels, before, after in pairs]
        score, box = (float(value) for value in np.average([c[:2] for c in changes], 0, [c[2] for c in changes]))
        yield GroupChange(group.name, group.layers, group.weights, score, box, score <= LIMIT and box <= LIMIT)


def change(detector: Detector, shape: tuple[int, ...], before: Outputs, after: Outputs) -> tuple[float, float, float]:
    """Mean changes of scores, and of boxes as 1 - IoU, over the ANCHORS best anchors of a picture; and the sum of their weights.

    An anchor weighs as much as its score before. shape: (height, width) of the input.
    """
    anchors = boxes.make_anchors(shape[0], shape[1], detector.strides, detector.anchor_sizes)
    best = np.argsort(-before[1][0, :, 1])[:ANCHORS]
    weights = before[1][0, best, 1].astype(np.float64)
    scores = np.abs(after[1][0, best, 1] - before[1][0, best, 1])
    old, new = (boxes.decode_boxes(out[0][0, best], anchors[best], detector.variances) for out in (before, after))
    overlap = boxes.iou(old, new).diagonal()
    total = float(weights.sum())
    return float((weights * scores).sum() / total), float((weights * (1 - overlap)).sum() / total), total


def _run(graph: onnx.ModelProto, inputs: Sequence[Floats]) -> list[Outputs]:
    session = open_graph(graph.SerializeToString(), session_options())
    name = session.get_inputs()[0].name
    return [tuple(session.run(OUTPUTS, {name: pixels})) for pixels in inputs]
