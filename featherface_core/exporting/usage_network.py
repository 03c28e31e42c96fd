"""How the deployment package's example finds faces with a file without post-processing; ``usage_faces`` is for a file with
post-processing."""

from typing import Any

import onnxruntime

from featherface_core.boxes import make_anchors, postprocess
from featherface_core.results import Floats


def find_faces(
    session: onnxruntime.InferenceSession, pixels: Floats, score: float, config: dict[str, Any]
) -> tuple[Floats, Floats, Floats]:
    """Boxes (n, 4), scores (n,) and landmarks (n, 5, 2) in one prepared picture (3, h, w), in its pixels."""
    constants, defaults = config["constants"], config["postprocess"]
    names = ["bbox_regressions", "classifications", "landmarks"]
    regressions, scores, landmarks = session.run(names, {session.get_inputs()[0].name: pixels[None]})
    strides, sizes = tuple(constants["strides"]), tuple(map(tuple, constants["anchor_sizes"]))
    return postprocess(
        regressions[0],
        scores[0],
        landmarks[0],
        make_anchors(pixels.shape[1], pixels.shape[2], strides, sizes),
        score,
        defaults["nms_iou"],
        defaults["top_k"],
        tuple(constants["variances"]),
    )
