"""The Typer app: its commands, and how every failure becomes one line, a hint and an exit code."""

import os
import signal
import sys
from typing import Annotated

import typer

from featherface_cli.commands.bench import bench
from featherface_cli.commands.data import data_app
from featherface_cli.commands.detect import detect
from featherface_cli.commands.distill import distill
from featherface_cli.commands.doctor import doctor
from featherface_cli.commands.evaluate import evaluate
from featherface_cli.commands.export import export
from featherface_cli.commands.params import params
from featherface_cli.commands.train import train
from featherface_cli.parser import Command, InOrder, with_optional_value
from featherface_core import __version__
from featherface_core.config import DEFAULT_TEST_SIZES
from featherface_core.errors import ConfigError, FeatherFaceError

UsageError: type[Exception] = typer.BadParameter.__base__  # type: ignore[assignment] # click's, wherever typer keeps it

app = typer.Typer(
    name="featherface",
    help="Tiny face detectors with five landmarks: count them, run them, prove them, ship them.",
    epilog="Exit codes: 0 fine, 1 failed, 2 usage or config, 3 data, 4 weights, 5 export, 130 interrupted.",
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"featherface {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    ctx: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback and all details of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Tiny face detectors with five landmarks: count them, run them, prove them, ship them."""
    if ctx.invoked_subcommand is None:
        print(ctx.get_help())


app.command(cls=Command)(params)
app.command(cls=Command)(detect)
app.command(cls=Command)(train)
app.command(cls=Command)(distill)
app.command("eval", cls=Command)(evaluate)
app.add_typer(data_app, name="data")
app.command(cls=with_optional_value("--test-sizes", ",".join(DEFAULT_TEST_SIZES)))(export)
app.command(cls=InOrder)(bench)
app.command(cls=Command)(doctor)


def main() -> None:
    """The ``featherface`` command: runs the app and turns every failure into one line, a hint and an exit code."""
    debug = "--debug" in sys.argv
    signal.signal(signal.SIGTERM, _interrupt)  # so that what is half written goes, and what is done stays
    if "OMP_WAIT_POLICY" not in os.environ:
        # torch's OpenMP threads spin while they wait for each other; beside any other busy process that makes a small
        # network many times slower. A short spin is as fast on an idle machine.
        os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    try:
        code = app(standalone_mode=False, prog_name="featherface")
        sys.stdout.flush()
    except FeatherFaceError as error:
        code = _fail(error, debug)
    except UsageError as usage:
        context = getattr(usage, "ctx", None)
        command = context.command_path if context else "featherface"
        code = _fail(ConfigError(usage.format_message(), f"see: {command} --help"), debug)  # type: ignore[attr-defined]
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except BrokenPipeError:  # the reader of our output has gone; say nothing more, not even at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    except Exception as bug:
        if debug:
            raise
        message = f"unexpected {type(bug).__name__}: {bug}".splitlines()[0]
        code = _fail(FeatherFaceError(message, "please report this with the output of: featherface --debug ..."), debug)
    sys.exit(code if isinstance(code, int) else 0)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _fail(error: FeatherFaceError, debug: bool) -> int:
    from featherface_cli.screens.console import print_error

    if debug:
        import traceback

        traceback.print_exception(error)
    print_error(error, all_details=debug)
    return error.exit_code


if __name__ == "__main__":
    main()
