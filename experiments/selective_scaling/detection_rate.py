"""Fig. 4 of the paper: the calibration error against the share of mistakes that a selector finds, by an oracle.

``python -m experiments.selective_scaling.detection_rate [--smoke | --store STORE]``: what is found is made uniform
(1e10), what is not is left to each of the paper's calibrators; the fits are those of ``in_domain``. The paper's oracle
never suspects a right pixel. In a second panel it flags a share of those, too, as real selectors do, which are drawn
where they stand.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from matplotlib.axes import Axes

from calibrant.calibrators import (
    Calibrator,
    Identity,
    OracleSelector,
    SelectiveScaling,
    SelectorQuality,
    TemperatureScaling,
    calibrated,
    oracle_predictions,
)
from calibrant.evaluation import tally
from calibrant.metrics import CalibrationBins, expected_calibration_error
from calibrant.predictions import Prediction, Predictions, with_logits
from calibrant.report.palette import Style, style_of
from experiments._record import record
from experiments.selective_scaling._figures import drawn
from experiments.selective_scaling._fits import Study, asked, fit, halves, predictions_of
from experiments.selective_scaling._tables import print_claims

BASES = ("uncalibrated", "temperature", "vector, labels kept", "Dirichlet, labels kept", "local temperature, published")
REAL = ("selective, published", "selective")
TENTHS = tuple(number / 10 for number in range(11))

Curve = dict[float, float]
"""The image-wise ECE by the share of mistakes found."""


@dataclass(frozen=True)
class Config(Study):
    """What is run; the defaults are what ``experiments/results`` holds.

    :param methods: what calibrates the pixels that are not flagged; the labels must be kept.
    :param rates: shares of mistakes found.
    :param false_alarms: shares of right pixels flagged as well, before ``alarmed``.
    """

    methods: tuple[str, ...] = BASES
    rates: tuple[float, ...] = TENTHS
    false_alarms: tuple[float, ...] = (0.0, 0.02, 0.05, 0.1, 0.2)
    alarmed: str = "temperature"


def error(predictions: Predictions, rate: float, false_alarm_rate: float = 0.0) -> float:
    """Return the image-wise ECE where an oracle makes a share of the pixels uniform."""
    flagged = oracle_predictions(predictions, rate, false_alarm_rate)
    scaling = SelectiveScaling(OracleSelector(), TemperatureScaling(1e10), Identity())
    return float(expected_calibration_error(tally(CalibrationBins.of, flagged, scaling)).mean())


def through(calibrator: Calibrator, predictions: Predictions) -> list[Prediction]:
    """Return the predictions calibrated; what the oracle flags in them is the same as before, as labels are kept."""
    return [with_logits(p, calibrated(p, calibrator)) for p in predictions]


def operating_point(calibrator: SelectiveScaling, predictions: Predictions) -> dict[str, float]:
    """Return what a real selector finds on these images, and the image-wise ECE that it reaches."""
    quality = SelectorQuality.of(calibrator.selector, predictions)
    found = quality.flagged_share * (1 - (quality.flagged_accuracy or 0.0))
    mistakes = found / quality.recall if quality.recall else 0.0
    return {
        "detection rate": quality.recall or 0.0,
        "false alarm rate": (quality.flagged_share - found) / (1 - mistakes),
        "ECE": float(expected_calibration_error(tally(CalibrationBins.of, predictions, calibrator)).mean()),
    }


def mean_of(curves: Sequence[Curve]) -> Curve:
    """Return the mean over seeds."""
    return {rate: sum(curve[rate] for curve in curves) / len(curves) for rate in curves[0]}


def claims(
    by_base: dict[str, Curve], by_alarm: dict[float, Curve], real: dict[str, dict[str, float]]
) -> dict[str, tuple[str, bool]]:
    """Return what the paper says of Fig. 4, and what else there is to say, and whether it holds here."""
    lines = {}
    for base, curve in by_base.items():
        values = [curve[rate] for rate in sorted(curve)]
        best = min(curve, key=curve.__getitem__)
        falls = all(after < before for before, after in pairwise(values))
        lines[f"{base}: the error falls with every further mistake found (least at {best:.0%})"] = ("yes", falls)
    raw, rest = by_base["uncalibrated"], {base: c for base, c in by_base.items() if base != "uncalibrated"}
    low, high = min(raw), max(raw)
    helped = [base for base, curve in rest.items() if curve[low] < raw[low]]
    lines[f"with few mistakes found other calibrators help ({len(helped)} of {len(rest)} at {low:.0%})"] = (
        "yes",
        len(helped) == len(rest),
    )
    hurt = [base for base, curve in rest.items() if curve[high] > raw[high]]
    lines[f"with all found they harm ({len(hurt)} of {len(rest)})"] = ("–", len(hurt) == len(rest))
    for alarm, curve in by_alarm.items():
        if alarm:
            line = f"selecting helps at some detection rate though {alarm:.0%} of the right pixels are flagged too"
            lines[line] = ("–", min(curve.values()) < by_alarm[0.0][0.0])
    for name, point in real.items():
        line = (
            f"{name}: {point['detection rate']:.0%} of mistakes found, {point['false alarm rate']:.1%} of right pixels "
            f"flagged: ECE {point['ECE']:.4f}, under the uncalibrated {raw[0.0]:.4f}"
        )
        lines[line] = ("yes", point["ECE"] < raw[0.0])
    return lines


def draw(config: Config, by_base: dict[str, Curve], by_alarm: dict[float, Curve], real: dict[str, dict]) -> None:
    """Draw both panels."""
    with drawn("detection_rate", 2, size=(9, 4.6), folder=config.results) as (left, right):
        for number, (base, curve) in enumerate(by_base.items()):
            style = style_of(number)
            _line(left, curve, base, style)
        left.set(title="no right pixel flagged (the paper's oracle)", ylabel="image-wise ECE (%)")
        for number, (alarm, curve) in enumerate(by_alarm.items()):
            _line(right, curve, f"{alarm:.0%} of right pixels flagged", style_of(number))
        for (name, point), marker in zip(real.items(), "*X", strict=False):
            label = f"{name} ({point['false alarm rate']:.0%} flagged)"
            right.plot(100 * point["detection rate"], 100 * point["ECE"], marker, color="black", label=label)
        right.set(title=f"others calibrated by {config.alarmed}")
        for axes in (left, right):
            axes.set_xlabel("mistakes found (%)")
            axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16))


def main(config: Config) -> dict[str, Curve]:
    """Run the experiment, print and record it; return the curve of each calibrator."""
    begun = time.monotonic()
    logging.getLogger("calibrant").setLevel(logging.ERROR)
    predictions = predictions_of(config)
    bases: dict[str, list[Curve]] = {}
    alarms: dict[float, list[Curve]] = {}
    points: dict[str, list[dict[str, float]]] = {}
    for seed in config.seeds:
        images, test = halves(predictions, seed)
        for name in config.methods:
            there = through(fit(config, name, images, seed).calibrator, test)
            bases.setdefault(name, []).append({rate: error(there, rate) for rate in config.rates})
            if name == config.alarmed:
                for alarm in config.false_alarms:
                    curve = {rate: error(there, rate, alarm) for rate in config.rates[::2]}
                    alarms.setdefault(alarm, []).append(curve)
        for name in REAL:
            selective = fit(config, name, images, seed).calibrator
            assert isinstance(selective, SelectiveScaling)
            points.setdefault(name, []).append(operating_point(selective, test))
        print(f"seed {seed}: done", flush=True)
    by_base = {name: mean_of(curves) for name, curves in bases.items()}
    by_alarm = {alarm: mean_of(curves) for alarm, curves in alarms.items()}
    real = {name: {key: sum(p[key] for p in each) / len(each) for key in each[0]} for name, each in points.items()}
    print(f"\nimage-wise ECE by the share of mistakes found; means over {len(config.seeds)} seeds")
    print(f"{'':30s}" + "".join(f"{rate:8.0%}" for rate in config.rates))
    for name, curve in by_base.items():
        print(f"{name:30s}" + "".join(f"{value:8.4f}" for value in curve.values()))
    print(f"others calibrated by {config.alarmed}, by the share of right pixels flagged too")
    for alarm, curve in by_alarm.items():
        print(f"{f'{alarm:.0%}':30s}" + "".join(f"{curve.get(rate, float('nan')):8.4f}" for rate in config.rates))
    held = print_claims("Fig. 4", claims(by_base, by_alarm, real))
    draw(config, by_base, by_alarm, real)
    if config.results:
        results = {
            "ECE by mistakes found": {name: _plain(curve) for name, curve in by_base.items()},
            "each seed": {name: [_plain(curve) for curve in curves] for name, curves in bases.items()},
            f"on {config.alarmed}, by right pixels flagged": {f"{a:g}": _plain(c) for a, c in by_alarm.items()},
            "real selectors": real,
            "claims": held,
        }
        print(record("detection_rate", config, time.monotonic() - begun, results, config.results))
    return by_base


def _line(axes: Axes, curve: Curve, label: str, style: Style) -> None:
    axes.plot(
        [100 * rate for rate in curve],
        [100 * value for value in curve.values()],
        color=style.color,
        marker=style.marker,
        linestyle=style.dashes,
        markersize=4,
        label=label,
    )


def _plain(curve: Curve) -> str:
    return " ".join(f"{value:.5f}" for value in curve.values())


if __name__ == "__main__":
    main(asked(Config, __doc__))
