"""Training reports as tables."""

import shlex
from collections.abc import Sequence

from rich.text import Text

from featherface_cli.screens.console import clock, facts, giga, number, stdout, table
from featherface_core.training.report import DistillReport, NetworkRow, TrainReport


def show_train(report: TrainReport) -> None:
    """One network: its AP, its cost, where it is."""
    _show_networks("trained", (report.network,))
    rows: list[tuple[str, str | Text]] = [("AP", report.protocol), ("start", report.network.start)]
    rows += _end("train", report.run, report.network, report.finished, report.stopped)
    stdout.print(facts(rows))


def show_distill(report: DistillReport) -> None:
    """Student, teacher and control beside each other."""
    _show_networks("distilled", report.networks)
    student = report.networks[0]
    rows: list[tuple[str, str | Text]] = []
    if report.gap is not None:
        rows.append(("student - teacher", _points(report.gap)))
    if report.gain is not None:
        rows.append(("student - control", _points(report.gain)))
    rows += [("alpha", report.alpha), ("AP", report.protocol), ("start", student.start)]
    rows += _end("distill", report.run, student, report.finished, report.stopped)
    stdout.print(facts(rows))


def _show_networks(title: str, networks: Sequence[NetworkRow]) -> None:
    columns = ("network", "model", "AP", "whole", "small", "recall", "parameters", "MACs", "epoch", "time")
    made = table(*columns, title=title, right=columns[2:])
    made.columns[0].no_wrap = True
    for n in networks:
        best = f"{n.best_epoch} of {n.epochs}" if n.trained else "given"
        made.add_row(
            n.role,
            n.model,
            number(n.ap, ".4f"),
            number(n.ap_whole, ".4f"),
            number(n.ap_small, ".4f"),
            number(n.recall, ".4f"),
            f"{n.parameters:,}",
            giga(n.macs),
            best,
            clock(n.seconds) if n.trained else "-",
            style="bold" if n.role in ("student", "model") else "",
        )
    stdout.print(made)
    said = (
        "AP: the mean at full size (whole) and shown small. epoch: of the best validation. MACs: one 640x640 picture, "
        "deformable products included."
    )
    stdout.print(Text(said, style="dim"))


def _points(difference: float) -> Text:
    return Text(f"{100 * difference:+.2f} percentage points of AP", style="green" if difference >= 0 else "yellow")


def _end(command: str, run: str, network: NetworkRow, finished: bool, stopped: str) -> list[tuple[str, str | Text]]:
    rows: list[tuple[str, str | Text]] = []
    if stopped:
        rows.append(("stopped early", stopped))
    if finished:
        rows.append(("weights", network.weights))
        rows.append(("try them", f"featherface detect PICTURE --weights {network.weights}"))
    else:
        done = f"{network.epochs} epochs are done; go on with: featherface {command} --resume {shlex.quote(run)}"
        rows.append(("not finished", Text(done, style="yellow")))
    rows.append(("run folder", f"{run} (config.yaml, metrics.jsonl, samples/)"))
    return rows
