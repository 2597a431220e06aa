"""The nearest distribution in which the raw winner still wins: how maps that change the label map are made to keep it.

Let p be the probabilities after such a map, and w the class that won before it. If p is right, the expected negative
log-likelihood of any q is that of p plus KL(p || q). Among the q with q_w >= q_k for all k, KL(p || q) is least where w
and the classes above some level m share their probability equally, at m, and all others keep theirs:

    sum over k of max(0, p_k - m) = m - p_w

The left side falls and the right side rises, so m is unique; Newton's steps from m = p_w climb to it in as many steps
as classes drop out, usually one.
"""

import torch

from calibrant._shapes import Float, Tensor
from calibrant.calibrators.calibrator import keep_argmax

TRACED_STEPS = 6
"""Steps in an export, where none can be skipped."""


def winner_first(raw: Float[Tensor, "n c p"], mapped: Float[Tensor, "n c p"]) -> Float[Tensor, "n c p"]:
    """Return the logits nearest to ``mapped``, as distributions, whose argmax is that of ``raw``, ties included.

    Pixels whose winner is not overtaken keep their logits.

    >>> raw = torch.tensor([[[2.0], [1.0], [0.0]]])
    >>> winner_first(raw, torch.tensor([[[0.2], [0.6], [0.2]]]).log()).exp().squeeze()
    tensor([0.4000, 0.4000, 0.2000])
    """
    offset = mapped.logsumexp(1, keepdim=True)
    winner = (raw == raw.amax(1, keepdim=True)).float()
    count = winner.sum(1, keepdim=True)
    probs = (mapped - offset).exp()
    level = (probs * winner).sum(1, keepdim=True) / count
    beaten = (probs.amax(1, keepdim=True) > level) | (count > 1)
    if torch.compiler.is_compiling():
        level = _level(probs, winner, level, TRACED_STEPS)
    elif bool(beaten.any()):
        image, pixel = beaten[:, 0].nonzero(as_tuple=True)
        here = _level(*(each[image, :, pixel] for each in (probs, winner, level)), steps=probs.shape[1])
        level = level.index_put((image, torch.zeros_like(image), pixel), here[:, 0])
    log_level = level.log() + offset
    shared = torch.where(winner == 1, log_level, torch.minimum(mapped, log_level))
    return keep_argmax(raw, torch.where(beaten, shared, mapped))


def _level(probs: Tensor, winner: Tensor, level: Tensor, steps: int) -> Tensor:
    """The level at which winners and all that exceed it meet, found from below; classes along axis 1."""
    own, count = (probs * winner).sum(1, keepdim=True), winner.sum(1, keepdim=True)
    for _ in range(steps):
        above = (probs > level).float() * (1 - winner)
        higher = (own + (probs * above).sum(1, keepdim=True)) / (count + above.sum(1, keepdim=True))
        if not torch.compiler.is_compiling() and not bool((higher > level * (1 + 1e-6)).any()):
            break
        level = torch.maximum(level, higher)
    return level
