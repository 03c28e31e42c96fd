"""The faces that a detector finds in many pictures, by a protocol; each stage timed."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from featherface_core import boxes
from featherface_core.data.annotation import FLIP_ORDER, Picture
from featherface_core.detect import Detector, Outputs
from featherface_core.errors import DataError
from featherface_core.evaluation.protocol import Protocol
from featherface_core.results import Detections

Scales = tuple[float, float]


@dataclass(frozen=True)
class PictureFaces:
    """The faces of one picture. index: as asked for. problem: why it could not be read, or "".

    milliseconds: reading, preparing, network, post-processing; those of a batch shared evenly. All of a picture's own second look
    counts as the network.
    """

    index: int
    faces: Detections
    problem: str = ""
    milliseconds: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class View:
    """What the network made of one batch: for those who want its outputs.

    indices: of the pictures. outputs: as Detector.forward gives them. scales: (x, y) that each was resized by. shape:
    (height, width) of the input.
    """

    indices: tuple[int, ...]
    outputs: Outputs
    scales: tuple[Scales, ...]
    shape: tuple[int, int]


def no_faces() -> Detections:
    """Of a picture in which nothing was found."""
    return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32))


def find_faces(
    detector: Detector,
    read: Callable[[int], Picture],
    indices: Sequence[int],
    protocol: Protocol,
    batch: int = 1,
    on_view: Callable[[View], None] = lambda view: None,
) -> Iterator[PictureFaces]:
    """The faces of each picture in turn; neighbours of one shape go through the network together, ``batch`` at most.

    read: gives a picture, BGR uint8 (H, W, 3), or raises DataError; such a picture comes back with its problem and no faces.
    """
    group: list[tuple[int, Picture, float]] = []
    for index in indices:
        start = time.perf_counter()
        try:
            picture, problem = read(index), ""
        except DataError as error:
            picture, problem = None, error.message
        reading = _since(start)
        if group and (picture is None or len(group) == batch or picture.shape != group[0][1].shape):
            yield from _run(detector, group, protocol, on_view)
            group = []
        if picture is None:
            yield PictureFaces(index, no_faces(), problem, (reading, 0.0, 0.0, 0.0))
        else:
            group.append((index, picture, reading))
    if group:
        yield from _run(detector, group, protocol, on_view)


def _run(
    detector: Detector,
    group: list[tuple[int, Picture, float]],
    protocol: Protocol,
    on_view: Callable[[View], None],
) -> Iterator[PictureFaces]:
    """Pictures of one shape through the network, once for each view of the protocol."""
    height, width = group[0][1].shape[:2]
    views: list[list[Detections]] = []
    preparing = network = post = 0.0
    for side in protocol.sides(height, width):
        for mirrored in (False, True) if protocol.flip else (False,):
            start = time.perf_counter()
            seen = [picture[:, ::-1] if mirrored else picture for _, picture, _ in group]
            prepared = [detector.prepare(picture, side) for picture in seen]
            pixels, scales = np.stack([p for p, _ in prepared]), tuple(scale for _, scale in prepared)
            ready = time.perf_counter()
            outputs = detector.forward(pixels, protocol.post)
            done = time.perf_counter()
            shape = (pixels.shape[2], pixels.shape[3])
            found = detector.decode(outputs, shape, scales, protocol.post)
            views.append([_unmirrored(faces, width) for faces in found] if mirrored else found)
            preparing += ready - start
            network += done - ready
            post += time.perf_counter() - done
            on_view(View(tuple(index for index, _, _ in group), outputs, scales, shape))
    start = time.perf_counter()
    merged = views[0] if len(views) == 1 else [_merged(parts, protocol) for parts in zip(*views, strict=True)]
    post += time.perf_counter() - start
    share = 1000 / len(group)
    for (index, picture, reading), faces in zip(group, merged, strict=True):
        start = time.perf_counter()
        looked = detector.look_again(picture, faces)
        looking = 0.0 if detector.second_look is None else _since(start)
        times = (reading, preparing * share, network * share + looking, post * share)
        yield PictureFaces(index, looked, "", times)


def _since(start: float) -> float:
    """Milliseconds."""
    return (time.perf_counter() - start) * 1000


def _unmirrored(faces: Detections, width: int) -> Detections:
    """Faces of a mirrored picture, where they are in the picture itself."""
    mirrored = faces.boxes[:, [2, 1, 0, 3]] * (-1, 1, -1, 1) + (width, 0, width, 0)
    points = faces.landmarks[:, FLIP_ORDER, :] * (-1, 1) + (width, 0)
    return replace(faces, boxes=mirrored.astype(np.float32), landmarks=points.astype(np.float32))


def _merged(parts: Sequence[Detections], protocol: Protocol) -> Detections:
    """The faces of all views of a picture, each once."""
    everything = Detections(
        np.concatenate([p.boxes for p in parts]),
        np.concatenate([p.scores for p in parts]),
        np.concatenate([p.landmarks for p in parts]),
    )
    kept = boxes.nms(everything.boxes, everything.scores, protocol.post.nms, protocol.post.top_k)
    return Detections(everything.boxes[kept], everything.scores[kept], everything.landmarks[kept])
