"""The inputs of ``detect`` (pictures, folders, globs, videos, cameras) as a stream of frames."""

import glob
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from featherface_core.errors import DataError
from featherface_core.pictures import PICTURE_SUFFIXES, VIDEO_SUFFIXES, Picture, read_picture


@dataclass(frozen=True)
class Source:
    """One picture file, video file or camera. name: path below the argument it came from, for naming outputs."""

    path: str
    kind: str  # "picture", "video" or "camera"
    name: Path


@dataclass(frozen=True)
class Frame:
    """One picture of a source; ``problem`` says why there is none. number, seconds: its place in a video or camera stream."""

    source: Source
    picture: Picture | None
    number: int | None = None
    seconds: float | None = None
    fps: float = 0.0
    problem: str = ""
    hint: str = ""


def find_sources(paths: Sequence[str], out: Path | None = None) -> list[Source]:
    """Every picture and video behind ``paths``, in order, each once.

    A folder stands for all pictures and videos below it, a pattern with * or ? for what it matches, a number for a camera.
    out: a folder of results; where it lies inside a folder to search, what it holds is left out.
    Raises DataError for a path that is not there, or holds none.
    """
    found: dict[str, Source] = {}
    for given in paths:
        path = Path(given)
        if not given:
            raise DataError(
                "a path is empty: ''", "give pictures, folders, 'patterns*.jpg', a video or a camera number"
            )
        if path.is_dir():
            inside = sorted(p for p in path.rglob("[!.]*") if p.is_file() and _kind(p) and not _is_result(p, path, out))
            if not inside:
                raise DataError(f"folder {given} holds no pictures or videos", "known: " + " ".join(PICTURE_SUFFIXES))
            sources = [Source(str(p), _kind(p), p.relative_to(path)) for p in inside]
        elif path.is_file():
            sources = [Source(given, _kind(path) or "picture", Path(path.name))]
        elif given.isdecimal() and len(given) < 10:
            sources = [Source(given, "camera", Path(f"camera{given}"))]
        else:
            matches = sorted(p for p in map(Path, glob.glob(given, recursive=True)) if p.is_file())  # noqa: PTH207 (absolute patterns)
            if not matches:
                raise DataError(
                    f"{given} does not exist", "give pictures, folders, 'patterns*.jpg', a video or a camera number"
                )
            sources = [Source(str(p), _kind(p) or "picture", Path(p.name)) for p in matches]
        for source in sources:
            found.setdefault(source.path if source.kind == "camera" else str(Path(source.path).resolve()), source)
    return list(found.values())


def count_frames(sources: Sequence[Source]) -> int | None:
    """How many frames ``read_frames`` will give; None where a video or camera does not tell."""
    total = 0
    for source in sources:
        if source.kind == "picture":
            total += 1
        elif source.kind == "camera":
            return None
        else:
            capture = cv2.VideoCapture(source.path)
            frames = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 1
            capture.release()
            if frames <= 0:
                return None
            total += frames
    return total


def read_frames(sources: Sequence[Source]) -> Iterator[Frame]:
    """All frames of all sources; what cannot be read comes as a Frame with a ``problem``."""
    for source in sources:
        if source.kind == "picture":
            try:
                yield Frame(source, read_picture(source.path))
            except DataError as problem:
                yield Frame(source, None, problem=problem.message, hint=problem.hint)
        else:
            yield from _read_stream(source)


def _read_stream(source: Source) -> Iterator[Frame]:
    capture = cv2.VideoCapture(int(source.path) if source.kind == "camera" else source.path)
    try:
        if not capture.isOpened():
            what = (
                f"camera {source.path} cannot be opened"
                if source.kind == "camera"
                else f"video {source.path} cannot be decoded"
            )
            yield Frame(source, None, problem=what, hint="check that it plays elsewhere, and that you may open it")
            return
        fps = capture.get(cv2.CAP_PROP_FPS) or 25.0
        number = 0
        while True:
            there, picture = capture.read()
            if not there:
                break
            yield Frame(source, np.asarray(picture, np.uint8), number, number / fps, fps)
            number += 1
        if number == 0:
            yield Frame(
                source, None, problem=f"{source.kind} {source.path} gave no frame", hint="check that it plays elsewhere"
            )
    finally:
        capture.release()


def _is_result(path: Path, folder: Path, out: Path | None) -> bool:
    """Whether a file below ``folder`` was drawn by an earlier run into ``out``."""
    if out is None:
        return False
    if out.resolve() == folder.resolve():
        return re.search(r"_faces(_\d+)?$", path.stem) is not None
    return folder.resolve() in out.resolve().parents and out.resolve() in path.resolve().parents


def _kind(path: Path) -> str:
    suffix = path.suffix.lower()
    return "picture" if suffix in PICTURE_SUFFIXES else "video" if suffix in VIDEO_SUFFIXES else ""
