"""Figures of what was recorded: ``python -m experiments.car.figures [toy] [flips] [samples]``; all, if none is named.

``samples`` needs the trained networks in ``runs``; the others need the JSON files in ``experiments/results`` alone.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure

from calibrant.evaluation import draw_hypotheses
from experiments._data import add_option, use
from experiments._record import RESULTS
from experiments.car.flips import SAMPLERS, Config

INK = ("#1b1b1b", "#c2571a", "#1f6f8b", "#6a994e", "#8d6bb0")


def recorded(name: str) -> dict[str, Any]:
    """Return what an experiment recorded."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def toy_figure(found: Mapping[str, Any]) -> Figure:
    """Return Fig. 3 (a) of the paper, and beside it the two scores that a collapsed model cannot win."""
    titles = {
        "likelihood": "log-likelihood of samples (higher)",
        "miscalibration": "distance from the right law (0)",
        "rarer_answer": "rarer answer, over its share (1)",
    }
    figure = Figure((10, 2.8), layout="constrained")
    for axes, (name, title) in zip(figure.subplots(1, 3), titles.items(), strict=True):
        for arm, colour in (("with calibration loss", INK[1]), ("without", INK[2])):
            low, middle, high = np.array(found["curves"][f"{name}, {arm}"]).T
            steps = found["config"]["look_every"] * np.arange(1, len(middle) + 1)
            axes.plot(steps, middle, color=colour, label=arm)
            axes.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.set(title=title, xlabel="steps", ylim=(-0.1, 2.5) if name == "rarer_answer" else None)
    figure.axes[0].legend(frameon=False)
    return figure


def lost_answers(found: Mapping[str, Any]) -> list[str]:
    """Return in words how many networks of each arm never gave the rarer answer at the last look."""
    rows = []
    for arm, networks in zip(("with calibration loss", "without"), found["end"]["rarer_answer"], strict=True):
        lost = np.array(networks) == 0
        biased = np.array([each["lower"] == 0.9 for each in found["settings"]])
        rows.append(f"{arm}: {lost.sum()} of {lost.size} lost the rarer answer, {lost[biased].sum()} of them at 0.9")
    return rows


def flips_figure(found: Mapping[str, Any]) -> Figure:
    """Return Figs. 6 and 7 of the paper: how often each class and its flip are said; how sure F is, and how right."""
    truth = [each for p in found["probabilities"] for each in (1 - p, p)]
    shown = {
        "truth": truth,
        "F, black box": found["trained"]["F"]["where the black box is right"]["frequencies"],
        "G, black box": found["trained"]["CAR"]["frequencies"],
        "G, true labels": found["labels"]["CAR"]["frequencies"],
        "G, true distribution": found["truth"]["CAR"]["frequencies"],
    }
    figure = Figure((12, 3), layout="constrained")
    axes, reliability = figure.subplots(1, 2, width_ratios=(3, 1))
    places, width = np.arange(len(truth)), 0.8 / len(shown)
    for number, ((name, values), colour) in enumerate(zip(shown.items(), INK, strict=True)):
        axes.bar(places + (number - 2) * width, np.ravel(values), width, label=name, color=colour)
    names = [each for name in found["classes"] for each in (name, f"{name}2")]
    axes.set_xticks(places, names)
    axes.set(ylabel="frequency", ylim=(0, 1))
    axes.legend(frameon=False, ncols=3, loc="upper left")
    reliability.plot([0, 1], [0, 1], color="#999999", linewidth=0.8)
    for source, name, colour in (("trained", "F, black box", INK[1]), ("labels", "F, true labels", INK[3])):
        curve = found[source]["F"]["reliability"]
        reliability.plot(curve["confidence"], curve["accuracy"], marker="o", color=colour, label=name)
    reliability.set(xlabel="confidence", ylabel="accuracy")
    reliability.legend(frameon=False)
    return figure


def samples_figure(config: Config, names: Sequence[str], *, num_samples: int = 6) -> Figure:
    """Return label maps drawn behind the trained black box for a few frames: one row a frame and sampler."""
    head = config.calibrator("trained")
    every = config.predictions("trained", "test")
    frames = [every[number] for number in (len(every) // 6, len(every) // 2, 5 * len(every) // 6)]
    colours = mpl.colormaps["tab20"](np.arange(config.scenes.flips.num_classes))[:, :3]
    for k, new in config.scenes.flips.pairs:
        colours[new] = 1 - 0.7 * (1 - colours[k]) if colours[k].mean() < 0.5 else 0.6 * colours[k]
    figure = Figure((1.5 * num_samples, 1.25 * len(frames) * len(names)), layout="constrained")
    grid = figure.subplots(len(frames) * len(names), num_samples, squeeze=False)
    for number, name in enumerate(names):
        sampler, generator = SAMPLERS[name](config, "trained"), torch.Generator().manual_seed(0)
        drawn = draw_hypotheses(sampler, frames, head, num_samples=num_samples, generator=generator)
        for frame, (_, maps) in enumerate(drawn):
            row = grid[frame * len(names) + number]
            row[0].set_ylabel(name, fontsize=6)
            for axes, each in zip(row, maps, strict=True):
                axes.imshow(colours[each.numpy()], interpolation="nearest")
                axes.set(xticks=[], yticks=[])
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure, the same bytes for the same numbers."""
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "calibrant"}):
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=80)
    print(path)


def main(wanted: Sequence[str]) -> None:
    """Draw what is wanted."""
    if "toy" in wanted:
        found = recorded("car_toy_regression")
        save(toy_figure(found), RESULTS / "car_toy_regression.svg")
        print("\n".join(lost_answers(found)))
    if "flips" in wanted:
        save(flips_figure(recorded("flips")), RESULTS / "flips.svg")
    if "samples" in wanted:
        names = ("CAR", "copula, one field an image", "cGAN + cross-entropy", "independent pixels")
        save(samples_figure(Config(), names), RESULTS / "flips_samples.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("figures", nargs="*", help="toy, flips, samples")
    add_option(parser)
    given = parser.parse_args()
    use(given.data)
    main(given.figures or ["toy", "flips", "samples"])
