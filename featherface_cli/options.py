"""Options that several commands share."""

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else.")]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="No progress and no running commentary; errors still show.")
]
WeightsOption = Annotated[
    str | None,
    typer.Option(
        "--weights",
        metavar="FILE|v2",
        help="A .safetensors of ours or a published .pth/.tar; v1 or v2 for those that ship; the word untrained for a random "
        "network. Default: those that ship, of v2 unless --model v1.",
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", metavar="NAME|YAML", help="A variant or a YAML file; default: what the weights are of."
    ),
]
LandmarksByOption = Annotated[
    str | None,
    typer.Option(
        "--landmarks-by",
        metavar="same|v1|FILE",
        help="Look again at each face, scaled to 128 px, and place its landmarks by that: the same network, a variant that "
        "weights ship for, a weights file, an .onnx or an .xml.",
    ),
]
ThreadsOption = Annotated[int, typer.Option("--threads", help="CPU threads; 0 lets the runtime choose.")]
OutFolder = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for what is written.")]


def command_line() -> str:
    """What was typed, for a run's folder."""
    return "featherface " + shlex.join(sys.argv[1:])


def with_optional_value(option: str, value: str) -> type[TyperCommand]:
    """A command class that lets ``option`` stand alone, meaning ``value``: ``--test-sizes`` or ``--test-sizes 320,640``."""

    class OptionalValueCommand(TyperCommand):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            for i, word in enumerate(args):
                if word == option and (i + 1 == len(args) or args[i + 1].startswith("-")):
                    args = [*args[:i], f"{option}={value}", *args[i + 1 :]]
                    break
            return super().parse_args(ctx, args)

    return OptionalValueCommand
