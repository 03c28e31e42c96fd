"""What all screens share: the two consoles, JSON, errors and notes, tables. stdout is for results, stderr for people."""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from featherface_core.errors import FeatherFaceError
from featherface_core.results import SCHEMA, as_json

stdout = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 100)
stderr = Console(stderr=True, highlight=False, markup=False)

VERDICT_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red", "skip": "dim"}
DETAILS_SHOWN = 12


def print_json(result: Any, command: str, more: dict[str, Any] | None = None) -> None:
    """One JSON document on stdout, plain and uncoloured."""
    print(json.dumps({**as_json(result, command), **(more or {})}, indent=2))


def print_json_list(results: Sequence[Any], command: str, key: str) -> None:
    """Several results as one JSON document, under ``key``."""
    print(json.dumps({"schema": SCHEMA, "command": command, key: [asdict(result) for result in results]}, indent=2))


def print_error(error: FeatherFaceError, all_details: bool = False) -> None:
    """The error's one line, its details (the first few of them) and its hint, on stderr."""
    stderr.print(Text.assemble(("error: ", "bold red"), _one_line(error.message)), soft_wrap=not stderr.is_terminal)
    shown = error.details if all_details else error.details[:DETAILS_SHOWN]
    for detail in shown:
        stderr.print(Text(f"  {detail}"), soft_wrap=not stderr.is_terminal)
    if len(shown) < len(error.details):
        stderr.print(
            Text(f"  ... and {len(error.details) - len(shown)} more (all: featherface --debug ...)"),
            soft_wrap=not stderr.is_terminal,
        )
    if error.hint:
        stderr.print(Text.assemble(("hint: ", "bold cyan"), _one_line(error.hint)), soft_wrap=not stderr.is_terminal)


def _one_line(text: str) -> str:
    """What the core says, on one line even where it names a file with a line break in its name."""
    return text.replace("\n", "\\n")


def note(text: str, quiet: bool = False) -> None:
    """A line for people, on stderr."""
    if not quiet:
        stderr.print(Text.assemble(("note: ", "bold yellow"), text), soft_wrap=not stderr.is_terminal)


def table(*columns: str, title: str | None = None, right: Iterable[str] = ()) -> Table:
    """An empty table in the house style; ``right`` names the columns of numbers."""
    numbers = set(right)
    made = Table(
        title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False, padding=(0, 2, 0, 0)
    )
    for column in columns:
        made.add_column(
            column, justify="right" if column in numbers else "left", no_wrap=column in numbers, overflow="fold"
        )
    return made


def heading(text: str) -> None:
    """Above a table, and not of it: it may be the wider of the two."""
    stdout.print(Text(text, style="bold"))


def facts(rows: Iterable[tuple[str, str | Text]]) -> Table:
    """Two columns without a frame: what, and its value."""
    made = Table.grid(padding=(0, 2))
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    for what, value in rows:
        made.add_row(what, value if isinstance(value, Text) else Text(value))
    return made


def giga(count: int) -> str:
    """1,234,000,000 as "1.23 G", smaller counts in M or k."""
    for factor, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= factor:
            return f"{count / factor:.2f} {unit}" if unit == "G" else f"{count / factor:.1f} {unit}"
    return str(count)


def number(value: float | int | None, form: str) -> str:
    """A number as ``form`` has it, or a dash."""
    return "-" if value is None else format(value, form)


def clock(seconds: float | int | None) -> str:
    """Seconds as h:mm:ss, or m:ss under an hour.

    >>> clock(3671), clock(65)
    ('1:01:11', '1:05')
    """
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
