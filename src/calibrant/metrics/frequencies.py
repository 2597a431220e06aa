"""Sampled frequencies against annotators, probabilities and known flips: are hypotheses drawn as often as they should?

Conventions
-----------
* The frequency of a class in a pixel is the share of hypotheses that show it. Binned like any other probability
  (``(lo, hi]``, exactly, from integers), it is scored by what scores probabilities: ``expected_calibration_error``,
  ``reliability_curve``, ``classwise_calibration_error``.
* A pixel counts once; where annotators disagree, the right share of it is the weight of those who agree.
* Frequencies of few samples are noisy in themselves, which flattens the reliability curve of even a perfect sampler:
  take a hundred. ``expected_sample_divergence`` says what noise alone would score.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from scipy.special import betaln, xlog1py, xlogy

from calibrant._input.checks import shape_of
from calibrant._shapes import IGNORE, Bool, Float, Int, Shaped, Tensor
from calibrant.errors import ShapeError
from calibrant.metrics._maps import MapSet, each_map_set
from calibrant.metrics.calibration import CalibrationBins
from calibrant.metrics.classwise import ClasswiseBins
from calibrant.metrics.tally import Tally


@dataclass(frozen=True)
class SampleFrequencies(Tally):
    """Frequencies of the classes among the hypotheses against annotators, in bins.

    :param top: bins of the most frequent class's frequency (the first class where they tie); ``correct`` is the weight
        of the annotators who agree.
    :param classwise: bins of every class's frequency; ``positive`` is the weight of the annotators who see it.
    :param keys: names of the rows, if they are known.
    :param left_out: names of images that have no row because nothing in them is labelled.
    """

    top: CalibrationBins
    classwise: ClasswiseBins

    @classmethod
    def of(
        cls,
        hypotheses: Int[Tensor, "m n *s"],
        labels: Int[Tensor, "n *t"],
        *,
        num_classes: int,
        num_bins: int = 10,
        weights: Float[Tensor, "n a"] | None = None,
    ) -> "SampleFrequencies":
        """Count a batch of images, one row each.

        :param hypotheses: (m, n, *s), drawn maps, samples first.
        :param labels: (n, a, *s), or (n, *s) with one annotator; ``IGNORE`` where unlabelled.
        :param num_classes: how many classes there are.
        :param num_bins: bins of equal width.
        :param weights: one an annotator; by default all who labelled a pixel of the image weigh the same.
        :raises ShapeError, LabelError, InputError: what was passed cannot be counted.

        >>> drawn = torch.tensor([[[1, 0]], [[1, 0]], [[1, 1]], [[1, 0]]])  # class 1 in 4 and in 1 of 4 samples
        >>> counted = SampleFrequencies.of(drawn, torch.tensor([[[1, 0], [1, 1]]]), num_classes=2, num_bins=4)
        >>> counted.classwise.positive[0, 1]  # seen by both annotators, and by one of two
        tensor([0.5000, 0.0000, 0.0000, 1.0000], dtype=torch.float64)
        """
        images = each_map_set(hypotheses, labels, num_classes, weights)
        rows = [_frequencies(maps, num_classes, num_bins) for maps in images]
        top, classwise = (torch.from_numpy(np.stack(column)) for column in zip(*rows, strict=True))
        return cls(
            CalibrationBins(top[:, 0].long(), top[:, 1], top[:, 2]),
            ClasswiseBins(classwise[:, 0].long(), classwise[:, 1], classwise[:, 2]),
        )


def _frequencies(maps: MapSet, num_classes: int, num_bins: int) -> tuple[np.ndarray, np.ndarray]:
    shares, labelled = _label_shares(maps, num_classes)
    times = _times(maps.hypotheses[:, labelled], num_classes)
    num_samples = len(maps.hypotheses)
    # ceil(times / m * b) - 1 in integers: no rounding moves a frequency over an edge.
    bins = np.clip(-(-times * num_bins // num_samples) - 1, 0, None)
    classwise = [_three_sums(bins[k], num_bins, shares[k], times[k] / num_samples) for k in range(num_classes)]
    first = times.argmax(0)[None]
    number, share, frequency = (np.take_along_axis(x, first, 0)[0] for x in (bins, shares, times / num_samples))
    return _three_sums(number, num_bins, share, frequency), np.stack(classwise, 1)


def _label_shares(maps: MapSet, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the weight of the annotators that see each class, (c, p), of the pixels labelled by any, and these."""
    seen = (maps.labels != IGNORE) * maps.weights[:, None]
    labelled = seen.sum(0) > 0
    seen = seen[:, labelled] / seen[:, labelled].sum(0)
    shares = [((maps.labels[:, labelled] == k) * seen).sum(0) for k in range(num_classes)]
    return np.stack(shares), labelled


def _times(hypotheses: np.ndarray, num_classes: int) -> np.ndarray:
    """Return how many hypotheses show each class: (c, p)."""
    return np.stack([np.count_nonzero(hypotheses == k, axis=0) for k in range(num_classes)])


def _three_sums(bins: np.ndarray, num_bins: int, *values: np.ndarray) -> np.ndarray:
    """Return pixels, and the sum of each value, by bin: (3, b)."""
    return np.stack([np.bincount(bins, weights, num_bins) for weights in (None, *values)])


@dataclass(frozen=True)
class SampleDivergence(Tally):
    """How far the mean of the hypotheses is from given probabilities, such as the calibration network's.

    :param pixels: those counted.
    :param divergence: the sum of KL(mean of hypotheses ‖ probabilities), in nats.
    :param expected: the sum to expect if the hypotheses were drawn from those probabilities.
    :param keys: names of the rows, if they are known.
    :param left_out: names of images that have no row because nothing in them is labelled.
    """

    pixels: Int[Tensor, " n"]
    divergence: Float[Tensor, " n"]
    expected: Float[Tensor, " n"]

    @classmethod
    def of(
        cls,
        hypotheses: Int[Tensor, "m n *s"],
        logits: Float[Tensor, "n c *s"],
        *,
        where: Bool[Tensor, "n *s"] | None = None,
    ) -> "SampleDivergence":
        """Count a batch of images, one row each.

        The divergence of Kassapis et al. (2021), eq. (6), of hard maps and without the clamp of the published code;
        probabilities below the smallest normal float32 are taken for that.

        :param hypotheses: (m, n, *s), drawn maps, samples first.
        :param logits: (n, c, *s), whose softmax the hypotheses are compared with.
        :param where: the pixels that count; None for all.
        :raises ShapeError, LabelError: what was passed cannot be counted.
        """
        if logits.ndim != hypotheses.ndim or len(logits) != hypotheses.shape[1]:
            raise ShapeError(
                "expected hypotheses (samples, images, *space) and logits (images, classes, *space); got "
                f"{shape_of(hypotheses)} and {shape_of(logits)}. Samples lead: hypotheses[:, None] for one image."
            )
        num_classes, num_samples = logits.shape[1], len(hypotheses)
        everywhere = torch.ones(logits[:, 0].shape, dtype=torch.bool) if where is None else where.cpu()
        labels = torch.where(everywhere, 0, IGNORE)
        table = _expected_plogp(num_samples)
        rows = []
        for maps, scores in zip(each_map_set(hypotheses, labels, num_classes), logits, strict=True):
            frequency = _times(maps.hypotheses[:, maps.complete], num_classes) / num_samples
            logs = scores.detach().flatten(1).cpu().double().log_softmax(0).numpy()[:, maps.complete]
            logs = np.maximum(logs, np.log(np.finfo(np.float32).tiny))
            probs = np.exp(logs)
            expected = np.interp(probs, np.linspace(0, 1, len(table)), table)
            drawn, perfect = _plogp(frequency) - frequency * logs, expected - probs * logs
            rows.append((frequency.shape[1], drawn.sum(), perfect.sum()))
        pixels, divergence, expected = zip(*rows, strict=True)
        return cls(torch.tensor(pixels), torch.tensor(divergence).double(), torch.tensor(expected).double())


def sample_divergence(tally: SampleDivergence) -> Float[Tensor, " n"]:
    """Return the mean KL divergence of the sampled frequencies from the probabilities, in nats a pixel.

    :param tally: one row an image, or one of all pixels.
    """
    return tally.divergence / tally.pixels


def expected_sample_divergence(tally: SampleDivergence) -> Float[Tensor, " n"]:
    """Return the mean KL divergence that drawing a finite number of samples from the probabilities would leave.

    The number of samples that show a class is then binomial, pixel by pixel, however pixels depend on each other.

    :param tally: one row an image, or one of all pixels.
    """
    return tally.expected / tally.pixels


def _plogp(p: np.ndarray) -> np.ndarray:
    return p * np.log(np.where(p > 0, p, 1))


@cache
def _expected_plogp(num_samples: int, size: int = 8193) -> np.ndarray:
    """Return E[f log f] of a frequency f of ``num_samples`` draws, at evenly spaced probabilities.

    A polynomial in the probability whose curvature is at most 1.4 times the number of samples: read off by straight
    lines it is right to 3e-9 times that number.
    """
    times, p = np.arange(1, num_samples + 1), np.linspace(0, 1, size)[:, None]
    misses = num_samples - times
    binomial = np.exp(xlogy(times, p) + xlog1py(misses, -p) - betaln(times + 1, misses + 1)) / (num_samples + 1)
    return binomial @ _plogp(times / num_samples)


@dataclass(frozen=True)
class FlipCounts(Tally):
    """How often a class and the class it flips to are said, over the pixels whose clean label is the class.

    :param asked: pixels times hypotheses.
    :param kept: those in which the hypothesis says the class itself.
    :param flipped: those in which the hypothesis says the flip; the rest says something else.
    :param keys: names of the rows, if they are known.
    :param left_out: names of images that have no row because nothing in them is labelled.
    """

    asked: Shaped[Tensor, "n f"]
    kept: Shaped[Tensor, "n f"]
    flipped: Shaped[Tensor, "n f"]

    @classmethod
    def of(
        cls, hypotheses: Int[Tensor, "m n *s"], clean: Int[Tensor, "n *s"], *, pairs: Sequence[tuple[int, int]]
    ) -> "FlipCounts":
        """Count hypotheses, as Fig. 6 of Kassapis et al. (2021) does for the refinement network; one row an image.

        :param hypotheses: (m, n, *s), drawn maps, samples first.
        :param clean: labels before any flip.
        :param pairs: each class and its flip.
        :raises ShapeError: the sizes do not fit.

        >>> drawn = torch.tensor([[[0, 0]], [[1, 0]], [[0, 2]], [[1, 2]]])
        >>> flip_frequencies(FlipCounts.of(drawn, torch.tensor([[0, 2]]), pairs=[(0, 1)]))  # of pixel 0 alone
        tensor([[[0.5000, 0.5000]]], dtype=torch.float64)
        """
        if hypotheses.shape[1:] != clean.shape:
            raise ShapeError(
                "expected hypotheses (samples, images, *space) and clean labels (images, *space); got "
                f"{shape_of(hypotheses)} and {shape_of(clean)}. There is one clean map an image."
            )
        return cls._counted(((hypotheses == k).sum(0) for pair in pairs for k in pair), clean, pairs, len(hypotheses))

    @classmethod
    def of_probabilities(
        cls,
        logits: Float[Tensor, "n c *s"],
        clean: Int[Tensor, "n *s"],
        *,
        pairs: Sequence[tuple[int, int]],
        where: Bool[Tensor, "n *s"] | None = None,
    ) -> "FlipCounts":
        """Sum probabilities, as Fig. 6 of Kassapis et al. (2021) does for the calibration network; one row an image.

        :param logits: (n, c, *s), of the calibration network.
        :param clean: labels before any flip.
        :param pairs: each class and its flip.
        :param where: the pixels that count, None for all; the paper looks at those that the black box sees rightly.
        :raises ShapeError: the sizes do not fit.
        """
        if logits.ndim != clean.ndim + 1 or logits[:, 0].shape != clean.shape:
            raise ShapeError(
                "expected logits (images, classes, *space) and clean labels (images, *space); got "
                f"{shape_of(logits)} and {shape_of(clean)}. There is one clean map an image."
            )
        probs = logits.detach().softmax(1)
        clean = clean if where is None else clean.where(where, IGNORE)
        return cls._counted((probs[:, k] for pair in pairs for k in pair), clean, pairs, 1)

    @classmethod
    def _counted(
        cls, said: Iterable[Tensor], clean: Tensor, pairs: Sequence[tuple[int, int]], times: int
    ) -> "FlipCounts":
        masks = [clean == k for k, _ in pairs]
        maps = iter(said)
        sums = [[(mask * next(maps)).double().flatten(1).sum(1) for _ in range(2)] for mask in masks]
        kept, flipped = (torch.stack(column, 1).cpu() for column in zip(*sums, strict=True))
        asked = torch.stack([mask.flatten(1).sum(1) * times for mask in masks], 1).cpu()
        return cls(asked, kept, flipped)


def flip_frequencies(counts: FlipCounts) -> Float[Tensor, "n f 2"]:
    """Return how often each class is kept and how often it is flipped; NaN where no pixel shows it.

    Published figures pool the data set: ``flip_frequencies(counts.pooled())``.

    :param counts: one row an image, or one of all pixels.
    """
    return torch.stack([counts.kept, counts.flipped], -1).double() / counts.asked[..., None]


def flip_offsets(counts: FlipCounts, probabilities: Sequence[float]) -> Float[Tensor, "n f 2"]:
    """Return how far the frequencies of each class and its flip are from the truth, 1 - p and p, without sign.

    :param counts: one row an image, or one of all pixels.
    :param probabilities: the probability p of a flip, for each pair.
    """
    p = torch.tensor(probabilities, dtype=torch.float64)
    return (flip_frequencies(counts) - torch.stack([1 - p, p], -1)).abs()
