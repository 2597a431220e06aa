"""How long ``calibrant demo`` takes on an idle machine and beside busy processes: seconds of each, and their ratio.

    python -m benchmarks.busy                                      # as the command line sets threads itself
    python -m benchmarks.busy --set OMP_WAIT_POLICY=ACTIVE         # with a variable of one's own

As many busy processes as processors leave each thread half a processor, so a ratio of 2 is fair; more is time that
threads spend waiting for each other. Seconds of processor time are printed too: where other programs run during the
benchmark, these still tell how much is spent on waiting.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager

DEMO = "from calibrant.cli import main; main()"
SPIN = "while True: pass"


@contextmanager
def busy(count: int) -> Generator[None]:
    """Keep processors busy within a block."""
    processes = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()


def seconds_of_demo(num_steps: int, variables: Mapping[str, str]) -> tuple[float, float]:
    """Return the seconds that a demo takes by the clock and of processor time."""
    with tempfile.TemporaryDirectory() as folder:
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        command = [sys.executable, "-c", DEMO, "demo", "--num-steps", str(num_steps), "-o", folder]
        subprocess.run(command, env=os.environ | variables, check=True, capture_output=True)
        seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-steps", type=int, default=100, help="training steps of the demo")
    parser.add_argument("--busy", type=int, default=os.cpu_count(), help="busy processes, by default one a processor")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each sort, in turns; the median is printed")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="an environment variable")
    given = parser.parse_args()
    variables = dict(each.split("=", 1) for each in given.set)
    idle, beside = [], []
    for _ in range(given.repeats):
        idle.append(seconds_of_demo(given.num_steps, variables))
        with busy(given.busy):
            beside.append(seconds_of_demo(given.num_steps, variables))
    (idle_wall, idle_cpu), (busy_wall, busy_cpu) = (
        [statistics.median(column) for column in zip(*runs, strict=True)] for runs in (idle, beside)
    )
    print(f"{os.cpu_count()} processors, {given.busy} busy processes, {' '.join(given.set) or 'no variables set'}")
    print(f"idle  {idle_wall:7.1f} s  (processor time {idle_cpu:.1f} s)")
    print(f"busy  {busy_wall:7.1f} s  (processor time {busy_cpu:.1f} s)")
    print(f"ratio {busy_wall / idle_wall:7.2f}")


if __name__ == "__main__":
    main()
