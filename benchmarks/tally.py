"""Counting, in units of a plain pass over the same logits: ``python -m benchmarks.tally [--quick]``.

The plain pass is ``torch.logsumexp(z, 1); z.argmax(1)``, image by image, over all images. Tasks take turns with it in
one process, and the figure is the median of the ratios of one turn, so that a busy machine slows all alike; by the
clock and by processor time, on one thread and on all. Memory is the growth of a fresh process over its input.
"""

import argparse
import contextlib
import importlib
import importlib.util
import io
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks._interleaved import ratios, verdict
from benchmarks._memory import forget_peak, peak_megabytes
from benchmarks._scenes import MadeScenes
from calibrant import IGNORE
from calibrant.cli import app
from calibrant.data import write_store
from calibrant.metrics import CalibrationBins, Measurement
from calibrant.predictions import Prediction

SHAPES = {"city": (20, 19, 256, 512), "ade": (4, 150, 512, 512)}
TARGETS = {"top-label bins": 0.4, "everything": 3.0}
MEGABYTES = 64
Batch = tuple[torch.Tensor, torch.Tensor]


def workload(n: int, c: int, h: int, w: int) -> Batch:
    """Return the logits and labels of so many made scenes, one batch of each."""
    scenes = list(MadeScenes(n, c, h, w))
    return torch.stack([scene.logits for scene in scenes]), torch.stack([scene.labels[0] for scene in scenes])


def plain_pass(logits: torch.Tensor, labels: torch.Tensor) -> None:
    for image in logits.split(1):
        torch.logsumexp(image, 1)
        image.argmax(1)


def torchmetrics_ece(logits: torch.Tensor, labels: torch.Tensor) -> None:
    from torchmetrics.classification import MulticlassCalibrationError

    metric = MulticlassCalibrationError(logits.shape[1], n_bins=15, ignore_index=IGNORE, validate_args=False)
    for image, label in zip(logits.split(1), labels.split(1), strict=True):
        metric.update(image, label)
    metric.compute()


def fiducio_ece(logits: torch.Tensor, labels: torch.Tensor) -> None:
    error = importlib.import_module("fiducio.metrics").expected_calibration_error
    error(logits.softmax(1), labels, ignore_index=IGNORE, n_bins=15)


def tasks() -> dict[str, Callable[[torch.Tensor, torch.Tensor], object]]:
    found: dict[str, Callable] = {"top-label bins": CalibrationBins.of, "everything": Measurement.of}
    for name, task in (("torchmetrics", torchmetrics_ece), ("fiducio", fiducio_ece)):
        if importlib.util.find_spec(name):
            found[f"{name} ECE"] = task
    return found


def over(batch: Batch, task: Callable[[torch.Tensor, torch.Tensor], object]) -> Callable[[], object]:
    """Return a task on one batch."""
    return lambda: task(*batch)


def in_fresh_process(*arguments: str) -> float:
    """Return the number that this script prints last when it is run with these arguments."""
    command = [sys.executable, "-m", "benchmarks.tally", *arguments]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def growth(task: str, path: str) -> float:
    """Return by how many MB a task raises the peak over the input, which is mapped from disk and read once."""
    logits, labels = torch.load(path, mmap=True)
    small = logits[:1, :, :16, :16].contiguous(), labels[:1, :16, :16].contiguous()
    tasks()[task](*small)  # imports and thread pools are no part of it
    for image in logits:
        image.sum()
    before = forget_peak()
    tasks()[task](logits, labels)
    return peak_megabytes() - before


def store_of(count: int, url: str) -> None:
    """Store made predictions of 11 classes, 60 x 80."""

    def made(i: int) -> Prediction:
        rng = torch.Generator().manual_seed(i)
        logits = 3 * torch.randn(11, 60, 80, generator=rng)
        return Prediction(f"{i:06d}", logits, torch.randint(11, (1, 60, 80), generator=rng))

    write_store(map(made, range(count)), url, dtype="float16")


def measured(url: str) -> float:
    """Return the peak of ``calibrant measure`` over a store, in MB."""
    forget_peak()
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        app(["measure", url], standalone_mode=False)
    return peak_megabytes()


def main() -> None:
    parser = argparse.ArgumentParser(description="Counting, in units of a plain pass over the same logits.")
    parser.add_argument("--quick", action="store_true", help="a fifth of the images, fewer turns")
    parser.add_argument("--growth", nargs=2, metavar=("TASK", "FILE"), help=argparse.SUPPRESS)
    parser.add_argument("--measure", metavar="STORE", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.growth:
        return print(growth(*options.growth))
    if options.measure:
        return print(measured(options.measure))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for workload_name, (n, *shape) in SHAPES.items():
        n = max(1, n // 5) if options.quick else n
        batch = workload(n, *shape)
        labelled = batch[1] != IGNORE
        accuracy = (batch[0].argmax(1) == batch[1])[labelled].float().mean()
        print(f"\n{workload_name}: {n} x {' x '.join(map(str, shape))} float32, accuracy {accuracy:.3f}")
        for count in sorted({1, threads}):
            torch.set_num_threads(count)
            print(f"  ratio to the plain pass, {count} thread{'s' * (count > 1)}" + " " * 8 + "clock  processor")
            timed_tasks = {name: over(batch, task) for name, task in tasks().items()}
            found = ratios(over(batch, plain_pass), timed_tasks, 3 if options.quick else 7)
            for name, (wall, processor) in found.items():
                print(f"    {name:<36}{wall:9.2f}{processor:11.2f}{verdict(wall, TARGETS.get(name))}")
        torch.set_num_threads(1)
        print("  MB above the input")
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "batch.pt")
            torch.save(batch, path)
            for name in tasks():
                value = in_fresh_process("--growth", name, path)
                print(f"    {name:<36}{value:9.1f}{verdict(value, MEGABYTES if name in TARGETS else None)}")
    counts = (10, 200 if options.quick else 1000)
    with tempfile.TemporaryDirectory() as folder:
        for count in counts:
            store_of(count, f"{folder}/{count}")
        few, many = (in_fresh_process("--measure", f"{folder}/{count}") for count in counts)
    print(f"\ncalibrant measure on {counts[0]} and {counts[1]:,} stored images of 11 x 60 x 80")
    print(f"    peak MB {few:.1f} and {many:.1f}, {many / few - 1:+.1%}{verdict(many / few - 1, 0.05)}")


if __name__ == "__main__":
    main()
