"""Whether confidence departs from accuracy by more than chance: a test over images, of several groups at once.

Conventions
-----------
* A group is a bin of the confidence, a class, or all pixels. The gap of an image in a group is the sum over its pixels
  of confidence minus being right; calibrated, its mean over images is 0, whatever depends on what within an image.
* Student's t over the images that have a pixel in the group: the sum of the gaps over its standard error, which is that
  of a sum over independent images (the cluster-robust one; Liang and Zeger 1986). Images tested in several
  repetitions count once, with the sum of their gaps.
* Several groups are judged together by Holm's rule (1979): under calibration, no group of all is said to depart with a
  probability of 1 - level.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import t as student

from calibrant._shapes import Float, Int, Tensor
from calibrant.metrics.calibration import CalibrationBins

MIN_IMAGES = 5
"""With fewer images in a group nothing is said of it."""


@dataclass(frozen=True)
class GapTest:
    """What the gaps of some groups of pixels say, one value a group.

    :param gap: mean confidence minus accuracy; NaN without a pixel.
    :param p_value: the probability of a gap as far from 0 if it were calibrated; NaN for groups of too few images.
    :param num_images: the images that have a pixel in the group.
    """

    gap: Float[Tensor, " g"]
    p_value: Float[Tensor, " g"]
    num_images: Int[Tensor, " g"]

    def departs(self, *, level: float = 0.95) -> list[bool]:
        """Return which groups depart from calibration by more than chance, judged together.

        :param level: the probability that no calibrated group is said to depart, between 0 and 1.

        >>> test = GapTest(*(torch.tensor(x) for x in ([0.1, 0.1, 0.0], [0.001, 0.03, 0.9], [9, 9, 9])))
        >>> test.departs()  # the second would pass alone, and not among three
        [True, False, False]
        """
        known = [i for i in range(len(self.gap)) if not bool(self.p_value[i].isnan())]
        departing = [False] * len(self.gap)
        for rank, i in enumerate(sorted(known, key=lambda i: float(self.p_value[i]))):
            if float(self.p_value[i]) > (1 - level) / (len(known) - rank):
                break
            departing[i] = True
        return departing


def gap_test(bins: Sequence[CalibrationBins], *, by: str = "bin") -> GapTest:
    """Return whether confidence departs from accuracy, over the images of one or several repetitions.

    :param bins: one tally a repetition; rows without names are images of their own.
    :param by: "bin" for a group a bin of the confidence, "group" for one a group that was counted (such as a class),
        "all" for one of all pixels.

    >>> logits, labels = torch.tensor([3.0, 0.0])[None, :, None].expand(6, 2, 9), torch.zeros(6, 9, dtype=torch.long)
    >>> labels[torch.arange(6), torch.arange(6)] = 1  # right in 8 of 9 pixels of each image, sure of .95
    >>> test = gap_test([CalibrationBins.of(logits, labels)], by="all")
    >>> round(float(test.gap), 3), test.departs()
    (0.064, [True])
    """
    keys = [key for number, rows in enumerate(bins) for key in rows.keys or _unnamed(number, len(rows))]
    place = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    number = torch.tensor([place[key] for key in keys])
    gaps = torch.cat([_summed((rows.confidence - rows.correct).double(), by) for rows in bins])
    counts = torch.cat([_summed(rows.count.double(), by) for rows in bins])
    gaps, counts = (torch.zeros(len(place), x.shape[1]).double().index_add_(0, number, x) for x in (gaps, counts))
    return _tested(gaps.numpy(), counts.numpy())


def _tested(gaps: Float[np.ndarray, "n g"], counts: Float[np.ndarray, "n g"]) -> GapTest:
    seen = counts > 0
    n, total = seen.sum(0), gaps.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        away = np.where(seen, gaps - total / n, 0.0)
        error = np.sqrt(np.square(away).sum(0) * n / (n - 1))
        # The same gap in every image has no spread: any gap but a rounding error is beyond chance.
        t = np.where(np.abs(total) <= 1e-9 * counts.sum(0), 0.0, np.abs(total) / error)
        p = np.where(n >= MIN_IMAGES, 2 * student.sf(t, np.maximum(n - 1, 1)), np.nan)
        mean = total / counts.sum(0)
    return GapTest(torch.from_numpy(mean), torch.from_numpy(p), torch.from_numpy(n))


def _summed(values: Float[Tensor, "n *g b"], by: str) -> Float[Tensor, "n k"]:
    if by == "bin":
        return values.flatten(1, -2).sum(1) if values.ndim > 2 else values
    return values.sum(-1) if by == "group" else values.flatten(1).sum(1, keepdim=True)


def _unnamed(number: int, count: int) -> list[str]:
    return [f"{number}:{i}" for i in range(count)]
