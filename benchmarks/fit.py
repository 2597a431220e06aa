"""Fitting temperature, vector and Dirichlet scaling, beside other libraries: ``python -m benchmarks.fit [--quick]``.

The unit is one ``torch.logsumexp(z, 1); z.argmax(1)`` over the fitting pixels, timed before and after each fit in one
process, by the clock and by processor time. Likelihoods are those of the fitting pixels and of three images left out.
Other libraries stand beside ours where they are installed, see ``benchmarks._peers``; those that take hundreds of
passes are run once. ``--quick`` leaves out all but Fiducio.
"""

import argparse
import logging
from collections.abc import Callable, Sequence
from functools import partial

import torch

from benchmarks._interleaved import ratios, shown, verdict
from benchmarks._memory import forget_peak, peak_megabytes
from benchmarks._peers import Scale, peers
from benchmarks._scenes import MadeScenes
from calibrant.calibrators import Fit
from calibrant.calibrators._passes import Blocks
from calibrant.methods import parse_method
from calibrant.predictions import Prediction

TARGETS = {"temperature": 3.5, "vector": 12, "dirichlet": 40}
TEXTS: dict[str, dict[str, str]] = {
    "temperature": {
        "temperature": "temperature:pixels_per_image=none",
        "isotonic (no peer)": "isotonic",
    },
    # At their optima, which is what the others seek; below, weighed against temperature scaling on left-out images.
    "vector": {
        "vector": "vector:strength=0,safe=false,pixels_per_image=none",
        "vector, strength chosen, safe": "vector:pixels_per_image=none",
    },
    "dirichlet": {
        "dirichlet": "dirichlet:strength=1e-3,safe=false,pixels_per_image=none",
        "dirichlet, strength chosen, safe": "dirichlet:pixels_per_image=none",
    },
}
"""What is fitted, as the command line names it, by the kind of method."""
OURS: dict[str, dict[str, Fit]] = {
    kind: {name: parse_method(text).fit for name, text in texts.items()} for kind, texts in TEXTS.items()
}


def nll(predictions: Sequence[Prediction], scale: Scale) -> float:
    """Return the mean negative log-likelihood over all labelled pixels."""
    total, count = 0.0, 0
    for logits, labels in Blocks(predictions):
        with torch.no_grad():
            z = scale(logits[None])[0].double()
        total += float((z.logsumexp(0) - z.gather(0, labels[None])[0]).sum())
        count += len(labels)
    return total / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer turns, Fiducio alone")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    logging.getLogger("calibrant").setLevel(logging.ERROR)
    fitted, left_out = list(MadeScenes(3, 19, 256, 512)), list(MadeScenes(3, 19, 256, 512, first=10))
    z, y = torch.stack([p.logits for p in fitted]), torch.stack([p.labels[0] for p in fitted])
    unit: Callable[[], object] = lambda: (torch.logsumexp(z, 1), z.argmax(1))  # noqa: E731
    pixels = len(y.flatten())
    print(f"{pixels:,} pixels of {z.shape[1]} classes, {z.nbytes / 2**20:.0f} MB of logits")
    print(f"uncalibrated: NLL {nll(fitted, lambda x: x):.5f} fitting, {nll(left_out, lambda x: x):.5f} left out")
    for kind, ours in OURS.items():
        print(f"{kind}: passes by the clock and by processor time; MB above the logits; NLL fitting and left out")
        tasks: dict[str, Callable[[], Scale]] = {name: partial(fit, fitted) for name, fit in ours.items()}
        grown = {name: _growth(task) for name, task in tasks.items()}
        for name, ratio in ratios(unit, tasks, 2 if options.quick else 5).items():
            line = f"{shown(name, ratio)}{grown[name]:7.0f} MB  {_likelihoods(tasks[name](), fitted, left_out)}"
            print(line + verdict(ratio[1], TARGETS.get(name)), flush=True)
        small = peers(kind, z[:, :, :32, :32].contiguous(), y[:, :32, :32].contiguous())
        for name, task in peers(kind, z, y).items():
            if options.quick and not name.startswith("fiducio"):
                continue
            small[name]()  # imports, and torch's compiler with its optimisers, are no part of it
            kept: list[Scale] = []
            ratio = ratios(unit, {name: lambda task=task, kept=kept: kept.append(task())}, 1)[name]
            print(f"{shown(name, ratio)}{'':10}  {_likelihoods(kept[0], fitted, left_out)}", flush=True)


def _growth(task: Callable[[], object]) -> float:
    before = forget_peak()
    task()
    return peak_megabytes() - before


def _likelihoods(scale: Scale, fitted: Sequence[Prediction], left_out: Sequence[Prediction]) -> str:
    return f"{nll(fitted, scale):.5f} {nll(left_out, scale):.5f}"


if __name__ == "__main__":
    main()
