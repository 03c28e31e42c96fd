"""Find what ruins a training run before it starts: in the labels, in the pictures, and between train and val."""

import hashlib
import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featherface_core.data.annotation import Annotation, AnnotationSet, Faces, Problem, Severity, concatenate
from featherface_core.data.report import DataCheckReport, ProblemGroup, SetSummary
from featherface_core.data.sets import missing_pictures, missing_problem, sets_of
from featherface_core.errors import DataError
from featherface_core.events import Listener, Progress, ignore
from featherface_core.pictures import read_picture

THREADS = 2
EXAMPLES = 3  # of each kind in the report
SMALLEST_FACE = 3.0  # pixels, longer side
OVERHANG = 2.0  # pixels that a box may reach outside the picture: labels are rounded
MOST_MIRRORED = 0.05  # of the faces with landmarks; some labels are wrong in every data set
FIXES = {
    "no-faces": "check that the label is the right one: a detector learns nothing from background alone",
    "missing-picture": "put the pictures where the label expects them, or remove their entries",
    "unreadable-picture": "copy or download the pictures again, or remove their entries",
    "in-both": "remove each picture from train or from val: else val measures memory",
    "duplicate-name": "join the entries of a picture: what is a face in one is background in the other",
    "box-outside": "the label is of another size or turn of the picture: rescale it, or remove the boxes",
    "landmarks-mirrored": "write the left eye and corner of the mouth of the picture first: left, right, nose, left, right",
    "name-in-both": "make sure that these are different pictures, or remove each from train or from val",
    "landmarks-outside": "check these faces: their landmarks belong to another face or size",
    "landmarks-incomplete": "nothing: such faces train boxes only",
    "no-landmarks": "nothing for boxes alone; the landmarks of a network stay untrained",
    "duplicate-box": "remove all but one: a doubled face counts twice",
    "box-partly-outside": "nothing for faces at the border; check the label if they are many",
    "tiny-face": f"mark faces below {SMALLEST_FACE:g} px as ignored: no network can see them",
    "zero-area": "nothing: they are ignored; remove them from the label to be rid of this line",
    "ignored-elsewhere": "name the pictures in the label too, or remove them from ignore.txt",
    "unknown-picture": "remove the annotations, or add their pictures to the list of images",
    "several-classes": "name the class of faces face, or remove the other classes, if not all of them are faces",
}
_UNKNOWN = (np.nan, np.nan)
MIRRORED = (
    -0.25
)  # of a frontal face in the right order the value is about 1, of a profile about 0, of a mirrored one -1
FAR = 0.5  # of the box's side


def check_data(path: str | Path, on_event: Listener = ignore, pictures: bool = True) -> DataCheckReport:
    """Check the data at ``path``: a label file, a folder with one, or a folder with train and val.

    pictures: also open every picture, which takes most of the time. Raises DataError for a label that cannot be read at all.
    """
    start = time.perf_counter()
    sets = sets_of(path)
    problems: list[Problem] = []
    decoded = 0
    for name, labels in sets.items():
        problems += labels.problems
        missing = missing_pictures(labels.annotations)
        problems += map(missing_problem, missing)
        sizes = np.full((len(labels.annotations), 2), np.nan)
        if pictures:
            gone = {id(annotation) for annotation in missing}
            present = [i for i, a in enumerate(labels.annotations) if id(a) not in gone]
            read, broken = _decode([labels.annotations[i] for i in present], name, on_event)
            sizes[present] = np.array(read).reshape(-1, 2)
            problems += broken
            decoded += len(present)
        problems += check_labels(labels, sizes)
    if "val" in sets:
        on_event(Progress(0, None, "train against val"))
        problems += find_shared(sets["train"].annotations, sets["val"].annotations)
    summaries = tuple(SetSummary.of(name, labels) for name, labels in sets.items())
    folder = os.path.commonpath([s.source if s.source.is_dir() else s.source.parent for s in sets.values()])
    return DataCheckReport(str(path), folder, summaries, group(problems, folder), decoded, time.perf_counter() - start)


def group(problems: Iterable[Problem], folder: str = "") -> tuple[ProblemGroup, ...]:
    """Problems by kind: errors first, and the order of ``FIXES`` within. folder: left out of the paths below it."""
    kinds: dict[str, list[Problem]] = defaultdict(list)
    for problem in problems:
        kinds[problem.kind].append(problem)
    groups = []
    for kind, found in kinds.items():
        severity: Severity = "error" if any(p.severity == "error" for p in found) else "warning"
        examples = tuple(f"{p.where}: {p.what}".replace(folder + os.sep, "") for p in found[:EXAMPLES])
        groups.append(ProblemGroup(kind, severity, len(found), examples, FIXES[kind]))
    order = list(FIXES)
    return tuple(sorted(groups, key=lambda g: (g.severity != "error", order.index(g.kind))))


def _decode(
    annotations: Sequence[Annotation], name: str, on_event: Listener
) -> tuple[list[tuple[float, float]], list[Problem]]:
    """(width, height) of each picture, NaN for one that cannot be read, and a Problem for each of those."""
    sizes: list[tuple[float, float]] = []
    problems: list[Problem] = []
    pool = ThreadPoolExecutor(THREADS)
    try:
        for annotation, found in zip(annotations, pool.map(_size, annotations), strict=True):
            on_event(Progress(len(sizes) + 1, len(annotations), f"{name}, {annotation.name}"))
            if isinstance(found, DataError):
                problems.append(Problem("unreadable-picture", "error", str(annotation.path), found.message))
                found = _UNKNOWN
            sizes.append(found)
    finally:
        pool.shutdown(cancel_futures=True)  # an interruption does not wait for the rest
    return sizes, problems


def _size(annotation: Annotation) -> tuple[float, float] | DataError:
    try:
        height, width = read_picture(annotation.path).shape[:2]
    except DataError as problem:
        return problem
    return width, height


def check_labels(labels: AnnotationSet, sizes: NDArray[np.float64]) -> list[Problem]:
    """Everything that a label tells of itself; ignored faces may be as odd as they like.

    sizes (n, 2): width, height of each picture in pixels, NaN where it is not known.
    """
    annotations = labels.annotations
    counts = [len(a.faces) for a in annotations]
    faces = concatenate([a.faces for a in annotations]) if annotations else Faces.none()
    owner = np.repeat(np.arange(len(annotations)), counts)
    number = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts) + 1
    sides = faces.boxes[:, 2:] - faces.boxes[:, :2]
    solid = (sides > 0).all((1,))
    tried = ~faces.ignored
    limits = sizes[owner]

    def each(kind: str, severity: Severity, which: NDArray[np.bool_], what: str) -> list[Problem]:
        found = []
        for i in np.flatnonzero(which):
            x, y = faces.boxes[i, :2]
            width, height = sides[i]
            at = f"face {number[i]}, {width:.4g} x {height:.4g} px at ({x:.6g}, {y:.6g})"
            size = " x ".join(f"{side:g}" for side in limits[i])
            found.append(Problem(kind, severity, f"{annotations[owner[i]].path}", f"{at}, {what.format(size)}"))
        return found

    problems = []
    for path, count in Counter(a.path for a in annotations).items():
        if count > 1:
            problems.append(
                Problem("duplicate-name", "error", str(path), f"the label names this picture {count} times")
            )
    if not tried.any():
        what = f"none of the {len(annotations):,} pictures has a face that counts"
        problems.append(Problem("no-faces", "error", str(labels.source), what))
    elif not faces.has_landmarks.any():
        what = f"none of the {len(faces):,} faces has landmarks"
        problems.append(Problem("no-landmarks", "warning", str(labels.source), what))

    inside = np.minimum(faces.boxes[:, 2:], limits) - np.maximum(faces.boxes[:, :2], 0)
    entirely = tried & solid & (inside <= 0).any(1)
    partly = tried & solid & ~entirely & (sides - inside > OVERHANG).any(1)
    problems += each("box-outside", "error", entirely, "lies outside the picture of {} px")
    problems += each("box-partly-outside", "warning", partly, "reaches outside the picture of {} px")

    rounded = np.concatenate([owner[:, None], faces.boxes.round()], 1)
    _, first, inverse = np.unique(rounded, axis=0, return_index=True, return_inverse=True)
    again: NDArray[np.bool_] = solid & (first[inverse.reshape(-1)] != np.arange(len(owner)))
    problems += each("duplicate-box", "warning", again, "is labelled twice")

    tiny = tried & solid & (sides < SMALLEST_FACE).all((1,))
    problems += each("tiny-face", "warning", tiny, "is tiny")
    swapped = tried & mirrored(faces)
    many = swapped.sum() > MOST_MIRRORED * max(1, faces.has_landmarks.sum())
    problems += each("landmarks-mirrored", "error" if many else "warning", swapped, "has left and right swapped")
    problems += each("landmarks-outside", "warning", tried & outside_box(faces), "has landmarks far outside its box")
    return problems


def find_shared(train: Sequence[Annotation], val: Sequence[Annotation]) -> list[Problem]:
    """Pictures that are in both sets: the same bytes (an error), or only the same name (a warning)."""
    by_size: dict[int, list[Path]] = defaultdict(list)
    for annotation in train:
        if (size := _bytes(annotation.path)) is not None:
            by_size[size].append(annotation.path)
    names = {annotation.name: annotation.path for annotation in train}
    digests: dict[Path, bytes] = {}
    problems = []
    for annotation in val:
        size = _bytes(annotation.path)
        alike = by_size.get(size, []) if size is not None else []
        same = next((p for p in alike if _digest(p, digests) == _digest(annotation.path, digests)), None)
        if same is not None:
            problems.append(Problem("in-both", "error", str(annotation.path), f"is the same picture as {same}"))
        elif annotation.name in names:
            what = f"has the name of {names[annotation.name]} in train"
            problems.append(Problem("name-in-both", "warning", str(annotation.path), what))
    return problems


def _bytes(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _digest(path: Path, known: dict[Path, bytes]) -> bytes:
    """Of a file that has a peer of the same length, so few are read."""
    if path not in known:
        try:
            known[path] = hashlib.blake2b(path.read_bytes()).digest()
        except OSError:
            known[path] = str(path).encode("utf-8", "surrogateescape")  # like no other
    return known[path]


def mirrored(faces: Faces) -> NDArray[np.bool_]:
    """(n,): whether the left and right eye, or the corners of the mouth, have changed places.

    From the eyes to the mouth leads the axis of a face; the right eye lies anticlockwise of it, as the picture shows it, however
    the face is rolled. So the cross product of the axis and the line from left to right tells the order, in units of the axis
    squared. In a profile both are nearly parallel and the sign means nothing: only a clear one counts.
    """
    points = faces.landmarks.astype(np.float64)
    axis = points[:, 3:].mean(1) - points[:, :2].mean(1)
    length = np.maximum((axis**2).sum(1), 1e-6)
    sides = []
    for left, right in ((0, 1), (3, 4)):
        line = points[:, right] - points[:, left]
        sides.append((line[:, 0] * axis[:, 1] - line[:, 1] * axis[:, 0]) / length)
    known = faces.has_landmarks & (length > 4)  # below two pixels, rounding decides
    swapped: NDArray[np.bool_] = known & (np.min(sides, 0) < MIRRORED)
    return swapped


def outside_box(faces: Faces) -> NDArray[np.bool_]:
    """(n,): whether a landmark lies farther outside the box than half of the box's longer side."""
    sides = faces.boxes[:, 2:] - faces.boxes[:, :2]
    reach = FAR * sides.max(1, keepdims=True)[:, :, None] if len(faces) else np.zeros((0, 1, 1))
    low = (faces.landmarks < faces.boxes[:, None, :2] - reach).any((1, 2))
    high = (faces.landmarks > faces.boxes[:, None, 2:] + reach).any((1, 2))
    far: NDArray[np.bool_] = faces.has_landmarks & (sides > 0).all(1) & (low | high)
    return far
