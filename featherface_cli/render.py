"""Results of the core as Rich tables or JSON. stdout is for results, stderr for people."""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from featherface_core.errors import FeatherFaceError, counted
from featherface_core.models.budget import FREE_SHUFFLES
from featherface_core.results import (
    SCHEMA,
    Budget,
    Component,
    ConversionReport,
    DetectReport,
    DoctorReport,
    ExportReport,
    Finding,
    ParamsReport,
    PictureResult,
    SearchReport,
    as_json,
)

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


def show_params(report: ParamsReport, depth: int, tree: bool) -> None:
    """One network: its components, its total, and what is to be said of it."""
    total = report.total
    deformable = total.deformable_macs > 0
    title = f"{report.model}: {total.parameters:,} parameters"
    if tree:
        root = Tree(Text(title, style="bold"))
        _grow(root, total, depth)
        stdout.print(root)
    else:
        columns = ["component", "parameters", "share", "MACs", *(["deformable MACs"] if deformable else [])]
        made = table(*columns, title=title, right=columns[1:])
        for level, part in _flatten(total, depth):
            style = "dim" if level else ""
            cells = [
                "  " * level + part.name,
                f"{part.parameters:,}",
                f"{part.parameters / total.parameters:.1%}",
                giga(part.macs),
            ]
            if deformable:
                cells.append(giga(part.deformable_macs) if part.deformable_macs else "")
            made.add_row(*cells, style=style)
        made.add_section()
        last = [giga(total.deformable_macs)] if deformable else []
        made.add_row("total", f"{total.parameters:,}", "100.0%", giga(total.macs), *last, style="bold")
        stdout.print(made)
    stdout.print(facts(_remarks(report)))


def _remarks(report: ParamsReport) -> list[tuple[str, str | Text]]:
    total, rows = report.total, []
    if report.budget:
        rows.append(("budget", _verdict(report.budget, total.parameters)))
    if report.model != "v1-original":
        rows.append(("against v1-original", Text(f"{report.reduction:.1%} fewer parameters than its 592,371")))
    profiler = f"thop would print {report.profiler_figure:,}: it has no hook for "
    unseen = [f"the {report.unseen_fusion} fusion scalars"]
    if report.unseen_deformable:
        unseen.insert(0, f"{report.unseen_deformable:,} weights of deformable kernels")
    rows.append(("profiler", Text(profiler + " and ".join(unseen))))
    macs = f"one {report.size}x{report.size} picture; convolutions and linear layers"
    if total.deformable_macs:
        both = total.macs + total.deformable_macs
        macs += (
            f"; {giga(both)} with the deformable kernels. "
            f"Sampling for them takes another {giga(total.interpolation_macs)} products that no column counts"
        )
    rows.append(("MACs", Text(macs)))
    return rows  # type: ignore[return-value]


def show_comparison(reports: Sequence[ParamsReport]) -> None:
    """Several networks, a row each."""
    size = reports[0].size
    columns = ("model", "parameters", "saved", "by thop", "MACs", "deformable", "budget")
    made = table(*columns, title=f"parameters, and MACs at {size}x{size}", right=columns[:6])
    made.columns[0].justify = "left"
    for r in reports:
        budget = _verdict(r.budget, r.total.parameters, short=True) if r.budget else Text("")
        made.add_row(
            r.model,
            f"{r.total.parameters:,}",
            f"{r.reduction:.1%}",
            f"{r.profiler_figure:,}",
            giga(r.total.macs),
            giga(r.total.deformable_macs) if r.total.deformable_macs else "",
            budget,
        )
    stdout.print(made)
    stdout.print(
        Text(
            "saved: against v1-original. by thop: what that profiler prints, without deformable kernels and fusion scalars.\n"
            "MACs: convolutions and linear layers; products of the deformable kernels stand in their own column."
        ),
        style="dim",
    )


def show_search(report: SearchReport, limit: int) -> None:
    """The configurations that meet a budget."""
    b = report.budget
    columns = ("width", "cells", "backbone", "neck", "shuffle", "parameters", "off by", "known as")
    title = f"{len(report.rows)} of {report.tried:,} configurations have {b.target:,} ± {b.tolerance:,} parameters"
    made = table(*columns, title=title, right=("width", "cells", "parameters", "off by"))
    for row in report.rows[:limit]:
        made.add_row(
            str(row.width),
            str(row.cells),
            row.backbone_attention,
            row.neck_attention,
            row.shuffle,
            f"{row.parameters:,}",
            f"{row.difference:+,}",
            row.same_as,
            style="bold" if row.same_as else "",
        )
    stdout.print(made)
    lines: list[tuple[str, str | Text]] = [("order", report.order), ("backbone, neck", "attention after each")]
    if len(report.rows) > limit:
        lines.append(("shown", f"{limit} of {len(report.rows)}; --limit shows more"))
    lines.append(("shuffle", f"{', '.join(FREE_SHUFFLES)} have no parameters; one stands for all three"))
    for width, parameters in report.near:
        verdict = _verdict(b, parameters, short=True)
        lines.append((f"width {width}", Text.assemble(f"{parameters:,} with all else as in {report.base}: ", verdict)))
    stdout.print(facts(lines))


def show_export(report: ExportReport) -> None:
    """The proof of an ONNX file, a row a size and batch, and what was written."""
    columns = ("size", "outputs", "ONNX", "PyTorch", "faces", "box px", "verdict")
    made = table(*columns, title="compared with PyTorch in float64, on a real picture", right=columns[:6])
    for c in report.checks:
        made.add_row(
            f"{c.height}x{c.width}",
            f"{c.batch}x{c.expected}x4,2,10",
            f"{c.onnx_error:.1e}",
            f"{c.torch_error:.1e}",
            f"{c.faces[1]} of {c.faces[0]}",
            f"{c.box_error:.3f}",
            Text("same" if c.passed else c.problem, style="green" if c.passed else "red"),
        )
    stdout.print(made)
    shape = "dynamic batch, height, width" if report.dynamic else "static"
    deform = f", {report.deform_nodes} of them DeformConv" if report.deform_nodes else ""
    rows: list[tuple[str, str | Text]] = [
        ("written", f"{report.path} ({report.bytes / 1e6:.2f} MB)"),
        ("network", f"{report.model}, {report.weights}"),
        ("graph", f"opset {report.opset}, {shape}, {report.nodes} nodes{deform}"),
        ("rewritten", ", ".join(report.rewrites)),
        ("time", f"{report.export_seconds:.1f} s to export, {report.total_seconds:.1f} s with all checks"),
    ]
    if report.post:
        from featherface_core.detect.open import is_openvino

        p, faces = report.post, sum(c.post_faces for c in report.checks)
        limits = f"by score {p.score:g}, NMS {p.nms:g}, top-k {p.top_k} unless a run gives others"
        if is_openvino(Path(report.path)):
            limits = "by the thresholds that every run gives"
        error = max(c.post_error for c in report.checks)
        proof = f"{counted(faces, 'face')} within {error:.1e} px of those of the separate post-processing"
        rows.insert(3, ("faces", f"found in the graph, {limits};\n{proof}"))
    if report.package:
        rows.insert(1, ("package", f"{report.package}: {', '.join(report.package_files)}"))
    stdout.print(facts(rows))
    stdout.print(
        Text(
            "outputs: batch x anchors x values, as the formula wants them. ONNX, PyTorch: the largest error of a\n"
            "raw output, relative to max(1, |value|), in onnxruntime and in float32 PyTorch. faces: ONNX of PyTorch."
        ),
        style="dim",
    )


def show_conversion(report: ConversionReport) -> None:
    """What a weights conversion wrote."""
    stdout.print(
        facts(
            [
                ("written", f"{report.path} ({report.bytes / 1e6:.2f} MB)"),
                ("network", f"{report.model}, {report.tensors} tensors"),
                ("names", f"{report.source_layout} to {report.layout}"),
                ("sha256", report.sha256),
                *([("note", Text(report.note, style="yellow"))] if report.note else []),
            ]
        )
    )


def show_picture_line(result: PictureResult) -> None:
    """One line a picture while ``detect`` runs."""
    where = result.source if result.frame is None else f"{result.source} frame {result.frame}"
    if result.problem:
        print_error(FeatherFaceError(result.problem, result.hint))
        return
    best = f", best score {max(face['score'] for face in result.faces):.3f}" if result.faces else ""
    faces = counted(len(result.faces), "face")
    stdout.print(
        Text.assemble(f"{where}: ", (faces, "bold"), f"{best}, {result.milliseconds:.0f} ms"),
        soft_wrap=not stdout.is_terminal,
    )


def show_detect(report: DetectReport) -> None:
    """The last lines of a ``detect`` run."""
    seconds = f"{report.seconds:.1f} s"
    rows: list[tuple[str, str | Text]] = [
        (
            "found",
            f"{counted(report.faces, 'face')} in {counted(report.pictures, 'picture')}, {seconds}, {report.backend}",
        )
    ]
    if report.broken:
        rows.append(("broken", Text(f"{counted(report.broken, 'picture')} could not be read", style="red")))
    if report.out:
        rows.append(("written", f"{report.out}/detections.jsonl, and the drawn pictures beside it"))
    rows.append(("network", f"{report.model}, {report.weights}"))
    if report.landmarks_by:
        rows.append(("landmarks", f"by a second look at each face: {report.landmarks_by}"))
    stdout.print(facts(rows))


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


def giga(count: int) -> str:
    """1,234,000,000 as "1.23 G", smaller counts in M or k."""
    for factor, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= factor:
            return f"{count / factor:.2f} {unit}" if unit == "G" else f"{count / factor:.1f} {unit}"
    return str(count)


def _verdict(budget: Budget, parameters: int, short: bool = False) -> Text:
    met = budget.met_by(parameters)
    off = abs(parameters - budget.target)
    side = "below" if parameters < budget.target else "above"
    distance = f"{off:,} {side}" if off else "exactly that"
    word = "met" if met else "missed"
    if short:
        return Text(
            "met" if met else f"{'-' if parameters < budget.target else '+'}{off:,}", style="green" if met else "red"
        )
    size = f"{budget.target:,}" + (f" ± {budget.tolerance:,}" if budget.tolerance else "")
    return Text(f"{size} {word}: {distance}", style="green" if met else "red")


def _flatten(part: Component, depth: int, level: int = -1) -> Iterable[tuple[int, Component]]:
    if level >= 0:
        yield level, part
    if level + 1 < depth:
        for child in part.parts:
            yield from _flatten(child, depth, level + 1)


def _grow(tree: Tree, part: Component, depth: int) -> None:
    if depth:
        for child in part.parts:
            macs = f", {giga(child.macs)} MACs" if child.macs else ""
            macs += f" and {giga(child.deformable_macs)} deformable" if child.deformable_macs else ""
            label = Text.assemble(child.name, (f" {child.kind}", "cyan"), f"  {child.parameters:,}", (macs, "dim"))
            _grow(tree.add(label), child, depth - 1)
