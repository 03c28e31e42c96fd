"""The faces found so far, a line a picture, so that an evaluation that was stopped goes on where it was."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from featherface_core.errors import DataError
from featherface_core.evaluation.inference import PictureFaces
from featherface_core.results import Detections

FILE = "detections.jsonl"


@dataclass(frozen=True)
class Stored:
    """One picture: its faces (float32, bit for bit), why it could not be read or "", and milliseconds by stage."""

    faces: Detections
    problem: str
    milliseconds: tuple[float, float, float, float]


class DetectionStore:
    """``detections.jsonl`` of a run's folder, to be entered while it is written to.

    done: by name, what an earlier run had found. A last line that a kill cut short is dropped.
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
        """Keep the faces of a picture: on the disk when this returns, as far as this process decides."""
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
