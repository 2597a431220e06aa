"""Projections that keep the label map: the nearest logits, or distributions, in which the raw winner still wins.

Let w be the class with the largest raw logit (the winners, where several share it).

* :func:`keep_labels` mends rounding: ``scaled`` is a monotone function of ``raw``, so its exact values keep the order.
* :func:`nearest_with_winner`: ``argmin_q KL(p || q)`` subject to ``q_w >= q_k`` for all k, for any p.
* :func:`nearest_with_confidence`: ``argmin_q KL(q || p)`` subject to ``q_w = a`` and ``q_k <= a`` for all k, for the
  distribution p of the classes other than w and a confidence a.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from calibrant._shapes import Bool, Float, Int, Shaped, Tensor
from calibrant.calibrators.calibrator import (
    MIN_EXPONENT,
    by_pixel_blocks,
    exponentiated,
    is_unasked,
    maps_by_pixel_blocks,
)

LARGEST = 1e38
"""Scaled logits stay within this, so that one can always lie a step below another."""

EXCLUDED = -1e30
"""A logit that leaves a class out."""

NEXT_BELOW = 2.0**-126
"""A class that does not win lies at least this much below the winner, where that lies at 0."""

MAX_CONFIDENCE = 1 - 1e-6
"""Confidences that are set stay within this, which float32 still tells from 1."""

TRACED_STEPS = 6
"""Steps in an export and on accelerators, where none can be skipped. One is usual."""


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
    return torch.minimum(scaled, _limits(lead, peak))


def divided(raw: Float[Tensor, "n c *s"], temperature: Float[Tensor, "..."]) -> Float[Tensor, "n c *s"]:
    """Return ``keep_labels(raw, raw / temperature)`` in fewer passes: the largest logit has the largest quotient.

    :param raw: logits in float32.
    :param temperature: above 0; one number, or one a pixel (n, 1, *s).

    >>> raw = torch.tensor([[[7.9999990], [7.9999995], [0.0]]])
    >>> bool((divided(raw, torch.tensor(7.3)) == keep_labels(raw, raw / 7.3)).all())
    True
    """
    top = raw.amax(1, keepdim=True)
    limits = _limits(raw - top, (top / temperature).clamp_(-LARGEST, LARGEST))
    return torch.minimum((raw / temperature).clamp_(-LARGEST, LARGEST), limits)


def _limits(lead: Float[Tensor, "n c *s"], peak: Float[Tensor, "n 1 *s"]) -> Float[Tensor, "n c *s"]:
    """Return what each class may have: the peak where its lead is 0, and a step less elsewhere; the lead is lost."""
    # At least one step of float32 at any size; the smallest normal number where steps would be denormal.
    step = (peak.abs() * 2.0**-23).clamp_min_(2.0**-126)
    # 0 and -1 times the step: streaming passes, three times as fast as masks (torch.where).
    return torch.addcmul(peak, lead.sign_(), step)


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
    return keep_winners(raw, mapped.clone())


def keep_winners(raw: Float[Tensor, "n c *s"], mapped: Float[Tensor, "n c *s"]) -> Float[Tensor, "n c *s"]:
    """Return :func:`nearest_with_winner` of whole images; the few pixels that change are gathered from all blocks.

    :param raw: in any floating-point type.
    :param mapped: its memory is written over.
    """
    unlike = by_pixel_blocks(_have_other_winners, raw, mapped).flatten(2)
    found = replaced_where(unlike, mapped.flatten(2), _nearest_with_winner, raw.flatten(2), mapped.flatten(2))
    return found.view_as(mapped)


def map_with_winners(
    mapping: Callable[[Float[Tensor, "n c p"]], Float[Tensor, "n c p"]], logits: Float[Tensor, "n c *s"]
) -> Float[Tensor, "n c *s"]:
    """Return :func:`nearest_with_winner` of a map of the logits of each pixel, in one pass over them.

    :param mapping: of blocks of pixels.
    :param logits: in any floating-point type.
    """

    def mapped(z: Float[Tensor, "n c p"]) -> tuple[Float[Tensor, "n c p"], Bool[Tensor, "n 1 p"]]:
        found = mapping(z)
        return found, _have_other_winners(z, found)

    found, unlike = (each.flatten(2) for each in maps_by_pixel_blocks(mapped, logits))
    return replaced_where(unlike, found, _nearest_with_winner, logits.flatten(2), found).view(logits.shape)


def _have_other_winners(raw: Float[Tensor, "n c p"], mapped: Float[Tensor, "n c p"]) -> Bool[Tensor, "n 1 p"]:
    """True but where the two have one winner, and the same: there one class alone wins in either or in both."""
    ahead = torch.maximum(raw - raw.amax(1, keepdim=True), mapped - mapped.amax(1, keepdim=True))
    return ahead.sign_().sum(1, keepdim=True) > 1 - raw.shape[1]


def _nearest_with_winner(raw: Float[Tensor, "n c p"], mapped: Float[Tensor, "n c p"]) -> Float[Tensor, "n c p"]:
    return keep_labels(raw.float(), cut_at_level(raw, mapped), lift=True)


def cut_at_level(raw: Float[Tensor, "n c p"], mapped: Float[Tensor, "n c p"]) -> Float[Tensor, "n c p"]:
    """Return :func:`nearest_with_winner` but for the winners, which are still to be raised to the largest of a pixel.

    :param raw: logits whose winners win.
    :param mapped: logits of any other map.
    """
    raw, peak = raw.float(), mapped.amax(1, keepdim=True)
    probs = exponentiated(mapped - peak)  # over that of the largest
    beaten = (raw - raw.amax(1, keepdim=True)).sign_()
    level = _level(probs, beaten + 1, TRACED_STEPS if is_unasked(raw) else raw.shape[1])
    return torch.minimum(mapped, level.log_() + peak)


def replaced_where(
    unlike: Bool[Tensor, "n 1 p"],
    found: Float[Tensor, "n c p"],
    exactly: Callable[..., Float[Tensor, "n c p"]],
    *columns: Shaped[Tensor, "n _ p"],
) -> Float[Tensor, "n c p"]:
    """Return what was found, but ``exactly(*columns)`` at the pixels that are unlike the others, which should be few.

    Those are gathered; on an accelerator, which is not asked how many there are, and in an export, all are computed.

    :param unlike: where to replace.
    :param found: what stays elsewhere; its memory may be written over.
    :param exactly: from the columns of some pixels to theirs.
    :param columns: what it needs of each pixel.
    """
    if is_unasked(found):
        return torch.where(unlike, exactly(*columns), found)
    image, pixel = unlike[:, 0].nonzero(as_tuple=True)
    if len(image) == 0:
        return found
    if len(found) == 1:  # the same, faster; without the axis of images a third of the time again
        few = exactly(*(each[0].index_select(1, pixel)[None] for each in columns))
        return found.index_copy_(2, pixel, few)
    few = exactly(*(each[image, :, pixel].T[None] for each in columns))
    found[image, :, pixel] = few[0].T
    return found


def _level(probs: Tensor, winner: Tensor, steps: int) -> Tensor:
    """The level at which winners and all that exceed it meet, found from below; classes along axis 1."""
    own, count = (probs * winner).sum(1, keepdim=True), winner.sum(1, keepdim=True)
    others = probs * (1 - winner)
    # What the winners share with none of the others, and with the largest: neither is above the level.
    level = torch.maximum(own / count, (own + others.amax(1, keepdim=True)) / (count + 1))
    for _ in range(steps):
        above = (others - level).sign_().clamp_min_(0)
        higher = (own + (others * above).sum(1, keepdim=True)) / (count + above.sum(1, keepdim=True))
        climbs = higher > level * (1 + 1e-6)
        if not is_unasked(probs) and not bool(climbs.any()):
            break
        level = torch.where(climbs, higher, level)  # a pixel's steps do not depend on those of others
    return level


def first_zero(lead: Float[Tensor, "n c p"]) -> Int[Tensor, "n 1 p"]:
    """Return the first class whose lead is 0, where all others are below: argmax, at a fraction of torch's time.

    Signs take a sixth of the time of comparisons, whose results are a byte each, and of torch's argmax along this axis.

    :param lead: logits minus the largest of their pixel.

    >>> first_zero(torch.tensor([[[-1.0], [0.0], [0.0]]]))
    tensor([[[1]]])
    """
    c = lead.shape[1]
    rank = torch.arange(c, 0, -1, device=lead.device, dtype=lead.dtype)[:, None]
    return c - torch.add(rank, lead.sign(), alpha=c).amax(1, keepdim=True).long()


@dataclass(frozen=True)
class Apart:
    """Logits, the winner apart from the other classes.

    :param others: the logits of the other classes, :data:`EXCLUDED` at the winner (of those that tie, at the first).
    :param at_winner: the winner's.
    :param highest: the largest of the others.
    :param rest: what the others sum to: their logsumexp.
    """

    others: Float[Tensor, "n c p"]
    at_winner: Float[Tensor, "n 1 p"]
    highest: Float[Tensor, "n 1 p"]
    rest: Float[Tensor, "n 1 p"]


def apart(logits: Float[Tensor, "n c p"], winner: Int[Tensor, "n 1 p"]) -> Apart:
    """Return the winner of each pixel apart from the other classes.

    :param logits: any logits; their memory is written over.
    :param winner: a class a pixel.
    """
    at_winner = logits.gather(1, winner)
    others = logits.scatter_(1, winner, EXCLUDED)
    highest = others.amax(1, keepdim=True)
    rest = exponentiated(others - highest).sum(1, keepdim=True).log_().add_(highest)
    return Apart(others, at_winner, highest, rest)


def nearest_with_confidence(
    rest: Float[Tensor, "n 1 p"], others: Float[Tensor, "n c p"], winners: Bool[Tensor, "n c p"]
) -> Float[Tensor, "n c p"]:
    """Return logits, the winners' at 0: what remains, ``exp(rest)``, goes to the others in their proportion.

    No class gets more than the winner: one that would is cut, and what is cut goes to those below, in their proportion.
    Of all distributions as sure of that winner in which it wins, this is the nearest to the others' own (in KL
    divergence).

    :param others: log-probabilities of the classes other than the winner.
    """
    over = rest + others.amax(1, keepdim=True) > 0
    lift = replaced_where(over, rest.clone(), _lift, rest, others)
    return (lift + others).clamp(EXCLUDED, 0.0).masked_fill(winners, 0.0)


def _lift(rest: Float[Tensor, "n 1 p"], others: Float[Tensor, "n c p"]) -> Float[Tensor, "n 1 p"]:
    """What to add to log-probabilities so that their exponentials, cut at 1, sum to ``exp(rest)``.

    Probabilities lifted by s and cut at 1 sum to no more than k + s * (sum of all but k of them), whichever the k are,
    and to just that where these are cut. So of the s at which such a bound is as wanted, the largest is the right one.
    Newton's steps climb to it, from k = 0 on with those k that the last s cuts, at a fraction of the time of sorting.
    """
    if is_unasked(others):
        return _lift_by_sorting(rest, others)
    probs, wanted = exponentiated(others.clone()), rest.exp()
    lift = wanted / probs.sum(1, keepdim=True)
    for _ in range(others.shape[1]):
        cut = (probs * lift).sub_(1).sign_().clamp_min_(0)
        higher = (wanted - cut.sum(1, keepdim=True)) / (1 - cut).mul_(probs).sum(1, keepdim=True)
        climbs = higher > lift * (1 + 1e-6)
        if not bool(climbs.any()):
            break
        lift = torch.where(climbs, higher, lift)
    return lift.log()


def _lift_by_sorting(rest: Float[Tensor, "n 1 p"], others: Float[Tensor, "n c p"]) -> Float[Tensor, "n 1 p"]:
    """The same where code must not ask for values: an export cannot stop early."""
    count = others.shape[1]
    largest_first = others.mT.sort(-1, descending=True).values.clamp_min(MIN_EXPONENT).exp()
    left = largest_first.flip(-1).cumsum(-1).flip(-1)
    lifts = (rest.mT.exp() - torch.arange(count, device=rest.device)) / left
    return lifts.amax(-1, keepdim=True).log().mT
