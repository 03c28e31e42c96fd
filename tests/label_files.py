"""Small label files of every format, and what was read from them."""

from functools import cache
from pathlib import Path

import cv2
import numpy as np

from featherface_core.data.annotation import AnnotationSet

LANDMARKS = "12 14 0.0 28 14 0.0 20 20 1.0 14 28 0.0 26 28 0.0"
UNKNOWN = " ".join(["-1.0"] * 15)
WIDER = """a/1.jpg
2
10 20 30 40 1 0 1 0 2 1
5 5 8 8 2 0 0 1 0 0
b.jpg
0
0 0 0 0 0 0 0 0 0 0
2 c.jpg
1
1 1 0 9 0 0 0 0 0 0
"""


@cache
def png(width: int, height: int, shade: int = 0) -> bytes:
    """A small file of any size."""
    return bytes(cv2.imencode(".png", np.full((height, width, 3), shade, np.uint8))[1])


def put(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def boxes(labels: AnnotationSet, index: int = 0) -> list[list[float]]:
    return labels.annotations[index].faces.boxes.tolist()


def kinds(labels: AnnotationSet) -> list[str]:
    return [problem.kind for problem in labels.problems]


def voc_xml(name: str, *objects: str) -> str:
    return f"<annotation><filename>{name}</filename>{''.join(objects)}</annotation>"


def voc_object(name: str, *corners: object, difficult: int = 0) -> str:
    values = "".join(
        f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True) if v is not None
    )
    return f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>{values}</bndbox></object>"


def coco(*annotations: object, categories: object = ()) -> dict[str, object]:
    return {
        "images": [{"id": 7, "file_name": "a.jpg"}, {"id": 3, "file_name": "b/c.jpg"}],
        "annotations": list(annotations),
        "categories": list(categories),  # type: ignore[call-overload]
    }
