"""Small smooth convex fits, taken to their optimum, over any number of pixels.

What is minimised is the mean over labelled pixels of a *term* with few parameters (2 c at most, say), plus a ridge. A
term returns the sums over a block of pixels of its value, gradient and Hessian; they are added in float64. Newton's
method, with steps halved until the loss falls, then needs a handful of passes over the pixels, most of them over a
small sample (see :func:`fit`).

It is ours because pixels may be streamed, one image in memory at a time: each evaluation is a pass over all images,
and scipy's trust-exact asks for value, gradient and Hessian apart, which is up to three.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from calibrant._input.checks import check_labelled
from calibrant._shapes import Float, Int, Tensor
from calibrant.calibrators._passes import Blocks
from calibrant.calibrators.pixels import Pixels
from calibrant.errors import FitError
from calibrant.predictions import Predictions

SAMPLE = 16
"""A fit starts from its optimum over one pixel in this many, which is close to that over all."""

HALVINGS = 16
"""A step that does not lower the loss after this many halvings is within the noise of float32: the optimum."""

LIFTS = (0.0, *(10.0**power for power in range(-10, 4)))
"""What is added to the Hessian's diagonal, relative to its largest entry, until it can be inverted."""


@dataclass(frozen=True)
class Taylor:
    """A value, its gradient and its Hessian, all in float64: sums over pixels, or their mean."""

    value: Float[Tensor, ""]
    gradient: Float[Tensor, " q"]
    hessian: Float[Tensor, "q q"]

    @property
    def is_finite(self) -> bool:
        """Whether all of it is."""
        return all(bool(torch.isfinite(part).all()) for part in (self.value, self.gradient, self.hessian))

    def __add__(self, other: "Taylor") -> "Taylor":
        return Taylor(self.value + other.value, self.gradient + other.gradient, self.hessian + other.hessian)


Term = Callable[[Float[Tensor, "c p"], Int[Tensor, " p"], Float[Tensor, " q"]], Taylor]
"""From logits, labels and float64 parameters to the sums over these pixels. A function of a module: it is pickled."""


@dataclass(frozen=True)
class _Counted:
    """The sums of a term over some pixels.

    :param counts: how many pixels of each class they are.
    :param sums: over these pixels.
    """

    counts: Int[Tensor, " c"]
    sums: Taylor

    def __add__(self, other: "_Counted") -> "_Counted":
        return _Counted(self.counts + other.counts, self.sums + other.sums)


def _counted(
    logits: Float[Tensor, "c p"], labels: Int[Tensor, " p"], term: Term, point: Float[Tensor, " q"]
) -> _Counted:
    return _Counted(torch.bincount(labels, minlength=len(logits)), term(logits, labels, point.to(logits.device)))


@dataclass(frozen=True)
class Minimum:
    """Where a minimisation ended.

    :param value: the mean of the term there, over the pixels (without the ridge).
    :param evaluations: passes over the pixels that it took.
    :param converged: false if the steps ran out.
    :param counts: labelled pixels of each class.
    """

    point: Float[Tensor, " q"]
    value: float
    evaluations: int
    converged: bool
    counts: Int[Tensor, " c"]


def minimise(
    term: Term,
    blocks: Blocks,
    start: Float[Tensor, " q"],
    *,
    bounds: tuple[float, float] | None = None,
    ridge: float = 0.0,
    centre: Float[Tensor, " q"] | None = None,
    tolerance: float = 1e-7,
    max_evaluations: int = 100,
) -> Minimum:
    """Return the minimum of the mean of a convex term, by damped Newton steps.

    It ends when the next step promises less than ``tolerance`` of the value (or 1e-9), and takes that step; steps
    that bring no gain are halved.

    :param bounds: of every parameter; exact for one parameter.
    :param ridge: adds ``ridge / 2 * |point - centre|^2`` to the mean; it keeps a fit finite whose optimum lies at
        infinity, and picks one point along directions in which the term is flat.
    :raises FitError: there is no labelled pixel, or value, gradient or Hessian are not finite at the start.
    """
    start = start.double().cpu()
    centre = start if centre is None else centre.double().cpu()
    low, high = bounds if bounds is not None else (-torch.inf, torch.inf)

    counts = torch.zeros(0, dtype=torch.int64)

    def look(point: Tensor) -> tuple[float, Taylor]:
        """The mean of the term, and the Taylor expansion with the ridge."""
        nonlocal counts
        mean, counts = _mean(term, blocks, point)
        away = point - centre
        ridged = Taylor(0.5 * ridge * (away @ away), ridge * away, ridge * torch.eye(len(point), dtype=torch.float64))
        return float(mean.value), mean + ridged

    point = start.clamp(low, high)
    plain, here = look(point)
    if not here.is_finite:
        raise FitError(
            f"expected a finite loss at the start of a fit, and finite derivatives; got {float(here.value)}. Look for "
            "infinite logits or logits beyond the range of float32."
        )
    evaluations = 1
    while evaluations <= max_evaluations:  # every round looks once or returns
        target = (point + _newton_step(here)).clamp(low, high)
        promise = -float(here.gradient @ (target - point)) / 2
        if promise <= tolerance * abs(plain) + 1e-9:
            return Minimum(target, max(0.0, plain - max(0.0, promise)), evaluations, True, counts)
        for _ in range(HALVINGS):
            if evaluations >= max_evaluations:
                return Minimum(point, plain, evaluations, False, counts)
            plain_there, there = look(target)
            evaluations += 1
            # The slack is the noise of float32: below it nothing can be gained.
            if there.is_finite and there.value <= here.value - 1e-4 * promise + 1e-8 * abs(here.value):
                break
            target, promise = (point + target) / 2, promise / 2
        else:
            return Minimum(point, plain, evaluations, there.is_finite, counts)
        point, plain, here = target, plain_there, there
    return Minimum(point, plain, evaluations, False, counts)


def fit(
    term: Term,
    start: Float[Tensor, " q"],
    predictions: Predictions | Pixels,
    *,
    pixels_per_image: int | None,
    seed: int,
    bounds: tuple[float, float] | None = None,
    ridge: float = 0.0,
) -> Minimum:
    """Return the minimum of a term over predictions: first over one pixel in sixteen, then over all.

    :param pixels_per_image: draw so many and keep them in memory; None uses every pixel and streams the predictions
        in several passes, one image in memory at a time.
    """
    if not isinstance(predictions, Pixels) and pixels_per_image is not None:
        predictions = Pixels.draw(predictions, per_image=pixels_per_image, seed=seed)
    sample = _sample(predictions, seed)
    # A class may be missing from the sample alone: a ridge of one pixel's weight keeps the start within reach.
    near = minimise(
        term, Blocks(sample), start, bounds=bounds, ridge=max(ridge, 1 / len(sample)) if ridge else 0.0, tolerance=1e-5
    )
    return minimise(term, Blocks(predictions), near.point, bounds=bounds, ridge=ridge, centre=start)


def _sample(source: Predictions | Pixels, seed: int) -> Pixels:
    if isinstance(source, Pixels):
        every = max(1, min(SAMPLE, len(source) // 4096))
        return Pixels(source.logits[:, ::every].contiguous(), source.labels[::every], source.image[::every])
    if len(source) == 0:
        raise FitError("expected at least one image to fit on; got none. Check the folder or the split.")
    per_image = max(4096 // len(source), source[0].labels.numel() // SAMPLE)
    return Pixels.draw(source, per_image=per_image, most=250_000, seed=seed)


def _mean(term: Term, blocks: Blocks, point: Float[Tensor, " q"]) -> tuple[Taylor, Int[Tensor, " c"]]:
    """The mean of a term over all pixels, and how many pixels of each class there are."""
    total = blocks.summed(_counted, term, point)
    count = 0 if total is None else int(total.counts.sum())
    check_labelled(count)
    assert total is not None
    mean = Taylor(*(part.cpu() / count for part in (total.sums.value, total.sums.gradient, total.sums.hessian)))
    return mean, total.counts.cpu()


def _newton_step(here: Taylor) -> Float[Tensor, " q"]:
    """The Newton step, its Hessian lifted just enough to be inverted: float32 sums may leave it slightly indefinite."""
    size = here.hessian.diagonal().abs().max().clamp_min(1e-12)
    eye = torch.eye(len(here.gradient), dtype=torch.float64)
    for lift in LIFTS:
        factor, failed = torch.linalg.cholesky_ex(here.hessian + lift * size * eye)
        if int(failed) == 0:
            step = -torch.cholesky_solve(here.gradient[:, None], factor).squeeze(1)
            if bool(torch.isfinite(step).all()):
                return step
    raise FitError(
        "expected finite second derivatives of the loss; got some that are not. Look for infinite logits or logits "
        "beyond the range of float32."
    )
