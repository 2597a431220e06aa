"""What engines and large stores cost.

``python -m benchmarks.scale [--engines processes:2,dask:2] [--images 1000,10000] [--rows 100000]``

Engines: tasks that do nothing, by the clock and by the processor time of the process that sends them; then tallies of
the same images here and by way of the engine, by the processor time of all processes together, also of one worker with
one shard of ten seconds; and how many times faster two processes are than one. Stores: manifests of up
to 100,000 images opened, asked for their keys, their digest and their last image, each in a process of its own; then a
store of images of 2 x 2 pixels written without waiting for the disk, gone on with, and merged from ten parts; then
intervals of all scores from a file of 100,000 rows, and ``calibrant merge`` of ten parts of them.
"""

import argparse
import contextlib
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks._memory import own, own_megabytes, peak_megabytes
from benchmarks._scenes import MadeScenes
from calibrant.data import StoredPredictions, merge_store_parts, write_store, write_store_part
from calibrant.engines import open_engine
from calibrant.evaluation import tally
from calibrant.metrics import SCORES, Measurement, Resamples, load_measurement, resampled_scores, save_measurement
from calibrant.metrics.part import TallyPart
from calibrant.predictions import Prediction, Sharded, mapped_in_shards

TASKS = 300
PARTS = 10


def nothing(images: Iterable[Any], first: int) -> int:
    """What a task without work does."""
    return len(list(images))


def processor_time() -> float:
    """Return the processor time of this process and of its children that have ended."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


def engine(name: str, images: MadeScenes) -> None:
    """Print what an engine costs for a task, and in all."""
    begun = time.perf_counter()
    with open_engine(name) as workers:
        list(mapped_in_shards(nothing, Sharded(range(8), workers, shard_size=1)))
        ready = time.perf_counter() - begun
        wall, processor = time.perf_counter(), time.process_time()
        list(mapped_in_shards(nothing, Sharded(range(TASKS), workers, shard_size=1)))
        wall, processor = (time.perf_counter() - wall) / TASKS, (time.process_time() - processor) / TASKS
        print(
            f"  {name}: ready after {ready:.1f} s; a task {1000 * wall:.2f} ms by the clock, "
            f"{1000 * processor:.2f} ms of the driver's processor time",
            flush=True,
        )
        for size in (1, 8):
            before = time.perf_counter()
            found = tally(Measurement.of, Sharded(images, workers, shard_size=size))
            print(f"    {len(found)} images in shards of {size}: {time.perf_counter() - before:.2f} s", flush=True)


def used_so_far(images: Iterable[Any], first: int) -> float:
    """Return the processor time of the process that runs the task."""
    return time.process_time()


def overhead(name: str, images: MadeScenes, size: int) -> None:
    """Print what one worker and this process spend on tallies of images, beside the loop in this process.

    :param name: an engine with one worker, whose scheduler, if it has one, is in this process.
    :param images: what is counted.
    :param size: images a shard.
    """
    with open_engine(name) as workers:

        def spent() -> float:
            return time.process_time() + sum(mapped_in_shards(used_so_far, Sharded(range(1), workers)))

        tally(Measurement.of, Sharded(images, workers, shard_size=1))  # imports, and the first of everything
        before = spent()
        tally(Measurement.of, Sharded(images, workers, shard_size=size))
        there = spent() - before
    before = time.process_time()
    tally(Measurement.of, images)
    here = time.process_time() - before
    print(
        f"  {name}: {len(images)} images in shards of {size}: {there:.2f} s of the processor in all processes, "
        f"{here:.2f} s in a loop here: {100 * (there / here - 1):+.1f} %",
        flush=True,
    )


def scaling(images: MadeScenes, repeats: int) -> None:
    """Print how many times faster two processes count than one, by the clock, best of several repetitions each."""
    best = {}
    with open_engine("processes:1") as one, open_engine("processes:2") as two:
        for _ in range(repeats + 1):
            for number, workers in ((1, one), (2, two)):
                begun = time.perf_counter()
                tally(Measurement.of, Sharded(images, workers, shard_size=4))
                best.setdefault(number, []).append(time.perf_counter() - begun)
    first, second = (min(times[1:]) for times in best.values())  # the first includes the start
    print(
        f"  1 → 2 processes: {first:.2f} → {second:.2f} s by the clock, {first / second:.2f} times faster, best of "
        f"{repeats}; {os.cpu_count()} cores, {os.getloadavg()[0]:.1f} processes wanted one in the last minute",
        flush=True,
    )


class Tiny:
    """Images of 2 x 2 pixels and two classes, made when asked for.

    :param count: how many.
    """

    def __init__(self, count: int) -> None:
        self.keys = [f"{number // 1000:04d}/{number:07d}" for number in range(count)]

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[Prediction]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, i: int) -> Prediction:
        logits = torch.tensor([i % 97 + 0.5, -1.0 - i % 7]).reshape(2, 1, 1).expand(2, 2, 2)
        return Prediction(self.keys[i], logits, torch.zeros(1, 2, 2, dtype=torch.long))


def steps(count: int, folder: Path) -> None:
    """Print how long a store of so many images takes to write, open, go on with and merge."""
    source, store, parts = Tiny(count), folder / "store", folder / "parts"
    os.fsync = lambda handle: None  # the disk is not what is measured
    timed("write", count, lambda: write_store(source, store))
    timed("go on", count, lambda: write_store(source, store))
    timed("write part", count // 10, lambda: [write_store_part(source, parts, (1, 10))])
    for number in range(2, 11):
        write_store_part(source, parts, (number, 10))
    timed("merge", count, lambda: merge_store_parts(parts))
    same = all((parts / path.name).read_bytes() == path.read_bytes() for path in store.glob("manifest*"))
    print(f"    parts merged are the store written whole: {'yes' if same else 'NO'}", flush=True)


def manifests(count: int, folder: Path) -> None:
    """Print how long it takes to open a store of so many images, and to find it whole; its files have a size alone."""
    one = write_store(Tiny(1), folder / "one")._manifest
    entries = [
        replace(one.entries[0], key=key, file=f"{number}.safetensors") for number, key in enumerate(Tiny(count).keys)
    ]
    store = folder / "many"
    store.mkdir()
    for name, content in replace(one, entries=tuple(entries)).files():
        (store / name).write_bytes(content)
    for entry in entries:
        with (store / entry.file).open("wb") as file:
            file.truncate(entry.bytes)
    for step in ("open", "keys", "digest", "go on"):
        _step(step, store)
    shutil.copyfile(folder / "one" / one.entries[0].file, store / entries[-1].file)
    _step("last", store)


def rows(count: int, folder: Path) -> None:
    """Print what intervals of all scores take from a file of so many rows of 19 classes."""
    some = tally(Measurement.of, MadeScenes(8, 19, 64, 64))
    many = some.take([number % len(some) for number in range(count)])
    keyed = replace(many, keys=tuple(Tiny(count).keys))
    save_measurement(keyed, folder / "rows.measurement", facts={})
    print(f"    {(folder / 'rows.measurement').stat().st_size / 1e6:,.0f} MB of rows, 1,000 resamples of all scores")
    parts = folder / "parts"
    parts.mkdir()
    facts = {"made_from": {}, "provenance": {}, "class_names": [], "how": {}}
    for number in range(1, PARTS + 1):
        some = keyed.take(range((number - 1) * count // PARTS, number * count // PARTS))
        TallyPart({"uncalibrated": some}, (), number, PARTS, facts, {}).save(parts / f"measure-{number:02d}.part")
    del many, keyed
    _step("bootstrap", folder / "rows.measurement")
    _step("merge", parts)


def merged(parts: str) -> None:
    """Print processor time and memory of ``calibrant merge`` of parts of rows, which prints all intervals, too."""
    from calibrant.cli import main as calibrant

    begun, before, peak = time.process_time(), own(), []
    with own_megabytes(peak), contextlib.suppress(SystemExit):
        calibrant(["merge", parts, "-o", f"{parts}/whole", "--quiet"])
    size = sum(file.stat().st_size for file in Path(parts, "whole").glob("*.measurement")) / 1e6
    print(
        f"{size:,.0f} MB from {PARTS} parts: {time.process_time() - begun:.0f} s of the processor, {peak[0]:.0f} MB in "
        f"all, {before:.0f} MB of them before, without the files' own pages"
    )


def bootstrapped(path: str) -> None:
    """Print processor time and memory of intervals of all scores of a file's rows."""
    begun, before, peak = time.process_time(), own(), []
    with own_megabytes(peak):
        measurement, _ = load_measurement(path)
        resamples = Resamples.draw([measurement], generator=torch.Generator().manual_seed(0))
        found = resampled_scores(SCORES, measurement, resamples)
        bounds = [each.interval() for each in found.values()]
    print(
        f"{len(bounds)} intervals: {time.process_time() - begun:.0f} s of the processor, {peak[0]:.0f} MB in all, "
        f"{before:.0f} MB of them before, without the file's own pages"
    )


def _step(step: str, store: Path) -> None:
    out = subprocess.run(
        [sys.executable, "-m", "benchmarks.scale", "--step", step, "--store", str(store)],
        check=True,
        capture_output=True,
        text=True,
    )
    print(f"    {step:<10}{out.stdout.strip()}", flush=True)


def timed(what: str, count: int, step: Any) -> None:
    wall, processor = time.perf_counter(), time.process_time()
    step()
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    print(
        f"    {what:<10}{wall:9.2f} s by the clock {processor:9.2f} s of the processor, "
        f"{1e6 * processor / max(1, count):9.1f} us an image",
        flush=True,
    )


def one_step(step: str, store: str) -> None:
    """Print processor time and memory of a step, in a process of its own."""
    source = Tiny(len(StoredPredictions(store))) if step == "go on" else None
    base, wall, processor = peak_megabytes(), time.perf_counter(), time.process_time()
    stored = StoredPredictions(store) if source is None else write_store(source, store)
    if step == "keys":
        len(stored.keys)
    elif step == "digest":
        len(stored.digest)
    elif step == "last":
        stored.shape(len(stored) - 1)
    print(
        f"{time.perf_counter() - wall:9.2f} s by the clock {time.process_time() - processor:9.2f} s of the processor, "
        f"{peak_megabytes() - base:7.0f} MB more than before"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engines", default="processes:2,dask:2")
    parser.add_argument("--overhead", type=int, default=160, help="images in one shard of about ten seconds; 0: none")
    parser.add_argument("--images", default="1000,10000")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--manifests", default="1000,10000,100000")
    parser.add_argument("--step")
    parser.add_argument("--store")
    chosen = parser.parse_args()
    if chosen.step in ("bootstrap", "merge"):
        {"bootstrap": bootstrapped, "merge": merged}[chosen.step](chosen.store)
        return
    if chosen.step:
        one_step(chosen.step, chosen.store)
        return
    torch.set_num_threads(1)
    scenes = MadeScenes(16, 19, 256, 256)
    before, wall = time.process_time(), time.perf_counter()
    tally(Measurement.of, scenes)
    print(
        f"engines: {len(scenes)} images of 19 classes, 256 x 256, here: {time.perf_counter() - wall:.2f} s by the "
        f"clock, {time.process_time() - before:.2f} s of the processor",
        flush=True,
    )
    for name in filter(None, chosen.engines.split(",")):
        used = processor_time()
        engine(name, scenes)
        print(f"    all processes, with their start: {processor_time() - used:.1f} s of the processor", flush=True)
    if chosen.overhead:
        many = MadeScenes(chosen.overhead, 19, 256, 256)
        for name in ("processes:1", "dask:1"):
            overhead(name, many, chosen.overhead)
        scaling(scenes, repeats=5)
    for count in map(int, filter(None, chosen.manifests.split(","))):
        print(f"the manifest of {count:,} images", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            manifests(count, Path(folder))
    for count in map(int, filter(None, chosen.images.split(","))):
        print(f"a store of {count:,} images", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            steps(count, Path(folder))
    if chosen.rows:
        print(f"the rows of {chosen.rows:,} images", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            rows(chosen.rows, Path(folder))


if __name__ == "__main__":
    main()
