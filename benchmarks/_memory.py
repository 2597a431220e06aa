"""The largest memory of this process."""

import contextlib
import resource
import threading
from collections.abc import Generator
from pathlib import Path


def peak_megabytes() -> float:
    """Return the largest resident memory since the last :func:`forget_peak`."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def forget_peak() -> float:
    """Start a new peak where the system allows it, and return the resident memory now."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak_megabytes()


@contextlib.contextmanager
def own_megabytes(peak: list[float], *, every: float = 0.05) -> Generator[None]:
    """Note the largest memory that a block takes for itself: without pages of files, which the system may take back.

    :param peak: gets one number at the end.
    :param every: seconds between looks.
    """
    done, most = threading.Event(), [own()]

    def look() -> None:
        while not done.wait(every):
            most.append(max(most.pop(), own()))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    peak.append(most[0])


def own() -> float:
    """Return the memory that this process has for itself now, without pages of files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024
