"""Draw the picture of the front page: one synthetic street, its mistakes, and the confidence before and after.

    python -m experiments.front_picture

A small U-Net is trained on four streets until it is too sure of itself; stacked scaling is fitted to sixteen others. Of
fifteen more the street with the median share of mistakes is shown, and the reliability diagram is that of all fifteen.
"""

from pathlib import Path

import matplotlib as mpl
import torch
from matplotlib.figure import Figure
from torch import nn

from calibrant.calibrators import StackedScaling
from calibrant.data import StreetScenes
from calibrant.evaluation import tally
from calibrant.metrics import CalibrationBins, expected_calibration_error, reliability_curve
from calibrant.models import ModelPredictions
from calibrant.networks import SmallUNet
from calibrant.predictions import IGNORE, Prediction
from calibrant.training import train_segmenter

PICTURE = Path(__file__).parent.parent / "docs" / "pictures" / "front.png"
SIZE = (64, 128)


def trained(num_steps: int) -> nn.Module:
    """Return a small U-Net that is too sure of itself."""
    network = SmallUNet(3, 9, stride=2, generator=torch.Generator().manual_seed(0))
    return train_segmenter(network, list(StreetScenes(4, size=SIZE, seed=0)), num_steps=num_steps)


def mistakes_of(prediction: Prediction) -> torch.Tensor:
    """Return 1 where the label is wrong, 0 where it is right or nothing is labelled."""
    labels = prediction.labels[0]
    return ((prediction.logits.argmax(0) != labels) & (labels != IGNORE)).float()


def main(num_steps: int = 300, path: Path = PICTURE) -> None:
    """Train, fit, draw."""
    network = trained(num_steps)
    fitting, testing = StreetScenes(16, size=SIZE, seed=1), StreetScenes(15, size=SIZE, seed=2)
    calibrator = StackedScaling.fit(list(ModelPredictions(network, fitting)))
    to_test = list(ModelPredictions(network, testing))
    shares = torch.stack([mistakes_of(each).mean() for each in to_test])
    number = int(shares.argsort()[len(to_test) // 2])
    shown, mistakes = to_test[number], mistakes_of(to_test[number])
    before, after = shown.logits.softmax(0).amax(0), calibrator(shown.logits[None])[0].softmax(0).amax(0)
    maps = {"image": testing[number].image.permute(1, 2, 0), "mistakes": mistakes}
    maps |= {"confidence of the model": before.detach(), "confidence, calibrated": after.detach()}
    with mpl.rc_context({"font.size": 9, "axes.spines.right": False, "axes.spines.top": False}):
        figure = Figure(figsize=(10, 3.1), layout="constrained", dpi=100)
        left, right = figure.subfigures(1, 2, width_ratios=[2.4, 1])
        for axes, (title, values) in zip(left.subplots(2, 2).flat, maps.items(), strict=True):
            picture = axes.imshow(values, vmin=0, vmax=1, cmap="gray_r" if title == "mistakes" else "viridis")
            axes.set_title(title, fontsize=9)
            axes.set_axis_off()
        left.colorbar(picture, ax=left.axes, shrink=0.6, label="confidence")
        axes = right.subplots()
        axes.plot([0, 1], [0, 1], color="gray", linewidth=1)
        for name, style, front in (("the model", "o--", None), ("calibrated", "s-", calibrator)):
            bins = tally(CalibrationBins.of, to_test, calibrator=front).pooled()
            curve = reliability_curve(bins)
            error = float(expected_calibration_error(bins))
            axes.plot(curve.confidence.flatten(), curve.accuracy.flatten(), style, label=f"{name}, ECE {error:.1%}")
        axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1), aspect="equal")
        axes.legend(frameon=False, fontsize=8)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
    print(path)


if __name__ == "__main__":
    main()
