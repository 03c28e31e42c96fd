"""How near a second look brings the landmarks, by the size that it scales faces to.

    python benchmarks/second_look.py DATA --model v1 --sizes 48,64,96,128,160,224

DATA: labelled pictures with landmarks. The faces are found once, at a long side of 640 px, scores above 0.02; then each size
looks at all of them. Printed: the mean and the median error, as `featherface eval` measures it, and milliseconds a face.
"""

import argparse
import time

from featherface_core.detect.detector import TorchDetector
from featherface_core.detect.second_look import SecondLook
from featherface_core.evaluation.average_precision import IOU, outcome_of
from featherface_core.evaluation.config import EvalConfig
from featherface_core.evaluation.dataset import Task, open_task
from featherface_core.evaluation.inference import Detected, find_faces
from featherface_core.evaluation.measure import landmarks_of
from featherface_core.evaluation.truth import Found
from featherface_core.models.checkpoint import load_model
from featherface_core.models.variants import SHIPPED, VARIANTS, shipped_weights
from featherface_core.results import Detections


def error(task: Task, faces: list[Detections]) -> str:
    found = Found.of([(d.boxes, d.scores) for d in faces])
    at = landmarks_of(task, Detected(found, tuple(faces)), outcome_of(tuple(faces), task.faces, IOU))
    return "no landmarks to compare" if at is None else f"{at.mean:.1%} (median {at.median:.1%}) of {at.faces} faces"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--model", default="v1", choices=SHIPPED)
    parser.add_argument("--sizes", default="48,64,96,128,160,224")
    parser.add_argument("--pictures", type=int, default=0)
    given = parser.parse_args()
    weights = shipped_weights(VARIANTS[given.model])
    assert weights is not None
    detector = TorchDetector(load_model(weights))
    config = EvalConfig(data=given.data, protocol="vga", pictures=given.pictures)
    task = open_task(config)
    source = task.source
    assert source is not None
    pictures = [source.read(i)[0] for i in task.indices]
    first = [r.faces for r in find_faces(detector, lambda p: pictures[p], range(len(pictures)), config.views)]
    print(f"one look: {error(task, first)}", flush=True)
    for size in map(int, given.sizes.split(",")):
        look, start = SecondLook(detector, face=size), time.perf_counter()
        second = [look.place(picture, faces) for picture, faces in zip(pictures, first, strict=True)]
        each = (time.perf_counter() - start) * 1000 / max(1, sum(map(len, first)))
        print(f"{size:4} px: {error(task, second)}, {each:.1f} ms a face", flush=True)


if __name__ == "__main__":
    main()
