"""Dirichlet calibration: a matrix on the log-probabilities (Kull et al., NeurIPS 2019), with ODIR regularisation."""

from typing import Any

import torch

from calibrant._input.checks import check_classes_as_fitted
from calibrant._shapes import Float, Int, Tensor
from calibrant.calibrators import _quasi_newton
from calibrant.calibrators._descend import published
from calibrant.calibrators._likelihood import FLOOR, floored_log_softmax
from calibrant.calibrators._notes import stopped_short
from calibrant.calibrators._passes import Blocks
from calibrant.calibrators._projections import LARGEST, map_with_winners
from calibrant.calibrators._strength import best_temperature, choose, fallen_back, num_classes, sample
from calibrant.calibrators._tensors import keep_tensors
from calibrant.calibrators.calibrator import MIN_EXPONENT, Calibrator, by_pixel_blocks
from calibrant.calibrators.pixels import Pixels
from calibrant.errors import InputError
from calibrant.predictions import Predictions, PredictionsLike, predictions_of

STRENGTHS = (1.0, 0.1, 0.01, 1e-3, 1e-4)
"""Of the regularisation, to choose from."""

DIAGONAL = 0.05
"""The diagonal's share in it. ODIR leaves the diagonal free, and a class missing from the fit then runs away."""

RIDGE = 1e-8
"""Pulls to temperature scaling, so weakly that the likelihood is the optimum's to six digits."""

MAX_BLOCKS = 256
"""With more classes, one preconditioner serves all rows."""


class DirichletScaling(Calibrator):
    """A matrix and a bias on the log-probabilities: ``weight @ log_softmax(z) + bias``. It may change the label map.

    (On logits the same is called matrix scaling; the two differ, as a matrix sees a pixel's common offset.)

    :param weight: row k makes the new logit of class k.
    :param bias: one number a class.
    :param floor: probabilities below this count as this.
    :param keep_labels: keep the label map: where another class overtakes the winner, they share their probability, as
        in the nearest distribution in which the winner still wins.
    :param notes: what a fit had to say.
    :raises InputError: they are not a finite square matrix and a finite vector of one size.

    >>> swap = DirichletScaling(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.zeros(2))
    >>> swap(torch.tensor([[[0.0], [1.0]]])).softmax(1).squeeze()
    tensor([0.7311, 0.2689])
    """

    reach = 0
    weight: Tensor
    bias: Tensor
    strength: float | None = None
    """Of the regularisation that the fit took; None where it is not known, as after loading."""

    def __init__(
        self,
        weight: Float[Tensor, "c c"],
        bias: Float[Tensor, " c"],
        *,
        floor: float = FLOOR,
        keep_labels: bool = False,
        notes: tuple[str, ...] = (),
    ) -> None:
        super().__init__(notes=notes)
        finite = bool(weight.isfinite().all()) and bool(bias.isfinite().all())
        if bias.ndim != 1 or weight.shape != (len(bias), len(bias)) or not finite:
            raise InputError(
                f"expected a finite square weight and one finite bias a class; got {tuple(weight.shape)} and "
                f"{tuple(bias.shape)}. Pass (c, c) and (c,)."
            )
        keep_tensors(self, weight=weight, bias=bias)
        self.floor = float(floor)
        self.keeps_labels = keep_labels

    def forward(
        self, logits: Float[Tensor, "n c *s"], image: Float[Tensor, "n k *s"] | None = None
    ) -> Float[Tensor, "n c *s"]:
        """Return the mapped log-probabilities, in float32.

        :param logits: raw logits, class axis second, in any floating-point type.
        :param image: not used.
        :raises ShapeError: the logits have another number of classes.
        """
        check_classes_as_fitted(logits, self.num_classes)

        def mapped(z: Tensor) -> Tensor:
            return (self.weight @ floored_log_softmax(z, self.floor)).add_(self.bias[:, None]).clamp_(-LARGEST, LARGEST)

        return map_with_winners(mapped, logits) if self.keeps_labels else by_pixel_blocks(mapped, logits)

    def arguments(self) -> dict[str, Any]:
        """Return weight, bias, floor, and whether the label map is kept."""
        return {"weight": self.weight, "bias": self.bias, "floor": self.floor, "keep_labels": self.keeps_labels}

    @property
    def num_classes(self) -> int:
        """The number of classes that it was fitted on."""
        return len(self.weight)

    def extra_repr(self) -> str:
        """Show the number of classes, the range of the diagonal, and whether the label map is kept."""
        diagonal = self.weight.diagonal()
        shown = f"diagonal={float(diagonal.min()):.4g}..{float(diagonal.max()):.4g}"
        return f"num_classes={self.num_classes}, {shown}, keep_labels={self.keeps_labels}"

    @classmethod
    def fit(
        cls,
        predictions: PredictionsLike | Pixels,
        labels: Any = None,
        *,
        strength: float | None = None,
        bias_strength: float | None = None,
        keep_labels: bool = False,
        safe: bool = True,
        pixels_per_image: int | None = 10_000,
        seed: int = 0,
    ) -> "DirichletScaling":
        """Return the matrix and bias with the smallest regularised mean negative log-likelihood.

        What is added to it is ODIR (off-diagonal and intercept regularisation; Kull et al., 2019),

            strength * sum of squared off-diagonal weights + bias_strength * sum of squared biases,

        whose sums are not divided by their number of terms. So that a class without labels stays near temperature
        scaling, the diagonal is pulled there by a twentieth of ``strength``, and everything by 1e-8.

        :param predictions: labelled predictions to fit on.
        :param labels: label maps, where logits (n, c, *s) are given in place of predictions: see
            :func:`~calibrant.predictions.predictions_of`, which also takes loaders and data sets of pairs.
        :param strength: by default the best of :data:`STRENGTHS` on left-out images; 0 for none.
        :param bias_strength: by default a tenth of ``strength``: biases are few.
        :param keep_labels: return the form that keeps the label map.
        :param safe: return temperature scaling, and say so, if the fit does not beat it on left-out images by more
            than the standard error of its gain, or if there is but one image (then nothing is chosen, either).
        :param pixels_per_image: pixels drawn of each image; None for all of them, streamed. Pixels are taken as given.
        :param seed: decides which pixels are drawn and how images are left out.
        :raises FitError: there is no labelled pixel.
        """
        if not isinstance(predictions, Pixels):
            predictions = predictions_of(predictions, labels)
        source = predictions
        if pixels_per_image is not None and not isinstance(predictions, Pixels):
            source = Pixels.draw(predictions, per_image=pixels_per_image, seed=seed)
        c = num_classes(source)
        temperature = best_temperature(source, seed=seed)
        start, notes = None, ()
        if strength is None or safe:
            chosen = choose(
                STRENGTHS if strength is None else (strength,),
                lambda pixels, t, power, at: _fit(pixels, t, power, bias_strength, at, tolerance=1e-4).point,
                lambda point: cls(point[:, :c], point[:, c], keep_labels=keep_labels),
                source,
                seed=seed,
            )
            if safe and not chosen.is_real:
                note = fallen_back("Dirichlet scaling", chosen)
                return cls(torch.eye(c) / temperature, torch.zeros(c), keep_labels=True, notes=(note,))
            start, strength, notes = chosen.start, chosen.strength, (str(chosen),)
        strength = strength or 0.0
        near = _fit(sample(source, seed), temperature, strength, bias_strength, start, tolerance=1e-5)
        found = _fit(source, temperature, strength, bias_strength, near.point, seed=seed)
        notes += stopped_short("Dirichlet scaling", found.evaluations, found.converged)
        fitted = cls(found.point[:, :c], found.point[:, c], keep_labels=keep_labels, notes=notes)
        fitted.strength = strength
        return fitted

    @classmethod
    def fit_as_published(
        cls,
        predictions: PredictionsLike,
        labels: Any = None,
        *,
        pixels_per_image: int | None = 56 * 56,
        num_epochs: int = 40,
        seed: int = 0,
    ) -> "DirichletScaling":
        """Return the matrix and bias that the recipe of Wang et al. (CVPR 2023, Supp. Table 1) ends with.

        AdamW, learning rate 1e-3, weight decay 1e-6, 40 epochs of batches of 20 maps, from the identity, without ODIR,
        on probabilities floored at 1e-10; the state with the lowest NLL on a fifth of the images, held out, is kept.

        :param predictions: labelled predictions to fit on.
        :param labels: label maps, where logits (n, c, *s) are given in place of predictions: see
            :func:`~calibrant.predictions.predictions_of`, which also takes loaders and data sets of pairs.
        :param pixels_per_image: pixels in a map; the paper's maps are 56 x 56.
        :param num_epochs: passes over the images; the state of the best is kept.
        :param seed: decides which pixels are drawn, which images are held out, and the order of the batches.
        """
        predictions = predictions_of(predictions, labels)
        pixels = Pixels.draw(predictions, per_image=pixels_per_image, seed=seed)
        x = Pixels(floored_log_softmax(pixels.logits[None], 1e-10)[0], pixels.labels, pixels.image)
        weight = torch.eye(len(x.logits), device=x.logits.device, requires_grad=True)
        bias = torch.zeros_like(x.logits[:, :1]).requires_grad_()
        published([weight, bias], lambda z: weight @ z + bias, x, num_epochs=num_epochs, seed=seed)
        return cls(weight.detach(), bias.detach().squeeze(1), floor=1e-10)


def _fit(
    source: Predictions | Pixels,
    temperature: float,
    strength: float,
    bias_strength: float | None,
    start: Float[Tensor, "c q"] | None = None,
    *,
    tolerance: float = 1e-6,
    seed: int = 0,
) -> _quasi_newton.Found:
    """The minimum over ``[weight, bias]``."""
    c = num_classes(source)
    centre = torch.cat([torch.eye(c) / temperature, torch.zeros(c, 1)], 1).double()
    power = torch.full((c, c + 1), float(strength), dtype=torch.float64).fill_diagonal_(DIAGONAL * strength)
    power[:, c] = strength / 10 if bias_strength is None else bias_strength
    power += RIDGE / 2

    def penalty(point: Tensor) -> tuple[float, Tensor]:
        pull = power * (point - centre)
        return float((pull * (point - centre)).sum()), 2 * pull

    start = centre if start is None else start
    return _quasi_newton.minimise(
        _slope, penalty, _factors(sample(source, seed), start, power), Blocks(source), start, tolerance=tolerance
    )


def _slope(
    logits: Float[Tensor, "c p"], labels: Int[Tensor, " p"], point: Float[Tensor, "c q"]
) -> tuple[float, Tensor]:
    """The sums over pixels of -log softmax(W x + b)_y and of its gradient, (p - onehot y) [x, 1]ᵀ."""
    c = len(point)
    x = floored_log_softmax(logits[None], FLOOR)[0]
    scaled = torch.addmm(point[:, c:].float(), point[:, :c].float(), x)
    at_label = scaled.gather(0, labels[None]).squeeze(0)
    scaled -= (peak := scaled.amax(0))
    total = scaled.clamp_min_(MIN_EXPONENT).exp_().sum(0)
    value = float((total.log() + peak - at_label).sum(dtype=torch.float64))
    scaled /= total
    scaled[labels, torch.arange(len(labels), device=labels.device)] -= 1
    gradient = torch.cat([scaled @ x.T, scaled.sum(1, keepdim=True)], 1)
    return value, gradient.double().cpu()


def _factors(pixels: Pixels, point: Float[Tensor, "c q"], power: Float[Tensor, "c q"]) -> _quasi_newton.RowFactors:
    """Factors of the Hessian's blocks on its diagonal, one for each row: mean of p_k (1 - p_k) [x, 1] [x, 1]ᵀ.

    With very many classes one block, of the mean weight, serves all rows but for its size.
    """
    c = len(point)
    size = 1 if c > MAX_BLOCKS else c
    blocks = torch.zeros(size, c + 1, c + 1, dtype=torch.float64)
    mass = torch.zeros(c, dtype=torch.float64)
    for logits, _ in Blocks(pixels):
        x = floored_log_softmax(logits[None], FLOOR)[0]
        probs = torch.addmm(point[:, c:].float(), point[:, :c].float(), x).softmax(0)
        weight = probs * (1 - probs)
        mass += weight.sum(1).cpu()
        x = torch.cat([x, torch.ones_like(x[:1])])
        weight = weight.mean(0, keepdim=True) if size == 1 else weight
        for block, each in zip(blocks, weight, strict=True):
            block += (x * each @ x.T).cpu()
    blocks /= len(pixels)
    share = torch.ones(c, 1, dtype=torch.float64)
    if size == 1:
        share = (mass / mass.mean()).clamp_min(1e-3)[:, None]
    # The curvature of the penalty; the rest damps steps for classes with almost no probability.
    blocks += torch.diag_embed(2 * (power if size > 1 else power.mean(0, keepdim=True)))
    blocks += 1e-6 * torch.eye(c + 1, dtype=torch.float64) * blocks.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
    return _quasi_newton.RowFactors(_quasi_newton.lower_factors(blocks), share.sqrt())
