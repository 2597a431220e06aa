"""How property tests run: the same examples every time in ``make test``, many random ones in ``make fuzz``."""

from hypothesis import settings

settings.register_profile("test", derandomize=True, deadline=None, max_examples=100)
settings.register_profile("fuzz", deadline=None, max_examples=5000, print_blob=True)
settings.load_profile("test")


def pytest_terminal_summary(terminalreporter, config):
    """After ``make fuzz`` found something, say how it becomes a test."""
    if config.getoption("--hypothesis-profile") == "fuzz" and terminalreporter.stats.get("failed"):
        terminalreporter.write_line(
            "To keep an example, copy the arguments under 'Falsifying example' into a decorator @example(…) above the "
            "test, below @given: make test then runs it every time."
        )
