"""What a training run returns and keeps as report.json. Imports no torch."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class NetworkRow:
    """One network of a run. role: student, teacher, control, or model.

    ap, recall: 0 to 1, by the report's protocol, None where nothing was validated. ap_whole, ap_small: the APs of pictures at
    full size and shown small, whose mean ``ap`` is; None where they were not taken. macs: multiply-accumulates of one 640x640
    picture, deformable products included. weights: its file. trained: in this run.
    """

    role: str
    model: str
    ap: float | None
    recall: float | None
    parameters: int
    macs: int
    weights: str
    start: str
    epochs: int
    best_epoch: int
    seconds: float
    trained: bool = True
    ap_whole: float | None = None
    ap_small: float | None = None

    def gain_over(self, other: "NetworkRow | None") -> float | None:
        """This network's AP less the other's; None where either has none."""
        if self.ap is None or other is None or other.ap is None:
            return None
        return self.ap - other.ap


@dataclass(frozen=True)
class TrainReport:
    """A finished (or stopped, and resumable) run. stopped: why it ended before its last epoch, or "".

    protocol: how every AP in it was taken. health: counts of the monitor's findings and the gradients' norms.
    """

    run: str
    network: NetworkRow
    protocol: str
    data: str
    epochs_asked: int
    finished: bool
    stopped: str
    health: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DistillReport:
    """Student, teacher and, if it was asked for, the control: the student's network trained without a teacher, on the same
    seed, data and epochs.

    gap: the student's AP less the teacher's. gain: the student's AP less the control's.
    """

    run: str
    networks: tuple[NetworkRow, ...]
    protocol: str
    data: str
    alpha: str
    finished: bool
    stopped: str
    gap: float | None
    gain: float | None
    health: dict[str, Any] = field(default_factory=dict)
