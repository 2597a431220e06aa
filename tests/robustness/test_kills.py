"""A command that is killed anywhere loses nothing, and run again it ends with the bytes that it would have had.

Commands run in processes of their own, which are sent SIGKILL, SIGTERM or SIGINT just before one of their changes to
files, or at any moment. Afterwards what was there before must be whole, or what replaces it; after the same command
again all files must be, byte for byte, those of a run that nobody killed, and no other file may be there.
"""

import random
import signal
import time

import pytest
from forks import Forks
from outcomes import Outcomes
from things import UNSETTLED, hidden, things
from worlds import contents
from writing import COMMANDS, World

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
QUICK = ("import over", "fit over", "sample over", "measure over")
COSTLY = {"compare", "report", "refine", "demo"}
"""Commands of which a run takes half a second or more: they are killed at fewer places, but for the random form."""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    forks = Forks()
    yield World(tmp_path_factory.mktemp("kills"), forks)
    forks.close()


class Trials:
    """Kills of one command, each on a fresh copy of what was there before."""

    def __init__(self, world, name):
        self.world, self.name, self.outcomes = world, name, Outcomes("kills")
        world.begin(name)
        self.old = things(world.out)
        whole = world.run(name)
        assert whole.code == 0, whole
        self.changes, self.seconds = whole.changes, whole.wall
        self.expected, self.new = contents(world.out), things(world.out)
        assert not hidden(world.out)

    def decisive(self):
        """The numbers of the changes that rename, remove or bring to the disk."""
        sorts = ("os.rename", "os.remove", "os.rmdir", "os.fsync")
        return [number for number, change in enumerate(self.changes, 1) if change.startswith(sorts)]

    def kill(self, *kills):
        """Start the command once for each way to kill it, and then once more."""
        self.outcomes.trials += 1
        self.world.begin(self.name)
        for kill in kills:
            ended = self.world.run(self.name, **kill)
            if ended.code not in (0, -kill["signal"], 128 + kill["signal"]) or "Traceback" in ended.err:
                self.outcomes.tracebacks.append(f"{self._told(kills)}: {ended.code}, {ended.err}")
            self._look(kills)
        again = self.world.run(self.name)
        found = contents(self.world.out)
        if again.code != 0:
            self.outcomes.lost.append(f"{self._told(kills)}: the command again ends with {again.code}: {again.err}")
        elif left := [*hidden(self.world.out), *sorted(set(found) - set(self.expected))]:
            self.outcomes.left.append(f"{self._told(kills)}: {left}")
        elif found != self.expected:
            other = [name for name in self.expected if found.get(name) != self.expected[name]]
            self.outcomes.silent.append(f"{self._told(kills)}: other bytes in {other}")

    def _look(self, kills):
        """See that all that was there is there, or what replaces it."""
        found = things(self.world.out)
        for name in {**self.old, **found}:
            if found.get(name) not in (self.old.get(name), self.new.get(name), UNSETTLED):
                self.outcomes.lost.append(f"{self._told(kills)}: {name} is neither the old nor the new")

    def _told(self, kills):
        """The kills in words."""
        at = [
            f"{kill['signal'].name} {self.changes[kill['at'] - 1] if kill.get('at') else kill['after']}"
            for kill in kills
        ]
        return f"{self.name}, {', then '.join(at)}"


def spread(numbers, count, first=0):
    """At most so many of some numbers, evenly spread."""
    count = min(count, len(numbers))
    return [numbers[(first + number * len(numbers) // count) % len(numbers)] for number in range(count)]


@pytest.mark.parametrize("name", QUICK)
def test_a_killed_command_loses_nothing(world, name, record_property):
    trials = Trials(world, name)
    for number, at in enumerate(spread(trials.decisive(), 3, first=1)):
        trials.kill({"at": at, "signal": SIGNALS[number % 3]})
    trials.outcomes.told(record_property)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_is_killed_anywhere_loses_nothing(world, name, record_property):
    trials, draw = Trials(world, name), random.Random(name)
    costly = name.partition(" ")[0] in COSTLY and "copula" not in name
    decisive = trials.decisive()
    for at in spread(decisive, 3) if costly else decisive:
        trials.kill({"at": at, "signal": signal.SIGKILL})
    for number, at in enumerate(spread(range(1, len(trials.changes) + 1), 2 if costly else 4, first=2)):
        trials.kill({"at": at, "signal": SIGNALS[1 + number % 2]})
    for number in range(1 if costly else 3):
        trials.kill({"after": draw.uniform(0, trials.seconds), "signal": SIGNALS[number % 3]})
    trials.outcomes.told(record_property)


@pytest.mark.fuzz
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_is_killed_several_times_at_random_loses_nothing(world, name, record_property):
    seed = time.time_ns()
    trials, draw = Trials(world, name), random.Random(seed)

    def drawn():
        ways = {"at": draw.randint(1, len(trials.changes))}, {"after": draw.uniform(0, trials.seconds)}
        return draw.choice(ways) | {"signal": draw.choice(SIGNALS)}

    for number in range(1, len(trials.changes) + 1):
        trials.kill({"at": number, "signal": SIGNALS[number % 3]})
    for _ in range(50):
        trials.kill(*(drawn() for _ in range(draw.randint(1, 3))))
    print(f"seed {seed}")
    trials.outcomes.told(record_property)
