"""Label spaces changed: classes that flip with known probabilities, and classes merged into others.

:class:`LabelMap` and :class:`Relabelled` merge; the maps between published data sets are in
:mod:`calibrant.data.label_maps`. The rest is about flips.

Kohl et al. (2018) and Kassapis et al. (2021) add to Cityscapes a second sidewalk, person, car, vegetation and road. In
each label map every class turns into its second, all of its pixels at once, with a probability of its own and
independently of the other classes. So the law of the label given the image is known exactly: 32 maps with known
weights.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

import torch

from calibrant._check import check_labels
from calibrant._random import generator_for
from calibrant._shapes import IGNORE, Float, Int, Tensor
from calibrant.errors import InputError, LabelError, ShapeError
from calibrant.predictions import Example, Examples


@dataclass(frozen=True)
class ClassFlips:
    """Classes that turn into others, with what probability.

    :param flips: by class, the class it turns into and the probability.
    :param num_classes: of the label set with the new classes.
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
        """Return draws of one clean label map; each class flips as a whole, independently in each draw."""
        chances = torch.tensor(self.probabilities, dtype=torch.float64)
        turned = torch.rand(num_draws, len(chances), generator=generator, dtype=torch.float64) < chances
        return self._turned(labels, turned)

    def modes(self, labels: Int[Tensor, "*s"]) -> tuple[Int[Tensor, "r *s"], Float[Tensor, " r"]]:
        """Return all 2^k maps that a clean label map can turn into, and their probabilities.

        Classes that the map does not show leave some of them alike; their weights still add up to one.
        """
        turned = torch.tensor(list(itertools.product([False, True], repeat=len(self.flips))))
        chances = torch.tensor(self.probabilities, dtype=torch.float64)
        return self._turned(labels, turned), torch.where(turned, chances, 1 - chances).prod(1)

    def marginals(self, labels: Int[Tensor, "*s"]) -> Float[Tensor, "c *s"]:
        """Return the probability of every class in every pixel, given the clean label map; alike where unlabelled."""
        probs = torch.stack([(labels == k) for k in range(self.num_classes)]).float()
        for k, (new, p) in self.flips.items():
            probs[new] += p * probs[k]
            probs[k] *= 1 - p
        return torch.where(labels == IGNORE, 1 / self.num_classes, probs)

    def undone(self, labels: Int[Tensor, "*s"]) -> Int[Tensor, "*s"]:
        """Return the maps with every new class turned back."""
        clean = labels.clone()
        for k, new in self.pairs:
            clean[labels == new] = k
        return clean

    def _turned(self, labels: Tensor, turned: Tensor) -> Tensor:
        maps = labels.expand(len(turned), *labels.shape).clone()
        for number, (k, new) in enumerate(self.pairs):
            here = turned[:, number].view(-1, *[1] * labels.ndim).to(labels.device)
            maps[here & (labels == k)] = new
        return maps


CITYSCAPES_FLIPS = ClassFlips(
    {1: (19, 8 / 17), 11: (20, 7 / 17), 13: (21, 6 / 17), 8: (22, 5 / 17), 0: (23, 4 / 17)}, num_classes=24
)
"""Sidewalk, person, car, vegetation and road of the 19 training classes (Kassapis et al. 2021, Section 4.2.2)."""

CAMVID_FLIPS = ClassFlips(
    {4: (11, 8 / 17), 9: (12, 7 / 17), 8: (13, 6 / 17), 5: (14, 5 / 17), 3: (15, 4 / 17)}, num_classes=16
)
"""The same five of CamVid's 11 classes: pavement, pedestrian, car, tree and road."""


@dataclass(frozen=True)
class FlippedExamples:
    """Examples whose one clean label map is replaced by draws; those of an image depend on the seed and its key alone.

    :param num_draws: label maps an image: annotators.
    :raises LabelError: an example has more than one label map.
    """

    examples: Examples
    flips: ClassFlips
    _: KW_ONLY
    num_draws: int = 1
    seed: int

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.examples)

    def __iter__(self) -> Iterator[Example]:
        """Read the images in order."""
        return (self[i] for i in range(len(self)))

    def __getitem__(self, i: int, /) -> Example:
        """Read one image and draw its labels."""
        example = self.examples[i]
        if len(example.labels) != 1:
            raise LabelError(f"{example.key}: expected one clean label map; got {len(example.labels)}.")
        generator = generator_for(self.seed, example.key)
        drawn = self.flips.draw(example.labels[0], self.num_draws, generator=generator)
        return Example(example.key, example.image, drawn)


@dataclass(frozen=True)
class LabelMap:
    """The classes of one label space in terms of another.

    Classes that become one share its logit: the log-sum-exp of theirs, which adds up their probabilities. A class that
    has none to become is left out: its pixels are unlabelled, and of a prediction what remains is the distribution
    given that it is one of the others. A class that none becomes gets the smallest normal float32 as its probability.

    :param from_names: the classes of the first space, in order.
    :param class_names: the classes of the second, in order.
    :param targets: for each class of the first its number in the second, or ``IGNORE``.
    :raises LabelError: not one target a class, or a target out of range.

    >>> merged = LabelMap.of(["car", "van", "dog"], ["vehicle"], {"vehicle": ["car", "van"]})
    >>> merged.labels(torch.tensor([[0, 1, 2]]))
    tensor([[   0,    0, -100]])
    >>> merged.logits(torch.tensor([[1.0], [1.0], [5.0]])).exp() / torch.tensor(1.0).exp()
    tensor([[2.]])
    """

    from_names: tuple[str, ...]
    class_names: tuple[str, ...]
    targets: tuple[int, ...]

    def __post_init__(self) -> None:
        allowed = {IGNORE, *range(len(self.class_names))}
        if len(self.targets) != len(self.from_names) or not set(self.targets) <= allowed:
            raise LabelError(
                f"expected one target for each of {len(self.from_names)} classes, in 0..{len(self.class_names) - 1} or "
                f"{IGNORE} for none; got {list(self.targets)}."
            )

    @classmethod
    def of(
        cls, from_names: Sequence[str], class_names: Sequence[str], merges: Mapping[str, Sequence[str]]
    ) -> "LabelMap":
        """Return the map in which each class of the second space takes in these of the first.

        :raises LabelError: a name that is not there, or one that is taken in twice.
        """
        targets = dict.fromkeys(from_names, IGNORE)
        for name, merged in merges.items():
            for old in merged:
                if name not in class_names or targets.get(old) != IGNORE:
                    state = "goes to two classes" if old in targets and name in class_names else "is not there"
                    raise LabelError(f"expected every class once: {old!r} → {name!r} {state}. Correct the table.")
                targets[old] = list(class_names).index(name)
        return cls(tuple(from_names), tuple(class_names), tuple(targets.values()))

    @property
    def num_classes(self) -> int:
        """The number of classes of the second space."""
        return len(self.class_names)

    def labels(self, labels: Int[Tensor, "*s"]) -> Int[Tensor, "*s"]:
        """Return label maps in the second space."""
        check_labels(labels, len(self.from_names), "labels to be merged")
        table = torch.tensor([*self.targets, IGNORE], device=labels.device)
        return table[torch.where(labels == IGNORE, len(self.targets), labels)]

    def logits(self, logits: Float[Tensor, "c *s"]) -> Float[Tensor, "c2 *s"]:
        """Return logits in the second space, at least in float32.

        :raises ShapeError: another number of classes.
        """
        if logits.shape[0] != len(self.from_names):
            raise ShapeError(
                f"expected logits of {len(self.from_names)} classes, {self.from_names[0]}, …; got {logits.shape[0]}. "
                "Take the map of the label space that the model was trained on."
            )
        scores = logits if logits.dtype == torch.float64 else logits.float()
        members = [[i for i, k in enumerate(self.targets) if k == target] for target in range(self.num_classes)]
        none = scores[[i for i, k in enumerate(self.targets) if k != IGNORE]].logsumexp(0)
        none = none + math.log(torch.finfo(torch.float32).tiny)
        return torch.stack([scores[m].logsumexp(0) if m else none for m in members])


@dataclass(frozen=True)
class Relabelled:
    """Examples, or predictions, in another label space.

    A model is often judged on labels of a third space, so labels and logits may need maps of their own: of a model of
    ADE20K on COCO-Stuff, ``Relabelled(examples, labels=COCO_STUFF_TO_COMMON)`` is what it is run on, and
    ``Relabelled(predictions, logits=ADE20K_TO_COMMON)`` what it is judged by.

    :param labels: the map for labels; None leaves them.
    :param logits: the map for logits of predictions; None leaves them.
    :raises LabelError: both are None, or lead to different classes.
    """

    source: Any
    _: KW_ONLY
    labels: LabelMap | None = None
    logits: LabelMap | None = None

    def __post_init__(self) -> None:
        names = {m.class_names for m in (self.labels, self.logits) if m is not None}
        if len(names) != 1:
            found = "none" if not names else " and ".join(f"{len(n)} classes ({n[0]}, …)" for n in sorted(names))
            raise LabelError(f"expected a map of labels, of logits, or both into the same classes; got {found}.")

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes that the map leads to."""
        return (self.logits or self.labels).class_names  # ty: ignore

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of the images, without reading any if the source has ``keys``."""
        keys = getattr(self.source, "keys", None)
        return tuple(item.key for item in self) if keys is None else tuple(keys)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.source)

    def __iter__(self) -> Iterator[Any]:
        """Read the images in order."""
        return (self[i] for i in range(len(self)))

    def __getitem__(self, i: int, /) -> Any:
        """Read one image, its labels and logits in the new space.

        :raises InputError: logits of an example, which has none.
        """
        item = self.source[i]
        changed: dict[str, Tensor] = {}
        if self.labels is not None:
            changed["labels"] = self.labels.labels(item.labels)
        if self.logits is not None:
            if not hasattr(item, "logits"):
                raise InputError(
                    f"{item.key}: expected a prediction; got an example without logits. Give labels=… alone."
                )
            changed["logits"] = self.logits.logits(item.logits)
        return replace(item, **changed)
