"""Vector scaling: one weight and one bias a class (Guo et al., ICML 2017; "logistic scaling" in Wang et al., 2023)."""

from typing import Any

import torch

from calibrant._shapes import Float, Int, Tensor
from calibrant.calibrators import _minimise
from calibrant.calibrators._descend import published
from calibrant.calibrators._minimise import Taylor
from calibrant.calibrators.calibrator import LARGEST, Calibrator, in_blocks, remark
from calibrant.errors import InputError, ShapeError
from calibrant.predictions import Pixels, Predictions

RIDGE = 1e-8
"""Pulls weights to 1 and biases to 0, so weakly that the likelihood is the optimum's to seven digits."""


class VectorScaling(Calibrator):
    """Scale and shift the logits of each class: ``weight * z + bias``. It may change the label map.

    :param weight: one number a class.
    :param bias: one number a class.
    :param notes: what a fit had to say.
    :raises InputError: the two are not finite lists of one length.

    >>> VectorScaling(torch.tensor([1.0, 2.0]), torch.tensor([0.0, -1.0]))(torch.tensor([[[1.0], [3.0]]])).squeeze()
    tensor([1., 5.])
    """

    keeps_argmax = False
    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Float[Tensor, " c"], bias: Float[Tensor, " c"], notes: tuple[str, ...] = ()) -> None:
        super().__init__(notes)
        if weight.shape != bias.shape or weight.ndim != 1 or not bool((weight.isfinite() & bias.isfinite()).all()):
            raise InputError(
                f"expected one finite weight and one finite bias a class; got {tuple(weight.shape)} and "
                f"{tuple(bias.shape)}. Pass two vectors of one length."
            )
        self.register_buffer("weight", weight.detach().float().clone())
        self.register_buffer("bias", bias.detach().float().clone())

    def forward(
        self, logits: Float[Tensor, "n c *s"], image: Float[Tensor, "n k *s"] | None = None
    ) -> Float[Tensor, "n c *s"]:
        """Return the logits scaled and shifted, in float32.

        :raises ShapeError: the logits have another number of classes.
        """
        if logits.shape[1] != self.weight.shape[0]:
            raise ShapeError(
                f"expected logits of {self.weight.shape[0]} classes, as fitted, in axis 1; got {tuple(logits.shape)}. "
                "Fit on predictions of this model."
            )
        weight, bias = self.weight[:, None], self.bias[:, None]
        return in_blocks(lambda z: torch.addcmul(bias, z, weight).clamp(-LARGEST, LARGEST), logits)

    def arguments(self) -> dict[str, Any]:
        """Return weight and bias."""
        return {"weight": self.weight, "bias": self.bias}

    @classmethod
    def fit(cls, predictions: Predictions, *, pixels_per_image: int | None = 10_000, seed: int = 0) -> "VectorScaling":
        """Return the weights and biases with the smallest negative log-likelihood, to their optimum.

        A shift common to all biases changes nothing, and the bias of a class without labels would fall forever; a
        ridge of 1e-8 towards the identity settles both. Classes without labels are noted.

        :param pixels_per_image: pixels drawn of each image; None for all of them, streamed.
        :raises FitError: there is no labelled pixel.
        """
        source = predictions
        if pixels_per_image is not None:
            source = Pixels.draw(predictions, per_image=pixels_per_image, seed=seed)
        c = source.logits.shape[0] if isinstance(source, Pixels) else _num_classes(predictions)
        start = torch.cat([torch.ones(c), torch.zeros(c)]).double()
        present = torch.zeros(c, dtype=torch.bool)

        def term(logits: Tensor, labels: Tensor, point: Tensor) -> Taylor:
            present[labels.cpu()] = True
            return _negative_log_likelihood(logits, labels, point)

        found = _minimise.fit(term, start, source, pixels_per_image=None, seed=seed, ridge=RIDGE)
        absent = (~present).nonzero().squeeze(1).tolist()
        notes = ()
        if absent:
            shown = ", ".join(map(str, absent[:8])) + (", …" if len(absent) > 8 else "")
            notes = (
                remark(
                    f"vector scaling: {len(absent)} of {c} classes have no labelled pixel in the fit ({shown}) and are "
                    "pushed far down; they will hardly be predicted any more."
                ),
            )
        return cls(found.point[:c].float(), found.point[c:].float(), notes)

    @classmethod
    def fit_as_published(
        cls, predictions: Predictions, *, pixels_per_image: int | None = 56 * 56, epochs: int = 40, seed: int = 0
    ) -> "VectorScaling":
        """Return the weights and biases that the recipe of Wang et al. (CVPR 2023, Supp. Table 1) ends with.

        AdamW, learning rate 1e-3, weight decay 1e-6, 40 epochs of batches of 20 maps, from the identity; the state
        with the lowest NLL on a fifth of the images, held out, is kept. It stops far before the optimum.

        :param pixels_per_image: pixels in a map; the paper's maps are 56 x 56.
        """
        pixels = Pixels.draw(predictions, per_image=pixels_per_image, seed=seed)
        weight = torch.ones_like(pixels.logits[:, :1]).requires_grad_()
        bias = torch.zeros_like(pixels.logits[:, :1]).requires_grad_()
        published([weight, bias], lambda z: z * weight + bias, pixels, epochs=epochs, seed=seed)
        return cls(weight.detach().squeeze(1), bias.detach().squeeze(1))


def _num_classes(predictions: Predictions) -> int:
    for prediction in predictions:
        return prediction.num_classes
    return 0  # no image: the fit itself says so


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
    scaled.exp_()
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
