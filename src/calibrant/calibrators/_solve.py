"""One temperature a pixel, solved so that the largest probability becomes what it should be.

For a pixel with one largest logit, the confidence of ``softmax(z / T)`` falls strictly from 1 to 1/c as T goes from 0
to infinity, so each confidence between has its temperature. With t = 1 / T and d the other logits less the largest,

    h(t) = log sum exp(t d) = log((1 - confidence) / confidence)

is convex and falls from log(c - 1), nearly along a line for large t. Its tangents lie below it, and its slope never
rises above the largest d: both give bounds on the solution, which steps of third order then close in on.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch

from calibrant._shapes import Float, Int, Tensor
from calibrant.calibrators._projections import LARGEST
from calibrant.calibrators.calibrator import MIN_EXPONENT, by_pixel_blocks

DELTA = 1e-3
"""Confidences stay above (1 + DELTA) / c, which float16 still tells from 1 / c, so that temperatures stay moderate."""

MAX_CONFIDENCE = 1 - 1e-6
"""Confidences stay below this, which float32 still tells from 1."""

STEPS = 12
"""At most; two to four are usual."""

TRACED_STEPS = 7
"""In an export, where none can be skipped; five have always been enough."""

TOLERANCE = 1e-3
"""Of the confidence before the last step, which makes of it half or less, and nearly always a fiftieth."""

FAR = 1e35
"""Logits further below the largest than this are taken to be that far."""

OUT = -1e5
"""In units of the mean distance: too far to count at any temperature that is solved for."""

COLDEST = 2.0**-120


def temperature_for(
    logits: Float[Tensor, "n c *s"], confidence: Float[Tensor, "n 1 *s"], *, near: float = 1.0
) -> Float[Tensor, "n 1 *s"]:
    """Return the temperature of each pixel at which the confidence of ``softmax(logits / T)`` is the one asked for.

    It is met to 2e-4, and nearly always to 2e-5, after being clamped into :func:`reachable`. Where m classes share the
    largest logit no temperature gives more than 1/m, and a very small one is returned; where all do, 1. Gradients flow
    to confidences and logits that ask for them.

    :param near: a temperature to start from; a good guess saves a step.

    >>> z = torch.tensor([[[2.0], [1.0], [0.0]]])
    >>> (z / temperature_for(z, torch.tensor([[[0.8]]]))).softmax(1).amax()
    tensor(0.8000)
    """
    return _over_pixels(lambda z, r: _temperature(z - z.amax(1, keepdim=True), lambda _: r, near), logits, confidence)


def with_confidence(
    logits: Float[Tensor, "n c *s"], confidence: Float[Tensor, "n 1 *s"], *, near: float = 1.0
) -> Float[Tensor, "n c *s"]:
    """Return the logits at the temperature of :func:`temperature_for`, the largest at 0, with the argmax of the input.

    >>> with_confidence(torch.tensor([[[101.0], [100.0]]]), torch.tensor([[[0.75]]])).squeeze().softmax(0)
    tensor([0.7500, 0.2500])
    """

    def scaled(z: Tensor, r: Tensor) -> Tensor:
        below = z - z.amax(1, keepdim=True)
        return _scaled(below, _temperature(below, lambda _: r, near))

    return _over_pixels(scaled, logits, confidence)


def recalibrated(
    logits: Float[Tensor, "n c *s"],
    wanted: Callable[[Float[Tensor, "n 1 p"], Int[Tensor, "n 1 p"]], Float[Tensor, "n 1 p"]],
    *,
    near: float = 1.0,
    coldest: float = COLDEST,
) -> Float[Tensor, "n c *s"]:
    """Return :func:`with_confidence` where the confidence wanted is a function of the one at temperature ``near``.

    It costs one pass less than asking for both, one after the other.

    :param wanted: from the log-odds of being right at that temperature, and the winning class, to the confidence.
    :param coldest: no temperature is lower. (Where two classes nearly tie, more confidence is had only by taking it
        from all the others.)

    >>> recalibrated(torch.tensor([[[3.0], [1.0]]]), lambda odds, winner: (odds / 2).sigmoid()).softmax(1)[0, 0]
    tensor([0.7311])
    """

    def scaled(z: Tensor) -> Tensor:
        below = z - z.amax(1, keepdim=True)
        at_top = below.sign().add_(1)
        return _scaled(below, _temperature(below, lambda h: wanted(-h, _first(at_top)), near, coldest, at_top))

    return by_pixel_blocks(scaled, logits)


def winner(below: Float[Tensor, "n c p"]) -> Int[Tensor, "n 1 p"]:
    """Return the first class whose distance from the largest logit is 0, a third as slow as an argmax.

    >>> winner(torch.tensor([[[-1.0], [0.0], [0.0]]])).item()
    1
    """
    return _first(below.sign().add_(1))


def _first(at_top: Float[Tensor, "n c p"]) -> Int[Tensor, "n 1 p"]:
    """The first class with a 1, where all others have 0."""
    last = at_top.shape[1] - 1
    from_last = torch.arange(last, -1, -1, device=at_top.device, dtype=at_top.dtype)[:, None]
    return last - (at_top * from_last).amax(1, keepdim=True).long()


def _scaled(below: Float[Tensor, "n c p"], temperature: Float[Tensor, "n 1 p"]) -> Float[Tensor, "n c p"]:
    """``below / temperature``, but never 0 where ``below`` is not: ``keep_labels`` where the largest logit is 0."""
    return torch.minimum((below / temperature).clamp_min_(-LARGEST), below.sign().mul_(2.0**-126))


def log_odds(z: Float[Tensor, "n c p"], temperature: float) -> tuple[Float[Tensor, "n 1 p"], Float[Tensor, "n c p"]]:
    """Return the log-odds of the confidence, 16 at most, and the distances from the largest logit.

    >>> log_odds(torch.tensor([[[3.0], [1.0]]]), 2.0)[0].squeeze()
    tensor(1.0000)
    """
    below = z - z.amax(1, keepdim=True)
    total = (below / temperature).clamp_min_(MIN_EXPONENT).exp_().sum(1, keepdim=True)
    return -(total - 1).clamp_min_(1e-7).log_(), below


def reachable(confidence: Tensor, num_classes: int) -> Tensor:
    """Return confidences clamped into what a temperature is solved for.

    >>> reachable(torch.tensor([0.1, 0.6, 1.0]), 2)
    tensor([0.5005, 0.6000, 1.0000])
    """
    return confidence.clamp((1 + DELTA) / num_classes, MAX_CONFIDENCE)


def _over_pixels(function: Callable[..., Tensor], logits: Tensor, confidence: Tensor) -> Tensor:
    if confidence.requires_grad and torch.is_grad_enabled():  # blocks are filled in place, which gradients dislike
        flat = function(logits.flatten(2).float(), confidence.flatten(2))
        return flat.reshape(flat.shape[:2] + logits.shape[2:])
    return by_pixel_blocks(function, logits, confidence)


class _Problem(NamedTuple):
    """What is to be solved, in units of the mean distance of the other classes: then their mean distance is -1.

    :param others: distances from the largest logit; the winners' is so far that its exponential is nil.
    :param ties: how many classes share the largest logit beside the winner.
    :param nearest: the largest distance below 0, or (nearly) 0 where there are ties.
    :param target: h at the solution.
    :param slack: how far h may be off.
    """

    others: Float[Tensor, "n c p"]
    ties: Float[Tensor, "n 1 p"]
    nearest: Float[Tensor, "n 1 p"]
    target: Float[Tensor, "n 1 p"]
    slack: Float[Tensor, "n 1 p"]

    @classmethod
    def of(cls, below: Tensor, at_top: Tensor | None = None) -> tuple["_Problem", Tensor]:
        """Return the problem, without an aim yet, and its unit; ``at_top`` is 1 where ``below`` is 0, else 0."""
        at_top = below.detach().sign().add_(1) if at_top is None else at_top  # three times as fast as masks
        below = below.clamp_min(-FAR)
        unit = -below.sum(1, keepdim=True) / max(1, below.shape[1] - 1)
        ties = at_top.sum(1, keepdim=True) - 1
        others = (below / unit.clamp_min(2.0**-126)).sub_(at_top, alpha=-OUT)
        nearest = others.detach().amax(1, keepdim=True)
        nearest = torch.where(ties > 0, -1e-30, nearest).clamp_max_(-1e-30)
        return cls(others, ties, nearest, nearest, nearest), unit

    def aimed(self, confidence: Tensor) -> "_Problem":
        """Return the problem of reaching a confidence."""
        odds = (1 - confidence) / confidence
        return self._replace(target=odds.log(), slack=TOLERANCE * (2 + odds + 1 / odds))

    def columns(self, chosen: Tensor) -> "_Problem":
        """Return some of the pixels of a single image."""
        return _Problem(*(each.index_select(2, chosen) for each in self))

    def h(self, t: Float[Tensor, "n 1 p"]) -> Float[Tensor, "n 1 p"]:
        """Return the log-odds of being wrong."""
        return ((self.others * t).exp().sum(1, keepdim=True) + self.ties).log()

    def derivatives(self, t: Float[Tensor, "n 1 p"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return h and its three derivatives: the cumulants of the distances under exp(t d)."""
        weight = (self.others * t).clamp_min_(MIN_EXPONENT).exp_()
        total = weight.sum(1, keepdim=True) + self.ties
        one, two, three = (weight.mul_(self.others).sum(1, keepdim=True).div_(total) for _ in range(3))
        curvature = torch.addcmul(two, one, one, value=-1)
        third = torch.addcmul(three, one, curvature * 2 + two, value=-1)
        return total.log_(), one.clamp_max_(-1e-30), curvature, third


def _temperature(
    below: Float[Tensor, "n c p"],
    wanted: Callable[[Tensor], Tensor],
    near: float,
    coldest: float = COLDEST,
    at_top: Float[Tensor, "n c p"] | None = None,
) -> Float[Tensor, "n 1 p"]:
    """The temperature for the confidence that is wanted, given h at the temperature ``near``."""
    with torch.no_grad():
        problem, unit = _Problem.of(below, at_top)
        start = unit / near
        there = problem.derivatives(start)
    confidence = reachable(wanted(there[0]).float(), below.shape[1])
    with torch.no_grad():
        problem = problem.aimed(confidence)
        t = _solution(problem, start, there)
    if torch.is_grad_enabled() and (confidence.requires_grad or below.requires_grad):
        # One Newton step more, which changes next to nothing but carries the gradient of the solution.
        slope = torch.minimum(problem.derivatives(t)[1], -1e-4 / t).detach()
        problem, unit = _Problem.of(below)
        t = t - (problem.h(t) - problem.aimed(confidence).target) / slope
    # Where all logits are equal (or nearly so: denormal distances) nothing can be scaled.
    return torch.where(unit < 2.0**-126, 1.0, (unit / t).clamp(coldest, 2.0**120))


def _solution(problem: _Problem, t: Tensor, there: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
    """The solution, from t and what h does there. A solved pixel moves no more, whatever the others need."""
    fall = (problem.target - math.log(max(1, problem.others.shape[1] - 1))).clamp_max(0)
    low = torch.maximum(-fall, problem.target / problem.nearest).clamp_min_(1e-20)
    high = (fall / problem.nearest).clamp_(1e-20, 1e30)
    solution, left = t, None
    unsolved = torch.ones_like(t, dtype=torch.bool)
    for number in range(TRACED_STEPS if torch.compiler.is_compiling() else STEPS):
        h, slope, curvature, third = problem.derivatives(t) if number else there
        off = h - problem.target
        # A start beyond the bound is too cold for h to be told; then the bound is where to start.
        told = t <= high
        low = torch.where(told, torch.maximum(low, torch.addcdiv(t, off, slope, value=-1)), low)
        step = torch.where(told, _step(off, slope, curvature, third), torch.inf)
        high = torch.minimum(high, torch.addcdiv(t, off.clamp_min(0), problem.nearest, value=-1))
        ahead = torch.minimum(torch.maximum(t + step, low), high)
        # Where h bends much on the way, or the start was too cold, a small error is no sign that the step is good.
        bends = torch.addcmul(slope * slope, off.abs(), curvature, value=-4) <= 0
        blind = bends | (ahead < t / 2) | ~told
        t = torch.where(unsolved, ahead, t)
        unsolved = unsolved & ((off.abs() > problem.slack) | blind)
        if torch.compiler.is_compiling():
            solution = t
            continue
        solution = t if left is None else solution.index_copy(2, left, t)
        count = int(unsolved.sum())
        if count == 0:
            break
        if len(t) == 1 and count < 0.7 * t.shape[2]:
            chosen = unsolved[0, 0].nonzero().squeeze(1)
            problem = problem.columns(chosen)
            low, high, t, unsolved = (each.index_select(2, chosen) for each in (low, high, t, unsolved))
            left = chosen if left is None else left[chosen]
    return solution


def _step(off: Tensor, slope: Tensor, curvature: Tensor, third: Tensor) -> Tensor:
    """A zero of the cubic through h: the nearer one of its parabola (or the vertex), mended by a Newton step."""
    newton = -off / slope
    bend = curvature / slope
    step = newton * 2 / (1 + torch.addcmul(torch.ones_like(off), newton, bend, value=2).clamp_min_(0).sqrt_())
    cube = third / slope * (step * step)
    rise = 1 + step * bend + cube / 2
    value = step - newton + bend * (step * step) / 2 + cube * step / 6
    mended = step - value / rise
    return torch.where((rise > 0.1) & mended.isfinite(), mended, step)
