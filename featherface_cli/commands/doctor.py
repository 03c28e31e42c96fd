"""The command ``doctor``."""

import typer

from featherface_cli import options as o
from featherface_core.errors import ConfigError


def doctor(
    weights: o.CheckedWeights = None,
    data: o.CheckedData = None,
    run: o.CheckedRun = None,
    only: o.Only = None,
    skip: o.Skip = None,
    strict: o.Strict = False,
    out: o.Findings = None,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Check machine, packages, models, weights and export; say what is wrong and the command that mends it.

    Examples:

        featherface doctor

        featherface doctor --only packages --strict

        featherface doctor --weights v1.safetensors --out validation_results.json

        featherface doctor --data widerface --only data

        featherface doctor --run runs/train-1 --only run
    """
    import json

    from featherface_cli.progress import progress_bar
    from featherface_cli.screens.console import print_json
    from featherface_cli.screens.doctor_screen import show_doctor
    from featherface_core.doctor import run_doctor
    from featherface_core.files import write_text
    from featherface_core.results import as_json as plain

    with progress_bar("doctor", quiet or as_json) as on_event:
        report = run_doctor(only or (), skip or (), weights, on_event, data, run)
    if out is not None:
        write_text(out, json.dumps({**plain(report, "doctor"), "counts": report.counts}, indent=2) + "\n", ConfigError)
    print_json(report, "doctor", {"counts": report.counts}) if as_json else show_doctor(report)
    if report.counts["fail"] or (strict and report.counts["warn"]):
        raise typer.Exit(1)
