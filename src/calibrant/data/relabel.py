"""Label spaces changed: classes merged into others, or left out, in labels and in logits.

The maps between published data sets are in :mod:`calibrant.data.label_maps`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from calibrant._input.checks import check_labels
from calibrant._shapes import IGNORE, Float, Int, Tensor
from calibrant.errors import InputError, LabelError, ShapeError
from calibrant.predictions import Mapped


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

        :param from_names: the classes of the first space, in the order of their numbers.
        :param class_names: the classes of the second space, in the order of their numbers.
        :param merges: for each class of the second space the classes of the first that it takes in; those in no list
            are left out.
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
        """Return label maps in the second space.

        :param labels: label maps in the first space, ``IGNORE`` where unlabelled.
        """
        check_labels(labels, len(self.from_names), "labels to be merged")
        table = torch.tensor([*self.targets, IGNORE], device=labels.device)
        return table[torch.where(labels == IGNORE, len(self.targets), labels)]

    def logits(self, logits: Float[Tensor, "c *s"]) -> Float[Tensor, "c2 *s"]:
        """Return logits in the second space, at least in float32.

        :param logits: logits in the first space, class axis first.
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


def relabelled(source: Any, *, labels: LabelMap | None = None, logits: LabelMap | None = None) -> Mapped[Any]:
    """Return examples, or predictions, in another label space.

    A model is often judged on labels of a third space, so labels and logits may need maps of their own: of a model of
    ADE20K on COCO-Stuff, ``relabelled(examples, labels=COCO_STUFF_TO_COMMON)`` is what it is run on, and
    ``relabelled(predictions, logits=ADE20K_TO_COMMON)`` what it is judged by.

    Reading raises ``InputError`` where logits are to be mapped and there are none, as in examples.

    :param source: examples or predictions.
    :param labels: the map for labels; None leaves them.
    :param logits: the map for logits of predictions; None leaves them.
    :raises LabelError: both maps are None, or lead to different classes.

    >>> from calibrant.predictions import Example
    >>> merged = LabelMap.of(["car", "van"], ["vehicle"], {"vehicle": ["car", "van"]})
    >>> examples = relabelled([Example("a", torch.zeros(3, 1, 2), torch.tensor([[[0, 1]]]))], labels=merged)
    >>> examples.class_names, examples[0].labels
    (('vehicle',), tensor([[[0, 0]]]))
    """
    spaces = {m.class_names for m in (labels, logits) if m is not None}
    if len(spaces) != 1:
        given = (
            "none" if not spaces else " and ".join(f"{len(names)} classes ({names[0]}, …)" for names in sorted(spaces))
        )
        raise LabelError(f"expected a map of labels, of logits, or both into the same classes; got {given}.")
    return Mapped(source, _Relabel(labels, logits), class_names=spaces.pop())


@dataclass(frozen=True)
class _Relabel:
    labels: LabelMap | None
    logits: LabelMap | None

    def __call__(self, item: Any) -> Any:
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
