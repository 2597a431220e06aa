"""The command line: parse, call, print. One file per command; nothing heavy is imported before a command runs."""

import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import typer

from calibrant import __version__
from calibrant._input.visible import visible
from calibrant.cli._failure import (
    UNEXPECTED,
    USAGE,
    interrupted,
    is_lack_of_memory,
    logged,
    of_memory,
    of_model,
    of_system,
    stop,
    with_owners,
)
from calibrant.cli._on_this_machine import on_this_machine
from calibrant.cli.apply import apply
from calibrant.cli.areas import areas
from calibrant.cli.compare import compare
from calibrant.cli.demo import demo
from calibrant.cli.export import export
from calibrant.cli.fit import fit
from calibrant.cli.import_ import import_
from calibrant.cli.measure import measure
from calibrant.cli.merge import merge
from calibrant.cli.methods import methods
from calibrant.cli.onnx import onnx
from calibrant.cli.predict import predict
from calibrant.cli.refine import refine
from calibrant.cli.report import report
from calibrant.cli.sample import sample
from calibrant.cli.verify import verify
from calibrant.errors import CalibrantError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,  # half of the time that help takes
    help="Honest confidence for semantic segmentation: measure it, repair it after training, sample what is ambiguous.",
)
for command in (
    demo,
    predict,
    import_,
    measure,
    fit,
    apply,
    export,
    onnx,
    compare,
    refine,
    sample,
    areas,
    merge,
    report,
    verify,
    methods,
):
    name, needs_arguments = command.__name__.rstrip("_"), command not in (demo, methods)
    app.command(name=name, no_args_is_help=needs_arguments)(on_this_machine(command))


_REFUSED: Any = next(each for each in typer.BadParameter.__mro__ if each.__name__ == "ClickException")
"""What is raised where a command line cannot be parsed; some versions of typer have a click of their own."""


def _print_version(wanted: bool | None) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _of_all(
    version: bool | None = typer.Option(False, "--version", callback=_print_version, is_eager=True),
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an unexpected error."),
    quiet: bool = typer.Option(False, "--quiet", help="Print errors alone, and what --json - asks for."),
) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; every error that a user can mend is one message and exit code 2.

    Any other error is one line, which names a log with all that is needed to find the fault, and exit code 70; with
    ``--debug`` anywhere, or CALIBRANT_DEBUG=1, its traceback is shown as well. With ``--quiet`` anywhere nothing is
    printed but errors.

    :param arguments: the command and its arguments; None for those of this process.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given or os.environ.get("CALIBRANT_DEBUG", "0") not in ("", "0")
    quiet = "--quiet" in given
    given = [each for each in given if each not in ("--debug", "--quiet")]
    group: Any = typer.main.get_command(app)
    command = next((each for each in given if each in group.commands), None)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: stop(interrupted(given, command), 128 + number))
    _let_waiting_threads_sleep()
    _keep_quiet(quiet)
    try:
        code = group.main(given, prog_name="calibrant", standalone_mode=False)
    except _REFUSED as error:
        error.message = "\n".join(map(visible, error.message.split("\n")))
        error.show()
        sys.exit(error.exit_code)
    except typer.Abort:
        stop("stopped.", 1)
    except Exception as error:
        if debug:
            traceback.print_exception(error)
        _failed(error, given, command, group)
    else:
        sys.exit(code if isinstance(code, int) else 0)


def _keep_quiet(quiet: bool) -> None:
    """Print nothing but errors and JSON from here on, or print again."""
    console = sys.modules.get("calibrant.cli._console")
    if console is None and quiet:
        from calibrant.cli import _console as console
    if console is not None:
        console.console.quiet = console.aside.quiet = quiet


def _failed(error: Exception, given: Sequence[str], command: str | None, group: Any) -> None:
    """Say what went wrong, and end the process."""
    if isinstance(error, BrokenPipeError):  # who reads the output has seen enough
        sys.exit(1)
    if isinstance(error, CalibrantError):
        stop(f"error: {with_owners(str(error), command, group)}", USAGE)
    if is_lack_of_memory(error):
        stop(of_memory(error), USAGE)
    if isinstance(error, OSError):
        stop(of_system(error), USAGE)
    if of_its_model := of_model(error):
        stop(of_its_model, USAGE)
    stop(logged(error, given), UNEXPECTED)


def _let_waiting_threads_sleep() -> None:
    """Have OpenMP's threads sleep where they wait for each other; in force if torch is not imported yet.

    By default they wait in a loop, which keeps a processor from the very thread that is waited for as soon as other
    programs are busy. Alone, sleeping costs a part of the time. ``python -m benchmarks.busy`` prints both, and
    ``benchmarks/README.md`` holds what it printed.
    Whoever has set one of the variables knows better.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & os.environ.keys():
        os.environ |= {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
