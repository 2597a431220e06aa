"""Fig. 5 of the paper: is calibration worse near boundaries, and does selective scaling lower it everywhere?

``python -m experiments.selective_scaling.boundary [--smoke | --store STORE]``: image-wise ECE of pixels within two
pixels of a change of label and of all others, as box plots over images; the fits are those of ``in_domain``.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from calibrant.evaluation import Comparison, compare, tally_all
from calibrant.metrics import SCORES, Measurement
from experiments._record import record
from experiments.selective_scaling._figures import drawn
from experiments.selective_scaling._fits import Study, asked, fit_all, halves, predictions_of
from experiments.selective_scaling._methods import OURS
from experiments.selective_scaling._tables import as_numbers, print_claims, show

REGIONS = ("ece_boundary", "ece_interior")


@dataclass(frozen=True)
class Config(Study):
    """What is run; the defaults are what ``experiments/results`` holds."""

    methods: tuple[str, ...] = (
        "uncalibrated",
        "temperature, published",
        "temperature",
        "vector, labels kept",
        "Dirichlet, labels kept",
        "Meta-Cal*",
        "local temperature, published",
        "isotonic",
        "selective, published",
        "selective",
    )


def by_image(tallies: Sequence[Measurement], score: str) -> list[float]:
    """Return the score of each image, its mean over the seeds that it was tested in."""
    found: dict[str, list[float]] = {}
    for tally in tallies:
        for key, value in zip(tally.keys, SCORES[score].of(tally).tolist(), strict=True):
            found.setdefault(key, []).append(value)
    return [sum(values) / len(values) for _, values in sorted(found.items())]


def draw(images: Mapping[str, Mapping[str, list[float]]], *, folder: Path | None) -> None:
    """Draw boxes over images: quartiles, whiskers of one and a half box lengths, crosses at the means."""
    names = list(images)[::-1]
    with drawn("boundary", len(REGIONS), size=(8, 4.2), folder=folder) as panels:
        for axes, region, title in zip(panels, REGIONS, ("boundary", "interior"), strict=True):
            axes.boxplot(
                [[100 * value for value in images[name][region]] for name in names],
                orientation="horizontal",
                tick_labels=names,
                showmeans=True,
                meanprops={"marker": "x", "markeredgecolor": "C3"},
                flierprops={"marker": ".", "markersize": 3},
                medianprops={"color": "C0"},
            )
            axes.set(title=title, xlabel="ECE of an image (%)")


def claims(found: Comparison) -> dict[str, tuple[str, bool]]:
    """Return the paper's two claims of Fig. 5, and whether they hold here."""
    values = {name: {r: figures[r].value for r in REGIONS} for name, figures in found.values.items()}
    lines = {}
    for name, figures in values.items():
        line = f"{name}: boundary ({figures['ece_boundary']:.4f}) worse than interior ({figures['ece_interior']:.4f})"
        lines[line] = ("yes", figures["ece_boundary"] > figures["ece_interior"])
    for name in ("selective, published", "selective", OURS):
        for region in REGIONS:
            ours = values[name][region]
            for rival in ("uncalibrated", "temperature"):
                line = f"{name}: {region} {ours:.4f}, lower than that of {rival}, {values[rival][region]:.4f}"
                lines[line] = ("–" if name == OURS else "yes", ours < values[rival][region])
    return lines


def main(config: Config) -> Comparison:
    """Run the experiment, print and record it."""
    begun = time.monotonic()
    logging.getLogger("calibrant").setLevel(logging.ERROR)
    predictions = predictions_of(config)
    tallies: dict[str, list[Measurement]] = {}
    for seed in config.seeds:
        images, test = halves(predictions, seed)
        calibrators = {name: each.calibrator for name, each in fit_all(config, images, seed).items()}
        for name, tally in tally_all(Measurement.of, test, calibrators).items():
            tallies.setdefault(name, []).append(tally)
        print(f"seed {seed}: done", flush=True)
    found = compare(
        tallies,
        generator=torch.Generator().manual_seed(0),
        scores={region: SCORES[region] for region in REGIONS},
        num_resamples=config.num_resamples,
    )
    boxes = {name: {region: by_image(each, region) for region in REGIONS} for name, each in tallies.items()}
    show(found, REGIONS, f"image-wise ECE by region; means over {len(config.seeds)} seeds", {})
    held = print_claims("Fig. 5", claims(found))
    draw(boxes, folder=config.results)
    if config.results:
        quantiles = {
            name: {region: _five(values) for region, values in regions.items()} for name, regions in boxes.items()
        }
        results = {
            **as_numbers(found),
            "over images: least, quartiles, largest": quantiles,
            "claims": held,
        }
        print(record("boundary", config, time.monotonic() - begun, results, config.results))
    return found


def _five(values: Sequence[float]) -> str:
    found = torch.quantile(torch.tensor(values).double(), torch.linspace(0, 1, 5).double())
    return " ".join(f"{value:.5f}" for value in found.tolist())


if __name__ == "__main__":
    main(asked(Config, __doc__))
