"""What long work tells its caller while it runs. Only the command line draws it."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """``done`` of ``total`` steps (None where it cannot be known), and what is being worked on."""

    done: int
    total: int | None
    what: str


Listener = Callable[[Progress], None]


def ignore(event: Progress) -> None:
    """The listener of a caller who does not listen."""
