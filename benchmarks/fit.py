"""Fitting and applying calibrators, in units of plain passes over the same logits: ``python -m benchmarks.fit``.

The unit of a fit is one ``torch.logsumexp(z, 1); z.argmax(1)`` over its float32 pixels, of an application one
``torch.softmax`` of the same logits; both are timed in turn with the task, in one process. ``--quick`` takes a minute.
"""

import argparse
import contextlib
import importlib.util
import logging
import resource
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from calibrant.calibrators import Calibrator, SelectiveScaling, TemperatureScaling, VectorScaling
from calibrant.calibrators._minimise import Blocks
from calibrant.predictions import IGNORE, Prediction


def workload(num_images: int, c: int, h: int, w: int, *, seed: int = 0) -> list[Prediction]:
    """Labels from a known distribution, logits distorted by class and over-confident by 1.8, 6 % of pixels void."""
    rng = torch.Generator().manual_seed(seed)
    weight = 1 + 0.05 * torch.randn(c, 1, 1, generator=rng)
    bias = 0.5 * torch.randn(c, 1, 1, generator=rng)
    predictions = []
    for number in range(num_images):
        coarse = torch.randn(1, c, h // 16, w // 16, generator=rng)
        true = 3.0 * torch.nn.functional.interpolate(coarse, (h, w), mode="bilinear")[0]
        true += 1.3 * torch.randn(c, h, w, generator=rng)
        true *= 4.0 if c < 50 else 12.0  # some 84 % accurate
        gumbel = -torch.empty(c, h, w).exponential_(generator=rng).log()
        labels = (true + gumbel).argmax(0)
        labels[torch.rand(h, w, generator=rng) < 0.06] = IGNORE
        predictions.append(Prediction(f"{number:03d}", (true * weight + bias) * 1.8, labels[None]))
    return predictions


def in_turn(tasks: dict[str, Callable[[], object]], runs: int) -> dict[str, float]:
    """Return the median seconds of each task; tasks take turns, so that a busy machine slows all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for run in range(runs + 1):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            if run:  # the first round warms up
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


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


def nll(predictions: list[Prediction], scale: Callable[[torch.Tensor], torch.Tensor]) -> float:
    """Return the mean negative log-likelihood over all labelled pixels, in float64."""
    total, count = 0.0, 0
    for logits, labels in Blocks(predictions):
        logits = scale(logits.double())
        total += float((logits.logsumexp(0) - logits.gather(0, labels[None])[0]).sum())
        count += len(labels)
    return total / count


def reference(predictions: list[Prediction], kind: str) -> float:
    """Return the NLL at the optimum by torch's L-BFGS in float64."""
    c = predictions[0].num_classes
    w = torch.ones(1 if kind == "temperature" else c, 1, dtype=torch.float64, requires_grad=True)
    b = torch.zeros(c, 1, dtype=torch.float64, requires_grad=kind == "vector")
    optimiser = torch.optim.LBFGS(
        [x for x in (w, b) if x.requires_grad],
        max_iter=300, tolerance_grad=1e-9, tolerance_change=1e-14, history_size=50, line_search_fn="strong_wolfe",
    )  # fmt: skip
    count = sum(int((p.labels != IGNORE).sum()) for p in predictions)

    def closure() -> float:
        optimiser.zero_grad()
        total = 0.0
        for logits, labels in Blocks(predictions):
            scaled = logits.double() * w + b
            part = (scaled.logsumexp(0) - scaled.gather(0, labels[None])[0]).sum() / count
            part.backward()
            total += float(part.detach())
        return total

    optimiser.step(closure)
    return closure()


def fits(predictions: list[Prediction], runs: int, optimum: bool) -> None:
    z = torch.stack([p.logits for p in predictions])
    pixels = z.shape[0] * z.shape[2] * z.shape[3]
    print(f"fit: {pixels:,} pixels of {z.shape[1]} classes, {z.nbytes / 2**20:.0f} MB of logits", flush=True)
    tasks: dict[str, Callable[[], object]] = {"plain pass": lambda: (torch.logsumexp(z, 1), z.argmax(1))}
    ours = {"temperature": TemperatureScaling, "vector": VectorScaling}
    for name, method in ours.items():
        tasks[name] = partial(method.fit, predictions, pixels_per_image=None)
        tasks[f"{name}, 10,000 pixels an image"] = partial(method.fit, predictions)
    tasks["plain pass"]()
    for name in ours:
        before = forget_peak()
        tasks[name]()
        print(f"  {name}: {peak_megabytes() - before:.0f} MB of memory above the logits")
    tasks |= others(z, torch.stack([p.labels[0] for p in predictions]))
    seconds = in_turn(tasks, runs)
    print(f"  plain pass {seconds['plain pass'] * 1e3:.0f} ms")
    for name in list(tasks)[1:]:
        print(f"  {name:40s} {seconds[name] / seconds['plain pass']:7.2f} passes")
    print(f"  NLL uncalibrated {nll(predictions, lambda x: x):.8f}")
    for name in ours:
        fitted = tasks[name]()
        assert isinstance(fitted, Calibrator)
        reached = nll(predictions, lambda x, f=fitted: _double(f, x))
        best = reference(predictions, name) if optimum else float("nan")
        print(f"  NLL {name:12s} {reached:.8f}, float64 L-BFGS {best:.8f}, relative gap {(reached - best) / best:+.1e}")


def _double(calibrator: Calibrator, x: torch.Tensor) -> torch.Tensor:
    if isinstance(calibrator, TemperatureScaling):
        return x / calibrator.temperature
    assert isinstance(calibrator, VectorScaling)
    return x * calibrator.weight.double()[:, None] + calibrator.bias.double()[:, None]


def others(z: torch.Tensor, y: torch.Tensor) -> dict[str, Callable[[], object]]:
    """Return the fits of other libraries that happen to be installed; rows are made for those that want rows."""

    def rows() -> tuple[torch.Tensor, torch.Tensor]:
        flat = y.flatten()
        valid = flat != IGNORE
        return z.movedim(1, -1).flatten(0, -2)[valid], flat[valid]

    def netcal() -> object:
        logits, labels = rows()
        scaling = importlib.import_module("netcal.scaling").TemperatureScaling()
        return scaling.fit(logits.double().softmax(1).numpy(), labels.numpy())

    def fiducio(name: str) -> object:
        method = getattr(importlib.import_module("fiducio"), name)(num_classes=z.shape[1])
        logits, labels = rows()
        return method.fit(logits, labels)

    found: dict[str, Callable[[], object]] = {}
    if importlib.util.find_spec("netcal"):
        found["netcal temperature, float64"] = netcal
    if importlib.util.find_spec("fiducio"):
        found |= {f"fiducio {name}": partial(fiducio, name) for name in ("TemperatureScaling", "VectorScaling")}
    return found


@torch.no_grad()
def applications(predictions: list[Prediction], runs: int) -> None:
    z = torch.stack([p.logits for p in predictions])
    print(f"apply: {tuple(z.shape)}, {z.nbytes / 2**20:.0f} MB of logits", flush=True)
    selective = SelectiveScaling.fit(predictions, pixels_per_image=5_000, epochs=2)
    as_published = SelectiveScaling.fit_as_published(predictions, pixels_per_image=1_000, epochs=2)
    tasks: dict[str, Callable[[], object]] = {
        "softmax": partial(torch.softmax, z, 1),
        "temperature": partial(TemperatureScaling(1.7), z),
        "vector": partial(VectorScaling.fit(predictions, pixels_per_image=2_000), z),
        f"selective ({type(selective.selector).__name__})": partial(selective, z),
        "selective as published": partial(as_published, z),
    }
    seconds = in_turn(tasks, runs)
    for name in list(tasks)[1:]:
        print(f"  {name:40s} {seconds[name] / seconds['softmax']:7.2f} softmaxes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller, in a minute")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    logging.getLogger("calibrant").setLevel(logging.ERROR)
    runs = 3 if options.quick else 7
    fits(workload(1 if options.quick else 3, 19, 256, 512), runs, optimum=True)
    applications(workload(2 if options.quick else 20, 19, 256, 512), 3 if options.quick else 5)
    if not options.quick:
        fits(workload(1, 150, 512, 512), 3, optimum=False)
        applications(workload(2, 150, 512, 512), 3)


if __name__ == "__main__":
    main()
