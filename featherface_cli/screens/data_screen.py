"""Results of the ``data`` commands as Rich tables."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from featherface_cli.screens.console import VERDICT_STYLES, facts, stdout, table
from featherface_core.data.report import (
    Bin,
    DataCheckReport,
    DataConversionReport,
    DataStatsReport,
    ProblemGroup,
    SeenReport,
    SetSummary,
)
from featherface_core.errors import counted
from featherface_core.training.seen import PreviewReport

BAR = 24  # letters of a full bar
NUMBERS = ("pictures", "empty", "faces", "with landmarks", "ignored")


def show_check(report: DataCheckReport) -> None:
    """The sets, a block for each kind of problem, and the verdict."""
    _show_sets(report.sets, report.path)
    if report.problems:
        made = table("", "count", f"problem, in {report.folder}", right=("count",))
        for group in report.problems:
            _add_group(made, group)
        stdout.print(made)
    verdict = {"ok": "ok: nothing found", "warn": "warn: usable as it is", "fail": "fail: mend the errors first"}
    opened = f"{counted(report.decoded, 'picture')} opened" if report.decoded else "no picture opened"
    line = f"{verdict[report.verdict]} ({opened}, {report.seconds:.1f} s)"
    stdout.print(Text(line, style=VERDICT_STYLES[report.verdict]))


def _add_group(made: Table, group: ProblemGroup) -> None:
    verdict = "fail" if group.severity == "error" else "warn"
    found = Text(group.kind, style="bold")
    for example in group.examples:
        found.append(f"\n{example}", style="not bold")
    if group.count > len(group.examples):
        found.append(f"\n... and {group.count - len(group.examples):,} more", style="not bold dim")
    found.append(f"\nfix: {group.fix}", style="not bold cyan")
    made.add_row(Text(verdict, style=VERDICT_STYLES[verdict]), f"{group.count:,}", found)


def show_conversion(report: DataConversionReport) -> None:
    """What was read, what was written, and what the new form does not hold."""
    _show_sets(report.sets, report.source)
    how = f"{report.linked:,} linked" if report.linked or not report.copied else f"{report.copied:,} copied"
    rows: list[tuple[str, str | Text]] = [
        ("written", report.out),
        ("form", f"{report.source_form} to {report.form}"),
        ("holds", f"{counted(report.faces, 'face')} in {counted(report.pictures, 'picture')}, {how}"),
    ]
    rows += [("lost" if i == 0 else "", Text(line, style="yellow")) for i, line in enumerate(report.lost)]
    if report.problems:
        rows.append(
            (
                "odd",
                f"{counted(report.problems, 'odd entry', 'odd entries')} in the labels that "
                "were read: featherface data check names them",
            )
        )
    rows.append(("time", f"{report.seconds:.1f} s"))
    stdout.print(facts(rows))


def show_stats(report: DataStatsReport) -> None:
    """Counts, sizes of the faces, and faces per picture, with a bar a row."""
    _show_sets([s.summary for s in report.sets], report.path)
    for stats in report.sets:
        of = "" if stats.summary.name == "data" else f" of {stats.summary.name}"
        if stats.percentiles:
            low, quarter, median, three, high = stats.percentiles
            sizes = _histogram(stats.sizes, f"faces{of} by size", "pixels", "faces")
            stdout.print(sizes)
            stdout.print(
                facts(
                    [
                        (
                            "median",
                            f"{median:.4g} px; half lie within {quarter:.4g} and {three:.4g}, "
                            f"nine of ten within {low:.4g} and {high:.4g}",
                        )
                    ]
                )
            )
        stdout.print(_histogram(stats.per_picture, f"pictures{of} by faces", "faces", "pictures"))
    stdout.print(Text("size: the square root of a box's area. Both tables leave ignored faces out.", style="dim"))
    if report.drawn:
        stdout.print(facts([("drawn", report.drawn)]))


def _show_sets(sets: Sequence[SetSummary], title: str) -> None:
    forms = ", ".join(dict.fromkeys(s.form for s in sets))
    stdout.print(Text(f"{title} ({forms})", style="bold"), soft_wrap=not stdout.is_terminal)
    made = table("set", *NUMBERS, right=NUMBERS)
    for s in sets:
        counts = (s.pictures, s.empty, s.faces, s.with_landmarks, s.ignored)
        made.add_row(s.name, *(f"{count:,}" for count in counts))
    stdout.print(made)


def _histogram(bins: Sequence[Bin], title: str, unit: str, counted: str) -> Table:
    made = table(unit, counted, "share", "", title=title, right=(unit, counted, "share"))
    most = max(1, *(b.count for b in bins))
    last = max((i for i, b in enumerate(bins) if b.count), default=0)
    for b in bins[: last + 1]:
        whole = unit == "faces"
        high = b.high - 1 if whole and b.high is not None else b.high
        span = f"{b.low:g}+" if high is None else f"{b.low:g}" if whole and high == b.low else f"{b.low:g}-{high:g}"
        made.add_row(span, f"{b.count:,}", f"{b.share:.1%}", Text("━" * round(BAR * b.count / most), style="blue"))
    return made


def show_seen(report: SeenReport) -> None:
    """What a recipe shows the network: faces and positive anchors by size, with a bar a row."""
    title = f"{report.data}: {counted(report.pictures, 'picture')} of {report.size} px as the network sees them"
    stdout.print(Text(title, style="bold"), soft_wrap=not stdout.is_terminal)
    made = table(
        "pixels",
        "faces",
        "share",
        "",
        "anchors",
        "share",
        "a face",
        right=("pixels", "faces", "share", "anchors", "a face"),
    )
    most = max(1, *(b.faces for b in report.bins))
    for b in report.bins:
        span = f"{b.low:g}+" if b.high is None else f"{b.low:g}-{b.high:g}"
        bar = Text("━" * round(BAR * b.faces / most), style="blue")
        each = f"{b.positives_per_face:.1f}" if b.faces else "-"
        made.add_row(span, f"{b.faces:,}", f"{b.share:.1%}", bar, f"{b.positives:,}", f"{b.positive_share:.1%}", each)
    stdout.print(made)
    network = ", of a network that has learnt nothing yet" if report.untrained else ""
    rows: list[tuple[str, str | Text]] = [
        ("faces", f"{report.faces_per_picture:.1f} a picture, beside {report.ignored:.0%} that are ignored"),
        ("without", f"{report.empty:.0%} of the pictures hold no face that counts"),
        ("anchors", f"that learn a face, by loss.assign={report.assign}{network}"),
    ]
    if report.drawn:
        rows.append(("drawn", report.drawn))
    stdout.print(facts(rows))
    note = "size: the square root of a box's area in pixels of the network's input; ignored faces are left out."
    stdout.print(Text(note, style="dim"))


def show_preview(report: PreviewReport) -> None:
    """What the contact sheet holds."""
    ignored = f", {report.ignored:,} of them ignored (grey)" if report.ignored else ""
    faces = f"{counted(report.faces, 'face')}, {report.with_landmarks:,} with landmarks{ignored}"
    rows = [
        ("written", report.path),
        ("data", report.data),
        ("shown", f"{counted(report.pictures, 'picture')}, {faces}"),
    ]
    stdout.print(facts(rows))
