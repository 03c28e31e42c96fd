"""Evaluations as Rich tables."""

from collections.abc import Sequence

from rich.text import Text

from featherface_cli.screens.console import facts, stdout, table
from featherface_core.errors import counted
from featherface_core.evaluation.compare import Comparison, Gain, Gate, Grouped, Spread
from featherface_core.evaluation.matching import by_group
from featherface_core.evaluation.report import EvalReport, RecallRow

TITLES = {"easy": "Easy", "medium": "Medium", "hard": "Hard", "mean": "mean", "ap50": "AP@0.5", "ap": "AP@0.5:0.95"}
FILES = {
    "report": "report",
    "curves_png": "curves",
    "worst": "worst pictures",
    "html": "page",
    "predictions": "predictions",
}
PLACES_SHOWN = 5


def show_eval(report: EvalReport) -> None:
    """The figures, the protocol, recall by group, time, and where the rest is."""
    figures = report.headline
    stdout.print(Text(_title(report), style="bold"), soft_wrap=not stdout.is_terminal)
    made = table("", *(TITLES[name] for name in figures), right=[TITLES[n] for n in figures])
    made.add_row("AP", *(_ap(ap) for ap in figures.values()), style="bold")
    made.add_row("faces", *[f"{s.faces:,}" for s in report.settings], *[""] * (len(figures) - len(report.settings)))
    stdout.print(made)
    for warning in report.warnings:
        stdout.print(Text.assemble(("warning: ", "bold yellow"), (warning, "yellow")))
    rows: list[tuple[str, str | Text]] = [("protocol", report.protocol.text)]
    if report.landmarks is not None:
        at = report.landmarks
        rows.append(
            (
                "landmarks",
                f"mean error {at.mean:.1%} of the eyes' distance (median {at.median:.1%}), "
                f"{counted(at.faces, 'found face')} of {at.smallest:g} px and more{_placed(report)}",
            )
        )
    stdout.print(facts(rows))
    _show_recall(report)
    stdout.print(facts(_end(report)))


def _placed(report: EvalReport) -> str:
    by = report.subject.landmarks_by
    return f"; by a second look at each face: {by}" if by else ""


def _show_recall(report: EvalReport) -> None:
    groups = by_group(report.recall)
    places = next((word for word in ("event", "folder") if word in groups), "event")
    worst = sorted(groups.pop(places, []), key=lambda row: row.found / row.faces)[:PLACES_SHOWN]
    if not groups and not worst:
        return
    of = "the faces of Hard" if report.protocol.method == "wider-face" else "all faces"
    columns = ("faces", "found", "at 0.5", "alarms")
    made = table("recall", "", *columns, right=columns)
    for group, rows in groups.items():
        for i, row in enumerate(rows):
            made.add_row(group if i == 0 else "", row.name, *_shares(row))
    for i, row in enumerate(worst):
        made.add_row(f"worst {places}s" if i == 0 else "", row.name, *_shares(row))
    stdout.print(made)
    said = (
        f"recall of {of}: found with any score, and with a score of 0.5 or more. alarms: detections of that size and 0.5 or more "
        "on no face"
    )
    stdout.print(Text(said, style="dim"))


def _end(report: EvalReport) -> list[tuple[str, str | Text]]:
    rows: list[tuple[str, str | Text]] = []
    if report.timing is not None:
        t = report.timing
        stages = (
            f"reading {t.reading:.1f}, preparing {t.preparing:.1f}, network {t.network:.1f}, "
            f"decoding and NMS {t.postprocessing:.1f}"
        )
        rows.append(
            ("time", f"{t.total:.1f} ms a picture: {stages} ({report.subject.backend}, {report.subject.device})")
        )
    rows.append(
        (
            "found",
            f"{report.detections:,} detections in {counted(report.protocol.pictures, 'picture')}, {report.seconds:.1f} s",
        )
    )
    for i, broken in enumerate(report.broken[:3]):
        rows.append(("broken" if i == 0 else "", Text(broken.problem, style="red")))
    written = dict(report.files)
    rows += [(title, written[kind]) for kind, title in FILES.items() if kind in written]
    return rows


def show_gate(gate: Gate) -> None:
    """Each figure then and now."""
    columns = ("before", "now", "change")
    stdout.print(Text(f"against {gate.baseline}", style="bold"), soft_wrap=not stdout.is_terminal)
    made = table("figure", *columns, "", right=columns)
    for change in gate.changes:
        verdict = Text("ok", style="green") if change.passed else Text("fell", style="bold red")
        made.add_row(
            TITLES[change.name], _ap(change.before), _ap(change.now), f"{round(-change.drop, 2) + 0.0:+.2f}", verdict
        )
    stdout.print(made)
    what = "no figure fell" if gate.passed else "a figure fell"
    said = f"{what} by more than {gate.max_drop:g} percentage points of AP"
    stdout.print(Text(said, style="green" if gate.passed else "bold red"))


def show_comparison(comparison: Comparison) -> None:
    """Runs side by side, best first where they may be ranked."""
    names = list(dict.fromkeys(name for report in comparison.reports for name in report.headline))
    columns = [*(TITLES[name] for name in names), "parameters", "ms/picture"]
    first = "rank" if comparison.ranked else "run"
    made = table(first, "model", *columns, right=(first, *columns))
    pairs = list(zip(comparison.paths, comparison.reports, strict=True))
    for place, (_, report) in enumerate(pairs, 1):
        figures = report.headline
        made.add_row(
            str(place),
            report.subject.model,
            *(_ap(figures.get(name)) for name in names),
            "-" if report.subject.parameters is None else f"{report.subject.parameters:,}",
            "-" if report.timing is None else f"{report.timing.total:.1f}",
        )
    stdout.print(made)
    if not comparison.differences:
        runs = [(str(place), path) for place, (path, _) in enumerate(pairs, 1)]
        stdout.print(facts([*runs, ("", ""), ("protocol", pairs[0][1].protocol.text)]))
        return
    verdict = "Ranked all the same" if comparison.ranked else "Not ranked"
    hint = "" if comparison.ranked else " --any-protocol ranks them all the same."
    said = f"{verdict}: these runs followed different protocols, so their figures do not compare.{hint}"
    stdout.print(Text(said, style="bold yellow"))
    differing = table(first, *(d.what for d in comparison.differences), "report", right=(first,))
    for place, (path, _) in enumerate(pairs, 1):
        differing.add_row(str(place), *(d.values[place - 1] for d in comparison.differences), path)
    stdout.print(differing)


def show_groups(grouped: Grouped) -> None:
    """Mean and spread of each group, and what it has over the first."""
    names = list(grouped.groups[0].figures)
    right = ("runs", *(TITLES[name] for name in names), "gain", "above")
    made = table("name", *right, right=right)
    made.padding = (0, 1, 0, 0)  # so that names of some length fit into 80 columns
    for each in grouped.groups:
        gain = _gain(each.gain)
        made.add_row(each.name, str(len(each.paths)), *(_spread(each.figures[name]) for name in names), *gain)
    stdout.print(made)
    first = grouped.groups[0].name
    said = (
        f"AP of a hundred: mean and standard deviation over runs. gain: of {TITLES[grouped.ranked_by]}, over {first}. "
        "above: of all pairs of a run here and one there, in how many this one is the better."
    )
    stdout.print(Text(said, style="dim"))
    stdout.print(facts([("protocol", grouped.protocol)]))


def _spread(spread: Spread) -> str:
    deviation = "" if spread.deviation is None else f"±{spread.deviation * 100:.1f}"
    return f"{spread.mean * 100:.1f}{deviation}"


def _gain(gain: Gain | None) -> tuple[Text, Text]:
    if gain is None:
        return Text("-", style="dim"), Text("-", style="dim")
    style = "green" if gain.beyond_spread else "red" if gain.above == 0 else ""
    return Text(f"{gain.points:+.1f}", style=style), Text(f"{gain.above} of {gain.pairs}", style=style)


def _title(report: EvalReport) -> str:
    subject = report.subject
    return subject.model if subject.weights in ("", subject.model) else f"{subject.model}: {subject.weights}"


def _shares(row: RecallRow) -> Sequence[str]:
    shares = [f"{count / row.faces:.1%}" if row.faces else "-" for count in (row.found, row.confident)]
    return f"{row.faces:,}", *shares, "" if row.alarms is None else f"{row.alarms:,}"


def _ap(ap: float | None) -> str:
    return "-" if ap is None else f"{ap:.4f}"
