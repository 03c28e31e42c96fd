"""Ctrl-C and SIGTERM in a training run: answered between two steps, so that what is saved is whole."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class StoppedError(KeyboardInterrupt):
    """The run was asked to stop (Ctrl-C, SIGTERM), and has saved itself."""


@contextmanager
def asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Yields a question: has Ctrl-C or SIGTERM come? The first is answered between two steps; a second Ctrl-C ends at once."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    asked = False

    def note(number: int, frame: object) -> None:
        nonlocal asked
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked = True

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
