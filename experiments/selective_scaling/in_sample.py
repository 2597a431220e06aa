"""How good could a method be in-domain, if the images to test were those that it was fitted to?

``python -m experiments.selective_scaling.in_sample [--smoke | --store STORE]``: each method is fitted once to all
images and scored on the halves on which ``in_domain`` tests it, so that it has seen every answer that it is asked for.
What is left is what its form cannot express and, in a pooled calibration error, that half of the images is not like all
of them. No fit to other images is likely to do better: an aim below this asks for another method, or for more images.
"""

import time
from dataclasses import dataclass
from functools import partial

import torch

from calibrant.evaluation import Comparison, compare, tally_all
from calibrant.metrics import SCORES, Measurement
from experiments._record import record
from experiments.selective_scaling._fits import Study, asked, fit_all, halves, predictions_of
from experiments.selective_scaling._methods import OURS
from experiments.selective_scaling._tables import as_numbers, show
from experiments.selective_scaling.in_domain import SHOWN


@dataclass(frozen=True)
class Config(Study):
    """What is run; the defaults are what ``experiments/results`` holds."""

    seeds: tuple[int, ...] = tuple(range(20))
    methods: tuple[str, ...] = ("temperature", "vector, labels kept", "Dirichlet, labels kept", "isotonic", OURS)


def main(config: Config) -> Comparison:
    """Fit to all images, score halves of them, print and record; return the scores."""
    begun = time.monotonic()
    predictions = predictions_of(config)
    calibrators = {name: each.calibrator for name, each in fit_all(config, predictions, 0).items()}
    tallies = tally_all(partial(Measurement.of, num_bins=15), predictions, calibrators)
    rows = {prediction.key: row for row, prediction in enumerate(predictions)}
    tested = [[rows[each.key] for each in halves(predictions, seed)[1]] for seed in config.seeds]
    found = compare(
        {name: [tally.take(test) for test in tested] for name, tally in tallies.items()},
        generator=torch.Generator().manual_seed(0),
        scores={name: SCORES[name] for name in SHOWN},
        num_resamples=config.num_resamples,
    )
    kept = {name: calibrator.keeps_labels for name, calibrator in calibrators.items()}
    show(found, SHOWN, f"fitted to all {len(predictions)} images, tested on halves of them", kept)
    if config.results:
        print(record("in_sample", config, time.monotonic() - begun, as_numbers(found), config.results))
    return found


if __name__ == "__main__":
    main(asked(Config, __doc__))
