"""What long work tells its caller while it runs. Only the command line draws it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """``done`` of ``total`` steps (None where it cannot be known), and what is being worked on."""

    done: int
    total: int | None
    what: str


Listener = Callable[[Progress], None]


def ignore(event: object) -> None:
    """The listener of a caller who does not listen."""


@dataclass(frozen=True)
class Note:
    """Something a person should know, in one line. warning: something is not as it should be."""

    text: str
    warning: bool = False


@dataclass(frozen=True)
class Step:
    """One step of a training run.

    epoch and step count from 1. losses: weighted, by name. grad_norm: before clipping. alpha: None where there is no teacher.
    images_per_second: of this epoch so far. eta: seconds to the end of all epochs, without early stopping.
    """

    run: str
    epoch: int
    epochs: int
    step: int
    steps: int
    losses: Mapping[str, float]
    grad_norm: float
    learning_rate: float
    alpha: float | None
    images_per_second: float
    eta: float


@dataclass(frozen=True)
class Epoch:
    """The end of an epoch. record: the line of metrics.jsonl. best: whether its AP is the best so far."""

    run: str
    epoch: int
    epochs: int
    record: Mapping[str, float | int | None]
    best: bool


@dataclass(frozen=True)
class Plan:
    """What a run is going to do, before it does it: rows of (what, value)."""

    run: str
    rows: tuple[tuple[str, str], ...]


RunEvent = Progress | Note | Step | Epoch | Plan
RunListener = Callable[[RunEvent], None]
