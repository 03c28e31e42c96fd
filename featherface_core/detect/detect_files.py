"""``featherface detect``: faces of many pictures, drawn and written down."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from featherface_core.config import DetectConfig
from featherface_core.detect.detector import Detector
from featherface_core.detect.sources import Frame, Source, count_frames, find_sources, read_frames
from featherface_core.errors import DataError
from featherface_core.events import Listener, Progress, ignore
from featherface_core.files import replacing
from featherface_core.pictures import Picture, draw, write_picture
from featherface_core.results import SCHEMA, Detections, DetectReport, Floats, PictureResult

LOOKAHEAD = 4  # batches of frames read before one runs, so that pictures of equal shape are batched
# bytes of pictures, as read and prepared, that may wait: huge ones run alone whatever the batch
MOST_WAITING = 256 * 2**20

# a frame, its prepared pixels (None where it is broken) and their scales
_Waiting = tuple[Frame, Floats | None, tuple[float, float]]


def detect_files(
    detector: Detector,
    paths: Sequence[str],
    config: DetectConfig,
    out: Path | None = None,
    on_result: Callable[[PictureResult], None] = lambda result: None,
    on_event: Listener = ignore,
) -> DetectReport:
    """Find the faces of every picture or frame behind ``paths``, boxes clipped to the picture.

    out: folder for NAME_faces.EXT pictures, NAME_faces.mp4 videos and detections.jsonl, left out where a folder to search
    holds it; None writes nothing. on_result: called with each result as it comes, in order; none is kept, so that a camera may
    run without an end. A broken picture gives a result with ``problem``; the others are processed. An interruption (Ctrl-C)
    ends the run with all that was found so far. Raises DataError for a path that is not there or a folder that cannot be
    written to.
    """
    start = time.perf_counter()
    sources = find_sources(paths, out)
    read = broken = faces = 0
    interrupted = False
    with ExitStack() as stack:
        drawer = lines = None
        if out is not None:
            temporary = stack.enter_context(replacing(out / "detections.jsonl"))
            lines = stack.enter_context(temporary.open("w", encoding="utf-8"))
            drawer = stack.enter_context(_Drawer(out, sources))
        try:
            for result in _results(detector, sources, config, drawer, on_event):
                if result.problem:
                    broken += 1
                else:
                    read, faces = read + 1, faces + len(result.faces)
                if lines:
                    lines.write(json.dumps(as_line(result)) + "\n")
                on_result(result)
        except (KeyboardInterrupt, BrokenPipeError):  # stopped by the user, or by the reader of what on_result prints
            interrupted = True
    return DetectReport(
        model=detector.model,
        weights=detector.weights,
        backend=detector.backend,
        pictures=read,
        broken=broken,
        faces=faces,
        out=str(out) if out is not None else None,
        seconds=time.perf_counter() - start,
        interrupted=interrupted,
        landmarks_by=detector.landmarks_by,
    )


def as_line(result: PictureResult) -> dict[str, object]:
    """One JSON line: boxes [x1, y1, x2, y2] and landmarks in pixels of the original picture."""
    line: dict[str, object] = {
        "schema": SCHEMA,
        "source": result.source,
        "width": result.width,
        "height": result.height,
    }
    if result.frame is not None:
        line |= {"frame": result.frame, "seconds": round(result.seconds or 0.0, 3)}
    if result.problem:
        line |= {"problem": result.problem, "hint": result.hint}
    if result.drawn:
        line["drawn"] = result.drawn
    return line | {"faces": list(result.faces)}


def _results(
    detector: Detector,
    sources: list[Source],
    config: DetectConfig,
    drawer: "_Drawer | None",
    on_event: Listener,
) -> Iterator[PictureResult]:
    total, done = count_frames(sources), 0
    for frame, faces, milliseconds in _detect(detector, read_frames(sources), config):
        done += 1
        on_event(Progress(done, total, frame.source.path))
        if frame.picture is None or faces is None:
            yield PictureResult(frame.source.path, 0, 0, frame=frame.number, problem=frame.problem, hint=frame.hint)
            continue
        drawn = drawer.draw(frame, faces) if drawer else None
        height, width = frame.picture.shape[:2]
        found = tuple(faces.clipped(width, height).as_dicts())
        yield PictureResult(
            frame.source.path, width, height, found, frame.number, frame.seconds, milliseconds, drawn=drawn
        )


def _detect(
    detector: Detector, frames: Iterator[Frame], config: DetectConfig
) -> Iterator[tuple[Frame, Detections | None, float]]:
    """Each frame with its faces and its share of the milliseconds; frames of one shape run together."""
    waiting: list[_Waiting] = []
    ready: dict[int, tuple[Detections | None, float]] = {}  # by id of the frame

    def run_one_batch() -> None:
        pending = [item for item in waiting if id(item[0]) not in ready]
        shape = pending[0][1].shape if pending[0][1] is not None else None
        batch = [item for item in pending if item[1] is not None and item[1].shape == shape][: config.batch]
        start = time.perf_counter()
        found = detector.run(np.stack([p for _, p, _ in batch if p is not None]), [s for _, _, s in batch], config.post)
        share = (time.perf_counter() - start) * 1000 / len(batch)
        for (frame, _, _), faces in zip(batch, found, strict=True):
            start = time.perf_counter()
            assert frame.picture is not None
            looked = detector.look_again(frame.picture, faces)
            ready[id(frame)] = (looked, share + (time.perf_counter() - start) * 1000)

    def drain(down_to: int) -> Iterator[tuple[Frame, Detections | None, float]]:
        while len(waiting) > down_to or sum(map(_bytes, waiting)) > MOST_WAITING:
            frame = waiting[0][0]
            if id(frame) not in ready:
                run_one_batch()
            waiting.pop(0)
            yield frame, *ready.pop(id(frame))

    room = 0 if config.batch == 1 else config.batch * LOOKAHEAD
    for frame in frames:
        if frame.picture is None:
            waiting.append((frame, None, (1.0, 1.0)))
            ready[id(frame)] = (None, 0.0)
        else:
            waiting.append((frame, *detector.prepare(frame.picture, config.size)))
        yield from drain(room)
    yield from drain(0)


def _bytes(waiting: _Waiting) -> int:
    frame, prepared, _ = waiting
    return sum(pixels.nbytes for pixels in (frame.picture, prepared) if pixels is not None)


class _Drawer:
    """Draws pictures and videos below a folder; never over a source, never two over each other.

    To be used in a ``with``: a video gets its name when it is whole, and is removed where an exception ends the block.
    """

    def __init__(self, out: Path, sources: Sequence[Source]) -> None:
        self.out = out
        self.taken = {Path(source.path).resolve() for source in sources}
        self.video: tuple[Source, Path, cv2.VideoWriter] | None = None
        self._open = ExitStack()  # holds the video that is being written

    def __enter__(self) -> "_Drawer":
        return self

    def __exit__(self, *problem: Any) -> None:
        self._open.__exit__(*problem)

    def draw(self, frame: Frame, faces: Detections) -> str:
        """Draw one frame; returns the path of the picture or video."""
        assert frame.picture is not None
        drawn = draw(frame.picture, faces.boxes, faces.scores, faces.landmarks)
        if frame.source.kind == "picture":
            suffix = frame.source.name.suffix.lower()
            path = self._free(frame.source, suffix if suffix in (".jpg", ".jpeg", ".png", ".webp", ".bmp") else ".jpg")
            write_picture(path, drawn)
            return str(path)
        if self.video is None or self.video[0] is not frame.source:
            self._open.close()  # the video before
            path = self._free(frame.source, ".mp4")
            self.video = (frame.source, path, self._open.enter_context(_new_video(path, drawn, frame.fps)))
        _, path, writer = self.video
        writer.write(drawn)
        return str(path)

    def _free(self, source: Source, suffix: str) -> Path:
        folder, number = self.out / source.name.parent, 1
        path = folder / f"{source.name.stem}_faces{suffix}"
        while path.resolve() in self.taken:
            number += 1
            path = folder / f"{source.name.stem}_faces_{number}{suffix}"
        self.taken.add(path.resolve())
        return path


@contextmanager
def _new_video(path: Path, first: Picture, fps: float) -> Iterator[cv2.VideoWriter]:
    """A writer of frames like ``first``; the file is whole or not there. Raises DataError."""
    with replacing(path) as temporary:
        size = (first.shape[1], first.shape[0])
        writer = cv2.VideoWriter(str(temporary), cv2.VideoWriter.fourcc(*"mp4v"), fps, size)
        try:
            if not writer.isOpened():
                raise DataError(f"cannot write video {path}", "this OpenCV has no mp4 encoder; install opencv-python")
            yield writer
        finally:
            writer.release()
