"""Table 1 of the paper in small: all calibrators in-domain, on a real third party's logits; and with fewer images.

``python -m experiments.selective_scaling.in_domain [--smoke | --store STORE]``: half of the images to fit, half to
test, once for each seed. Published recipes stand beside fits at their optimum. Then what stacked scaling has to
show, line by line: it is to beat every calibrator that keeps the labels. Then the same on fewer images to fit.

Which images are fitted to moves a calibration error by more than most methods differ. Hence twenty seeds for the table
that tells them apart.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from calibrant.calibrators import calibrated
from calibrant.evaluation import Comparison, compare, tally_all
from calibrant.metrics import SCORES, Interval, Measurement
from calibrant.predictions import Prediction
from experiments._record import record
from experiments.selective_scaling._fits import Fitted, Study, asked, fit_all, halves, predictions_of
from experiments.selective_scaling._methods import COMBINED, METHODS, OURS, SELECTED
from experiments.selective_scaling._paper import IN_DOMAIN, print_changes
from experiments.selective_scaling._tables import as_numbers, show, verdict

SHOWN = ("ece_images", "ece", "ece_classwise", "nll", "brier", "auroc", "augrc", "miou")
TO_WIN = ("ece", "brier", "auroc", "augrc", "nll")
NOT_WORSE = "ece_images"


@dataclass(frozen=True)
class Config(Study):
    """What is run; the defaults are what ``experiments/results`` holds.

    :param seeds: of the table.
    :param shares: of the images, to fit on; the first makes the table.
    :param few: the methods that are compared on fewer images,
    :param few_seeds: and with which seeds.
    """

    seeds: tuple[int, ...] = tuple(range(20))
    methods: tuple[str, ...] = (*METHODS, *COMBINED)
    shares: tuple[float, ...] = (0.5, 0.25, 0.125, 0.0625)
    few_seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    few: tuple[str, ...] = (
        "uncalibrated",
        "temperature",
        "vector, labels kept",
        "Dirichlet, labels kept",
        "local temperature",
        "isotonic",
        "selective",
    )

    @classmethod
    def smoke(cls, **changes: Any) -> "Config":
        """Return what runs in seconds, on synthetic data."""
        return super().smoke(**({"shares": (0.5, 0.25), "few_seeds": (0,)} | changes))


@dataclass(frozen=True)
class Table:
    """Figures of all methods at one number of images to fit on.

    :param fits: of each method, one a seed.
    :param changed: labels that a method changed on all test images of all seeds.
    """

    found: Comparison
    fits: dict[str, list[Fitted]]
    changed: dict[str, int]

    @property
    def labels_kept(self) -> dict[str, bool]:
        """Whether a method promises to keep the labels."""
        return {name: all(each.calibrator.keeps_labels for each in fits) for name, fits in self.fits.items()}


def measure(
    config: Config, predictions: Sequence[Prediction], names: Sequence[str], share: float, seeds: Sequence[int]
) -> Table:
    """Fit and measure on every seed's split."""
    tallies: dict[str, list[Measurement]] = {}
    fits: dict[str, list[Fitted]] = {}
    changed: dict[str, int] = {}
    for seed in seeds:
        images, test = halves(predictions, seed, share)
        fitted = fit_all(config, images, seed, names)
        calibrators = {name: each.calibrator for name, each in fitted.items()}
        for name, tally in tally_all(partial(Measurement.of, num_bins=15), test, calibrators).items():
            tallies.setdefault(name, []).append(tally)
            fits.setdefault(name, []).append(fitted[name])
            changed[name] = changed.get(name, 0) + sum(
                int((calibrated(p, calibrators[name]).argmax(0) != p.logits.argmax(0)).sum()) for p in test
            )
        print(f"seed {seed}: fitted to {len(images)} images, tested on {len(test)}", flush=True)
    scores = {name: SCORES[name] for name in SHOWN}
    generator = torch.Generator().manual_seed(0)
    found = compare(tallies, generator=generator, scores=scores, num_resamples=config.num_resamples)
    return Table(found, fits, changed)


def targets(table: Table) -> dict[str, bool]:
    """Return what stacked scaling has to show, and whether it does."""
    ours, base = (table.found.values[name] for name in (OURS, "temperature"))
    lines = {
        f"pooled ECE {ours['ece'].value:.4f}, at most .010": ours["ece"].value <= 0.010,
        f"labels changed: {table.changed[OURS]}, none allowed": table.changed[OURS] == 0,
    }
    for score in ("nll", "brier"):
        lower = 1 - ours[score].value / base[score].value
        lines[f"{score} {lower:.1%} under temperature scaling's, at least 4 %"] = lower >= 0.04
    rivals = [name for name, kept in table.labels_kept.items() if kept and name != OURS]
    for score in (*TO_WIN, NOT_WORSE):
        gaps = {rival: table.found.differences[rival][score] for rival in rivals}
        wanted = "+" if score in TO_WIN else "+="
        not_so = [f"{rival} {_gap(gap)}" for rival, gap in gaps.items() if verdict(score, gap) not in wanted]
        what = "better than" if score in TO_WIN else "not worse than"
        line = f"{score} {what} that of all {len(rivals)} rivals that keep labels, by paired intervals"
        lines[line + (f"; not so: {', '.join(not_so)}" if not_so else "")] = not not_so
    return lines


def selected(table: Table) -> dict[str, dict[str, float]]:
    """Print and return how image-wise ECE and NLL change when selective scaling is put before a calibrator."""
    print("\nselective scaling before another calibrator: change against that calibrator alone")
    rows = {}
    for name, base in SELECTED.items():
        if name not in table.found.values:
            continue
        here, alone = table.found.values[name], table.found.values[base]
        rows[name] = {score: here[score].value - alone[score].value for score in ("ece_images", "ece", "nll")}
        print(f"  {name:38s} " + ", ".join(f"{score} {value:+.4f}" for score, value in rows[name].items()))
    return rows


def selectors(table: Table) -> dict[str, dict[str, float]]:
    """Print and return what the selectors find on images held out, means over seeds."""
    print("\nselectors on images held out: share of mistakes found, of right pixels among the flagged, of all flagged")
    rows = {}
    for name, fits in table.fits.items():
        known = [each.selector for each in fits if each.selector and each.selector["recall"] is not None]
        if known:
            keys = ("recall", "flagged_accuracy", "flagged_share", "flagged_confidence")
            rows[name] = {key: sum(each[key] or 0.0 for each in known) / len(known) for key in keys}
            print(f"  {name:38s} " + " ".join(f"{value:6.1%}" for value in list(rows[name].values())[:3]))
    return rows


def main(config: Config) -> dict[str, Table]:
    """Run the experiment, print its tables, record them; return them by the number of images."""
    begun = time.monotonic()
    logging.getLogger("calibrant").setLevel(logging.ERROR)
    predictions = predictions_of(config)
    tables, results = {}, {}
    for share in config.shares:
        count = f"{round(share * len(predictions))} images to fit"
        whole = share == config.shares[0]
        names, seeds = (config.methods, config.seeds) if whole else (config.few, config.few_seeds)
        table = tables[count] = measure(config, predictions, names, share, seeds)
        show(table.found, SHOWN, f"{count}; means over {len(seeds)} seeds", table.labels_kept)
        lines = targets(table)
        results[count] = {
            **as_numbers(table.found),
            "labels kept": table.labels_kept,
            "labels changed": table.changed,
            "CPU seconds": {
                name: f"{sum(f.seconds for f in fits) / len(fits):.1f}" for name, fits in table.fits.items()
            },
            "targets": {line: "pass" if met else "FAIL" for line, met in lines.items()},
        }
        print()
        for line, met in lines.items():
            print(f"{'pass' if met else 'FAIL'}  {line}")
        if whole:
            images = {name: figures["ece_images"].value for name, figures in table.found.values.items()}
            results["paper and ours"] = print_changes(IN_DOMAIN, images, "BDD100K")
            results["selective before another"] = selected(table)
            results["selectors"] = selectors(table)
            results["notes of the fits"] = {name: fits[0].notes for name, fits in table.fits.items()}
        if config.results:
            print(record("in_domain", config, time.monotonic() - begun, results, config.results), flush=True)
    return tables


def _gap(gap: Interval) -> str:
    return f"{gap.value:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]"


if __name__ == "__main__":
    main(asked(Config, __doc__))
