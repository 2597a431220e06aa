"""Fig. 2 of the paper: what a model's size, windows, several scales and being right or wrong do to calibration.

    python -m experiments.selective_scaling.factors
    python -m experiments.selective_scaling.factors --capacity SERIES:SETTING=STORE … --windows … --scales … -o FOLDER

The first is what is recorded: the models of ``train_black_boxes`` in the stores of ``predict_black_boxes``. The second
is for stores of your own, which ``calibrant predict`` or ``import`` made; each option may be given more than once, the
settings of a series from the smallest to the largest. The stores of a series must be of the same images.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from calibrant.evaluation import Comparison, compare, tally
from calibrant.metrics import SCORES, CalibrationBins, Interval, Measurement, Score, expected_calibration_error
from calibrant.predictions import Prediction, with_logits
from calibrant.report.palette import style_of
from calibrant.testing import toy_predictions
from experiments._record import record
from experiments.selective_scaling._figures import drawn
from experiments.selective_scaling._fits import Study, opened
from experiments.selective_scaling._tables import print_claims
from experiments.selective_scaling.predict_black_boxes import store_of

Series = Mapping[str, Mapping[str, str]]
"""Stores by series, such as a kind of model, and setting."""


def _if_calibrated(bins: CalibrationBins) -> tuple[Tensor, Tensor]:
    """Return what the errors of the right and of the wrong pixels would be if every confidence were true.

    Of pixels with confidence p a share p is right: the error of the right ones is the mean of 1 - p over them, which is
    the mean of p (1 - p) over all by that of p. Within a bin all have its mean.
    """
    mean = bins.confidence / bins.count.clamp_min(1)
    doubt = (bins.count * mean * (1 - mean)).sum(-1)
    return doubt / (bins.count * mean).sum(-1), doubt / (bins.count * (1 - mean)).sum(-1)


COLUMNS: Mapping[str, Score] = {
    **{name: SCORES[name] for name in ("ece_images", "ece", "nll", "miou", "gap")},
    "right": Score("ECE of right pixels", lambda m: expected_calibration_error(m.correct), pooled=False),
    "wrong": Score("ECE of mistaken pixels", lambda m: expected_calibration_error(m.mistaken), pooled=False),
    "right if calibrated": Score("right if calibrated", lambda m: _if_calibrated(m.bins)[0], pooled=False),
    "wrong if calibrated": Score("wrong if calibrated", lambda m: _if_calibrated(m.bins)[1], pooled=False),
}
FACTORS: Mapping[str, tuple[str, Series]] = {
    "capacity": (
        "width, as a share of B0's",
        {"SegFormer": {"1/4": "day-quarter/day", "1/2": "day-half/day"}},
    ),
    "windows": (
        "size of windows",
        {"SegFormer": {"64": "day-half/day-windows-64", "128": "day-half/day-windows-128", "whole": "day-half/day"}},
    ),
    "scales": ("number of scales", {"SegFormer": {"one": "day-half/day", "six": "day-half/day-scales"}}),
    "correctness": ("right or mistaken", {"UperNet": {"": "day-upernet/day"}}),
}
"""What is varied, what it is called, and where the recorded stores of ours are."""


def _own() -> dict[str, dict[str, dict[str, str]]]:
    return {
        factor: {name: {s: store_of(*at.split("/")) for s, at in stores.items()} for name, stores in series.items()}
        for factor, (_, series) in FACTORS.items()
    }


@dataclass(frozen=True)
class Config(Study):
    """What is run; the defaults are what ``experiments/results`` holds.

    :param stores: by factor, series and setting.
    """

    folder: str = ""
    images: str = ""
    methods: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    stores: Mapping[str, Series] = field(default_factory=_own)

    @classmethod
    def smoke(cls, **changes: object) -> "Config":
        """Return what runs in seconds, on synthetic data."""
        return super().smoke(**({"stores": {}} | changes))

    @property
    def results(self) -> Path | None:
        """Where figures go; None for those of synthetic data."""
        return replace(self, folder="stores", stores={}).results if self.stores else super().results


def made() -> dict[str, dict[str, dict[str, list[Prediction]]]]:
    """Return made predictions whose logits grow with the setting."""
    first = toy_predictions(num_images=6, num_classes=4, size=(12, 16))
    grown = {f"{k}": [with_logits(p, k * p.logits) for p in first] for k in (1, 2)}
    return {factor: {"made": grown} for factor in FACTORS}


def measured(config: Config) -> dict[str, dict[str, Comparison]]:
    """Return a comparison of the settings of each series, by factor."""
    tallies: dict[str, Measurement] = {}

    def tallied(source: str | list[Prediction]) -> Measurement:
        if not isinstance(source, str):
            return tally(partial(Measurement.of, num_bins=15), source)
        if source not in tallies:
            tallies[source] = tally(partial(Measurement.of, num_bins=15), opened(source, config.stride))
            print(f"measured {source}", flush=True)
        return tallies[source]

    return {
        factor: {
            name: compare(
                {setting: [tallied(source)] for setting, source in settings.items()},
                generator=torch.Generator().manual_seed(0),
                scores=COLUMNS,
                num_resamples=config.num_resamples,
            )
            for name, settings in series.items()
        }
        for factor, series in (config.stores or made()).items()
    }


def claims(found: Mapping[str, Mapping[str, Comparison]]) -> dict[str, tuple[str, bool]]:
    """Return the four claims of Section 4, and whether they hold here."""
    lines = {}
    rises = {"capacity": True, "windows": False, "scales": False}
    for factor, series in varied(found).items():
        for name, each in series.items():
            settings, sign = list(each.values), 1 if rises[factor] else -1
            what, way = f"{FACTORS[factor][0]}, {name}", "rises" if rises[factor] else "falls"
            for setting in settings[1:]:
                ece, iou = (each.differences[setting][score] for score in ("ece_images", "miou"))
                line = f"{what}, {settings[0]} to {setting}: image-wise ECE {way} ({_shown(ece)})"
                lines[line] = ("yes", sign * ece.value > 0)
                lines[f"{what}, {settings[0]} to {setting}: mean IoU rises ({_shown(iou)})"] = ("yes", iou.value > 0)
            values = [sign * each.values[setting]["ece_images"].value for setting in settings]
            every = all(before < after for before, after in pairwise(values))
            lines[f"{what}: image-wise ECE {way} at every step of {', '.join(settings)}"] = ("yes", every)
    for name, figures in of_models(found).items():
        right, wrong = figures["right"].value, figures["wrong"].value
        lines[f"{name}: mistaken pixels {wrong:.3f} worse than right ones {right:.3f}"] = ("yes", wrong > right)
        right, wrong = figures["right if calibrated"].value, figures["wrong if calibrated"].value
        line = f"{name}: so they would be if all its confidences were true ({wrong:.3f} and {right:.3f})"
        lines[line] = ("–", wrong > right)
    return lines


def _shown(gap: Interval) -> str:
    return f"{gap.value:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]"


def varied(found: Mapping[str, Mapping[str, Comparison]]) -> Mapping[str, Mapping[str, Comparison]]:
    """Return all factors but that of being right, which all models have."""
    return {factor: series for factor, series in found.items() if factor != "correctness"}


def of_models(found: Mapping[str, Mapping[str, Comparison]]) -> dict[str, Mapping]:
    """Return the figures of each model once: every size, and of the others the last setting."""
    sizes = found.get("capacity", {})
    models = {f"{name} {setting}": f for name, each in sizes.items() for setting, f in each.values.items()}
    others = {name: each for series in found.values() for name, each in series.items() if name not in sizes}
    return models | {name: list(each.values.values())[-1] for name, each in others.items()}


def draw(found: Mapping[str, Mapping[str, Comparison]], folder: Path | None) -> None:
    """Draw a panel a factor, image-wise ECE with intervals over images, and one of right and mistaken pixels."""
    changed = varied(found)
    names = list(dict.fromkeys(name for series in changed.values() for name in series))
    panels_of = len(changed) + 1
    with drawn("factors", panels_of, size=(2.6 * panels_of, 3.4), folder=folder, share_y=False) as panels:
        top = 0.0
        for axes, (factor, series) in zip(panels, changed.items(), strict=False):
            settings = list(dict.fromkeys(s for each in series.values() for s in each.values))
            for name, each in series.items():
                style, shift = style_of(names.index(name)), 0.06 * names.index(name)
                at = [settings.index(setting) + shift for setting in each.values]
                ece = [figures["ece_images"] for figures in each.values.values()]
                value = [100 * e.value for e in ece]
                arms = [[100 * (e.value - e.low) for e in ece], [100 * (e.high - e.value) for e in ece]]
                axes.errorbar(
                    at, value, arms, color=style.color, marker=style.marker, linestyle=style.dashes, markersize=5,
                    capsize=2, linewidth=1.2, label=name,
                )  # fmt: skip
                for x, e, figures in zip(at, ece, each.values.values(), strict=True):
                    axes.annotate(
                        f"{100 * figures['miou'].value:.0f}", (x, 100 * e.value), (5, 4), textcoords="offset points",
                        fontsize=8, color=style.color,
                    )  # fmt: skip
                    top = max(top, 100 * e.high)
            axes.set_xticks(range(len(settings)), settings)
            axes.set(xlabel=FACTORS[factor][0], xlim=(-0.3, len(settings) - 0.5))
        for axes in panels[:-1]:
            axes.set_ylim(0, 1.15 * top)
        for axes in panels[:-1][:1]:
            axes.set(ylabel="image-wise ECE (%)", title="beside points: mean IoU (%)")
            axes.legend(fontsize=8, loc="lower left")
        models = of_models(found)
        for number, part in enumerate(("wrong", "right")):
            style = style_of(2 - number)
            rows = [k + 0.17 * (1 - 2 * number) for k in range(len(models))]
            panels[-1].barh(
                rows, [100 * f[part].value for f in models.values()], 0.3, color=style.color,
                label={"wrong": "mistaken pixels", "right": "right pixels"}[part],
            )  # fmt: skip
            marks = [100 * f[f"{part} if calibrated"].value for f in models.values()]
            label = "if confidences were true" if number == 0 else None
            panels[-1].plot(marks, rows, "|", color="black", markersize=9, markeredgewidth=1.6, label=label)
        panels[-1].set_yticks(range(len(models)), list(models))
        panels[-1].set(xlabel="image-wise ECE (%)", ylim=(-0.6, len(models) + 0.9))
        panels[-1].legend(fontsize=8, loc="upper right")


def main(config: Config) -> dict[str, dict[str, Comparison]]:
    """Run the study, print, draw and record it; return a comparison for each factor and series."""
    begun = time.monotonic()
    found = measured(config)
    for factor, series in found.items():
        for name, each in series.items():
            print(f"\n{FACTORS[factor][0]}, {name}\n{'':12s}" + "".join(f"{c:>21s}" for c in COLUMNS))
            for setting, figures in each.values.items():
                print(f"{setting:12s}" + "".join(f"{figures[c].value:21.4f}" for c in COLUMNS))
    held = print_claims("Fig. 2", claims(found))
    draw(found, config.results)
    if config.results:
        plain = {
            factor: {
                name: {
                    part: {
                        setting: {c: f"{e.value:.5f} [{e.low:.5f}, {e.high:.5f}]" for c, e in figures.items()}
                        for setting, figures in table.items()
                    }
                    for part, table in (("values", each.values), ("less those of the first", each.differences))
                }
                for name, each in series.items()
            }
            for factor, series in found.items()
        }
        print(record("factors", config, time.monotonic() - begun, plain | {"claims": held}, config.results))
    return found


def stores_in(texts: Sequence[str], parser: argparse.ArgumentParser) -> dict[str, dict[str, str]]:
    """Return SERIES:SETTING=STORE by series and setting; one store needs no setting."""
    series: dict[str, dict[str, str]] = {}
    for text in texts:
        name, _, store = text.partition("=")
        kind, _, setting = name.partition(":")
        if not (kind and store):
            parser.error(f"expected SERIES:SETTING=STORE, such as SegFormer:B0=runs/b0; got {text!r}.")
        series.setdefault(kind, {})[setting] = store
    return series


def asked() -> Config:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="synthetic data, in seconds")
    for factor, (what, _) in FACTORS.items():
        parser.add_argument(f"--{factor}", action="append", metavar="SERIES[:SETTING]=STORE", help=what)
    parser.add_argument("--stride", type=int, default=4, help="the step between rows and columns that are taken")
    parser.add_argument("--output", "-o", default="runs/studies", help="where the figures of your stores go")
    given = parser.parse_args()
    if given.smoke:
        return Config.smoke()
    chosen = {factor: stores_in(getattr(given, factor) or (), parser) for factor in FACTORS}
    if any(chosen.values()):
        return Config(stores={f: s for f, s in chosen.items() if s}, stride=given.stride, output=given.output)
    return Config(stride=given.stride)


if __name__ == "__main__":
    main(asked())
