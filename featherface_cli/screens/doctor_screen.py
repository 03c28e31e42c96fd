"""What the doctor found, as Rich tables."""

from rich.table import Table
from rich.text import Text

from featherface_cli.screens.console import VERDICT_STYLES, stdout, table
from featherface_core.results import DoctorReport, Finding


def show_doctor(report: DoctorReport) -> None:
    """All findings by group, each with its fix below it."""
    for group in dict.fromkeys(f.group for f in report.findings):
        made = table("", "check", "found", title=group)
        for finding in (f for f in report.findings if f.group == group):
            _add_finding(made, finding)
        stdout.print(made)
    counts = ", ".join(f"{n} {verdict}" for verdict, n in report.counts.items() if n)
    style = "red" if report.counts["fail"] else "yellow" if report.counts["warn"] else "green"
    stdout.print(Text(f"{counts}, in {report.seconds:.1f} s (featherface {report.version})", style=style))


def _add_finding(made: Table, finding: Finding) -> None:
    found = Text(finding.found)
    if finding.fix and finding.verdict != "ok":
        found.append(f"\nfix: {finding.fix}", style="cyan")
    made.add_row(Text(finding.verdict, style=VERDICT_STYLES[finding.verdict]), finding.check, found)
