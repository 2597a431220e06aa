"""How well drawn label maps match what annotators say: scores of the distances between them.

Every score is one number an image; the score of a data set is the mean over images. Rows have no sum. Published energy
distances keep the distance of a map to itself (a V-statistic). They fall as samples are added, for the same model, so
numbers at unlike sample counts are not comparable; without the diagonal they are.
"""

from dataclasses import dataclass

import torch

from calibrant._shapes import Float, Tensor
from calibrant.errors import InputError
from calibrant.metrics._transport import transport_cost
from calibrant.metrics.hypothesis_distances import HypothesisDistances


def generalised_energy_distance(
    distances: HypothesisDistances, *, num_samples: int | None = None, diagonal: bool = True
) -> Float[Tensor, " n"]:
    r"""Return the squared generalised energy distance (GED) of each image; lower is better.

    .. math:: 2\,E\,d(s, y) - E\,d(s, s') - E\,d(y, y')

    Kohl et al. (2018), eq. (5); Kassapis et al. (2021), eq. (9). ``ged_floor`` says what a perfect sampler scores.

    :param distances: one row an image.
    :param num_samples: the value to expect at that many samples, exactly the mean over all choices of so many of those
        held: with D the mean distance of two different hypotheses it is :math:`\mathrm{GED}_\infty + D/m`, which also
        reaches beyond the number held. ``distances.first(m)`` uses the first m alone, with more noise.
    :param diagonal: keep the distance of a map to itself, as published. Without it the value does not depend on the
        number of samples or annotators, but for chance, and is 0 on average for a perfect sampler: the excess over
        ``ged_floor``. It can fall below 0, and needs two hypotheses, drawn independently, and, unless labels are modes,
        two annotators, or it is NaN.
    :raises InputError: ``num_samples`` of hypotheses with unlike weights, or other than independent ones.
    """
    crossed = torch.einsum("nm,nma,na->n", distances.sample_weights, distances.to_labels, distances.label_weights)
    within = _within(distances.between_hypotheses, distances.sample_weights)
    between = _within(distances.between_labels, distances.label_weights)
    if not diagonal:
        labels = torch.where(distances.modes, between.all, between.different)
        return torch.where(distances.independent, 2 * crossed - within.different - labels, torch.nan)
    if num_samples is None:
        return 2 * crossed - within.all - between.all
    _check_alike(distances, num_samples)
    same = 1 / num_samples
    # One hypothesis alone has no distance to a different one, and needs none at num_samples = 1.
    different = within.different if num_samples > 1 else torch.zeros_like(crossed)
    return 2 * crossed - ((1 - same) * different + same * within.same) - between.all


def ged_floor(distances: HypothesisDistances, num_samples: int | float) -> Float[Tensor, " n"]:
    r"""Return the GED (as published, with the diagonal) that a perfect sampler is expected to score on each image.

    Let m hypotheses and R annotators all be independent draws from one law, with D the mean distance of two draws.
    Distances of different maps are D on average; the self pairs, 1/m and 1/R of all, are 0. What remains is
    D (1/m + 1/R). If labels are all modes of the known law, their term is exact, and D/m remains. D is estimated from
    the labels without their self pairs; with unequal weights w, 1/R is the sum of w².

    :param distances: one row an image.
    :param num_samples: the number m of hypotheses; ``math.inf`` for what no number of samples takes away.

    >>> halves = torch.tensor([[[0, 0, 0, 1], [0, 0, 1, 1]]])
    >>> distances = HypothesisDistances.of(halves.movedim(1, 0), halves, num_classes=2, classes=[1])
    >>> ged_floor(distances, 16)  # two annotators at distance 1/2
    tensor([0.2812], dtype=torch.float64)
    """
    labels = _within(distances.between_labels, distances.label_weights)
    apart = torch.where(distances.modes, labels.all, labels.different)
    of_labels = torch.where(distances.modes, 0.0, distances.label_weights.square().sum(-1))
    return (apart - labels.same) * (1 / num_samples + of_labels)


def presence_excess(distances: HypothesisDistances) -> Float[Tensor, " n"]:
    r"""Return the part of the unbiased GED that is due to which classes maps show at all, and not to their shapes.

    A class that one map of a pair alone shows is at distance 1 whatever its shape. Of one class, shown by a share pi of
    a sampler's maps and g of the annotators, this part is expected to be :math:`2 (\pi - g)^2`. The rest,
    :func:`shape_excess`, is due to shapes of what both show. Unbiased, as GED without the diagonal is, and NaN where
    that is.

    :param distances: one row an image.

    >>> nothing, some = torch.zeros(2, 1, 1, 4, dtype=torch.long), torch.ones(1, 2, 1, 4, dtype=torch.long)
    >>> presence_excess(HypothesisDistances.of(nothing, some, num_classes=2, classes=[1]))
    tensor([2.], dtype=torch.float64)
    """
    return generalised_energy_distance(distances.of_presence(), diagonal=False)


def shape_excess(distances: HypothesisDistances) -> Float[Tensor, " n"]:
    """Return the part of the unbiased GED that is due to the shapes of classes that both maps of a pair show.

    :param distances: one row an image.
    """
    return generalised_energy_distance(distances, diagonal=False) - presence_excess(distances)


def sample_diversity(distances: HypothesisDistances) -> Float[Tensor, " n"]:
    """Return the mean distance of two different hypotheses: 0 for a sampler that has collapsed.

    :param distances: one row an image.
    """
    return _within(distances.between_hypotheses, distances.sample_weights).different


def annotator_diversity(distances: HypothesisDistances) -> Float[Tensor, " n"]:
    """Return the mean distance of two annotators: of two different ones, or of two draws from the known modes.

    :param distances: one row an image.
    """
    labels = _within(distances.between_labels, distances.label_weights)
    return torch.where(distances.modes, labels.all, labels.different)


def hungarian_matched_iou(distances: HypothesisDistances, num_samples: int | None = None) -> Float[Tensor, " n"]:
    """Return the Hungarian-matched IoU (HM-IoU) of each image; higher is better.

    Hypotheses are matched to labels so that the mean IoU is largest, each with all of its weight: optimal transport
    from the sample weights to the label weights. Where weights are alike this is the one-to-one assignment after both
    sets have been repeated to their least common multiple; for 16 hypotheses and 4 annotators that is the published
    form (Kohl et al. 2019; CAR), in which each annotator is repeated four times.

    It does not score distributions: one map for all hypotheses, the consensus of the annotators, can beat the
    annotators' own law. Read it beside GED.

    :param distances: one row an image.
    :param num_samples: how many hypotheses are used, the first ones; by default all.
    :raises InputError: there are not that many hypotheses.
    """
    distances = distances if num_samples is None else distances.first(num_samples)
    rows = zip(
        distances.to_labels.numpy(), distances.sample_weights.numpy(), distances.label_weights.numpy(), strict=True
    )
    return torch.tensor([1 - transport_cost(*row) for row in rows], dtype=torch.float64)


@dataclass(frozen=True)
class _Within:
    """Mean distances in one set: of all pairs, of different members, and of a member to itself."""

    all: Tensor
    different: Tensor
    same: Tensor


def _within(distances: Float[Tensor, "n w w"], weights: Float[Tensor, "n w"]) -> _Within:
    everything = torch.einsum("nv,nvw,nw->n", weights, distances, weights)
    to_itself = distances.diagonal(dim1=1, dim2=2)
    chance = weights.square()
    different = (everything - (chance * to_itself).sum(-1)) / (1 - chance.sum(-1))
    alone = (weights > 0).sum(-1) < 2
    return _Within(everything, torch.where(alone, torch.nan, different), (weights * to_itself).sum(-1))


def _check_alike(distances: HypothesisDistances, num_samples: int) -> None:
    weights = distances.sample_weights
    if num_samples != weights.shape[1] and not bool(distances.independent.all()):
        raise InputError(
            f"expected hypotheses drawn independently, to say what {num_samples} of {weights.shape[1]} would score; "
            f"got dependent ones. Draw {num_samples} at a time, or draw independently."
        )
    if num_samples < 1 or not torch.allclose(weights, torch.full_like(weights, 1 / weights.shape[1])):
        raise InputError(
            f"expected 1 sample or more, of hypotheses that weigh the same; got num_samples={num_samples} and weights "
            f"from {float(weights.min()):.3g} to {float(weights.max()):.3g}. Leave num_samples out for a weighted set."
        )
