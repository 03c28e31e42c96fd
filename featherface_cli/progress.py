"""Events of the core on stderr: a progress bar, or a training run with its plan, a line an epoch and a live line for the step."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from featherface_cli.screens.console import clock, facts, note, number, stderr
from featherface_core.events import Epoch, Listener, Note, Plan, RunEvent, RunListener, Step, ignore
from featherface_core.events import Progress as Work


@contextmanager
def progress_bar(title: str, quiet: bool) -> Iterator[Listener]:
    """A listener that draws each event; the bar is gone when the work is done."""
    if quiet or not stderr.is_terminal:
        yield ignore
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=stderr, transient=True) as bar:
        task = bar.add_task(title, total=None)

        def show(event: Work) -> None:
            what = Text(f"{title}: {event.what}")
            what.truncate(38, overflow="ellipsis")
            bar.update(task, completed=event.done, total=event.total, description=str(what))

        yield show


@contextmanager
def training_display(quiet: bool, gradients: bool) -> Iterator[RunListener]:
    """A listener that shows a run. gradients: add each epoch's gradient norms. Warnings are shown even when quiet."""
    display = _Display(gradients)
    if quiet:
        yield display.warn
    elif not stderr.is_terminal:
        yield display.say
    else:
        with Live(display.screen, console=stderr, transient=True, refresh_per_second=4) as live:
            display.live = live
            yield display.say


class _Display:
    def __init__(self, gradients: bool) -> None:
        self.gradients = gradients
        self.live: Live | None = None
        self.headed = ""
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[more]}"),
        )
        self.task = self.bar.add_task("starting", total=None, more="")
        self.detail = Text()
        self.screen = Group(self.bar, self.detail)

    def warn(self, event: RunEvent) -> None:
        """Warnings alone."""
        if isinstance(event, Note) and event.warning:
            note(event.text)

    def say(self, event: RunEvent) -> None:
        """Each kind of event in its own way."""
        if isinstance(event, Plan):
            stderr.print(Text(event.run, style="bold cyan"))
            stderr.print(facts(event.rows))
        elif isinstance(event, Note):
            note(event.text)
        elif isinstance(event, Epoch):
            self._epoch(event)
        elif self.live is not None:
            self._step(event) if isinstance(event, Step) else self._work(event)

    def _work(self, event: Work) -> None:
        self.bar.update(self.task, description=event.what, completed=event.done, total=event.total, more="")

    def _step(self, event: Step) -> None:
        more = f"{event.images_per_second:.0f} pictures/s  ETA {clock(event.eta)}"
        where = f"{event.run} {event.epoch}/{event.epochs}"
        self.bar.update(self.task, description=where, completed=event.step, total=event.steps, more=more)
        parts = [f"gradient {event.grad_norm:.1f}", f"lr {event.learning_rate:.1e}"]
        if event.alpha is not None:
            parts.append(f"alpha {event.alpha:.2f}")
        # no-break spaces keep a name and its number on one line
        losses = [f"{name}\u00a0{value:.2f}" for name, value in event.losses.items()]
        self.detail.plain = "  ".join([*(part.replace(" ", "\u00a0") for part in parts), *losses])

    def _epoch(self, event: Epoch) -> None:
        r = event.record
        columns = [
            ("epoch", 7),
            ("loss", 7),
            ("val", 7),
            ("AP", 6),
            ("whole", 6),
            ("small", 6),
            ("lr", 8),
            ("alpha", 5),
        ]
        columns += [("gradient", 9), ("clipped", 7)] if self.gradients else []
        columns += [("pict/s", 6), ("ETA", 8)]
        if self.headed != event.run:
            self.headed = event.run
            head = Text("  ".join(f"{name:>{width}}" for name, width in columns), style="bold")
            stderr.print(head, soft_wrap=not stderr.is_terminal)
        cells = {
            "epoch": f"{event.epoch}/{event.epochs}",
            "loss": number(r["train_loss"], ".3f"),
            "val": number(r["val_loss"], ".3f"),
            "AP": number(r["val_map"], ".3f"),
            "whole": number(r.get("val_map_whole"), ".3f"),
            "small": number(r.get("val_map_small"), ".3f"),
            "lr": number(r["learning_rate"], ".1e"),
            "alpha": number(r["alpha"], ".2f"),
            "gradient": number(r.get("grad_norm_mean"), ".2f"),
            "clipped": number(r.get("grad_clipped_share"), ".0%"),
            "pict/s": number(r.get("images_per_second"), ".0f"),
            "ETA": clock(r["eta"]),
        }
        line = Text("  ".join(f"{cells[name]:>{width}}" for name, width in columns))
        line.append("  best" if event.best else "", style="green")
        stderr.print(line, soft_wrap=not stderr.is_terminal)
