"""How the deployment package's example finds faces with a file that includes post-processing."""

from typing import Any

import numpy as np
import onnxruntime

from featherface_core.results import Floats


def find_faces(
    session: onnxruntime.InferenceSession, pixels: Floats, score: float, config: dict[str, Any]
) -> tuple[Floats, Floats, Floats]:
    """Boxes (n, 4), scores (n,) and landmarks (n, 5, 2) in one prepared picture (3, h, w), in its pixels."""
    # nms_iou and top_k may be given too; the file has defaults
    feeds = {session.get_inputs()[0].name: pixels[None], "score_threshold": np.array(score, np.float32)}
    boxes, scores, landmarks = session.run(["boxes", "scores", "landmarks"], feeds)
    return boxes, scores, landmarks
