"""Classes that turn into others with known probabilities, so that the distribution of the labels is known exactly.

Kohl et al. (2018) and Kassapis et al. (2021) add to Cityscapes a second sidewalk, person, car, vegetation and road. In
each label map every class turns into its second, all of its pixels at once, with a probability of its own and
independently of the other classes. So the distribution of the label map given the image is known exactly: 32 maps with
known weights.
"""

import itertools
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass

import torch

from calibrant._shapes import IGNORE, Float, Int, Tensor
from calibrant._statistics.generators import generator_for
from calibrant.errors import InputError, LabelError
from calibrant.predictions import Example, Examples, Mapped


@dataclass(frozen=True)
class ClassFlips:
    """Classes that turn into others, with what probability.

    :param flips: by class, the class it turns into and the probability.
    :param num_classes: the number of classes, the new ones among them.
    :raises LabelError: a class out of range, or one that is both turned and turned into.
    :raises InputError: a probability outside 0 and 1.

    >>> flips = ClassFlips({0: (2, 0.25)}, num_classes=3)
    >>> maps, weights = flips.modes(torch.tensor([0, 1]))
    >>> maps.tolist(), weights.tolist()
    ([[0, 1], [2, 1]], [0.75, 0.25])
    """

    flips: Mapping[int, tuple[int, float]]
    _: KW_ONLY
    num_classes: int

    def __post_init__(self):
        classes = self.classes
        if len(set(classes)) < len(classes) or not set(classes) <= set(range(self.num_classes)):
            raise LabelError(
                f"expected flips between different classes of 0..{self.num_classes - 1}, each in one flip; "
                f"got {self.pairs}. Give every new class a number of its own."
            )
        if not all(0 <= p <= 1 for p in self.probabilities):
            raise InputError(f"expected probabilities from 0 to 1; got {self.probabilities}.")

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Each class and what it turns into."""
        return tuple((k, new) for k, (new, _) in self.flips.items())

    @property
    def probabilities(self) -> tuple[float, ...]:
        """The probability of each flip."""
        return tuple(p for _, p in self.flips.values())

    @property
    def classes(self) -> tuple[int, ...]:
        """All classes that are turned or turned into: those that published scores count."""
        return tuple(k for k, _ in self.pairs) + tuple(new for _, new in self.pairs)

    def draw(self, labels: Int[Tensor, "*s"], num_draws: int = 1, *, generator: torch.Generator) -> Int[Tensor, "r *s"]:
        """Return draws of one clean label map; each class flips as a whole, independently in each draw.

        :param labels: the clean label map.
        :param num_draws: the number of label maps to draw.
        :param generator: draws which classes flip.
        """
        chances = torch.tensor(self.probabilities, dtype=torch.float64)
        turned = torch.rand(num_draws, len(chances), generator=generator, dtype=torch.float64) < chances
        return self._turned(labels, turned)

    def modes(self, labels: Int[Tensor, "*s"]) -> tuple[Int[Tensor, "r *s"], Float[Tensor, " r"]]:
        """Return all 2^k maps that a clean label map can turn into, and their probabilities.

        Classes that the map does not show leave some of them alike; their weights still add up to one.

        :param labels: the clean label map.
        """
        turned = torch.tensor(list(itertools.product([False, True], repeat=len(self.flips))))
        chances = torch.tensor(self.probabilities, dtype=torch.float64)
        return self._turned(labels, turned), torch.where(turned, chances, 1 - chances).prod(1)

    def marginals(self, labels: Int[Tensor, "*s"]) -> Float[Tensor, "c *s"]:
        """Return the probability of every class in every pixel, given the clean label map; alike where unlabelled.

        :param labels: the clean label map.
        """
        probs = torch.stack([(labels == k) for k in range(self.num_classes)]).float()
        for k, (new, p) in self.flips.items():
            probs[new] += p * probs[k]
            probs[k] *= 1 - p
        return torch.where(labels == IGNORE, 1 / self.num_classes, probs)

    def undone(self, labels: Int[Tensor, "*s"]) -> Int[Tensor, "*s"]:
        """Return the maps with every new class turned back.

        :param labels: label maps with flips.
        """
        clean = labels.clone()
        for k, new in self.pairs:
            clean[labels == new] = k
        return clean

    def _turned(self, labels: Tensor, turned: Tensor) -> Tensor:
        maps = labels.expand(len(turned), *labels.shape).clone()
        for number, (k, new) in enumerate(self.pairs):
            flips = turned[:, number].view(-1, *[1] * labels.ndim).to(labels.device)
            maps[flips & (labels == k)] = new
        return maps


CITYSCAPES_FLIPS = ClassFlips(
    {1: (19, 8 / 17), 11: (20, 7 / 17), 13: (21, 6 / 17), 8: (22, 5 / 17), 0: (23, 4 / 17)}, num_classes=24
)
"""Sidewalk, person, car, vegetation and road of the 19 training classes (Kassapis et al. 2021, Section 4.2.2)."""

CAMVID_FLIPS = ClassFlips(
    {4: (11, 8 / 17), 9: (12, 7 / 17), 8: (13, 6 / 17), 5: (14, 5 / 17), 3: (15, 4 / 17)}, num_classes=16
)
"""The same five of CamVid's 11 classes: pavement, pedestrian, car, tree and road."""


def with_class_flips(examples: Examples, flips: ClassFlips, *, num_draws: int = 1, seed: int) -> Mapped[Example]:
    """Return examples whose one clean label map is replaced by draws; those of an image depend on seed and key alone.

    Reading an example with more than one label map raises ``LabelError``.

    :param examples: with one clean label map each.
    :param flips: which classes turn into which, with what probability.
    :param num_draws: the number of label maps drawn for an image: its annotators.
    :param seed: the seed of the draws.

    >>> clean = [Example("a", torch.zeros(3, 1, 2), torch.tensor([[[0, 1]]]))]
    >>> drawn = with_class_flips(clean, ClassFlips({0: (2, 0.25)}, num_classes=3), num_draws=100, seed=0)[0].labels
    >>> drawn.shape, drawn.unique().tolist()
    (torch.Size([100, 1, 2]), [0, 1, 2])
    """
    return Mapped(examples, _Draw(flips, num_draws, seed), class_names=())


@dataclass(frozen=True)
class _Draw:
    flips: ClassFlips
    num_draws: int
    seed: int

    def __call__(self, example: Example) -> Example:
        if len(example.labels) != 1:
            raise LabelError(f"{example.key}: expected one clean label map; got {len(example.labels)}.")
        generator = generator_for(self.seed, example.key)
        drawn = self.flips.draw(example.labels[0], self.num_draws, generator=generator)
        return Example(example.key, example.image, drawn)
