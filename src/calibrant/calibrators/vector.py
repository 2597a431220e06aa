"""Vector scaling: one weight and one bias a class (Guo et al., ICML 2017; "logistic scaling" in Wang et al., 2023)."""

from typing import Any

import torch

from calibrant._input.checks import check_classes_as_fitted
from calibrant._shapes import Bool, Float, Int, Tensor
from calibrant.calibrators import _newton
from calibrant.calibrators._descend import published
from calibrant.calibrators._newton import Taylor
from calibrant.calibrators._notes import stopped_short, warn_and_note
from calibrant.calibrators._projections import LARGEST, map_with_winners
from calibrant.calibrators._strength import best_temperature, choose, fallen_back, num_classes
from calibrant.calibrators._tensors import keep_tensors
from calibrant.calibrators.calibrator import MIN_EXPONENT, Calibrator, by_pixel_blocks
from calibrant.calibrators.pixels import Pixels
from calibrant.errors import InputError
from calibrant.predictions import Predictions, PredictionsLike, predictions_of

RIDGE = 1e-8
"""Pulls weights to 1 and biases to 0, so weakly that the likelihood is the optimum's to seven digits."""

STRENGTHS = (0.1, 0.01, 1e-3, 1e-4, RIDGE)
"""Of the pull towards temperature scaling, to choose from."""


class VectorScaling(Calibrator):
    """Scale and shift the logits of each class: ``weight * z + bias``. It may change the label map.

    :param weight: one number a class.
    :param bias: one number a class.
    :param keep_labels: keep the label map: where another class overtakes the winner, they share their probability, as
        in the nearest distribution in which the winner still wins.
    :param notes: what a fit had to say.
    :raises InputError: the two are not finite lists of one length.

    >>> VectorScaling(torch.tensor([1.0, 2.0]), torch.tensor([0.0, -1.0]))(torch.tensor([[[1.0], [3.0]]])).squeeze()
    tensor([1., 5.])
    """

    reach = 0
    weight: Tensor
    bias: Tensor
    strength: float | None = None
    """Of the regularisation that the fit took; None where it is not known, as after loading."""

    def __init__(
        self,
        weight: Float[Tensor, " c"],
        bias: Float[Tensor, " c"],
        *,
        keep_labels: bool = False,
        notes: tuple[str, ...] = (),
    ) -> None:
        super().__init__(notes=notes)
        if weight.shape != bias.shape or weight.ndim != 1 or not bool((weight.isfinite() & bias.isfinite()).all()):
            raise InputError(
                f"expected one finite weight and one finite bias a class; got {tuple(weight.shape)} and "
                f"{tuple(bias.shape)}. Pass two vectors of one length."
            )
        keep_tensors(self, weight=weight, bias=bias)
        self.keeps_labels = keep_labels

    def forward(
        self, logits: Float[Tensor, "n c *s"], image: Float[Tensor, "n k *s"] | None = None
    ) -> Float[Tensor, "n c *s"]:
        """Return the logits scaled and shifted, in float32.

        :param logits: raw logits, class axis second, in any floating-point type.
        :param image: not used.
        :raises ShapeError: the logits have another number of classes.
        """
        check_classes_as_fitted(logits, self.num_classes)
        weight, bias = self.weight[:, None], self.bias[:, None]

        def mapped(z: Tensor) -> Tensor:
            return (z * weight).add_(bias).clamp_(-LARGEST, LARGEST)  # a quarter of the time of torch.addcmul

        return map_with_winners(mapped, logits) if self.keeps_labels else by_pixel_blocks(mapped, logits)

    def arguments(self) -> dict[str, Any]:
        """Return weight and bias, and whether the label map is kept."""
        return {"weight": self.weight, "bias": self.bias, "keep_labels": self.keeps_labels}

    @property
    def num_classes(self) -> int:
        """The number of classes that it was fitted on."""
        return len(self.weight)

    def extra_repr(self) -> str:
        """Show the number of classes, the range of the weights, and whether the label map is kept."""
        weights = f"weights={float(self.weight.min()):.4g}..{float(self.weight.max()):.4g}"
        return f"num_classes={self.num_classes}, {weights}, keep_labels={self.keeps_labels}"

    @classmethod
    def fit(
        cls,
        predictions: PredictionsLike,
        labels: Any = None,
        *,
        strength: float | None = None,
        keep_labels: bool = False,
        safe: bool = True,
        pixels_per_image: int | None = 10_000,
        seed: int = 0,
    ) -> "VectorScaling":
        """Return the weights and biases with the smallest negative log-likelihood plus a pull to temperature scaling.

        The pull is ``strength / 2`` times the squared distance from it, in mean NLL. A shift common to all biases
        changes nothing, and the bias of a class without labels would fall forever; so the pull is never below 1e-8,
        and with ``strength=0, safe=False`` it goes to the identity: this is plain vector scaling at its optimum.

        :param predictions: labelled predictions to fit on.
        :param labels: label maps, where logits (n, c, *s) are given in place of predictions: see
            :func:`~calibrant.predictions.predictions_of`, which also takes loaders and data sets of pairs.
        :param strength: by default the best of :data:`STRENGTHS` on left-out images.
        :param keep_labels: return the form that keeps the label map.
        :param safe: return temperature scaling, and say so, if the fit does not beat it on left-out images by more
            than the standard error of its gain, or if there is but one image (then nothing is chosen, either).
        :param pixels_per_image: pixels drawn of each image; None for all of them, streamed.
        :param seed: decides which pixels are drawn and how images are left out.
        :raises FitError: there is no labelled pixel.
        """
        predictions = predictions_of(predictions, labels)
        source: Predictions | Pixels = predictions
        if pixels_per_image is not None:
            source = Pixels.draw(predictions, per_image=pixels_per_image, seed=seed)
        c = num_classes(source)
        plain = strength == 0 and not safe
        centre = _scaling(1.0 if plain else best_temperature(source, seed=seed), c)
        start, notes = None, ()
        if strength is None or safe:
            chosen = choose(
                STRENGTHS if strength is None else (max(RIDGE, strength),),
                lambda pixels, temperature, ridge, at: (
                    _fit(pixels, _scaling(temperature, c), ridge, at, seed, tolerance=1e-4).point
                ),  # a rough one, to choose by
                lambda point: cls(point[:c], point[c:], keep_labels=keep_labels),
                source,
                seed=seed,
            )
            if safe and not chosen.is_real:
                note = fallen_back("vector scaling", chosen)
                return cls(centre[:c], centre[c:], keep_labels=True, notes=(note,))
            start, strength, notes = chosen.start, chosen.strength, (str(chosen),)
        strength = max(RIDGE, strength or 0.0)
        found = _fit(source, centre, strength, start, seed)
        point = found.point
        notes += stopped_short("vector scaling", found.evaluations, found.converged)
        notes += _absent(found.counts > 0) if strength < 1e-6 else ()
        fitted = cls(point[:c], point[c:], keep_labels=keep_labels, notes=notes)
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
    ) -> "VectorScaling":
        """Return the weights and biases that the recipe of Wang et al. (CVPR 2023, Supp. Table 1) ends with.

        AdamW, learning rate 1e-3, weight decay 1e-6, 40 epochs of batches of 20 maps, from the identity; the state
        with the lowest NLL on a fifth of the images, held out, is kept. It stops far before the optimum.

        :param predictions: labelled predictions to fit on.
        :param labels: label maps, where logits (n, c, *s) are given in place of predictions: see
            :func:`~calibrant.predictions.predictions_of`, which also takes loaders and data sets of pairs.
        :param pixels_per_image: pixels in a map; the paper's maps are 56 x 56.
        :param num_epochs: passes over the images; the state of the best is kept.
        :param seed: decides which pixels are drawn, which images are held out, and the order of the batches.
        """
        predictions = predictions_of(predictions, labels)
        pixels = Pixels.draw(predictions, per_image=pixels_per_image, seed=seed)
        weight = torch.ones_like(pixels.logits[:, :1]).requires_grad_()
        bias = torch.zeros_like(pixels.logits[:, :1]).requires_grad_()
        published([weight, bias], lambda z: z * weight + bias, pixels, num_epochs=num_epochs, seed=seed)
        return cls(weight.detach().squeeze(1), bias.detach().squeeze(1))


def _scaling(temperature: float, c: int) -> Float[Tensor, " q"]:
    return torch.cat([torch.full((c,), 1 / temperature), torch.zeros(c)]).double()


def _fit(
    source: Predictions | Pixels,
    centre: Float[Tensor, " q"],
    strength: float,
    start: Float[Tensor, " q"] | None,
    seed: int,
    *,
    tolerance: float = 1e-7,
) -> _newton.Minimum:
    """The minimum, from where another fit ended or, by way of a sample, from the centre."""
    if start is None:
        return _newton.fit(_negative_log_likelihood, centre, source, pixels_per_image=None, seed=seed, ridge=strength)
    return _newton.minimise(
        _negative_log_likelihood,
        _newton.Blocks(source),
        start,
        ridge=strength,
        centre=centre,
        tolerance=tolerance,
    )


def _absent(present: Bool[Tensor, " c"]) -> tuple[str, ...]:
    absent = (~present).nonzero().squeeze(1).tolist()
    if not absent:
        return ()
    shown = ", ".join(map(str, absent[:8])) + (", …" if len(absent) > 8 else "")
    return (
        warn_and_note(
            f"vector scaling: {len(absent)} of {len(present)} classes have no labelled pixel in the fit ({shown}) and "
            "are pushed far down; they will hardly be predicted any more."
        ),
    )


def _negative_log_likelihood(
    logits: Float[Tensor, "c p"], labels: Int[Tensor, " p"], point: Float[Tensor, " q"]
) -> Taylor:
    """The sums over pixels of -log softmax(w z + b)_y, its gradient and its Hessian in (w, b).

    With u = (p z, p) stacked, the Hessian is diag-blocks(sum p z², sum p z, sum p) - sum u uᵀ: one matrix product.
    """
    c = logits.shape[0]
    weight, bias = point.float()[:c, None], point.float()[c:, None]
    scaled = torch.addcmul(bias, logits, weight)
    at_label = scaled.gather(0, labels[None]).squeeze(0)
    scaled -= (peak := scaled.amax(0))
    scaled.clamp_min_(MIN_EXPONENT).exp_()
    total = scaled.sum(0)
    value = (total.log() + peak - at_label).sum(dtype=torch.float64)

    stacked = torch.empty(2 * c, logits.shape[1], device=logits.device)
    probs = torch.div(scaled, total, out=stacked[c:])
    expected = torch.mul(probs, logits, out=stacked[:c])
    sums = stacked.sum(1).double()
    labelled = torch.zeros(2, c, dtype=torch.float64, device=logits.device)
    z_label = logits.gather(0, labels[None]).squeeze(0).double()
    labelled[0].index_add_(0, labels, z_label)
    labelled[1].index_add_(0, labels, torch.ones_like(z_label))
    hessian = -(stacked @ stacked.T).double()
    w, b = torch.arange(c), torch.arange(c, 2 * c)
    hessian[w, w] += torch.mul(expected, logits, out=scaled).sum(1).double()
    hessian[w, b] += sums[:c]
    hessian[b, w] += sums[:c]
    hessian[b, b] += sums[c:]
    return Taylor(value, sums - labelled.flatten(), hessian)
