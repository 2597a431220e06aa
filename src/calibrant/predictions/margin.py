"""Nearly tied pixels: those whose label a smaller number type would lose, and the distance that keeps it.

A calibrator that keeps the label map where it would choose another label leaves the two largest logits a single step of
float32 apart. Whoever then takes the argmax of the softmax, or of logits in float16, gets other labels.
"""

import torch

from calibrant._shapes import Bool, Float, Tensor
from calibrant.errors import InputError

MARGIN = 2.0**-7
"""How far the largest logit of a pixel must lie above the next to be distinguished from it in float16.

Numbers of float16 between 4 and 8 lie 2**-8 apart, so log-probabilities down to -8 that differ by more stay apart when
they are rounded; probabilities, which then differ by 0.8 %, do so by a factor of eight.
"""


def nearly_tied(logits: Float[Tensor, "n c *s"], margin: float = MARGIN) -> Bool[Tensor, "n *s"]:
    """Return where the largest logit of a pixel and the next lie closer than a margin, but are not equal.

    Equal ones stay equal in every number type, and the first of them is the label.

    :param logits: class axis second.
    :param margin: in nats; the two probabilities then differ by a factor of less than exp(margin).

    >>> nearly_tied(torch.tensor([[[0.0, 0.0, 0.0], [1e-6, 0.0, 0.5]]]))
    tensor([[ True, False, False]])
    """
    below = logits.float() - logits.float().amax(1, keepdim=True)
    return ((below < 0) & (below > -margin)).any(1)


def with_margin(logits: Float[Tensor, "n c *s"], margin: float = MARGIN) -> Float[Tensor, "n c *s"]:
    """Return logits whose largest is 0 in every pixel, and all that are smaller lower by a margin at least.

    The argmax stays as it is, also in float16, and after a softmax; no probability changes by more than 0.4 margin.

    :param logits: class axis second.
    :param margin: in nats; 0 only shifts the logits.
    :raises InputError: the margin is negative, or no number.

    >>> with_margin(torch.tensor([[[3.0], [3.000001], [-1.0]]])).squeeze()
    tensor([-0.0078,  0.0000, -4.0000])
    """
    if not 0 <= margin <= 10:
        raise InputError(f"expected a margin from 0 to 10 nats; got {margin}. Choose one such as {MARGIN:g}.")
    below = logits.float() - logits.float().amax(1, keepdim=True)
    return torch.where(below < 0, below.clamp_max(-margin), below) if margin else below
