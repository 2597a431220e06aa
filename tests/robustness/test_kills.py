"""A command that is killed anywhere loses nothing, and run again it ends with the bytes that it would have had.

Commands run in processes of their own, which are sent SIGKILL, SIGTERM or SIGINT just before one of their changes to
files, or at any moment. Afterwards what was there before must be whole, or what replaces it; after the same command
again all files must be, byte for byte, those of a run that nobody killed, and no other file may be there.
"""

import random
import signal
import time

import pytest
from trials import Trials, spread
from writing import COMMANDS, is_costly, marked

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


class Kills(Trials):
    """Kills of one command."""

    what = "kills"

    def decisive(self):
        """The numbers of the changes that rename, remove or bring to the disk."""
        sorts = ("os.rename", "os.remove", "os.rmdir", "os.fsync")
        return [number for number, change in enumerate(self.changes, 1) if change.startswith(sorts)]

    def kill(self, *kills):
        """Start the command once for each way to kill it, and then once more."""
        told = f"{self.name}, {', then '.join(map(self._told, kills))}"
        self.outcomes.trials += 1
        self.world.begin(self.name)
        for kill in kills:
            ended = self.world.run(self.name, **kill)
            if ended.code not in (0, -kill["signal"], 128 + kill["signal"]) or "Traceback" in ended.err:
                self.outcomes.tracebacks.append(f"{told}: {ended.code}, {ended.err}")
            self.look(told)
        self.run_again(told)

    def _told(self, kill):
        return f"{kill['signal'].name} {self.changes[kill['at'] - 1] if kill.get('at') else kill['after']}"


@pytest.mark.parametrize("name", marked())
def test_a_command_that_is_killed_anywhere_loses_nothing(world, name, record_property):
    trials, draw = Kills(world, name), random.Random(name)
    costly = is_costly(name)
    decisive = trials.decisive()
    for at in spread(decisive, 3 if costly else 8):
        trials.kill({"at": at, "signal": signal.SIGKILL})
    for number, at in enumerate(spread(range(1, len(trials.changes) + 1), 2 if costly else 4, first=2)):
        trials.kill({"at": at, "signal": SIGNALS[1 + number % 2]})
    for number in range(1 if costly else 3):
        trials.kill({"after": draw.uniform(0, trials.wall), "signal": SIGNALS[number % 3]})
    trials.outcomes.told(record_property)


@pytest.mark.fuzz
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_is_killed_several_times_at_random_loses_nothing(world, name, record_property):
    seed = time.time_ns()
    trials, draw = Kills(world, name), random.Random(seed)

    def drawn():
        ways = {"at": draw.randint(1, len(trials.changes))}, {"after": draw.uniform(0, trials.wall)}
        return draw.choice(ways) | {"signal": draw.choice(SIGNALS)}

    for number in range(1, len(trials.changes) + 1):
        trials.kill({"at": number, "signal": SIGNALS[number % 3]})
    for _ in range(50):
        trials.kill(*(drawn() for _ in range(draw.randint(1, 3))))
    print(f"seed {seed}")
    trials.outcomes.told(record_property)
