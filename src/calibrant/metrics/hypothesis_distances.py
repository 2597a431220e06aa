"""Distances of every pair of drawn and labelled maps of an image, from which ``hypotheses`` reads its scores.

Conventions
-----------
* The distance of two maps is 1 - IoU, the mean over the classes that count. Maps are compared on the pixels that every
  annotator labelled.
* The IoU of two empty regions is named, because published numbers differ in it: ``"one"`` (LIDC: Kohl et al. 2019,
  PHiSeg, CAR), ``"nan"`` (the class is left out of the pair; stochastic Cityscapes: Kohl et al. 2018, CAR)
  or ``"zero"``.
* Labels are either *annotators*, draws from a law p(y|x) that nobody knows, or all *modes* of a known law, with their
  probabilities as weights. Scores that correct for the number of draws need to know which.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch

from calibrant._input.checks import check_choice, shape_of
from calibrant._shapes import Bool, Float, Int, Tensor
from calibrant.errors import InputError, LabelError, ShapeError
from calibrant.metrics._imagewise import ImageWise
from calibrant.metrics._maps import each_map_set, normalised
from calibrant.metrics._pairs import pairwise_distances

T = TypeVar("T", bound="HypothesisDistances")
EMPTY = {"one": 1.0, "nan": math.nan, "zero": 0.0}
"""The IoU of two empty regions, by name."""


@dataclass(frozen=True)
class HypothesisDistances(ImageWise):
    """Distances between the hypotheses and the labels of each image.

    :param to_labels: from each hypothesis to each label.
    :param between_hypotheses: from each hypothesis to each hypothesis.
    :param between_labels: from each label to each label.
    :param label_weights: one a label, adding up to 1; 0 marks padding.
    :param sample_weights: one a hypothesis, adding up to 1.
    :param modes: whether the labels are all modes of a known law.
    :param presence_to_labels: the part of each distance that is due to classes which one of the two maps alone shows.
    :param presence_between_hypotheses: that part of the distances between hypotheses.
    :param presence_between_labels: that part of the distances between labels.
    :param independent: whether the hypotheses were drawn independently of each other.
    :param keys: names of the rows, if they are known.
    :param left_out: names of images that have no row because nothing in them is labelled.
    """

    to_labels: Float[Tensor, "n m a"]
    between_hypotheses: Float[Tensor, "n m m"]
    between_labels: Float[Tensor, "n a a"]
    label_weights: Float[Tensor, "n a"]
    sample_weights: Float[Tensor, "n m"]
    modes: Bool[Tensor, " n"]
    presence_to_labels: Float[Tensor, "n m a"]
    presence_between_hypotheses: Float[Tensor, "n m m"]
    presence_between_labels: Float[Tensor, "n a a"]
    independent: Bool[Tensor, " n"]

    @classmethod
    def of(
        cls,
        hypotheses: Int[Tensor, "m n *s"],
        labels: Int[Tensor, "n *t"],
        *,
        num_classes: int,
        classes: Sequence[int] | None = None,
        empty: str = "one",
        weights: Float[Tensor, "n a"] | None = None,
        modes: bool = False,
        sample_weights: Float[Tensor, "n m"] | None = None,
        independent: bool = True,
    ) -> "HypothesisDistances":
        """Compare every pair of maps of each image of a batch, one row each.

        An image without labelled pixels scores NaN; under ``empty="nan"`` so does one whose labels show none of the
        classes. Hypotheses alone cannot have an image left out: two that show none of its classes are at distance 0.

        :param hypotheses: (m, n, *s), drawn maps, samples first.
        :param labels: (n, a, *s), or (n, *s) with one annotator; ``IGNORE`` where unlabelled.
        :param num_classes: how many classes there are.
        :param classes: those that count, such as ``[1]`` for the foreground alone; by default all.
        :param empty: the IoU of two empty regions: ``"one"``, ``"nan"`` or ``"zero"``.
        :param weights: one a label; by default all annotators who labelled a pixel of the image weigh the same.
        :param modes: the labels are all modes of a known law, ``weights`` their probabilities.
        :param sample_weights: one a hypothesis; by default all weigh the same.
        :param independent: whether the hypotheses were drawn independently; False for those of samplers whose ``draws``
            is another word, of which unbiased scores are not defined.
        :raises ShapeError, LabelError, InputError, MethodError: what was passed cannot be compared.

        >>> ring, dot = torch.tensor([[1, 1, 1, 0]]), torch.tensor([[0, 1, 0, 0]])
        >>> distances = HypothesisDistances.of(
        ...     torch.stack([ring, dot]), torch.stack([ring, ring], 1), num_classes=2, classes=[1])
        >>> distances.to_labels[0]
        tensor([[0.0000, 0.0000],
                [0.6667, 0.6667]], dtype=torch.float64)
        """
        check_choice(empty, EMPTY, "convention for empty regions")
        counted = list(range(num_classes) if classes is None else classes)
        if not counted or not set(counted) <= set(range(num_classes)):
            raise LabelError(
                f"expected at least one class to count, of 0..{num_classes - 1}; got {counted}. Check num_classes."
            )
        num_samples = len(hypotheses)
        if sample_weights is not None and sample_weights.shape != (len(labels), num_samples):
            raise ShapeError(
                f"expected one weight an image and hypothesis, {(len(labels), num_samples)}; "
                f"got {shape_of(sample_weights)}. Images come first, as in the labels' weights."
            )
        all_distances, label_weights = [], []
        for maps in each_map_set(hypotheses, labels, num_classes, weights):
            stacked = np.concatenate([maps.hypotheses, maps.labels])
            if not maps.complete.all():
                stacked = stacked[:, maps.complete]
            distances = pairwise_distances(stacked, counted, EMPTY[empty])
            between_labels = distances[0, num_samples:, num_samples:][np.ix_(maps.weights > 0, maps.weights > 0)]
            shows_nothing = stacked.shape[1] == 0 or np.isnan(between_labels).all()
            distances = np.full_like(distances, np.nan) if shows_nothing else np.nan_to_num(distances, nan=0.0)
            all_distances.append(torch.from_numpy(distances))
            label_weights.append(torch.from_numpy(maps.weights))
        rows = torch.stack(all_distances)
        if sample_weights is None:
            sample_weights = torch.ones(len(rows), num_samples)
        return cls(
            *_corners(rows[:, 0], num_samples),
            torch.stack(label_weights),
            normalised(sample_weights, "hypotheses"),
            torch.full((len(rows),), modes),
            *_corners(rows[:, 1], num_samples),
            torch.full((len(rows),), independent),
        )

    @property
    def num_samples(self) -> int:
        """The number of hypotheses."""
        return self.to_labels.shape[1]

    def first(self: T, num_samples: int) -> T:
        """Return the distances of the first hypotheses alone.

        :param num_samples: how many, at least one.
        :raises InputError: there are not that many.
        """
        if not 1 <= num_samples <= self.num_samples:
            raise InputError(
                f"expected 1 to {self.num_samples} samples; got {num_samples}. Draw more hypotheses, or ask for fewer."
            )
        chosen = slice(num_samples)
        return replace(
            self,
            to_labels=self.to_labels[:, chosen],
            between_hypotheses=self.between_hypotheses[:, chosen, chosen],
            presence_to_labels=self.presence_to_labels[:, chosen],
            presence_between_hypotheses=self.presence_between_hypotheses[:, chosen, chosen],
            sample_weights=normalised(self.sample_weights[:, chosen], "hypotheses"),
        )

    def of_presence(self: T) -> T:
        """Return the parts of the distances that are due to classes which one of two maps alone shows."""
        return replace(
            self,
            to_labels=self.presence_to_labels,
            between_hypotheses=self.presence_between_hypotheses,
            between_labels=self.presence_between_labels,
        )

    @classmethod
    def stack(cls: type[T], tallies: Sequence[T]) -> T:
        """Return all rows in one tally, sorted by key; images of fewer annotators are padded with weights of 0.

        :param tallies: at least one; all with the same number of hypotheses.
        :raises ShapeError: the tallies hold different numbers of hypotheses.
        :raises InputError: there is none.
        """
        most = max((tally.label_weights.shape[1] for tally in tallies), default=0)
        return super().stack([tally._padded(most) for tally in tallies])

    def _padded(self: T, num_labels: int) -> T:
        more = num_labels - self.label_weights.shape[1]
        if more == 0:
            return self
        pad = torch.nn.functional.pad
        return replace(
            self,
            to_labels=pad(self.to_labels, (0, more)),
            between_labels=pad(self.between_labels, (0, more, 0, more)),
            presence_to_labels=pad(self.presence_to_labels, (0, more)),
            presence_between_labels=pad(self.presence_between_labels, (0, more, 0, more)),
            label_weights=pad(self.label_weights, (0, more)),
        )


def _corners(rows: Float[Tensor, "n w w"], num_samples: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the distances from hypotheses to labels, between hypotheses, and between labels."""
    ours, theirs = slice(num_samples), slice(num_samples, None)
    return rows[:, ours, theirs].clone(), rows[:, ours, ours].clone(), rows[:, theirs, theirs].clone()
