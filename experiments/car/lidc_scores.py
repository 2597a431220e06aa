"""Scores of label maps drawn for the test images of LIDC, image by image, and their intervals over patients."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from calibrant.metrics import (
    AreaSamples,
    HypothesisDistances,
    Interval,
    Resampled,
    SampleDivergence,
    annotator_diversity,
    area_crps,
    expected_sample_divergence,
    ged_floor,
    generalised_energy_distance,
    hungarian_matched_iou,
    interval_coverage,
    interval_width,
    presence_excess,
    sample_divergence,
    sample_diversity,
    shape_excess,
)
from calibrant.predictions import Prediction

Drawn = Iterable[tuple[Prediction, Int[Tensor, "m *s"]]]  # noqa: F821
"""Predictions, with the logits that samples are compared to, and the maps drawn for each."""
Columns = dict[str, Float[Tensor, " n"]]
"""Scores by name, a number an image."""

SCORES: dict[str, Callable[[HypothesisDistances, AreaSamples, SampleDivergence], Tensor]] = {
    "GED 16": lambda d, a, k: generalised_energy_distance(d, num_samples=16),
    "GED 50": lambda d, a, k: generalised_energy_distance(d, num_samples=50),
    "GED 100": lambda d, a, k: generalised_energy_distance(d, num_samples=100),
    "HM-IoU 16": lambda d, a, k: hungarian_matched_iou(d, 16),
    "unbiased GED": lambda d, a, k: generalised_energy_distance(d, diagonal=False),
    "presence": lambda d, a, k: presence_excess(d),
    "shape": lambda d, a, k: shape_excess(d),
    "floor 16": lambda d, a, k: ged_floor(d, 16),
    "diversity": lambda d, a, k: sample_diversity(d),
    "annotators' diversity": lambda d, a, k: annotator_diversity(d),
    "KL to F": lambda d, a, k: 1000 * sample_divergence(k),
    "KL of chance": lambda d, a, k: 1000 * expected_sample_divergence(k),
    "coverage": lambda d, a, k: interval_coverage(a, level=0.9),
    "width": lambda d, a, k: interval_width(a, level=0.9),
    "area CRPS": lambda d, a, k: area_crps(a),
}
"""Distances are 1 - IoU of the nodule, 0 of two empty masks; KL is in thousandths of a nat a pixel; areas in pixels."""


def columns(drawn: Drawn) -> Columns:
    """Return all scores of each image."""
    rows = []
    for prediction, maps in drawn:
        maps, labels = maps[:, None], prediction.labels[None]
        distances = HypothesisDistances.of(maps, labels, num_classes=2, classes=[1])
        areas = AreaSamples.of(maps, labels, num_classes=2, of_class=1)
        divergence = SampleDivergence.of(maps, prediction.logits[None])
        rows.append(torch.cat([score(distances, areas, divergence) for score in SCORES.values()]))
    return dict(zip(SCORES, torch.stack(rows, 1), strict=True))


def kept_columns(path: Path, of: str, draw: Callable[[], Drawn]) -> Columns:
    """Return the scores in a file if they are of this, or those of maps drawn now, which are written there."""
    if path.exists():
        held = torch.load(path, weights_only=True)
        if held["of"] == of and list(held["columns"]) == list(SCORES):
            return held["columns"]
    found = columns(draw())
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    torch.save({"of": of, "columns": found}, temporary)
    temporary.replace(path)
    return found


def masks(prediction: Prediction) -> Int[Tensor, "a h w"]:
    """Return the annotators' masks; where nothing is to be scored, no nodule."""
    return prediction.labels.clamp_min(0)


def looking_at_masks(kind: str, predictions: Sequence[Prediction], num_samples: int) -> Iterator:
    """Yield maps made from the test masks themselves, which no model can: what the scores are checked against.

    :param kind: "majority" (two of four are enough), "union", or "redrawn": the true masks, drawn anew.
    """
    generator = torch.Generator().manual_seed(0)
    for prediction in predictions:
        true = masks(prediction)
        if kind == "redrawn":
            yield prediction, true[torch.randint(len(true), (num_samples,), generator=generator)]
        else:
            one = 2 * true.sum(0) >= len(true) if kind == "majority" else true.amax(0)
            yield prediction, one.long().expand(num_samples, *one.shape)


def argmax(predictions: Sequence[Prediction], num_samples: int) -> Iterator:
    """Yield the likeliest class of each pixel, always the same."""
    for prediction in predictions:
        one = prediction.logits.argmax(0)
        yield prediction, one.expand(num_samples, *one.shape)


class Patients:
    """Patients drawn again, with all their images: the same draws for all that is compared."""

    def __init__(self, keys: Sequence[str], *, num_resamples: int) -> None:
        names = [key.split("/")[0] for key in keys]
        number = {name: i for i, name in enumerate(sorted(set(names)))}
        self.of = torch.tensor([number[name] for name in names])
        generator = torch.Generator().manual_seed(0)
        drawn = torch.randint(len(number), (num_resamples, len(number)), generator=generator)
        self.weights = torch.stack([torch.bincount(each, minlength=len(number)) for each in drawn]).double()

    def interval(self, values: Float[Tensor, " n"]) -> Interval:
        """Return the mean over images with its 95 % interval; images in which the score is not defined are left out."""
        known = ~values.isnan()
        sums, counts = (
            torch.zeros(self.weights.shape[1], dtype=torch.float64).index_add(0, self.of, column)
            for column in (values.double().nan_to_num(), known.double())
        )
        return Resampled(float(values.nanmean()), (self.weights @ sums) / (self.weights @ counts)).interval()
