"""The command line: parse, call, print. One file per command; nothing heavy is imported before a command runs."""

import os
import signal
import sys
from collections.abc import Sequence

import typer

from calibrant import __version__
from calibrant.cli.apply import apply
from calibrant.cli.compare import compare
from calibrant.cli.demo import demo
from calibrant.cli.fit import fit
from calibrant.cli.import_ import import_
from calibrant.cli.measure import measure
from calibrant.cli.predict import predict
from calibrant.cli.refine import refine
from calibrant.cli.report import report
from calibrant.cli.sample import sample
from calibrant.cli.verify import verify
from calibrant.errors import CalibrantError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # half of the time that help takes
    help="Honest confidence for semantic segmentation: measure it, repair it after training, sample what is ambiguous.",
)
for command in (demo, predict, import_, measure, fit, apply, compare, refine, sample, report, verify):
    app.command(name=command.__name__.rstrip("_"), no_args_is_help=command is not demo)(command)


def _print_version(wanted: bool | None) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(version: bool | None = typer.Option(False, "--version", callback=_print_version, is_eager=True)) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; every error that a user can mend is one message and exit code 2.

    :param arguments: the command and its arguments; None for those of this process.
    """
    signal.signal(signal.SIGINT, _interrupted)
    signal.signal(signal.SIGTERM, _interrupted)
    _let_waiting_threads_sleep()
    try:
        app(arguments)
    except CalibrantError as error:
        _stop(f"error: {error}", 2)
    except OSError as error:
        _stop(
            f"error: {error.strerror or error}: {error.filename or 'a file'}. Check the path and the disk space.",
            2,
        )


def _let_waiting_threads_sleep() -> None:
    """Have OpenMP's threads sleep where they wait for each other; in force if torch is not imported yet.

    By default they wait in a loop, which keeps a processor from the very thread that is waited for as soon as other
    programs are busy: ``calibrant demo`` beside two busy processes on two processors then takes three to four times as
    long as alone, and 1.5 times if they sleep; alone, sleeping costs up to a fifth (``python -m benchmarks.busy``).
    Whoever has set one of the variables knows better.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & os.environ.keys():
        os.environ |= {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}


def _interrupted(number: int, *_: object) -> None:
    _stop("stopped: what was finished is kept; run the same command again to go on.", 128 + number)


def _stop(message: str, code: int) -> None:
    typer.echo(message, err=True)
    sys.exit(code)
