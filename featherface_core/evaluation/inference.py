"""The faces of all pictures: found by a detector under a protocol, each stage timed, or read from predictions of another
program."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from featherface_core import boxes
from featherface_core.data.annotation import FLIP_ORDER, Picture
from featherface_core.data.picture_size import picture_size
from featherface_core.data.sets import FilePictures
from featherface_core.detect.detector import Detector, Outputs
from featherface_core.errors import ConfigError, DataError
from featherface_core.evaluation.config import EvalConfig, Protocol
from featherface_core.evaluation.dataset import Task
from featherface_core.evaluation.report import BrokenPicture
from featherface_core.evaluation.truth import Found
from featherface_core.events import Listener, Progress, ignore
from featherface_core.results import Detections

Scales = tuple[float, float]
FILE = "detections.jsonl"


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
    """The network's outputs for one batch.

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
    """The faces of each picture in turn; consecutive pictures of one shape are batched, at most ``batch``.

    read: gives a picture, BGR uint8 (H, W, 3), or raises DataError; such a picture is returned with its problem and no faces.
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


@dataclass(frozen=True)
class Stored:
    """One picture: its faces (float32, bit for bit), why it could not be read or "", and milliseconds by stage."""

    faces: Detections
    problem: str
    milliseconds: tuple[float, float, float, float]


class DetectionStore:
    """``detections.jsonl`` of a run's folder, to be entered while it is written to.

    done: by name, the faces that an earlier run found. A last line that a kill left incomplete is dropped.
    """

    def __init__(self, folder: Path, landmarks: bool) -> None:
        self.path = folder / FILE
        self.landmarks = landmarks
        self.done: dict[str, Stored] = {}
        self._file: IO[bytes] | None = None

    def __enter__(self) -> "DetectionStore":
        try:
            self._file = self.path.open("a+b")
            self._file.seek(0)
            self._read(self._file)
        except OSError as problem:
            raise self._cannot_write(problem) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, name: str, result: PictureFaces) -> None:
        """Keep the faces of a picture: flushed to the disk when this returns."""
        faces = result.faces
        line: dict[str, Any] = {"name": name, "ms": [round(ms, 3) for ms in result.milliseconds]}
        if result.problem:
            line["problem"] = result.problem
        line |= {"boxes": faces.boxes.tolist(), "scores": faces.scores.tolist()}
        if self.landmarks:
            line["landmarks"] = faces.landmarks.tolist()
        assert self._file is not None
        try:
            self._file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
            self._file.flush()
        except OSError as problem:
            raise self._cannot_write(problem) from None
        self.done[name] = Stored(faces, result.problem, result.milliseconds)

    def _read(self, file: IO[bytes]) -> None:
        whole = 0
        for number, raw in enumerate(file, 1):
            if not raw.endswith(b"\n"):
                break
            try:
                name, stored = _parse(json.loads(raw))
            except (ValueError, KeyError, TypeError):
                raise DataError(f"{self.path}:{number} is damaged", "begin anew with --force") from None
            self.done[name] = stored
            whole += len(raw)
        file.truncate(whole)

    def _cannot_write(self, problem: OSError) -> DataError:
        return DataError(
            f"cannot write {self.path}: {problem.strerror or problem}", "check the free space, then --resume"
        )


def _parse(line: Mapping[str, Any]) -> tuple[str, Stored]:
    boxes = np.array(line["boxes"], np.float32).reshape(-1, 4)
    scores = np.array(line["scores"], np.float32)
    empty = np.full((len(scores), 5, 2), np.nan)
    landmarks = np.array(line.get("landmarks", empty), np.float32).reshape(-1, 5, 2)
    first, second, third, fourth = line["ms"]
    faces = Detections(boxes, scores, landmarks)
    if not len(boxes) == len(scores) == len(landmarks):
        raise ValueError("unequal lengths")
    return str(line["name"]), Stored(faces, str(line.get("problem", "")), (first, second, third, fourth))


@dataclass(frozen=True)
class Detected:
    """The faces of every picture of a task, in its order, twice: flat in double precision, and one by one.

    broken: pictures that could not be read. milliseconds: a picture, of reading, preparing, network with all of its second
    look, and post-processing; None for predictions of another program.
    """

    found: Found
    faces: tuple[Detections, ...]
    broken: tuple[BrokenPicture, ...] = ()
    milliseconds: tuple[float, float, float, float] | None = None


def run_detector(
    detector: Detector, task: Task, config: EvalConfig, folder: Path, on_event: Listener = ignore
) -> Detected:
    """The faces of every picture; those that an earlier run of this folder found are reused. A picture that cannot be read
    counts as one without detections. Raises KeyboardInterrupt when stopped, with all that was found kept in the folder;
    ConfigError as ``check`` does.
    """
    check(detector, task, config)
    assert task.source is not None
    source, names = task.source, task.truth.names
    with_landmarks = any(faces.has_landmarks.any() for faces in task.faces)
    with DetectionStore(folder, with_landmarks) as store:
        missing = [p for p, name in enumerate(names) if name not in store.done]
        if config.batch > 1 and isinstance(source, FilePictures):
            missing.sort(key=lambda p: _shape(source, task.indices[p]))  # pictures of one shape beside each other
        done = len(names) - len(missing)
        on_event(Progress(done, len(names), "pictures"))

        def read(p: int) -> Picture:
            return source.read(task.indices[p])[0]

        for result in find_faces(detector, read, missing, config.views, config.batch):
            store.add(names[result.index], result)
            done += 1
            on_event(Progress(done, len(names), names[result.index]))
        kept = [store.done[name] for name in names]
    broken = tuple(BrokenPicture(name, s.problem) for name, s in zip(names, kept, strict=True) if s.problem)
    times = np.array([s.milliseconds for s in kept if not s.problem]).reshape(-1, 4)
    first, second, third, fourth = (times.mean(0) if len(times) else np.zeros(4)).tolist()
    faces = tuple(s.faces for s in kept)
    return Detected(Found.of([(d.boxes, d.scores) for d in faces]), faces, broken, (first, second, third, fourth))


def from_predictions(task: Task) -> Detected:
    """The predictions of another program; they have no landmarks."""
    assert task.predictions is not None
    found = task.predictions.of(task.truth.names)
    faces = [
        Detections(b.astype(np.float32), s.astype(np.float32), np.full((len(s), 5, 2), np.nan, np.float32))
        for b, s in found.parts()
    ]
    return Detected(found, tuple(faces))


def check(detector: Detector, task: Task, config: EvalConfig) -> None:
    """Raise ConfigError where there are no pictures, the detector cannot follow the protocol, or no landmark is measured."""
    if task.source is None:
        raise ConfigError(f"--ground-truth {task.ground_truth} comes without pictures", "name their folder with --data")
    if detector.second_look is not None and not any(faces.has_landmarks.any() for faces in task.faces):
        raise ConfigError(
            f"--landmarks-by {config.landmarks_by} changes landmarks alone, and the labels of {task.data} have none",
            "leave it out",
        )
    fixed, size = detector.network.fixed, config.views.size
    if fixed is not None and (size is None or size > max(fixed[1:])):
        raise ConfigError(
            f"--protocol {config.protocol} cannot be followed by a file with the fixed size {fixed[2]}x{fixed[1]}",
            f"use --protocol size={max(fixed[1:])}, or export with --dynamic",
        )


def _shape(source: FilePictures, index: int) -> tuple[int, int]:
    try:
        return picture_size(source.annotations[index].path)
    except DataError:
        return (0, 0)
