"""Events of the core, drawn as a progress bar on stderr. Nothing is drawn where stderr is no terminal."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from featherface_cli.render import stderr
from featherface_core.events import Listener, ignore
from featherface_core.events import Progress as Event


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

        def show(event: Event) -> None:
            what = Text(f"{title}: {event.what}")
            what.truncate(38, overflow="ellipsis")
            bar.update(task, completed=event.done, total=event.total, description=str(what))

        yield show
