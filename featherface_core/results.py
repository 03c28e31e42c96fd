"""What each operation returns: frozen dataclasses with units. Imports no torch."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from featherface_core.config import PostprocessConfig

SCHEMA = 1  # of every JSON that the command line prints

Floats = NDArray[np.float32]
LANDMARK_NAMES = (
    "left_eye",
    "right_eye",
    "nose",
    "left_mouth",
    "right_mouth",
)  # left and right of the picture


@dataclass(frozen=True)
class Detections:
    """The faces of one picture, best first.

    boxes (n, 4): x1, y1, x2, y2; landmarks (n, 5, 2): x, y of LANDMARK_NAMES; both float32, in pixels of the original
    picture, its left upper corner at 0, 0. scores (n,): 0 to 1.
    """

    boxes: Floats
    scores: Floats
    landmarks: Floats

    def __len__(self) -> int:
        return len(self.scores)

    def clipped(self, width: int, height: int) -> "Detections":
        """The same faces with boxes cut to a picture of ``width`` x ``height`` pixels; landmarks stay where they are."""
        limits = np.array((width, height, width, height), np.float32)
        return Detections(np.clip(self.boxes, 0, limits), self.scores, self.landmarks)

    def as_dicts(self) -> list[dict[str, Any]]:
        """One plain dict a face: ``box`` [x1, y1, x2, y2], ``score``, ``landmarks`` [[x, y] x 5], rounded to 1/100 pixel."""
        return [
            {
                "box": [round(float(v), 2) for v in box],
                "score": round(float(score), 6),
                "landmarks": [[round(float(x), 2), round(float(y), 2)] for x, y in points],
            }
            for box, score, points in zip(self.boxes, self.scores, self.landmarks, strict=True)
        ]


@dataclass(frozen=True)
class Component:
    """One part of a network: parameters, multiply-accumulates of its convolutions and linear layers, and its parts.

    deformable_macs: products of deformable kernels with sampled values; interpolation_macs: products of the bilinear sampling.
    Neither is part of ``macs``.
    """

    name: str
    parameters: int
    macs: int
    deformable_macs: int
    interpolation_macs: int
    kind: str = ""
    parts: tuple["Component", ...] = ()


@dataclass(frozen=True)
class Budget:
    """A parameter budget: ``target`` plus or minus ``tolerance``."""

    target: int
    tolerance: int

    def met_by(self, parameters: int) -> bool:
        """True if ``parameters`` is within the budget."""
        return abs(parameters - self.target) <= self.tolerance


@dataclass(frozen=True)
class ParamsReport:
    """What a network costs. size: side of the square input in pixels that the MACs are for.

    profiler_figure: what the thop profiler would print, which sees neither deformable kernels (``unseen_deformable``
    weights) nor fusion scalars (``unseen_fusion``). reduction: share of v1-original's parameters that are saved.
    """

    model: str
    config: dict[str, Any]
    size: int
    total: Component
    profiler_figure: int
    unseen_deformable: int
    unseen_fusion: int
    reduction: float
    budget: Budget | None


@dataclass(frozen=True)
class SearchRow:
    """A configuration that meets a budget. macs: conv and linear at the report's size."""

    width: int
    cells: int
    backbone_attention: str
    neck_attention: str
    shuffle: str
    parameters: int
    difference: int
    same_as: str


@dataclass(frozen=True)
class SearchReport:
    """Configurations that meet a budget, best first by ``order``.

    near: with everything else as in the base model, (width, parameters) around the budget and of width 24.
    """

    base: str
    budget: Budget
    order: str
    tried: int
    rows: tuple[SearchRow, ...]
    near: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class SizeCheck:
    """One row of the proof that an ONNX file equals PyTorch: one batch at one input size (pixels).

    expected: anchors by the formula. shapes: of the outputs. onnx_error, torch_error: largest difference of a raw output, of
    onnxruntime's and of PyTorch's float32, from PyTorch in float64, relative to max(1, |value|). allowed: for onnx_error.
    faces: final detections of (PyTorch, ONNX); box_error: their largest difference in pixels. post_faces, post_error: of a
    file with post-processing, how many faces of one run were compared with the separate path's, and the largest difference
    of a box or a landmark in pixels.
    """

    batch: int
    height: int
    width: int
    expected: int
    shapes: tuple[tuple[int, ...], ...] = ()
    onnx_error: float = math.inf
    torch_error: float = 0.0
    allowed: float = 0.0
    faces: tuple[int, int] = (0, 0)
    box_error: float = 0.0
    post_faces: int = 0
    post_error: float = 0.0
    problem: str = ""

    @property
    def passed(self) -> bool:
        """True if shapes, raw outputs and final detections all agree."""
        return not self.problem


@dataclass(frozen=True)
class ExportReport:
    """What was written, and its proof.

    rewrites: what made the network faster (exporting.rewrites). seconds: export without, and with, the checks. package: the
    deployment folder. post: the thresholds of a file with post-processing.
    """

    path: str
    model: str
    weights: str
    bytes: int
    opset: int
    dynamic: bool
    nodes: int
    deform_nodes: int
    checks: tuple[SizeCheck, ...]
    export_seconds: float
    total_seconds: float
    package: str | None = None
    package_files: tuple[str, ...] = ()
    rewrites: tuple[str, ...] = ()
    post: PostprocessConfig | None = None


@dataclass(frozen=True)
class ConversionReport:
    """A weights file written in another layout, ``featherface`` or ``upstream``; its tensors are bit for bit the same.

    note: what the new file does not say or hold as the old one did, or "".
    """

    path: str
    model: str
    source_layout: str
    layout: str
    tensors: int
    bytes: int
    sha256: str
    note: str = ""


Verdict = Literal["ok", "warn", "fail", "skip"]


@dataclass(frozen=True)
class Finding:
    """One check of the doctor: what was found, and the command or action that mends it."""

    group: str
    check: str
    verdict: Verdict
    found: str
    fix: str = ""


@dataclass(frozen=True)
class DoctorReport:
    """All findings, in the order of the checks."""

    findings: tuple[Finding, ...]
    version: str
    seconds: float

    @property
    def counts(self) -> dict[str, int]:
        """How many findings have each verdict."""
        return {v: sum(f.verdict == v for f in self.findings) for v in ("ok", "warn", "fail", "skip")}


@dataclass(frozen=True)
class PictureResult:
    """What ``detect`` made of one picture or frame.

    source: its path or the camera's number. frame: number within a video, else None. milliseconds: of the network and the
    post-processing, shared evenly in a batch, and of its own second look. problem: why it could not be read, or "". drawn: path
    of the drawn picture.
    """

    source: str
    width: int
    height: int
    faces: tuple[dict[str, Any], ...] = ()
    frame: int | None = None
    seconds: float | None = None
    milliseconds: float = 0.0
    problem: str = ""
    hint: str = ""
    drawn: str | None = None


@dataclass(frozen=True, kw_only=True)
class DetectReport:
    """The counts of a ``detect`` run; each picture's result went to its ``on_result``.

    pictures: pictures and frames that were read; broken: those that could not be; faces: found in all of them. out: the folder
    written to, or None. interrupted: stopped by the user before its end. landmarks_by: the network whose second look at each
    face placed the landmarks, "" where there is none.
    """

    model: str
    weights: str
    backend: str
    pictures: int
    broken: int
    faces: int
    out: str | None
    seconds: float
    interrupted: bool = False
    landmarks_by: str = ""


def as_json(result: Any, command: str) -> dict[str, Any]:
    """A result dataclass as plain data, with the schema number and the command's name first."""
    return {"schema": SCHEMA, "command": command, **asdict(result)}
