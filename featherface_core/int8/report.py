"""What an export to int8 returns: frozen dataclasses with units. Imports no torch."""

from dataclasses import dataclass
from typing import Any

from featherface_core.bench.report import Latency, Ratio
from featherface_core.results import SizeCheck


@dataclass(frozen=True)
class GroupChange:
    """What happens to the outputs when one group of layers alone is quantised.

    layers, weights: how many it has. score, box: mean change of a score, and of a box as 1 - IoU, over the anchors that matter
    (see sensitivity.change). quantised: whether it is in the file.
    """

    name: str
    layers: int
    weights: int
    score: float
    box: float
    quantised: bool


@dataclass(frozen=True)
class Form:
    """A network in one number format. ratio: None for the first. ap: figures 0 to 1 by name, empty where none were measured."""

    name: str
    bytes: int
    milliseconds: Latency
    ratio: Ratio | None
    ap: dict[str, float | None]


@dataclass(frozen=True)
class Agreement:
    """The faces that int8 finds in ``pictures`` calibration pictures, beside float32's.

    faces: of (float32, int8) with a score above ``score``. matched: with a partner of the other. iou: mean of matched boxes;
    score_change: mean of matched scores; both 0 without a match.
    """

    pictures: int
    score: float
    faces: tuple[int, int]
    matched: int
    iou: float
    score_change: float


@dataclass(frozen=True)
class Calibration:
    """Where the ranges come from. pictures: read of ``folder``. unreadable: left out because they could not be read."""

    folder: str
    method: str
    pictures: int
    unreadable: int


@dataclass(frozen=True)
class Int8Report:
    """What was written. layers: (quantised, those that could be). forms: float32, float16 and int8. protocol: of AP, in words, ""
    where none was measured. drop: the largest fall of an AP figure (0 to 1) below float32's, negative for a gain, None where
    none was measured; max_drop: what was allowed, in the same unit: 0.01 is a percentage point. size: (height, width) that was
    timed. checks: of the float32 network against PyTorch.

    cpu_share: processor seconds that the networks got in a second of the timing.
    """

    path: str
    model: str
    weights: str
    calibration: Calibration
    groups: tuple[GroupChange, ...]
    layers: tuple[int, int]
    forms: tuple[Form, ...]
    agreement: Agreement
    protocol: str
    drop: float | None
    max_drop: float
    size: tuple[int, int]
    runs: int
    cpu_share: float
    machine: dict[str, Any]
    seconds: float
    checks: tuple[SizeCheck, ...] = ()
