"""How long 10^12 scores take to count on 1 to 1,024 cores, on paper: ``python -m benchmarks.cluster``.

Measured here, each time: the seconds that a core takes for a score, the bytes of an image's row, and the seconds that
the sender of tasks spends on one (a local engine, ``--engine``; none of it for ``none``). Assumed, and printed with the
table: what disks and networks deliver, how many requests a bucket answers, and how long a worker takes to start. The
model: a run starts, then the slowest of counting (in whole tasks), reading, asking a bucket and sending tasks takes its
time, then the rows come in.
"""

import argparse
import math
import time
from dataclasses import dataclass

import torch

from benchmarks._scenes import MadeScenes
from calibrant.engines import open_engine
from calibrant.evaluation import tally
from calibrant.metrics import Measurement
from calibrant.metrics.storage import named
from calibrant.predictions import Sharded, mapped_in_shards
from calibrant.predictions.sharded import default_shard_size

CORES = (1, 8, 64, 256, 1024)
TASKS = 200
START = 10.0
"""Seconds in which a worker imports torch and opens the store."""
CORES_A_NODE = 16
INCOMING = 1e9
"""Bytes a second of rows that reach the process that asked."""


@dataclass(frozen=True)
class Source:
    """What images are read from.

    :param shared: bytes a second that all workers get together.
    :param node: bytes a second that a node of 16 cores gets at most.
    :param requests: objects a second that are answered; infinite for a disk.
    """

    shared: float
    node: float
    requests: float = math.inf

    def seconds(self, size: float, images: int, cores: int) -> tuple[float, float]:
        """Return how long reading takes: by the bytes, and by the requests."""
        nodes = math.ceil(cores / CORES_A_NODE)
        return size / min(self.shared, nodes * self.node), images / self.requests


SOURCES = {
    "NFS at 1.5 GB/s": Source(1.5e9, 1.5e9),
    "S3, 3 GB/s a node, 5,500 requests/s": Source(math.inf, 3e9, 5500),
    "Lustre at 50 GB/s": Source(50e9, 5e9),
}


@dataclass(frozen=True)
class Rates:
    """What was measured.

    :param score: seconds of a core for one score.
    :param row: bytes of an image's row.
    :param task: seconds of the sender for one task.
    """

    score: float
    row: float
    task: float


def measured(engine: str, scenes: MadeScenes) -> Rates:
    """Return the rates of this machine, by processor time on one thread."""
    images = list(scenes)
    tally(Measurement.of, images[:1])
    begun = time.process_time()
    rows = tally(Measurement.of, images)
    score = (time.process_time() - begun) / sum(image.logits.numel() for image in images)
    row = sum(column.nbytes for _, column in named(rows)) / len(rows)
    return Rates(score, row, 0.0 if engine == "none" else seconds_a_task(engine))


def seconds_a_task(engine: str) -> float:
    """Return the processor time that sending a task without work and taking its result costs."""
    with open_engine(engine) as workers:
        list(mapped_in_shards(_nothing, Sharded(range(8), workers, shard_size=1)))
        begun = time.process_time()
        list(mapped_in_shards(_nothing, Sharded(range(TASKS), workers, shard_size=1)))
        return (time.process_time() - begun) / TASKS


def _nothing(images: object, first: int) -> int:
    return 0


def parts(rates: Rates, source: Source, cores: int, images: int, scores: float, size: float) -> dict[str, float]:
    """Return the seconds of each part of a run that may bound it; all but the start and the rows pass side by side."""
    shard = default_shard_size(images)
    tasks = math.ceil(images / shard)
    read, asked = source.seconds(size, images, cores)
    return {
        "counting": math.ceil(tasks / cores) * shard * scores / images * rates.score,
        "reading": read,
        "requests": asked,
        "tasks": tasks * rates.task,
        "rows": images * rates.row / INCOMING,
        "start": START,
    }


def whole(seconds: dict[str, float]) -> tuple[float, str]:
    """Return the time of a run and what takes most of it."""
    side_by_side = {name: seconds[name] for name in ("counting", "reading", "requests", "tasks")}
    most = max(side_by_side, key=lambda name: side_by_side[name])
    total = seconds["start"] + side_by_side[most] + seconds["rows"]
    return total, max({**seconds, most: side_by_side[most]}, key=lambda name: seconds[name])


def duration(seconds: float) -> str:
    """Return a time in words.

    >>> duration(45), duration(600), duration(15000)
    ('45 s', '10 min', '4.2 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", default="processes:1", help="whose tasks are timed; none for parts without one")
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--classes", type=int, default=19)
    parser.add_argument("--stride", type=int, default=1, help="of the stored logits; 4 as networks answer")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    height, width = 512, 1024
    rates = measured(chosen.engine, MadeScenes(4, chosen.classes, 256, 512))
    scores = float(chosen.images) * chosen.classes * height * width
    size = chosen.images * height * width * (2 * chosen.classes / chosen.stride**2 + 1)
    print(
        f"measured: {1e9 * rates.score:.1f} ns a score, {rates.row / 1000:.1f} kB a row, {1000 * rates.task:.2f} ms a "
        f"task ({chosen.engine})\nassumed: {START:.0f} s to start a worker, rows come in at {INCOMING / 1e9:.0f} GB/s, "
        f"{CORES_A_NODE} cores a node\n{chosen.images:,} images of {chosen.classes} x {height} x {width}: {scores:.2g} "
        f"scores, {size / 1e12:.2f} TB (float16 logits at stride {chosen.stride}, one byte a label)\n"
    )
    print(f"| cores | {' | '.join(SOURCES)} |\n|{'---|' * (1 + len(SOURCES))}")
    for cores in CORES:
        cells = [
            "{}, {}".format(*_shown(parts(rates, source, cores, chosen.images, scores, size)))
            for source in SOURCES.values()
        ]
        print(f"| {cores:,} | {' | '.join(cells)} |")


def _shown(seconds: dict[str, float]) -> tuple[str, str]:
    total, bound = whole(seconds)
    return duration(total), bound


if __name__ == "__main__":
    main()
