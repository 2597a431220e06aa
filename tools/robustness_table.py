"""Run the tests of robustness and print how many trials they made, and how many of them broke a promise.

``python tools/robustness_table.py`` runs those of ``make test-all``; further words are pytest's: ``-m "not slow and not
fuzz"`` runs those of ``make test``, ``-m fuzz`` those of ``make fuzz``, ``-k kill`` the kills alone.
"""

import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[1] / "tests" / "robustness"
COLUMNS = {
    "trials": "trials",
    "silent": "another result without a word",
    "tracebacks": "traceback, or no sentence",
    "left": "something left behind",
    "lost": "lost, or not to be had by running again",
}


class Counts:
    """Adds up what the tests record with each trial, by its sort."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(COLUMNS, 0))
        self.failed = 0

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Take the counts of a test that has ended."""
        self.failed += report.failed
        for name, counts in report.user_properties if report.when == "call" else ():
            if name == "robustness":
                row = self.rows[counts["what"]]
                for column in COLUMNS:
                    row[column] += counts[column]

    def table(self) -> str:
        """Return the counts as a table."""
        head = ["what", *COLUMNS.values()]
        rows = [[what, *(f"{row[column]:,}" for column in COLUMNS)] for what, row in sorted(self.rows.items())]
        return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *rows])


def main() -> int:
    """Run the tests and print the table."""
    counts = Counts()
    given = sys.argv[1:]
    if "-m" not in given:
        given = [*given, "-m", "not fuzz"]
    code = pytest.main(["-q", "-p", "no:cacheprovider", str(FOLDER), *given], plugins=[counts])
    print(f"\n{counts.table()}\n\n{counts.failed} tests failed")
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
