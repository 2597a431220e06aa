"""Fitted in-domain, tested there and after shifts: what Tables 1 and 2 of the paper have in common."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch

from calibrant.evaluation import Comparison, compare, tally, tally_all
from calibrant.metrics import SCORES, Measurement
from calibrant.predictions import Prediction, Predictions, Subset
from experiments.selective_scaling._fits import Study, fit_all

SHOWN = ("ece_images", "ece", "nll", "brier", "auroc", "augrc", "miou")
IN_PLACE = "in-domain"
ENSEMBLE = "ensemble"


@dataclass(frozen=True)
class Shifted(Study):
    """What the two studies share.

    :param count: images to fit on, drawn anew for each seed.
    """

    methods: tuple[str, ...] = (
        "uncalibrated",
        "temperature, published",
        "temperature",
        "vector, published",
        "vector, labels kept",
        "Dirichlet, published",
        "Dirichlet, labels kept",
        "Meta-Cal*, published",
        "Meta-Cal*",
        "local temperature, published",
        "local temperature",
        "isotonic",
        "selective, published",
        "selective",
    )
    count: int = 40


@dataclass(frozen=True)
class Source:
    """Predictions of one model.

    :param fitted: to draw images to fit on from; what is not drawn is tested in-domain, if ``tests`` has no such part.
    :param tests: by name, the images to test on.
    :param ensembles: by name of a test, what several models say together of its images.
    """

    name: str
    fitted: Sequence[Prediction]
    tests: Mapping[str, Sequence[Prediction]]
    ensembles: Mapping[str, Predictions] = field(default_factory=dict)


def measure(config: Shifted, source: Source) -> tuple[dict[str, Comparison], dict[str, bool]]:
    """Fit for every seed, test everywhere; return a comparison for each test set, and which methods keep labels."""
    count_of = partial(Measurement.of, num_bins=15)
    tallies: dict[str, dict[str, list[Measurement]]] = {}
    kept: dict[str, bool] = {}
    for seed in config.seeds:
        order = torch.randperm(len(source.fitted), generator=torch.Generator().manual_seed(seed)).tolist()
        count = min(config.count, 3 * len(order) // 4 if IN_PLACE not in source.tests else len(order))
        fitted = fit_all(config, Subset(source.fitted, sorted(order[:count])), seed)
        calibrators = {name: each.calibrator for name, each in fitted.items()}
        kept |= {name: kept.get(name, True) and each.keeps_labels for name, each in calibrators.items()}
        tests: dict[str, Predictions] = {**source.tests}
        if IN_PLACE not in tests:
            tests = {IN_PLACE: Subset(source.fitted, sorted(order[count:]))} | tests
        for where, test in tests.items():
            for name, counted in tally_all(count_of, test, calibrators).items():
                tallies.setdefault(where, {}).setdefault(name, []).append(counted)
        print(f"{source.name}, seed {seed}: fitted to {count} images", flush=True)
    for where, together in source.ensembles.items():
        tallies[where][ENSEMBLE] = [tally(count_of, together)] * len(config.seeds)  # nothing is fitted
        kept[ENSEMBLE] = False
    return {
        where: compare(
            by_method,
            generator=torch.Generator().manual_seed(0),
            scores={name: SCORES[name] for name in SHOWN},
            num_resamples=config.num_resamples,
        )
        for where, by_method in tallies.items()
    }, kept
