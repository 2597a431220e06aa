"""Trials of one command, each on a fresh copy of what was there before; what was there must stay, or be replaced."""

from outcomes import Outcomes
from things import UNSETTLED, hidden, things
from worlds import contents
from writing import World


class Trials:
    """What one command makes when nothing happens, and what came of the trials in which something did.

    :param world: what the command reads, and where it runs.
    :param name: of the command.
    """

    what = ""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name, self.outcomes = world, name, Outcomes(self.what)
        world.begin(name)
        self.old = things(world.out)
        whole = world.run(name)
        assert whole.code == 0, whole
        self.changes, self.wall = whole.changes, whole.wall
        self.expected, self.new = contents(world.out), things(world.out)
        assert not hidden(world.out)
        world.run(name)
        # An overwriting command that had ended when it was killed overwrites again: stores then have other file names.
        self.answers = (self.expected, contents(world.out))

    def look(self, told: str) -> None:
        """See that all that was there is there, or what replaces it.

        :param told: the trial in words.
        """
        found = things(self.world.out)
        for name in {**self.old, **found}:
            if found.get(name) not in (self.old.get(name), self.new.get(name), UNSETTLED):
                self.outcomes.lost.append(f"{told}: {name} is neither the old nor the new")

    def run_again(self, told: str) -> None:
        """Run the command once more, which must end with the bytes that it ends with when nothing happens.

        :param told: the trial in words.
        """
        again = self.world.run(self.name)
        found = contents(self.world.out)
        if again.code != 0:
            self.outcomes.lost.append(f"{told}: the command again ends with {again.code}: {again.err}")
        elif found in self.answers:
            return
        elif left := [*hidden(self.world.out), *sorted(set(found) - set(self.expected))]:
            self.outcomes.left.append(f"{told}: {left}")
        else:
            other = [name for name in self.expected if found.get(name) != self.expected[name]]
            self.outcomes.silent.append(f"{told}: other bytes in {other}")


def spread(numbers: "range | list[int]", count: int, first: int = 0) -> list[int]:
    """Return at most so many of some numbers, evenly spread.

    :param numbers: to choose from.
    :param count: how many.
    :param first: where to begin.
    """
    count = min(count, len(numbers))
    return [numbers[(first + number * len(numbers) // count) % len(numbers)] for number in range(count)]
