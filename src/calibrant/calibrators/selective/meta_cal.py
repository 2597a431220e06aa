"""Meta-Cal: reject the pixels whose entropy is large, and scale the others (Ma and Blaschko, ICML 2021).

It is selective scaling with another selector: rejected pixels become uniform. Wang et al. (CVPR 2023) keep their label,
by a large temperature, and call that Meta-Cal*.
"""

from typing import Any

import numpy as np
import torch
from scipy.optimize import isotonic_regression

from calibrant._shapes import Bool, Float, Tensor
from calibrant.calibrators._likelihood import entropy
from calibrant.calibrators._notes import inner_fits
from calibrant.calibrators.calibrator import Calibrator, Fit, by_pixel_blocks
from calibrant.calibrators.pixels import Pixels
from calibrant.calibrators.selective.selective import UNIFORM, SelectiveScaling
from calibrant.calibrators.selective.selector import Selector, SelectorQuality
from calibrant.calibrators.temperature import TemperatureScaling
from calibrant.errors import FitError, InputError
from calibrant.predictions import Prediction, PredictionsLike, predictions_of

BINS = 20
"""Bins along the entropy, of equally many pixels, from which accuracy is estimated."""


class EntropyAbove(Selector):
    """Flag pixels whose entropy reaches a threshold.

    :param threshold: in nats; uncertain pixels lie above.
    :param quality: how well it does on images it was not fitted to, if that was measured.

    >>> EntropyAbove(0.5)(torch.tensor([[[0.0, 0.0], [0.0, 5.0]]]))
    tensor([[ True, False]])
    """

    reach = 0

    def __init__(self, threshold: float, *, quality: SelectorQuality | None = None) -> None:
        super().__init__(quality=quality)
        self.threshold = float(threshold)

    def forward(
        self, logits: Float[Tensor, "n c *s"], image: Float[Tensor, "n k *s"] | None = None
    ) -> Bool[Tensor, "n *s"]:
        """Return true where the entropy is the threshold or more.

        :param logits: raw logits, class axis second, in any floating-point type.
        :param image: not used.
        """
        return by_pixel_blocks(entropy, logits).squeeze(1) >= self.threshold

    def arguments(self) -> dict[str, Any]:
        """Return the threshold."""
        return {"threshold": self.threshold, "quality": self.quality}

    def extra_repr(self) -> str:
        """Show the threshold."""
        return f"threshold={self.threshold:.4g}"


class Uniform(Calibrator):
    """Every class alike: what Meta-Cal makes of rejected pixels. The label map becomes class 0.

    :param notes: what the fit found, for people to read.

    >>> Uniform()(torch.tensor([[[1.0], [3.0]]])).squeeze()
    tensor([0., 0.])
    """

    reach = 0

    def forward(
        self, logits: Float[Tensor, "n c *s"], image: Float[Tensor, "n k *s"] | None = None
    ) -> Float[Tensor, "n c *s"]:
        """Return zeros.

        :param logits: raw logits, class axis second, in any floating-point type.
        :param image: not used.
        """
        return torch.zeros_like(logits, dtype=torch.float32)

    def arguments(self) -> dict[str, Any]:
        """Return what the constructor needs: nothing."""
        return {}


class MetaCal(Calibrator):
    """Reject pixels above an entropy threshold to the uniform distribution, and calibrate the others.

    Wang et al. (CVPR 2023) used fixed thresholds a model instead of learnt ones, such as 0.7222 (SegFormer on ADE20K):
    ``MetaCal(0.7222, TemperatureScaling(t))``.

    :param threshold: in nats, of the raw softmax.
    :param others: calibrates the pixels below.
    :param keep_labels: Meta-Cal*: rejected pixels keep their label at a temperature of 1e10. In exact arithmetic their
        confidence is the same, 1/c.
    :param notes: what the fit found.

    >>> MetaCal(0.5, TemperatureScaling(2.0))(torch.tensor([[[0.1, 0.0], [0.0, 6.0]]])).squeeze()
    tensor([[0., 0.],
            [0., 3.]])
    """

    def __init__(
        self, threshold: float, others: Calibrator, *, keep_labels: bool = False, notes: tuple[str, ...] = ()
    ) -> None:
        super().__init__(notes=notes)
        rejected = TemperatureScaling(UNIFORM) if keep_labels else Uniform()
        self.threshold = float(threshold)
        self.scaling = SelectiveScaling(EntropyAbove(threshold), rejected, others, keep_labels=keep_labels)
        self.keeps_labels, self.reach = self.scaling.keeps_labels, self.scaling.reach

    @property
    def selector(self) -> Selector:
        """What rejects pixels."""
        return self.scaling.selector

    @property
    def others(self) -> Calibrator:
        """What calibrates the pixels that are not rejected."""
        return self.scaling.others

    def forward(
        self, logits: Float[Tensor, "n c *s"], image: Float[Tensor, "n k *s"] | None = None
    ) -> Float[Tensor, "n c *s"]:
        """Return uniform logits where the entropy reaches the threshold and calibrated ones elsewhere, in float32.

        :param logits: raw logits, class axis second, in any floating-point type.
        :param image: the images, if what calibrates the accepted pixels needs them.
        """
        return self.scaling(logits, image)

    def arguments(self) -> dict[str, Any]:
        """Return the threshold, the calibrator of the others, and whether the label map is kept."""
        return {"threshold": self.threshold, "others": self.others, "keep_labels": self.scaling.keep_labels}

    def extra_repr(self) -> str:
        """Show the threshold and whether the label map is kept."""
        return f"threshold={self.threshold:.4g}, keep_labels={self.scaling.keep_labels}"

    @classmethod
    def fit(
        cls,
        predictions: PredictionsLike,
        labels: Any = None,
        *,
        alpha: float = 0.05,
        accuracy: float | None = None,
        keep_labels: bool = False,
        base: Fit = TemperatureScaling.fit,
        max_aside: int = 500,
        pixels_per_image: int | None = 10_000,
        seed: int = 0,
    ) -> "MetaCal":
        """Return Meta-Cal with a threshold learnt on pixels set aside, and the others calibrated by ``base``.

        With ``alpha``, a tenth of the right pixels is set aside and the threshold is the (1 - alpha) quantile of their
        entropies: a right pixel is rejected with probability alpha at most (miscoverage). With ``accuracy``, a tenth
        of all pixels is set aside, and the threshold is where the accuracy of all pixels of less entropy, made
        monotone, falls to it. Both from pixels of the same images as the rest: the promise is for such images.

        :param predictions: labelled predictions to fit on.
        :param labels: label maps, where logits (n, c, *s) are given in place of predictions: see
            :func:`~calibrant.predictions.predictions_of`, which also takes loaders and data sets of pairs.
        :param alpha: the share of right pixels that may be rejected.
        :param accuracy: wanted of the pixels that are not rejected; takes the place of ``alpha``.
        :param keep_labels: return Meta-Cal*.
        :param base: fitted on the pixels that are neither set aside nor rejected.
        :param max_aside: the most pixels that are set aside; the authors' code stops at 500.
        :param pixels_per_image: pixels drawn of each image; None for all of them.
        :param seed: decides which pixels are drawn, and which are set aside.
        :raises InputError: alpha is not between 0 and 1.
        :raises FitError: too few pixels, or an accuracy that no threshold reaches.
        """
        predictions = predictions_of(predictions, labels)
        if not 0 < alpha < 1:
            raise InputError(f"expected alpha between 0 and 1, the share of right pixels to reject; got {alpha}.")
        pixels = Pixels.draw(predictions, per_image=pixels_per_image, seed=seed)
        ranks = by_pixel_blocks(entropy, pixels.logits[None])[0, 0].double()
        right = pixels.logits.argmax(0) == pixels.labels
        among = right if accuracy is None else torch.ones_like(right)
        aside = _drawn(among, max_aside, seed)
        if accuracy is None:
            threshold = float(torch.quantile(ranks[aside], 1 - alpha, interpolation="higher"))
        else:
            threshold = _threshold_for(accuracy, ranks[aside], right[aside])
        accepted = ranks < threshold
        fitted_on = accepted.clone()
        fitted_on[aside] = False
        with inner_fits():
            others = base(_as_predictions(pixels.where(fitted_on)))
        note = (
            f"entropy below {threshold:.4g} nats is accepted: {float(accepted.double().mean()):.1%} of the pixels, "
            f"{float(right[accepted].double().mean()):.1%} of them right"
        )
        return cls(threshold, others, keep_labels=keep_labels, notes=(note,))


def _drawn(among: Bool[Tensor, " p"], most: int, seed: int) -> Tensor:
    """A tenth of the pixels, ``most`` at most."""
    found = among.nonzero().squeeze(1)
    count = min(len(found) // 10, most)
    if count == 0:
        raise FitError(
            f"expected at least 10 {'pixels' if bool(among.all()) else 'right pixels'} to learn a threshold from; got "
            f"{len(found)}. Add images."
        )
    order = torch.randperm(len(found), generator=torch.Generator().manual_seed(seed))
    return found[order[:count].to(found.device)]


def _threshold_for(accuracy: float, ranks: Float[Tensor, " p"], right: Bool[Tensor, " p"]) -> float:
    """The entropy at which the accuracy of all pixels below falls to ``accuracy``.

    Mean entropy and accuracy of bins of equally many pixels; the running mean of the latter is what a threshold at
    such a bin gives; entropy as a falling function of it, by isotonic regression, is read at the accuracy wanted.
    """
    order = ranks.argsort()
    bins = [part for part in order.tensor_split(min(BINS, len(order))) if len(part)]
    means = torch.stack([ranks[part].mean() for part in bins])
    reached = torch.stack([right[part].double().mean() for part in bins]).cumsum(0)
    reached /= torch.arange(1, len(bins) + 1, device=reached.device)
    values, where = torch.unique(reached, return_inverse=True)
    counts = torch.zeros_like(values).index_add_(0, where, torch.ones_like(reached))
    at = torch.zeros_like(values).index_add_(0, where, means) / counts
    low, high = float(values[0]), float(values[-1])
    if not low <= accuracy <= high:
        raise FitError(
            f"expected an accuracy that some threshold reaches, between {low:.4f} and {high:.4f} on these pixels; got "
            f"{accuracy:g}. Choose one between."
        )
    falling = isotonic_regression(at.numpy(force=True), weights=counts.numpy(force=True), increasing=False).x
    return float(np.interp(accuracy, values.numpy(force=True), falling))


def _as_predictions(pixels: Pixels) -> list[Prediction]:
    """One prediction an image, whose space is a list of pixels."""
    found = []
    for number in torch.unique(pixels.image).tolist():
        part = pixels.where(pixels.image == number)
        found.append(Prediction(f"{number:06d}", part.logits, part.labels[None]))
    if not found:
        raise FitError("expected pixels below the entropy threshold to fit on; got none. Raise alpha or add images.")
    return found
