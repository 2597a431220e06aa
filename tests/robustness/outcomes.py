"""What came of many trials: how many there were, and every one that broke a promise, in words."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

COLUMNS = {
    "trials": "trials",
    "silent": "another result without a word",
    "tracebacks": "traceback, or no sentence",
    "left": "something left behind",
    "lost": "lost, or not to be had by running again",
}


@dataclass
class Outcomes:
    """Trials of one sort; a table of all is printed at the end of the tests.

    :param what: names the sort.
    :param trials: how many there were.
    :param silent: other results, without a word.
    :param tracebacks: errors that were no sentence, or did not end with the exit code of a sentence.
    :param left: files that were left behind.
    :param lost: what was there before and was lost, or could not be made by running the command again.
    """

    what: str
    trials: int = 0
    silent: list[str] = field(default_factory=list)
    tracebacks: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def told(self, record_property: Callable[[str, object], None]) -> None:
        """Hand the counts to the table, and fail if a promise was broken."""
        counts = {name: value if isinstance(value, int | str) else len(value) for name, value in asdict(self).items()}
        record_property("robustness", counts)
        broken = [*self.silent, *self.tracebacks, *self.left, *self.lost]
        assert self.trials > 0
        assert not broken, f"{len(broken)} of {self.trials} trials:\n" + "\n".join(broken[:20])


def outcomes_table(told: Iterable[Mapping[str, Any]]) -> list[str]:
    """Add up what tests have handed over, by sort, as the lines of a table; none if they have nothing."""
    rows: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(COLUMNS, 0))
    for counts in told:
        for column in COLUMNS:
            rows[counts["what"]][column] += counts[column]
    if not rows:
        return []
    head = ["what", *COLUMNS.values()]
    cells = [[what, *(f"{row[column]:,}" for column in COLUMNS)] for what, row in sorted(rows.items())]
    return [f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *cells]]
