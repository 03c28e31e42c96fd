"""Find the faces in a picture with NumPy, OpenCV and onnxruntime only.

pip install numpy opencv-python "onnxruntime>=1.25"
python usage_example.py PICTURE [--out faces.jpg] [--size 640] [--score 0.5]
"""

import argparse
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime

from featherface_core.exporting.usage_network import find_faces
from featherface_core.pictures import prepare

HERE = Path(__file__).parent


def main() -> None:
    """Detect, print one JSON line a face, and draw."""
    config: dict[str, Any] = json.loads((HERE / "deployment_config.json").read_text(encoding="utf-8"))
    parser = argparse.ArgumentParser(description="Find the faces in a picture.")
    parser.add_argument("picture")
    parser.add_argument("--out", default="faces.jpg", help="where the drawn picture goes")
    parser.add_argument("--size", type=int, help="long side in pixels that the picture is scaled to; default: its own")
    parser.add_argument("--score", type=float, default=config["postprocess"]["score_threshold"])
    arguments = parser.parse_args()

    picture = cv2.imread(arguments.picture, cv2.IMREAD_COLOR)
    if picture is None:
        raise SystemExit(f"error: {arguments.picture} is not a picture that OpenCV can read")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; it would warn of inputs that may be left out
    session = onnxruntime.InferenceSession(str(HERE / "model.onnx"), options, providers=["CPUExecutionProvider"])
    shape = session.get_inputs()[0].shape
    canvas = (shape[2], shape[3]) if isinstance(shape[2], int) else None

    pixels, scale = prepare(np.asarray(picture, np.uint8), arguments.size, tuple(config["constants"]["mean"]), canvas)
    boxes, scores, points = find_faces(session, pixels, arguments.score, config)
    boxes, points = boxes / np.tile(scale, 2), points / np.array(scale)

    for box, score, five in zip(boxes, scores, points, strict=True):
        face = {"box": box.round(2).tolist(), "score": round(float(score), 4), "landmarks": five.round(2).tolist()}
        print(json.dumps(face))
        x1, y1, x2, y2 = (round(float(v)) for v in box)
        cv2.rectangle(picture, (x1, y1), (x2, y2), (80, 220, 40), 2)
        for x, y in five:
            cv2.circle(picture, (round(float(x)), round(float(y))), 2, (60, 60, 255), -1)
    if not cv2.imwrite(arguments.out, picture):
        raise SystemExit(f"error: cannot write {arguments.out}")


if __name__ == "__main__":
    main()
