"""The result of an evaluation and the content of ``report.json``: every number with its protocol."""

import json
from dataclasses import dataclass
from pathlib import Path

from featherface_core.errors import DataError, first_line
from featherface_core.results import SCHEMA

WIDER_SETTINGS = ("easy", "medium", "hard")
WIDER_PICTURES = 3_226  # of the WIDER FACE validation set; fewer are not the benchmark
STAGES = ("reading", "preparing", "network", "postprocessing")


@dataclass(frozen=True)
class Measured:
    """The protocol of an evaluation. Two reports compare only where ``key`` is equal.

    method: ``wider-face`` (the official evaluation) or ``plain`` (AP at IoU 0.5 and COCO's). resize, flip, score, nms,
    top_k: see Protocol; resize is ``unknown``, and the others None, for predictions of another program. iou: the overlap that
    makes a detection right. canvas: (height, width) that a file with a fixed size pads pictures to, or None. pictures: how many
    were evaluated; of: how many the ground truth has. names: SHA-256 of the evaluated names and of their faces. text: all of it
    in words.
    """

    method: str
    resize: str
    flip: bool | None
    score: float | None
    nms: float | None
    top_k: int | None
    iou: float
    canvas: tuple[int, int] | None
    pictures: int
    of: int
    names: str
    text: str

    @property
    def benchmark(self) -> bool:
        """Whether this is the WIDER FACE validation benchmark, not a subset of it or another data set."""
        return self.method == "wider-face" and self.pictures == self.of == WIDER_PICTURES

    @property
    def key(self) -> tuple[object, ...]:
        """What has to be equal for two reports to be ranked against each other."""
        return tuple(getattr(self, name) for name in COMPARED)


COMPARED = ("method", "names", "resize", "flip", "canvas", "score", "nms", "top_k", "iou")


@dataclass(frozen=True)
class Subject:
    """What was evaluated. backend: ``torch``, ``onnxruntime`` or ``predictions``. sha256: of the weights or ONNX file, "" for
    predictions. parameters: None where they are not known. landmarks_by: the network whose second look at each face places
    the landmarks, "" where there is none.
    """

    model: str
    weights: str
    sha256: str
    backend: str
    device: str
    parameters: int | None
    landmarks_by: str = ""


@dataclass(frozen=True)
class Setting:
    """AP in one setting: ``easy``, ``medium``, ``hard``; of the plain method ``ap50`` (IoU 0.5) and ``ap`` (COCO's, 0.5 to 0.95).

    ap: 0 to 1, None where no face counts. faces: how many count. recall, precision: the curve, from the best score
    down, for drawing; empty for COCO's ``ap``.
    """

    name: str
    ap: float | None
    faces: int
    recall: tuple[float, ...] = ()
    precision: tuple[float, ...] = ()


@dataclass(frozen=True)
class RecallRow:
    """Of one group of faces that count (in Hard), how many were found. group: size, blur, occlusion, pose, ..., event
    (of WIDER FACE) or folder.

    found: with any score that the protocol keeps. confident: with a score of at least 0.5. alarms, of sizes alone: detections
    of that size and such a score that are on no face.
    """

    group: str
    name: str
    faces: int
    found: int
    confident: int
    alarms: int | None = None


@dataclass(frozen=True)
class LandmarkError:
    """Distance of found landmarks from the labelled ones, divided by the distance of the labelled eyes, over the five points.

    mean, median: over ``faces`` found faces of at least ``smallest`` pixels (square root of the area).
    """

    mean: float
    median: float
    faces: int
    smallest: float


@dataclass(frozen=True)
class WorstPicture:
    """A picture with many missed faces or confident false alarms, both at a score of 0.5."""

    name: str
    faces: int
    missed: int
    false_alarms: int


@dataclass(frozen=True)
class BrokenPicture:
    """A picture that could not be read, and counted as one in which nothing was found."""

    name: str
    problem: str


@dataclass(frozen=True)
class Timing:
    """Milliseconds a picture, mean over the pictures, by stage; ``total`` is their sum. network: with the second look.

    threads: 0 for the runtime's choice.
    """

    reading: float
    preparing: float
    network: float
    postprocessing: float
    batch: int
    threads: int

    @property
    def total(self) -> float:
        """All four stages."""
        return self.reading + self.preparing + self.network + self.postprocessing


@dataclass(frozen=True)
class EvalReport:
    """One evaluation. settings: easy, medium, hard; or ap50, ap. mean: of easy, medium and hard; None for the plain method.
    landmarks: None where the labels have none.

    detections: how many in all. timing: None for predictions of another program. files: what was written, by kind (``report``,
    ``curves_png``, ``curves_svg``, ``worst``, ``html``, ``predictions``). warnings: what a reader must know before using a
    number.
    """

    subject: Subject
    data: str
    ground_truth: str
    protocol: Measured
    settings: tuple[Setting, ...]
    mean: float | None
    detections: int
    recall: tuple[RecallRow, ...]
    landmarks: LandmarkError | None
    worst: tuple[WorstPicture, ...]
    broken: tuple[BrokenPicture, ...]
    timing: Timing | None
    versions: dict[str, str]
    machine: dict[str, str]
    command_line: str
    seconds: float
    warnings: tuple[str, ...] = ()
    files: tuple[tuple[str, str], ...] = ()

    @property
    def headline(self) -> dict[str, float | None]:
        """The figures by name: easy, medium, hard, mean; or ap50, ap."""
        figures = {setting.name: setting.ap for setting in self.settings}
        return figures if self.protocol.method == "plain" else figures | {"mean": self.mean}


def read_report(path: str | Path) -> EvalReport:
    """The ``report.json`` of an evaluation, or of the run folder that it is in. Raises DataError for anything else."""
    from pydantic import TypeAdapter, ValidationError

    path = Path(path)
    path = path / "report.json" if path.is_dir() else path
    hint = "name the report.json that featherface eval wrote"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise DataError(f"cannot read the report {path}: {problem.strerror or problem}", hint) from None
    except ValueError as problem:
        raise DataError(f"{path} is not JSON: {first_line(problem)}", hint) from None
    if not isinstance(content, dict) or content.get("command") != "eval":
        raise DataError(f"{path} is not the report of an evaluation", hint)
    if content.get("schema") != SCHEMA:
        raise DataError(
            f"{path} has schema {content.get('schema')}, this version reads {SCHEMA}",
            "evaluate again with this version",
        )
    try:
        return TypeAdapter(EvalReport).validate_python(content)
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DataError(f"{path}: {where}: {first['msg']}", "evaluate again, or restore the file") from None
