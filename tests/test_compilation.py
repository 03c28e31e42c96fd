"""Training compiled: the same run, validation on the network as it is written, and a compiler that fails."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import DATA, assert_same_run, recipe, silent

from featherface_core.events import Note, RunEvent
from featherface_core.models.variants import build_model
from featherface_core.training.command_run import Where
from featherface_core.training.device import CompilationError, Compiled
from featherface_core.training.processes import StoppedError
from featherface_core.training.runs import train

compile_ = torch.compile


def compiled_run(out: Path, listen: Callable[[RunEvent], None] = silent) -> None:
    made = recipe(epochs=2)
    machine = dataclasses.replace(made.machine, compile=True)
    train(dataclasses.replace(made, machine=machine), DATA, None, Where(out), listen)


@pytest.mark.slow
def test_a_compiled_run_is_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = {"compiled": 0}

    def eager(half: Callable[..., Any]) -> Callable[..., Any]:
        # what the default backend makes takes minutes; this one runs what was traced
        made = compile_(half, backend="eager")

        def run(x: Any) -> Any:
            calls["compiled"] += 1
            assert torch.is_grad_enabled()  # validation runs the network as it is written
            return made(x)

        return run

    monkeypatch.setattr(torch, "compile", eager)
    told: list[RunEvent] = []
    compiled_run(tmp_path / "compiled", told.append)
    train(recipe(epochs=2), DATA, None, Where(tmp_path / "plain"), silent)
    assert_same_run(tmp_path / "compiled", tmp_path / "plain")
    assert calls["compiled"] == 2 * 2 * 4  # halves, epochs, steps
    assert sum("compiled" in event.text for event in told if isinstance(event, Note)) == 1


def broken(half: Callable[..., Any]) -> Callable[..., Any]:
    from torch._inductor.exc import InductorError

    def run(x: Any) -> Any:
        raise InductorError(RuntimeError("no g++ in sight\nand more"), None)

    return run


def test_a_compiler_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(CompilationError, match=r"torch.compile cannot compile v2: RuntimeError: no g") as raised:
        compiled_run(tmp_path / "run")
    assert "\n" not in raised.value.message
    assert "--set machine.compile=false" in raised.value.hint


def test_a_compiler_that_was_interrupted_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(half: Callable[..., Any]) -> Callable[..., Any]:
        import signal

        fail = broken(half)

        def run(x: Any) -> Any:
            signal.raise_signal(signal.SIGINT)
            return fail(x)

        return run

    monkeypatch.setattr(torch, "compile", interrupted)
    with pytest.raises(StoppedError):
        compiled_run(tmp_path / "run")
    assert (tmp_path / "run" / "last.pt").is_file()


def test_used_twice_and_put_back() -> None:
    model = build_model("v2")
    compiled = Compiled(model)
    for on in (True, True, False, False):
        compiled.use(on)
        assert ("pyramid" in vars(model)) is on
