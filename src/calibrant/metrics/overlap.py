"""Overlap of predicted and labelled regions.

Conventions
-----------
* Pixels are counted class by class; unlabelled ones nowhere.
* A class that is neither predicted nor labelled in a row has no IoU and no Dice: NaN, left out of the row's mean.
* "Mean IoU" of a data set, as published, is ``mean_iou(counts.pooled())``.
"""

from dataclasses import dataclass
from functools import partial

from calibrant._shapes import Bool, Float, Int, Shaped, Tensor
from calibrant.metrics._pixel_scores import PixelScores, count_images, each_image, histogram
from calibrant.metrics.tally import Tally


@dataclass(frozen=True)
class ClassCounts(Tally):
    """Pixels of each class.

    :param intersection: rightly predicted pixels.
    :param predicted: pixels predicted so.
    :param labelled: pixels labelled so.
    :param keys: names of the rows, if they are known.
    :param left_out: names of images that have no row because nothing in them is labelled.
    """

    intersection: Shaped[Tensor, "n c"]
    predicted: Shaped[Tensor, "n c"]
    labelled: Shaped[Tensor, "n c"]

    @classmethod
    def of(
        cls,
        logits: Float[Tensor, "n c *s"],
        labels: Int[Tensor, "n *t"],
        *,
        where: Bool[Tensor, "n *u"] | None = None,
    ) -> "ClassCounts":
        """Count a batch of images, one row each.

        :param logits: (n, c, *s), of two classes or more.
        :param labels: (n, *s), or (n, a, *s) with several annotators; ``IGNORE`` where unlabelled.
        :param where: the pixels that count, shaped like the labels; None for all.
        :raises InputError: the images cannot be counted (ShapeError, LabelError, LogitsError).
        """
        return count_images(cls, partial(cls.of_pixels, num_classes=logits.shape[1]), each_image(logits, labels, where))

    @classmethod
    def of_pixels(cls, pixels: PixelScores, *, num_classes: int) -> "ClassCounts":
        """Return one row.

        :param pixels: labelled pixels of one image, scored.
        :param num_classes: how many classes there are.
        """
        labelled = histogram(pixels.label * 2 + pixels.correct, (1, num_classes, 2))
        predicted = histogram(pixels.prediction, (1, num_classes))
        return cls(labelled[..., 1], predicted, labelled.sum(-1, dtype=labelled.dtype))


def intersection_over_union(counts: ClassCounts) -> Float[Tensor, "n c"]:
    """Return the IoU (Jaccard index) of each class; NaN where a class is neither predicted nor labelled.

    :param counts: one row an image, or one of all pixels.

    >>> import torch
    >>> counts = ClassCounts(*(torch.tensor([row]) for row in ([2, 0], [4, 0], [3, 1])))
    >>> intersection_over_union(counts)
    tensor([[0.4000, 0.0000]], dtype=torch.float64)
    """
    return counts.intersection.double() / (counts.predicted + counts.labelled - counts.intersection)


def mean_iou(counts: ClassCounts) -> Float[Tensor, " n"]:
    """Return the mean IoU over the classes that are predicted or labelled.

    :param counts: one row an image, or one of all pixels.
    """
    return intersection_over_union(counts).nanmean(-1)


def dice(counts: ClassCounts) -> Float[Tensor, "n c"]:
    """Return the Dice coefficient (F1) of each class; NaN where a class is neither predicted nor labelled.

    :param counts: one row an image, or one of all pixels.
    """
    return 2 * counts.intersection.double() / (counts.predicted + counts.labelled)


def pixel_accuracy(counts: ClassCounts) -> Float[Tensor, " n"]:
    """Return the share of labelled pixels that are predicted rightly.

    :param counts: one row an image, or one of all pixels.
    """
    return counts.intersection.sum(-1).double() / counts.labelled.sum(-1)
