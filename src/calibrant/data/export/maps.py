"""Maps of an image, read off its logits."""

from collections.abc import Iterable

import numpy as np
import torch

from calibrant._input.checks import check_choice
from calibrant._shapes import Float, Tensor
from calibrant.predictions import MARGIN, with_margin

MAPS = {
    "labels": "the most probable class of each pixel, by its number",
    "confidence": "its probability",
    "probabilities": "the probability of each class",
    "entropy": "the entropy of these, in nats",
}
"""Maps by name, and what they hold."""


def maps_of(logits: Float[Tensor, "c *s"], names: Iterable[str], *, margin: float = MARGIN) -> dict[str, np.ndarray]:
    """Return maps of one image by name: labels as the smallest whole numbers that hold the classes, others as float32.

    The largest probability is that of the label, in float16 too, because of the margin.

    :param logits: of one image, class axis first.
    :param names: of ``MAPS``.
    :param margin: how far below the largest logit every smaller one is brought at least, in nats.
    :raises MethodError: there is no such map.

    >>> maps = maps_of(torch.tensor([[0.0, 2.0], [1e-7, 0.0]]), ["labels", "confidence"])
    >>> maps["labels"].tolist(), [round(float(c), 3) for c in maps["confidence"]]
    ([1, 0], [0.502, 0.881])
    """
    probs = with_margin(logits[None], margin).softmax(1)[0]
    made = {
        "labels": lambda: logits.argmax(0).numpy().astype(label_type(len(logits))),
        "confidence": lambda: probs.amax(0).numpy(),
        "probabilities": lambda: probs.numpy(),
        "entropy": lambda: torch.special.entr(probs).sum(0).numpy(),
    }
    found = {}
    for name in names:
        check_choice(name, made, "map")
        found[name] = made[name]()
    return found


def label_type(num_classes: int) -> type[np.unsignedinteger]:
    """Return the smallest type of numbers that hold the classes."""
    return np.uint8 if num_classes <= 256 else np.uint16
