"""What came of many trials: how many there were, and every one that broke a promise, in words."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field


@dataclass
class Outcomes:
    """Trials of one sort; ``tools/robustness_table.py`` makes a table of all.

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
