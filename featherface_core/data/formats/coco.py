"""COCO's object detection JSON (cocodataset.org/#format-data), with the five landmarks as ``keypoints``.

``images`` have an id and a file_name; ``annotations`` an image_id, a bbox [x, y, width, height] in pixels, and may have
``iscrowd`` (such a face trains nothing) and ``keypoints`` [x, y, v] x 5, v = 0 where one is not labelled.
Where a category is called face, only it is read; else all are.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from featherface_core.data.annotation import Annotation, AnnotationSet, Problem
from featherface_core.data.formats.lines import (
    FARTHEST,
    Entry,
    cannot_read,
    faces_of,
    pictures_folder,
    sizes_of,
    split,
    write_lines,
)
from featherface_core.errors import DataError
from featherface_core.results import LANDMARK_NAMES

FORM = "coco"
HINT = "a bbox is [x, y, width, height] in pixels, keypoints are [x, y, v] five times"


def read(path: Path) -> AnnotationSet:
    """Read a COCO file. Raises DataError for a file that is no JSON, lacks a field, or has a field that is no number."""
    try:
        data = json.loads(path.read_bytes())
    except OSError as problem:
        raise cannot_read(path, problem) from None
    except (ValueError, RecursionError) as problem:
        raise DataError(f"{path} is no JSON: {problem}", "copy or make it again") from None
    images = _list(path, data, "images")
    names = [str(_field(path, image, "image", i, "file_name")) for i, image in enumerate(images)]
    index = {_field(path, image, "image", i, "id"): i for i, image in enumerate(images)}
    annotations, problems = _faces_only(path, data, _list(path, data, "annotations"))
    rows: list[tuple[int, list[float], list[float], bool, str]] = []
    for i, annotation in enumerate(annotations):
        picture = index.get(_field(path, annotation, "annotation", i, "image_id"))
        place = f"{path}: annotation {annotation.get('id', f'number {i + 1}')}"
        if picture is None:
            what = f"no picture has the id {annotation['image_id']!r}; the face is left out"
            problems.append(Problem("unknown-picture", "warning", place, what))
            continue
        box = _numbers(place, "bbox", _field(path, annotation, "annotation", i, "bbox"), 4)
        points = annotation.get("keypoints") or []
        if not isinstance(points, list):
            raise DataError(f"{place}: keypoints {points!r} is not a list"[:200], HINT)
        if len(points) not in (0, 15):
            what = f"{len(points) / 3:g} keypoints instead of 5; the face counts as one without landmarks"
            problems.append(Problem("landmarks-incomplete", "warning", place, what))
        points = _numbers(place, "keypoints", points, 15) if len(points) == 15 else [0.0] * 15
        rows.append((picture, box, points, bool(annotation.get("iscrowd")), place))
    rows.sort(key=lambda row: row[0])
    landmarks = np.array([row[2] for row in rows]).reshape(-1, 5, 3)
    faces, odd = faces_of(
        np.array([row[1] for row in rows]).reshape(-1, 4),
        np.where(landmarks[:, :, 2:] > 0, landmarks[:, :, :2], np.nan),
        np.array([row[3] for row in rows], bool),
        [row[4] for row in rows],
    )
    ends = np.searchsorted([row[0] for row in rows], np.arange(len(names)), side="right").tolist()
    folder = pictures_folder(_folders(path), names)
    made = tuple(Annotation(folder / n, n, f) for n, f in zip(names, split(faces, ends), strict=True))
    return AnnotationSet(path, FORM, made, tuple(problems + odd))


def _folders(path: Path) -> list[Path]:
    """Where pictures may lie, COCO's own layout (annotations/train.json beside train/) among them."""
    folders = [path.parent / "images", path.parent]
    for near in (path.parent, path.parent.parent):
        folders += sorted(f for f in near.iterdir() if f.is_dir())
    return folders


def _faces_only(path: Path, data: Any, annotations: list[Any]) -> tuple[list[Any], list[Problem]]:
    categories = {c.get("id"): str(c.get("name", "")) for c in data.get("categories") or [] if isinstance(c, dict)}
    face = {number for number, name in categories.items() if name.lower() == "face"}
    if face:
        annotations = [a for a in annotations if not isinstance(a, dict) or a.get("category_id") in face]
    elif len(categories) > 1:
        what = f"no category is called face, so all are read as faces: {', '.join(categories.values())}"
        return annotations, [Problem("several-classes", "warning", str(path), what)]
    return annotations, []


def _list(path: Path, data: Any, key: str) -> list[Any]:
    found = data.get(key) if isinstance(data, dict) else None
    if not isinstance(found, list):
        raise DataError(f"{path} has no list of {key!r}", "a COCO file has the lists images, annotations, categories")
    return found


def _field(path: Path, item: Any, kind: str, number: int, key: str) -> Any:
    value = item.get(key) if isinstance(item, dict) else None
    if value is None or (key != "bbox" and not isinstance(value, (int, str))):
        raise DataError(f"{path}: {kind} number {number + 1} has no usable {key!r}: {value!r}"[:200], HINT)
    return value


def _numbers(place: str, key: str, values: Any, count: int) -> list[float]:
    if not isinstance(values, list) or len(values) != count:
        raise DataError(f"{place}: {key} {values!r} is not a list of {count} numbers"[:200], HINT)
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= FARTHEST:
            raise DataError(f"{place}: {value!r} in {key} is no usable number"[:200], HINT)
    return values


def write(out: Path, entries: Iterable[Entry]) -> None:
    """Write ``annotations.json``, pictures in ``images/``. Ignored faces are iscrowd; landmarks are visible keypoints."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, entry in enumerate(entries, 1):
        images.append({"id": number, "file_name": entry.name, "width": entry.width, "height": entry.height})
        sizes, known = sizes_of(entry.faces).round(3).tolist(), entry.faces.has_landmarks
        for i, box in enumerate(sizes):
            annotation = {
                "id": len(annotations) + 1,
                "image_id": number,
                "category_id": 1,
                "bbox": box,
                "area": round(box[2] * box[3], 3),
                "iscrowd": int(entry.faces.ignored[i]),
            }
            if known[i]:
                points = entry.faces.landmarks[i].astype(np.float64).round(3).tolist()
                annotation |= {"keypoints": [v for x, y in points for v in (x, y, 2)], "num_keypoints": 5}
            annotations.append(annotation)
    category = {"id": 1, "name": "face", "supercategory": "person", "keypoints": list(LANDMARK_NAMES), "skeleton": []}
    data = {"images": images, "annotations": annotations, "categories": [category]}
    write_lines(out / "annotations.json", [json.dumps(data)])
