"""Interleaved timing: tasks run one after another in turn, so that a busy machine slows all of them alike."""

import statistics
import time
from collections.abc import Callable, Mapping


def ratios(
    unit: Callable[[], object], tasks: Mapping[str, Callable[[], object]], runs: int
) -> dict[str, tuple[float, float]]:
    """Return the time of each task in units of a task, by the clock and by processor time.

    The unit is run before and after each task, which is compared with the mean of the two; each figure is the median
    over the runs. A first round warms up, where there is more than one run.
    """
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in tasks}
    for run in range(runs + (runs > 1)):
        before = timed(unit)
        for name, task in tasks.items():
            this, after = timed(task), timed(unit)
            if run or runs == 1:
                taken[name].append(tuple(2 * t / (b + a) for t, b, a in zip(this, before, after, strict=True)))
            before = after
    return {name: tuple(map(statistics.median, zip(*found, strict=True))) for name, found in taken.items()}


def shown(name: str, ratio: tuple[float, float]) -> str:
    """Return the beginning of a line: name, ratio by the clock and by processor time."""
    return f"    {name:<44}{ratio[0]:9.2f}{ratio[1]:9.2f}"


def verdict(ratio: float, target: float | None) -> str:
    """Return the end of a line: whether a ratio meets its target."""
    return "" if target is None else f"   target {target:g}: {'met' if ratio <= target else 'MISSED'}"


def timed(task: Callable[[], object]) -> tuple[float, float]:
    """Run a task; return the seconds it takes by the clock and of the processor, all threads together."""
    wall, processor = time.perf_counter(), time.process_time()
    task()
    return time.perf_counter() - wall, time.process_time() - processor
