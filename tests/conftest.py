"""What tests of several folders share: how property tests run, and the command line, run in this process.

Property tests take the same examples every time in ``make test``, and many random ones in ``make fuzz``.
"""

import contextlib
import io
import logging
import sys
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent / "robustness"))
from outcomes import outcomes_table

from calibrant.cli import main

settings.register_profile("test", derandomize=True, deadline=None, max_examples=100)
settings.register_profile("fuzz", deadline=None, max_examples=5000, print_blob=True)
settings.load_profile("test")


def pytest_terminal_summary(terminalreporter, config):
    """Print what came of the trials of the robustness tests; after ``make fuzz`` found something, how to keep it."""
    reports = [each for outcome in ("passed", "failed") for each in terminalreporter.getreports(outcome)]
    for line in outcomes_table(told for each in reports for name, told in each.user_properties if name == "robustness"):
        terminalreporter.write_line(line)
    if config.getoption("--hypothesis-profile") == "fuzz" and terminalreporter.stats.get("failed"):
        terminalreporter.write_line(
            "To keep an example, copy the arguments under 'Falsifying example' into a decorator @example(…) above the "
            "test, below @given: make test then runs it every time."
        )


def run(*arguments: object) -> tuple[int, str, str]:
    """Run the command line; return its exit code, its output, and its error output in one line."""
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(list(map(str, arguments)))
        except SystemExit as stopped:
            code = stopped.code or 0
    assert isinstance(code, int), code
    return code, out.getvalue(), " ".join(err.getvalue().split())


@pytest.fixture(scope="session")
def calibrant():
    """The command line as a function of its arguments."""
    return run


@pytest.fixture(autouse=True)
def level_of_the_log():
    """What studies and benchmarks run in this process do not show is shown in the next test."""
    log = logging.getLogger("calibrant")
    level = log.level
    yield
    log.setLevel(level)
