"""A request to a bucket that fails is one sentence that names the address, and no image is missing without a word.

Every request of a command in turn is refused, not answered, answered by half, or done without an answer; run again,
the command ends with the bytes that it ends with when all are answered.
"""

import itertools

import pytest
from bucket import FAILURES, READS
from forks import Arms
from outcomes import Outcomes
from trials import spread
from worlds import contents, copied

READ = {
    "measure": ("measure", "bucket://s", "--json", "OUT/m.json"),
    "fit": ("fit", "bucket://s", "--method", "temperature", "-o", "OUT/ts"),
    "sample": ("sample", "bucket://s", "--num-samples", 2, "-o", "OUT/samples"),
    "refine": ("refine", "bucket://s", "--method", "copula", "--num-samples", 2, "-o", "OUT/c"),
    "compare": ("compare", "bucket://s", "--methods", "temperature", "--num-seeds", 1, "-o", "OUT/r.html"),
    "verify": ("verify", "bucket://s"),
}
WRITE = {
    "import": ("import", "d", "-o", "bucket://new"),
    "import over": ("import", "d", "-o", "bucket://t", "--overwrite"),
    "predict": ("predict", "mine:build", "d", "--class-names", "x,y,z", "--trust", "-o", "bucket://new"),
    "apply": ("apply", "ts", "bucket://s", "-o", "bucket://new"),
}
COMMANDS = READ | WRITE
COSTLY = ("compare", "measure")


class Failures:
    """Failing requests of one command, each time another."""

    def __init__(self, world, name):
        self.world, self.name, self.outcomes = world, name, Outcomes("failing requests")
        self.begin()
        whole = self.run()
        assert whole.code == 0, whole
        self.expected, self.said = self.found(), whole.out
        self.requests = self.log().read_text().splitlines()
        self.run()
        self.twice = self.found()  # overwritten again, a store has files of other names

    def log(self):
        return self.bucket.with_suffix(".log")

    def begin(self):
        """Make the bucket anew, with two stores."""
        self.bucket = self.world.path.parent / "bucket"
        copied(self.world.path / "s", self.bucket)
        for store in ("s", "t"):
            for file in (self.world.path / store).iterdir():
                (self.bucket / f"{store}%{file.name}").write_bytes(file.read_bytes())
        for file in (self.world.path / "s").iterdir():
            (self.bucket / file.name).unlink()
        copied(self.bucket, self.world.out)
        for file in self.world.out.iterdir():
            file.unlink()

    def run(self, at=0, how=""):
        """Run the command; one of its requests fails."""
        self.log().unlink(missing_ok=True)
        words = [
            str(self.world.out) + str(word)[3:] if str(word).startswith("OUT") else word for word in COMMANDS[self.name]
        ]
        about = {"BUCKET": str(self.bucket), "BUCKET_FAILS_AT": str(at), "BUCKET_FAILS_BY": how}
        return self.world.forks.run(words, self.world.path, Arms(setup="bucket:open_bucket", environment=about))

    def found(self):
        return contents(self.bucket), contents(self.world.out)

    def ways(self, number):
        """How a request can fail."""
        reads = self.requests[number - 1].startswith(READS)
        return [how for how in FAILURES if how not in (("lost answer",) if reads else ("missing", "cut"))]

    def fail(self, at, how):
        """Let a request fail, and run the command again."""
        told = f"{self.name}: {self.requests[at - 1]}, {how}"
        self.outcomes.trials += 1
        self.begin()
        ended = self.run(at, how)
        if ended.code == 2:
            lines = ended.err.strip().splitlines()
            if len([line for line in lines if line.startswith("error: ")]) != 1 or "bucket://" not in lines[-1]:
                self.outcomes.tracebacks.append(f"{told}: {ended.err}")
        elif ended.code != 0:
            self.outcomes.tracebacks.append(f"{told}: {ended.code}, {ended.err}")
        elif self.found() != self.expected or ended.out != self.said:
            self.outcomes.silent.append(f"{told}: another result, and exit code 0")
        else:
            return
        again = self.run()
        if again.code != 0:
            self.outcomes.lost.append(f"{told}: the command again ends with {again.code}: {again.err}")
        elif self.found() not in (self.expected, self.twice):
            more = [sorted(set(one) - set(other)) for one, other in zip(self.found(), self.expected, strict=True)]
            (self.outcomes.left if any(more) else self.outcomes.silent).append(f"{told}: other bytes, or more: {more}")


def failed(world, name, record_property, count):
    trials = Failures(world, name)
    numbers = range(1, len(trials.requests) + 1)
    ways = itertools.count()
    for at in spread(numbers, count):
        possible = trials.ways(at)
        trials.fail(at, possible[next(ways) % len(possible)])
    trials.outcomes.told(record_property)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["import over", "apply"])
def test_a_request_that_fails_is_a_sentence(world, name, record_property):
    failed(world, name, record_property, 4)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_every_request_of_every_command_fails_in_turn(world, name, record_property):
    failed(world, name, record_property, 6 if name in COSTLY else 100)


@pytest.mark.fuzz
@pytest.mark.parametrize("name", COMMANDS)
def test_every_request_of_every_command_fails_in_every_way(world, name, record_property):
    trials = Failures(world, name)
    for at in range(1, len(trials.requests) + 1):
        for how in trials.ways(at):
            trials.fail(at, how)
    trials.outcomes.told(record_property)
