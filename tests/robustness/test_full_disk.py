"""A disk that is full, at any change or byte, is one sentence that names the file; what was there stays.

Every change to files in turn is refused as on a full disk, or no file can grow beyond some bytes from there on, which
the system itself refuses, to Python as to other languages. Run again with room, the command ends with the same bytes.
"""

import pytest
from things import hidden, things
from trials import Trials, spread
from writing import COMMANDS, is_costly, marked

QUICK = ("import over", "sample")


class Full(Trials):
    """A full disk in one command, each time at another place."""

    what = "full disk"

    def fill(self, at, **arms):
        """Run the command on a disk that is full from one change on, and then again."""
        told = f"{self.name}, {arms}: {self.changes[at - 1]}"
        self.outcomes.trials += 1
        self.world.begin(self.name)
        ended = self.world.run(self.name, at=at, **arms)
        if ended.code == 2:
            lines = ended.err.strip().splitlines()
            if not lines[-1].startswith("error: ") or str(self.world.out) not in lines[-1] or "Traceback" in ended.err:
                self.outcomes.tracebacks.append(f"{told}: {ended.err}")
            left = hidden(self.world.out)
            whole = any(
                name.endswith("/files.json") for name in left
            )  # all new files, which the next run puts in place
            if left and not whole:
                self.outcomes.left.append(f"{told}: {left}")
        elif ended.code != 0:
            self.outcomes.tracebacks.append(f"{told}: {ended.code}, {ended.err}")
        elif things(self.world.out) == self.new:  # it could do without
            return
        self.look(told)
        self.run_again(told)

    def places(self, sorts):
        """The numbers of the changes of some sorts."""
        return [number for number, change in enumerate(self.changes, 1) if change.startswith(sorts)]


def filled(world, name, record_property, refused, cut):
    trials = Full(world, name)
    for at in spread(trials.places(("open", "os.mkdir", "os.rename", "os.fsync")), refused):
        trials.fill(at, refused=True)
    for number, at in enumerate(spread(trials.places(("open",)), cut, first=1)):
        trials.fill(at, full=(0, 200)[number % 2])
    trials.outcomes.told(record_property)


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_a_full_disk_is_a_sentence_that_names_the_file(world, name, record_property):
    filled(world, name, record_property, 2, 2)


@pytest.mark.parametrize("name", marked())
def test_a_full_disk_in_every_command(world, name, record_property):
    few = is_costly(name)
    filled(world, name, record_property, 3 if few else 8, 2 if few else 4)


@pytest.mark.fuzz
@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk_at_every_change_of_every_command(world, name, record_property):
    filled(world, name, record_property, 10_000, 10_000)
