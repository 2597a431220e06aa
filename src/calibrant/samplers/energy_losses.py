"""The energy score of soft label maps against annotators, differentiable and unbiased.

.. math:: S(P, y) = 2\\,E\\,d(s, y) - E\\,d(s, s')

Gneiting and Raftery (2007, eq. 22). For a negative definite d its expectation over y is least where the law P of the
samples is that of y; the energy distance (GED) is this score but for what the annotators alone decide.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from calibrant._shapes import IGNORE, Bool, Float, Int, Tensor
from calibrant.samplers.losses import label_planes
from calibrant.training import annotator_cross_entropy


@dataclass(frozen=True)
class Annotated:
    """What annotators of a batch said, as the score sees it: flat, and nothing where anyone left a pixel out.

    :param planes: of each class and annotator, 1 in the class and 0 elsewhere.
    :param weights: of each annotator, adding up to 1 an image; 0 for one who labelled nothing, and for all of an image
        without a pixel that all others labelled.
    :param known: the pixels that every annotator labelled who labelled any.
    """

    planes: Float[Tensor, "n c a p"]
    weights: Float[Tensor, "n a"]
    known: Bool[Tensor, "n p"]

    @classmethod
    def of(cls, labels: Int[Tensor, "n a *s"], num_classes: int) -> "Annotated":
        """Return the label maps of a batch as the score sees them.

        :param labels: one map per annotator; ``IGNORE`` where unlabelled.
        :param num_classes: how many classes there are.
        """
        flat = labels.flatten(2)
        there = (flat != IGNORE).any(2)
        known = ((flat != IGNORE) | ~there[..., None]).all(1) & there.any(1)[:, None]
        counted = there & known.any(1)[:, None]
        weights = counted.float() / counted.sum(1, keepdim=True).clamp_min(1)
        planes = torch.stack([label_planes(flat[:, i], num_classes) for i in range(flat.shape[1])], 2)
        return cls(planes * known[:, None, None], weights, known)


def energy_score(
    samples: Float[Tensor, "m n c *s"],
    labels: Int[Tensor, "n a *s"],
    *,
    classes: Sequence[int] | None = None,
    smoothing: float = 1.0,
    exponent: float | None = None,
) -> Float[Tensor, ""]:
    r"""Return the energy score of soft label maps, the mean over images, with all annotators of an image alike.

    The distance of two maps is one minus the min-max (Ruzicka) Jaccard index, the mean over the classes that count,

    .. math:: d(s, y) = \Bigl(\frac{1}{C} \sum_c \Bigl(1 - \frac{\epsilon + \sum_i \min(s_{ci}, y_{ci})}
        {\epsilon + \sum_i \max(s_{ci}, y_{ci})}\Bigr)\Bigr)^\beta

    which is, with an exponent of 1, 1 - IoU of hard maps but for epsilon, and keeps two grey maps apart from two maps
    of noise, which the product form of a soft Jaccard index does not. With an exponent of 1 the score is a mean over
    classes of scores that each see one class alone: it says nothing of which classes change together. Below 1 it does,
    as the energy score of vectors does with its exponent (Gneiting and Raftery, 2007, eq. 22). Pairs of a sample with
    itself are left out, so the value does not depend on the number of samples, but for chance, and is unbiased; it may
    be negative.

    :param samples: probabilities of each sample, drawn independently; two or more.
    :param labels: one map per annotator; ``IGNORE`` where unlabelled.
    :param classes: those that count; by default all.
    :param smoothing: epsilon, in pixels: how small an area is as good as none. 1 keeps a distance of 1/2 between an
        empty map and one pixel.
    :param exponent: beta, above 0 and at most 1; by default 1 where one class counts or there are two, and 1/2
        otherwise.

    >>> one = torch.tensor([[[0.0, 1.0, 1.0, 0.0]]])
    >>> samples = torch.stack([torch.cat([1 - one, one], 1)] * 2)
    >>> energy_score(samples, torch.tensor([[[0, 1, 1, 0]]]))
    tensor(0.)
    """
    counted = list(range(samples.shape[2]) if classes is None else classes)
    annotated = Annotated.of(labels, samples.shape[2])
    # Images and classes first, space last: one matrix product compares all samples and annotators.
    maps = samples.flatten(3)[:, :, counted].permute(1, 2, 0, 3) * annotated.known[:, None, None]
    planes = annotated.planes[:, counted]
    areas, theirs = maps.sum(3), planes.sum(3)
    both = maps @ planes.mT  # the sum of the smaller of the two, where one of them is 0 or 1
    cross = 1 - (both + smoothing) / (areas[..., None] + theirs[:, :, None] - both + smoothing)
    if exponent is None:
        exponent = 1.0 if len(counted) == 1 or samples.shape[2] == 2 else 0.5
    across = torch.einsum("nma,na->n", _power(cross.mean(1), exponent), annotated.weights) / len(samples)
    within = _mean_over_pairs(maps, areas, smoothing, exponent)
    known = annotated.weights.sum(1)
    return ((2 * across - within) * known).sum() / known.sum().clamp_min(1)


def _mean_over_pairs(
    maps: Float[Tensor, "n c m p"], areas: Float[Tensor, "n c m"], smoothing: float, exponent: float
) -> Float[Tensor, " n"]:
    """Return the mean distance of two different maps."""
    number = maps.shape[2]
    total = maps.new_zeros(len(maps))
    for apart in range(1, number):
        low = torch.minimum(maps[:, :, apart:], maps[:, :, :-apart]).sum(3)
        high = areas[:, :, apart:] + areas[:, :, :-apart] - low
        total = total + _power((1 - (low + smoothing) / (high + smoothing)).mean(1), exponent).sum(1)
    return total / (number * (number - 1) / 2)


def _power(distances: Float[Tensor, "..."], exponent: float) -> Float[Tensor, "..."]:
    """Return distances to a power, 0 where they are 0 and with a gradient there."""
    if exponent == 1:
        return distances
    least = 1e-6
    return (distances + least) ** exponent - least**exponent


def scale_score(
    samples: Float[Tensor, "m n c *s"], labels: Int[Tensor, "n a *s"], *, scales: Sequence[int] = (1, 4, 16)
) -> Float[Tensor, ""]:
    """Return the energy score with Euclidean distances of maps averaged over cells, the mean over sizes of cells.

    Where two regions do not meet, their Jaccard index has no gradient; the distance of what is averaged over large
    cells has one. And a few stray pixels of a rare class weigh here as a few pixels.

    :param samples: probabilities of each sample, drawn independently; two or more.
    :param labels: one map per annotator; ``IGNORE`` where unlabelled.
    :param scales: the sides of the cells, in pixels; those larger than the image are left out.
    """
    m, space = len(samples), samples.shape[3:]
    annotated = Annotated.of(labels, samples.shape[2])
    known = annotated.known.unflatten(1, space)[:, None]
    planes = annotated.planes.movedim(2, 0).unflatten(3, space)
    pool = (F.avg_pool2d, F.avg_pool3d)[len(space) - 2]
    there, total, used = annotated.weights.sum(1), samples.new_zeros(len(known)), 0
    for scale in scales:
        if scale > min(space):
            continue
        ours, theirs = (
            pool((maps * known).flatten(0, 1), scale).flatten(1).unflatten(0, maps.shape[:2])
            for maps in (samples, planes)
        )
        used += 1
        size = ours.shape[2] ** 0.5
        apart = _norm(ours[:, None] - theirs[None]).mean(0)  # annotators, images
        between = sum(_norm(ours[k:] - ours[:-k]).sum(0) for k in range(1, m)) / (m * (m - 1) / 2)
        total = total + (2 * (apart.mT * annotated.weights).sum(1) - between * there) / size
    return total.sum() / (there.sum().clamp_min(1) * max(used, 1))


def _norm(differences: Float[Tensor, "... p"]) -> Float[Tensor, "..."]:
    """Return Euclidean norms, with a gradient where they are 0."""
    return (differences.square().sum(-1) + 1e-12).sqrt()


def cross_entropy_of_mean(samples: Float[Tensor, "m n c *s"], labels: Int[Tensor, "n a *s"]) -> Float[Tensor, ""]:
    """Return the cross-entropy, in nats, of the mean of the samples with the annotators' labels.

    For the mean of ever more samples it is a proper score of the marginals. Of m samples it is larger, by about
    1 / (2 m) where hard samples disagree, and least not at the true frequencies but nearer to one half: of six hard
    samples, at .39 where the truth is .24. So it makes them softer. :func:`brier_score_of_mean` has no such bias.

    :param samples: probabilities of each sample.
    :param labels: one map per annotator; ``IGNORE`` where unlabelled.
    """
    return annotator_cross_entropy(samples.mean(0).clamp_min(1e-6).log(), labels)


def brier_score_of_mean(samples: Float[Tensor, "m n c *s"], labels: Int[Tensor, "n a *s"]) -> Float[Tensor, ""]:
    r"""Return the Brier score of the mean of ever more samples, unbiased, against the annotators' labels.

    .. math:: \frac{1}{m (m - 1)} \sum_{i \ne j} \sum_c s_{ic} s_{jc} - \frac{2}{m} \sum_i s_{iy} + 1

    A mean over all labels that annotators gave. Without the products of a sample with itself its expectation does not
    depend on the number of samples, and is least where the samples' mean is the frequency of the labels, hard or soft.

    :param samples: probabilities of each sample, drawn independently; two or more.
    :param labels: one map per annotator; ``IGNORE`` where unlabelled.

    >>> first, one_of_each = torch.eye(2)[[0, 0], None, :, None], torch.eye(2)[:, None, :, None]
    >>> [float(brier_score_of_mean(each, torch.tensor([[[0]]]))) for each in (first, one_of_each)]
    [0.0, 0.0]
    """
    m, known = len(samples), labels != IGNORE
    total = samples.sum(0)
    products = (total.square() - samples.square().sum(0)).sum(1, keepdim=True) / (m * (m - 1))
    at_labels = total.gather(1, labels.clamp_min(0)) / m
    return ((products - 2 * at_labels + 1) * known).sum() / known.sum().clamp_min(1)


MEAN_SCORES = {"cross-entropy": cross_entropy_of_mean, "brier": brier_score_of_mean}
"""Scores of the mean of samples, by name."""
