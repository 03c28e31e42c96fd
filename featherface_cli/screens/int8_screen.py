"""An export to int8 as Rich tables."""

from rich.text import Text

from featherface_cli.screens.console import facts, heading, stdout, table
from featherface_core.bench.rounds import BUSY
from featherface_core.errors import counted
from featherface_core.int8.report import Form, Int8Report


def show_int8(report: Int8Report) -> None:
    """Which layers were quantised and why, the three forms beside each other, and what was written."""
    _show_groups(report)
    _show_forms(report)
    if report.protocol:
        _show_ap(report)
    stdout.print(facts(_facts(report)))
    here = {True: "this one has", False: "this one has not", None: "whether this one has is not known"}
    stdout.print(
        Text(
            "score, box: mean change of a score and of a box (1 - IoU), over the best anchors. spread: 5th to 95th "
            "percentile over rounds. Int8 takes less time where the processor has VNNI or the like: "
            f"{here[report.machine['int8_dot_products']]}.",
        ),
        style="dim",
    )


def _show_groups(report: Int8Report) -> None:
    pictures = counted(report.agreement.pictures, "calibration picture")
    heading(f"what each group of layers changes alone in int8, on {pictures}")
    columns = ("group", "layers", "weights", "score", "box", "written in")
    made = table(*columns, right=columns[1:5])
    for group in report.groups:
        form = Text("int8") if group.quantised else Text("float32", style="yellow")
        made.add_row(
            group.name, str(group.layers), f"{group.weights:,}", f"{group.score:.4f}", f"{group.box:.4f}", form
        )
    stdout.print(made)


def _show_forms(report: Int8Report) -> None:
    height, width = report.size
    heading(f"in onnxruntime, one {height}x{width} picture, one thread, {report.runs} rounds")
    columns = ("form", "MB", "of float32", "ms", "ratio", "spread")
    made = table(*columns, right=columns[1:])
    first = report.forms[0]
    for form in report.forms:
        ratio = form.ratio
        made.add_row(
            form.name,
            f"{form.bytes / 1e6:.3f}",
            f"{form.bytes / first.bytes:.3f}",
            f"{form.milliseconds.median:.1f}",
            f"{ratio.median:.2f}" if ratio else "1",
            f"{ratio.p5:.2f}-{ratio.p95:.2f}" if ratio else "",
        )
    stdout.print(made)


def _show_ap(report: Int8Report) -> None:
    first, *_, last = report.forms
    heading("AP, 0 to 1")
    made = table("form", *first.ap, right=tuple(first.ap))
    for form in report.forms:
        made.add_row(form.name, *(_ap(value) for value in form.ap.values()))
    made.add_section()
    made.add_row("int8 against float32", *(_gain(first, last, name) for name in first.ap))
    stdout.print(made)


def _facts(report: Int8Report) -> list[tuple[str, str | Text]]:
    faces, calibration = report.agreement, report.calibration
    pictures = f"{counted(calibration.pictures, 'picture')} of {calibration.folder}, {calibration.method}"
    if calibration.unreadable:
        pictures += f"; {calibration.unreadable} more could not be read"
    found = f"{faces.faces[1]} in int8 and {faces.faces[0]} in float32, {faces.matched} of them the same"
    if faces.matched:
        found += f" (IoU {faces.iou:.3f}, scores differ by {faces.score_change:.3f})"
    rows: list[tuple[str, str | Text]] = [
        ("written", f"{report.path} ({report.forms[-1].bytes / 1e6:.2f} MB)"),
        ("network", f"{report.model}, {report.weights}"),
        ("layers", f"{report.layers[0]} of {report.layers[1]} in int8"),
        ("calibrated", pictures),
        ("faces", found),
    ]
    rows.append(("AP", _fall(report)))
    if report.protocol:
        rows.append(("protocol", report.protocol))
    if report.cpu_share < BUSY:
        busy = f"others wanted the core: the networks had it for {report.cpu_share:.0%} of the time, so ms are too many"
        rows.append(("busy", Text(busy, style="yellow")))
    if report.checks:
        rows.append(("proven", f"in float32, by {counted(len(report.checks), 'check')} against PyTorch"))
    rows.append(("time", f"{report.seconds:.1f} s with all checks"))
    return rows


def _fall(report: Int8Report) -> Text:
    if not report.protocol:
        return Text("not measured; --val names labelled pictures to measure it on", style="yellow")
    if report.drop is None:
        return Text("unknown: no face of --val counts", style="yellow")
    said = f"falls by {100 * report.drop:.2f} percentage points at most" if report.drop > 0 else "does not fall"
    return Text(f"{said}; {100 * report.max_drop:g} may be lost")


def _ap(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4f}"


def _gain(first: Form, last: Form, name: str) -> str:
    before, after = first.ap[name], last.ap[name]
    return "unknown" if before is None or after is None else f"{after - before:+.4f}"
