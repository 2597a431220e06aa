"""Section 6.2 of the paper: calibrating an over-confident model raises its entropy. By how much, and where?

``python -m experiments.selective_scaling.entropy [--smoke | --store STORE]``: mean entropy of the pixels that a method
gets wrong and of those that it gets right; the fits are those of ``in_domain``. Beside it the negative log-likelihood:
where probabilities are true, the mean entropy *is* the expected negative log-likelihood, so entropy below it is
over-confidence and entropy above it is doubt without need.
"""

import logging
import time
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from calibrant.evaluation import Comparison, compare, tally_all
from calibrant.metrics import LikelihoodSums, Score, Tally, mean_entropy, mistaken, negative_log_likelihood
from experiments._record import record
from experiments.selective_scaling._fits import Study, asked, fit_all, halves, predictions_of
from experiments.selective_scaling._methods import METHODS, OURS
from experiments.selective_scaling._tables import print_claims


@dataclass(frozen=True)
class Entropies(Tally):
    """Sums over all pixels and over the wrong ones."""

    every: LikelihoodSums
    wrong: LikelihoodSums

    @classmethod
    def of(cls, logits: Float[Tensor, "n c *s"], labels: Int[Tensor, "n a *s"]) -> "Entropies":
        """Count a batch of images of one annotator, one row each."""
        where = mistaken(logits, labels[:, 0])[:, None]
        return cls(LikelihoodSums.of(logits, labels), LikelihoodSums.of(logits, labels, where=where))

    @property
    def right(self) -> LikelihoodSums:
        """Sums over the right pixels."""
        return self.every.minus(self.wrong)


COLUMNS = {
    "all pixels": Score("all pixels", lambda t: mean_entropy(t.every), pooled=True),
    "mistaken": Score("mistaken", lambda t: mean_entropy(t.wrong), pooled=True),
    "right": Score("right", lambda t: mean_entropy(t.right), pooled=True),
    "NLL": Score("NLL", lambda t: negative_log_likelihood(t.every), pooled=True),
    "entropy less NLL": Score(
        "entropy less NLL", lambda t: mean_entropy(t.every) - negative_log_likelihood(t.every), pooled=True
    ),
}


@dataclass(frozen=True)
class Config(Study):
    """What is run; the defaults are what ``experiments/results`` holds."""

    methods: tuple[str, ...] = tuple(METHODS)


def claims(found: Comparison) -> dict[str, tuple[str, bool]]:
    """Return the statements of Section 6.2, and whether they hold here."""
    entropy = {name: figures["all pixels"].value for name, figures in found.values.items()}
    raised = {name: gap["all pixels"] for name, gap in found.differences.items()}
    return {
        "temperature scaling raises the entropy": ("yes", raised["temperature"].low > 0),
        "Meta-Cal, which makes pixels uniform, raises it more": ("yes", entropy["Meta-Cal"] > entropy["temperature"]),
        "selective scaling as published raises it, too": ("yes", raised["selective, published"].low > 0),
        "… but less than Meta-Cal": ("yes", entropy["selective, published"] < entropy["Meta-Cal"]),
        "selective scaling with validated temperatures raises it less than as published": (
            "yes",
            entropy["selective"] < entropy["selective, published"],
        ),
    }


def main(config: Config) -> Comparison:
    """Run the experiment, print and record it; the first row is the model itself."""
    begun = time.monotonic()
    logging.getLogger("calibrant").setLevel(logging.ERROR)
    predictions = predictions_of(config)
    tallies: dict[str, list[Entropies]] = {"uncalibrated": []}
    for seed in config.seeds:
        images, test = halves(predictions, seed)
        calibrators = {name: each.calibrator for name, each in fit_all(config, images, seed).items()}
        for name, tally in tally_all(Entropies.of, test, calibrators).items():
            tallies.setdefault(name, []).append(tally)
        print(f"seed {seed}: done", flush=True)
    generator = torch.Generator().manual_seed(0)
    found = compare(tallies, generator=generator, scores=COLUMNS, num_resamples=config.num_resamples)
    print(f"\nmean entropy in nats (change against the model itself); means over {len(config.seeds)} seeds")
    print(f"{'':30s}" + "".join(f"{column:>20s}" for column in COLUMNS))
    for name, figures in found.values.items():
        cells = (f"{each.value:9.4f} ({found.differences[name][c].value:+.4f})" for c, each in figures.items())
        print(f"{name:30s}" + "".join(f"{cell:>20s}" for cell in cells))
    held = print_claims("Section 6.2", claims(found))
    gaps = {name: abs(figures["entropy less NLL"].value) for name, figures in found.values.items()}
    print(f"entropy nearest to the negative log-likelihood: {min(gaps, key=gaps.__getitem__)} (ours: {OURS})")
    if config.results:
        results = {
            part: {
                name: {c: f"{each.value:.5f} [{each.low:.5f}, {each.high:.5f}]" for c, each in figures.items()}
                for name, figures in table.items()
            }
            for part, table in (("values", found.values), ("less those of the model itself", found.differences))
        }
        print(record("entropy", config, time.monotonic() - begun, results | {"claims": held}, config.results))
    return found


if __name__ == "__main__":
    main(asked(Config, __doc__))
