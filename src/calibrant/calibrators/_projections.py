"""Projections that keep the label map: the nearest logits, or distributions, in which the raw winner still wins.

Let w be the class with the largest raw logit (the winners, where several share it).

* :func:`keep_labels` mends rounding: ``scaled`` is a monotone function of ``raw``, so its exact values keep the order.
* :func:`nearest_with_winner`: ``argmin_q KL(p || q)`` subject to ``q_w >= q_k`` for all k, for any p.
* :func:`nearest_with_confidence`: ``argmin_q KL(q || p)`` subject to ``q_w = a`` and ``q_k <= a`` for all k, for the
  distribution p of the classes other than w and a confidence a.
"""

import torch

from calibrant._shapes import Bool, Float, Int, Tensor
from calibrant.calibrators.calibrator import MIN_EXPONENT

LARGEST = 1e38
"""Scaled logits stay within this, so that one can always lie a step below another."""

EXCLUDED = -1e30
"""A logit that leaves a class out."""

MAX_CONFIDENCE = 1 - 1e-6
"""Confidences that are set stay within this, which float32 still tells from 1."""

TRACED_STEPS = 6
"""Steps in an export, where none can be skipped."""


def keep_labels(
    raw: Float[Tensor, "n c *s"], scaled: Float[Tensor, "n c *s"], *, lift: bool = False
) -> Float[Tensor, "n c *s"]:
    """Return ``scaled`` with every class that is below the largest in ``raw`` strictly below the largest, too.

    Classes that share the largest raw logit must share the largest scaled one, which any function of the raw logit
    that never falls gives; only rounding is mended then, and by one step of float32 at most.

    :param lift: ``scaled`` is any other map: first raise the raw winners to the largest scaled logit.

    >>> raw = torch.tensor([[[7.9999990], [7.9999995], [0.0]]])
    >>> scaled = raw / 7.3
    >>> scaled.argmax(1).item(), keep_labels(raw, scaled).argmax(1).item()
    (0, 1)
    """
    lead = raw - raw.amax(1, keepdim=True)  # exactly zero at the winners, below zero elsewhere: floats do not skip
    scaled = scaled.clamp(-LARGEST, LARGEST)
    peak = scaled.amax(1, keepdim=True)
    if lift:
        scaled = torch.where(lead == 0, peak, scaled)
    # At least one step of float32 at any size; the smallest normal number where steps would be denormal.
    step = (peak.abs() * 2.0**-23).clamp_min(2.0**-126)
    # 0 and -1 times the step: five streaming passes, three times as fast as masks (torch.where).
    return torch.minimum(scaled, torch.addcmul(peak, lead.sign(), step))


def nearest_with_winner(raw: Float[Tensor, "n c p"], mapped: Float[Tensor, "n c p"]) -> Float[Tensor, "n c p"]:
    """Return the logits nearest to ``mapped``, as distributions, whose argmax is that of ``raw``, ties included.

    Pixels whose winner is not overtaken keep their logits.

    Let p be the probabilities after such a map, and w the class that won before it. If p is right, the expected
    negative log-likelihood of any q is that of p plus KL(p || q). Among the q with q_w >= q_k for all k, KL(p || q) is
    least where w and the classes above some level m share their probability equally, at m, and all others keep theirs:

        sum over k of max(0, p_k - m) = m - p_w

    The left side falls and the right side rises, so m is unique; Newton's steps from m = p_w climb to it in as many
    steps as classes drop out, usually one.

    >>> raw = torch.tensor([[[2.0], [1.0], [0.0]]])
    >>> nearest_with_winner(raw, torch.tensor([[[0.2], [0.6], [0.2]]]).log()).exp().squeeze()
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
    return keep_labels(raw, torch.where(beaten, shared, mapped))


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


def first_true(mask: Bool[Tensor, "n c p"]) -> Int[Tensor, "n 1 p"]:
    """Return the first class where the mask is true: argmax, at a fraction of torch's time along this axis.

    >>> first_true(torch.tensor([[[False], [True], [True]]]))
    tensor([[[1]]])
    """
    c = mask.shape[1]
    # Small integers are fast, but ONNX runtimes know few operations on them.
    small = c < 2**15 and not torch.compiler.is_compiling()
    rank = torch.arange(c, 0, -1, device=mask.device, dtype=torch.int16 if small else torch.int32)
    return c - (mask * rank[:, None]).amax(1, keepdim=True).long()


def nearest_with_confidence(
    rest: Float[Tensor, "n 1 p"], others: Float[Tensor, "n c p"], winners: Bool[Tensor, "n c p"]
) -> Float[Tensor, "n c p"]:
    """Return logits, the winners' at 0: what remains, ``exp(rest)``, goes to the others in their proportion.

    No class gets more than the winner: one that would is cut, and what is cut goes to those below, in their proportion.
    Of all distributions as sure of that winner in which it wins, this is the nearest to the others' own (in KL
    divergence).

    :param others: log-probabilities of the classes other than the winner.
    """
    lift = rest
    over = rest + others.amax(1, keepdim=True) > 0
    if torch.compiler.is_compiling():
        lift = torch.where(over, _lift(rest.mT, others.mT).mT, rest)
    elif bool(over.any()):  # they are few
        image, pixel = over[:, 0].nonzero(as_tuple=True)
        few = _lift(rest[image, :, pixel], others[image, :, pixel])
        lift = rest.index_put((image, torch.zeros_like(image), pixel), few[:, 0])
    return (lift + others).clamp(EXCLUDED, 0.0).masked_fill(winners, 0.0)


def _lift(rest: Float[Tensor, "*n 1"], others: Float[Tensor, "*n c"]) -> Float[Tensor, "*n 1"]:
    """What to add to log-probabilities so that their exponentials, cut at 1, sum to ``exp(rest)``.

    Probabilities lifted by s and cut at 1 sum to no more than k + s * (sum of all but k of them), whichever the k are,
    and to just that where these are cut. So of the s at which such a bound is as wanted, the largest is the right one.
    """
    count = others.shape[-1]
    largest_first = others.sort(-1, descending=True).values.clamp_min(MIN_EXPONENT).exp()
    left = largest_first.flip(-1).cumsum(-1).flip(-1)
    lifts = (rest.exp() - torch.arange(count, device=rest.device)) / left
    return lifts.amax(-1, keepdim=True).log()
