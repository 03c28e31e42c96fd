"""Parameters and MACs of networks as Rich tables."""

from collections.abc import Iterable, Sequence

from rich.text import Text
from rich.tree import Tree

from featherface_cli.screens.console import facts, giga, stdout, table
from featherface_core.models.budget import FREE_SHUFFLES
from featherface_core.results import Budget, Component, ParamsReport, SearchReport


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
