"""What samplers drew, as scores and pictures: the numbers of their page, and single images with their hypotheses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from calibrant._shapes import IGNORE, Float, Int, Tensor
from calibrant.metrics import (
    AreaSamples,
    HypothesisDistances,
    SampleDivergence,
    SampleFrequencies,
    Score,
    annotator_diversity,
    area_crps,
    area_interval,
    expected_calibration_error,
    expected_sample_divergence,
    ged_floor,
    generalised_energy_distance,
    hungarian_matched_iou,
    interval_coverage,
    interval_width,
    sample_divergence,
    sample_diversity,
)
from calibrant.predictions import Prediction
from calibrant.report.cases import LONGEST, as_bytes
from calibrant.report.scale import level_of_entropy

LEVEL = 0.9
"""The share of outcomes that intervals of areas are made to hold."""

MOST_HYPOTHESES = 8
"""Hypotheses of one image on a page, at most."""

OF_DISTANCES: Mapping[str, Score] = {
    "ged": Score(
        "GED",
        generalised_energy_distance,
        pooled=False,
        better="lower",
        null=lambda d: ged_floor(d, d.num_samples),
        phrase="generalised energy distance",
        note="Squared generalised energy distance between hypotheses and annotators. Beside it the floor: what a "
        "perfect sampler with as many independent draws is expected to score.",
    ),
    "excess": Score(
        "GED, excess",
        lambda d: generalised_energy_distance(d, diagonal=False),
        pooled=False,
        better="lower",
        note="The same without the distance of a map to itself: about 0 for a perfect sampler, at any number of "
        "hypotheses. Not known for draws that depend on each other, or with one annotator.",
    ),
    "hm_iou": Score(
        "HM-IoU",
        hungarian_matched_iou,
        pooled=False,
        better="higher",
        unit="percent",
        note="Hypotheses matched to annotators, one to one. One map that never varies can score best of all.",
    ),
    "diversity": Score(
        "diversity",
        sample_diversity,
        pooled=False,
        null=annotator_diversity,
        note="Mean distance of two hypotheses of an image; beside it that of two annotators.",
    ),
}
"""Scores of distances between hypotheses and annotators, by name."""

OF_FREQUENCIES: Mapping[str, Score] = {
    "frequency_error": Score(
        "ECE of frequencies",
        lambda f: expected_calibration_error(f.top),
        pooled=True,
        better="lower",
        unit="percent",
        note="Gap between how often the most frequent class of a pixel is drawn and how many annotators see it.",
    )
}
"""Scores of how often classes are drawn, by name."""

OF_DIVERGENCE: Mapping[str, Score] = {
    "divergence": Score(
        "KL from probabilities",
        sample_divergence,
        pooled=True,
        better="lower",
        unit="nats",
        null=expected_sample_divergence,
        note="Divergence of drawn frequencies from the probabilities; beside it what so few draws leave by chance.",
    )
}
"""Scores of drawn frequencies against probabilities, by name."""


@dataclass(frozen=True)
class Drawn:
    """What one sampler drew of the labelled images.

    :param distances: distances between hypotheses and annotators.
    :param frequencies: how often classes are drawn, against annotators.
    :param divergence: how often classes are drawn, against probabilities; None if those are not known.
    :param areas: areas of each class that was measured, by its number.
    """

    distances: HypothesisDistances
    frequencies: SampleFrequencies
    divergence: SampleDivergence | None
    areas: Mapping[int, AreaSamples]


@dataclass(frozen=True)
class SampledCase:
    """One image with its hypotheses, or a slice of a volume.

    :param key: its name.
    :param sampler: whose hypotheses they are.
    :param hypotheses: some of them.
    :param annotators: the maps of the annotators; ``IGNORE`` where unlabelled.
    :param entropy: the level of the entropy of the probabilities.
    :param frequency: the level of the entropy of the drawn frequencies, of all hypotheses.
    :param image: the picture itself, as bytes.
    :param part: which slice of a volume it is, in words.
    :param why: why it is shown, in words.
    :param areas: areas by the name of the class, in words.
    """

    key: str
    sampler: str
    hypotheses: Int[Tensor, "m h w"]
    annotators: Int[Tensor, "a h w"]
    entropy: Int[Tensor, "h w"]
    frequency: Int[Tensor, "h w"]
    image: Int[Tensor, "k h w"] | None = None
    part: str = ""
    why: str = ""
    areas: Mapping[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Its name, which slice it is, and whose hypotheses."""
        return ", ".join(filter(None, (self.key, self.part, self.sampler)))


def sampled_case(
    prediction: Prediction,
    hypotheses: Int[Tensor, "m *s"],
    entropy: Float[Tensor, "*s"],
    *,
    sampler: str,
    why: str = "",
    areas: Mapping[str, str] | None = None,
) -> SampledCase | None:
    """Return an image with its hypotheses; of a volume the slice in which hypotheses vary most; None of other shapes.

    :param prediction: the image with the labels of its annotators.
    :param hypotheses: drawn maps, samples first.
    :param entropy: entropy of the probabilities, in nats.
    :param sampler: whose hypotheses they are.
    :param why: why it is shown, in words.
    :param areas: areas by the name of the class, in words.
    """
    labels, image, part = prediction.labels, prediction.image, ""
    spread = _entropy_of_frequencies(hypotheses, prediction.num_classes)
    if hypotheses.ndim == 4:
        z = int(spread.flatten(1).sum(1).argmax())
        part = f"slice {z + 1} of {len(spread)}"
        labels, hypotheses, entropy, spread = labels[:, z], hypotheses[:, z], entropy[z], spread[z]
        image = None if image is None else image[:, z]
    if hypotheses.ndim != 3:
        return None
    step = max(1, -(-max(labels.shape[1:]) // LONGEST))

    def thin(values: Tensor) -> Tensor:
        return values[..., ::step, ::step]

    return SampledCase(
        prediction.key,
        sampler,
        thin(hypotheses[:MOST_HYPOTHESES]).long(),
        thin(labels[:MOST_HYPOTHESES]),
        torch.from_numpy(level_of_entropy(thin(entropy).numpy(), prediction.num_classes)),
        torch.from_numpy(level_of_entropy(thin(spread).numpy(), prediction.num_classes)),
        None if image is None else as_bytes(thin(image)),
        part,
        why,
        areas or {},
    )


def areas_in_words(areas: Mapping[int, AreaSamples], row: int, class_names: Sequence[str], unit: str) -> dict[str, str]:
    """Return the areas of the classes that an image shows: the interval of the hypotheses, and each annotator's.

    :param areas: by class, one row an image.
    :param row: the image's.
    :param class_names: one a class.
    :param unit: the unit of the areas.
    """
    found = {}
    for number, each in areas.items():
        one = each.take([row])
        low, high = (float(bound) for bound in area_interval(one, level=LEVEL))
        seen = one.labelled[0][one.weights[0] > 0].tolist()
        if high > 0 or any(seen):
            middle = float(one.sampled.median())
            said = ", ".join(f"{value:,.0f}" for value in seen)
            found[class_names[number]] = f"{middle:,.0f} [{low:,.0f}, {high:,.0f}] {unit}; annotators {said}"
    return found


def area_rows(areas: Mapping[int, AreaSamples], class_names: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Return of each class how areas of hypotheses hold those of annotators: coverages, width, CRPS, means.

    :param areas: by class, one row an image.
    :param class_names: one a class.
    """
    rows = []
    for number, each in areas.items():
        known = each.weights.sum(1) > 0
        held = (interval_coverage(each, level=LEVEL), interval_coverage(each, level=LEVEL, ties="spread"))
        values = (interval_width(each, level=LEVEL), area_crps(each), each.sampled.mean(1))
        labelled = each.over_annotators(each.labelled)
        cells = [f"{100 * float(share.nanmean()):.1f}" for share in held]
        cells += [f"{float(value[known].nanmean()):,.1f}" for value in (*values, labelled)]
        rows.append((class_names[number], cells))
    return rows


def telling_draws(distances: HypothesisDistances, *, count: int = 6) -> dict[str, str]:
    """Return the keys of images to look at, each with the reason: the worst, a typical one, and the most ambiguous.

    :param distances: one row an image, with keys.
    :param count: how many images, at most.
    """
    worst = generalised_energy_distance(distances)
    order = torch.argsort(worst.nan_to_num(nan=-torch.inf), descending=True, stable=True).tolist()
    order = [i for i in order if not bool(worst[i].isnan())]
    apart = annotator_diversity(distances)
    candidates = [(i, "among the worst in GED") for i in order[: count // 2]]
    candidates += [(order[len(order) // 2], "typical: in the middle of all images in GED")] if order else []
    if bool((~apart.isnan()).any()):
        candidates.append((int(apart.nan_to_num(nan=-1).argmax()), "annotators differ most"))
    candidates += [(i, "among the worst in GED") for i in order]
    chosen: dict[str, str] = {}
    for i, why in candidates:
        if len(chosen) < count:
            chosen.setdefault(distances.keys[i], why)
    return chosen


def _entropy_of_frequencies(hypotheses: Int[Tensor, "m *s"], num_classes: int) -> Float[Tensor, "*s"]:
    total = torch.zeros(hypotheses.shape[1:])
    for number in range(num_classes):
        total += torch.special.entr((hypotheses == number).float().mean(0))
    return total


def num_labelled(annotators: Int[Tensor, "a h w"]) -> int:
    """Return how many of the annotators labelled a pixel of what is shown.

    :param annotators: their maps; ``IGNORE`` where unlabelled.
    """
    return int(np.count_nonzero((annotators != IGNORE).flatten(1).any(1)))
