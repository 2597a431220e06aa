"""Selective scaling: soften the pixels suspected to be mistakes, and leave the others to another calibrator.

Wang, Dongdong et al., "On Calibrating Semantic Segmentation Models: Analyses and An Algorithm", CVPR 2023, eq. (4).
"""

import logging
from dataclasses import dataclass, replace
from typing import Any

import torch

from calibrant._shapes import IGNORE, Float, Tensor
from calibrant._statistics.left_out import kept_and_held
from calibrant.calibrators._likelihood import mean_nll, mean_nll_of_images
from calibrant.calibrators._notes import inner_fits, warn_and_note
from calibrant.calibrators._projections import divided, keep_winners
from calibrant.calibrators.calibrator import Calibrator, Fit, Identity, by_pixel_blocks, widest
from calibrant.calibrators.pixels import Pixels
from calibrant.calibrators.selective.learnt import LearntSelector
from calibrant.calibrators.selective.selector import NoSelector, Selector, SelectorQuality, select
from calibrant.calibrators.temperature import TemperatureScaling, minimum_over_temperatures
from calibrant.errors import FitError
from calibrant.predictions import Mapped, Prediction, Predictions, PredictionsLike, Subset, predictions_of

log = logging.getLogger("calibrant")

UNIFORM = 1e10
"""The paper's temperature that makes all classes alike."""


class SelectiveScaling(Calibrator):
    """Calibrate suspected mistakes in one way and all other pixels in another; the label map stays.

    :param selector: finds the suspected mistakes.
    :param mistaken: calibrates them.
    :param others: calibrates all other pixels.
    :param keep_labels: where a branch changes the argmax, take the nearest distribution in which the raw winner still
        wins; if false, leave it changed.
    :param notes: what the fit found.

    >>> SelectiveScaling(NoSelector(), TemperatureScaling(1e10), Identity())(torch.tensor([[[1.0], [3.0]]])).squeeze()
    tensor([1., 3.])
    """

    def __init__(
        self,
        selector: Selector,
        mistaken: Calibrator,
        others: Calibrator,
        *,
        keep_labels: bool = True,
        notes: tuple[str, ...] = (),
    ) -> None:
        super().__init__(notes=notes)
        self.selector, self.mistaken, self.others = selector, mistaken, others
        self.keep_labels = keep_labels
        self.keeps_labels = keep_labels or (mistaken.keeps_labels and others.keeps_labels)
        self.reach = widest(selector.reach, mistaken.reach, others.reach)

    @property
    def quality(self) -> SelectorQuality | None:
        """How well the selector finds mistakes, if that was measured."""
        return self.selector.quality

    def forward(
        self, logits: Float[Tensor, "n c *s"], image: Float[Tensor, "n k *s"] | None = None
    ) -> Float[Tensor, "n c *s"]:
        """Return the logits of the two branches, pixel by pixel, in float32.

        :param logits: raw logits, class axis second, in any floating-point type.
        :param image: the images, for a selector or a branch that needs them.
        """
        flagged = self.selector(logits, image).unsqueeze(1)
        hot, cold = _temperature(self.mistaken, logits), _temperature(self.others, logits)
        if hot is not None and cold is not None:
            return by_pixel_blocks(divided, logits, torch.where(flagged, hot, cold))
        mixed = torch.where(flagged, self.mistaken(logits, image), self.others(logits, image))
        if not self.keep_labels or (self.mistaken.keeps_labels and self.others.keeps_labels):
            return mixed
        return keep_winners(logits, mixed)

    def arguments(self) -> dict[str, Any]:
        """Return selector and branches, and whether the label map is kept."""
        branches = {"mistaken": self.mistaken, "others": self.others}
        return {"selector": self.selector, **branches, "keep_labels": self.keep_labels}

    def extra_repr(self) -> str:
        """Show whether the label map is kept."""
        return f"keep_labels={self.keep_labels}"

    @classmethod
    def fit(
        cls,
        predictions: PredictionsLike,
        labels: Any = None,
        *,
        base: Fit = TemperatureScaling.fit,
        mistaken: Fit | None = None,
        others: Fit | None = None,
        pixels_per_image: int | None = 10_000,
        num_epochs: int = 10,
        seed: int = 0,
    ) -> "SelectiveScaling":
        """Return selective scaling, each choice made by negative log-likelihood on held-out images.

        Two thirds of the images train a :class:`LearntSelector` (unlabelled pixels excluded). On the last third
        are chosen: the temperature of the flagged pixels (its optimum, and 1, 2 and 1e10 as in the paper), and
        whether the other pixels are calibrated by ``base`` fitted on all pixels or on unflagged pixels only. If none
        of this beats ``base`` alone on the held-out images, the result flags nothing and is ``base``, with the
        argmax kept; a note says so. ``base`` itself is fitted on all images, so it is not easily beaten.

        :param predictions: labelled predictions to fit on.
        :param labels: label maps, where logits (n, c, *s) are given in place of predictions: see
            :func:`~calibrant.predictions.predictions_of`, which also takes loaders and data sets of pairs.
        :param base: what must be beaten, and a fit for the other pixels.
        :param mistaken: a fit for the flagged pixels of the held-out images; by default a temperature is chosen.
        :param others: a fit for the other pixels; by default ``base``.
        :param pixels_per_image: pixels drawn of each image to train the selector; None for all of them.
        :param num_epochs: passes over the pixels in the training of the selector.
        :param seed: decides which images are held out, which pixels are drawn, and the training of the selector.
        :raises FitError: there are fewer than two images, or no labelled pixel.
        """
        predictions = predictions_of(predictions, labels)
        kept, held = _kept_and_held(predictions, 2 / 3, seed)
        with inner_fits():
            whole = base(predictions)
        try:
            selector = LearntSelector.fit(
                Pixels.draw(kept, per_image=pixels_per_image, seed=seed),
                Pixels.draw(held, per_image=pixels_per_image, seed=seed),
                num_epochs=num_epochs,
                seed=seed,
            )
        except FitError as error:
            return _base_alone(whole, None, f"No selector could be trained: {error}")
        quality = SelectorQuality.of(selector, held)
        selector = selector.with_quality(quality)
        if quality.flagged_share in (0.0, 1.0):
            return _base_alone(whole, quality, "the selector flags all pixels of the held-out images or none.")

        suspects = Mapped(held, LabelsWhere(selector, True))
        with inner_fits():
            if mistaken is None:
                branch, chosen = _choose_temperature(suspects, pixels_per_image, seed)
            else:
                branch = mistaken(suspects)
                chosen = f"suspected mistakes get {type(branch).__name__}"
            either = (
                whole if others is None else others(predictions),
                (others or base)(Mapped(predictions, LabelsWhere(selector, False))),
            )
        candidates = [cls(selector, branch, rest) for rest in either]
        alone = cls(NoSelector(), whole, whole)
        *scores, to_beat = mean_nll_of_images([*candidates, alone], held)
        best = min(range(len(candidates)), key=scores.__getitem__)
        compared = f"held-out NLL {scores[best]:.4f} against {to_beat:.4f} of the base alone"
        if not scores[best] < to_beat:
            return _base_alone(whole, quality, f"no gain: {compared}.")
        temperature = branch.temperature if isinstance(branch, TemperatureScaling) else 1.0
        notes = (f"{chosen}; {compared}", *_warnings(quality, temperature))
        log.info("selective scaling: %s", notes[0])
        return cls(selector, branch, either[best], notes=notes)

    @classmethod
    def fit_as_published(
        cls,
        predictions: PredictionsLike,
        labels: Any = None,
        *,
        base: Fit = Identity.fit,
        pixels_per_image: int | None = 56 * 56,
        num_epochs: int = 40,
        mistake_weight: float = 2.0,
        seed: int = 0,
    ) -> "SelectiveScaling":
        """Return selective scaling by the published recipe (CVPR 2023, Supp. Table 1, and its released code).

        A selector of hidden widths (c, 2 c, c) is trained with AdamW, learning rate 1e-3, weight decay 1e-6, for 40
        epochs of batches of 20 maps; the epoch with the lowest loss on a fifth of the images, held out, is kept.
        Flagged pixels get temperature 1e10 if more than half of the held-out mistakes are found, and 2 if less than
        35 %; the paper says nothing between, where we take 2. Other pixels keep their logits. Nothing is checked
        against doing nothing. Unlike the released code, unlabelled pixels are excluded and the argmax is carried.

        :param predictions: labelled predictions to fit on.
        :param labels: label maps, where logits (n, c, *s) are given in place of predictions: see
            :func:`~calibrant.predictions.predictions_of`, which also takes loaders and data sets of pairs.
        :param base: the fit for the other pixels; the paper also combines its method with rivals.
        :param pixels_per_image: pixels in a map; the paper's maps are 56 x 56.
        :param num_epochs: passes over the images; the state of the best is kept.
        :param mistake_weight: the released code repeats each mistake once in a batch (2); the paper says that it does
            not resample (1).
        :param seed: decides which pixels are drawn, which images are held out, and the order of the batches.
        :raises FitError: fewer than two images, no labelled pixel, or pixels all right or all mistaken.
        """
        predictions = predictions_of(predictions, labels)
        kept, held = _kept_and_held(predictions, 0.8, seed)
        pixels = Pixels.draw(kept, per_image=pixels_per_image, seed=seed)
        c = pixels.logits.shape[0]
        selector = LearntSelector.fit(
            pixels,
            Pixels.draw(held, per_image=pixels_per_image, seed=seed),
            widths=(c, 2 * c, c),
            num_epochs=num_epochs,
            learning_rate=1e-3,
            batch_size=20,
            anneal=False,
            patience=None,
            mistake_weight=mistake_weight,
            seed=seed,
        )
        quality = SelectorQuality.of(selector, held)
        selector = selector.with_quality(quality)
        recall = quality.recall or 0.0
        temperature = UNIFORM if recall > 0.5 else 2.0
        rule = f"published rule: {recall:.0%} of the held-out mistakes found, so their temperature is {temperature:g}"
        if 0.35 <= recall <= 0.5:
            rule += " (the paper says nothing between 35 % and 50 %)"
        log.info("selective scaling: %s", rule)
        notes = (rule, *_warnings(quality, temperature))
        with inner_fits():
            others = base(predictions)
        return cls(selector, TemperatureScaling(temperature), others, notes=notes)


def _kept_and_held(predictions: Predictions, share: float, seed: int) -> tuple[Subset, Subset]:
    kept, held = kept_and_held(len(predictions), share, seed=seed)
    return Subset(predictions, kept), Subset(predictions, held)


@dataclass(frozen=True)
class LabelsWhere:
    """Keeps the labels only where a selector flags pixels, or only where it does not; the rest become ``IGNORE``.

    :param selector: flags the pixels.
    :param flagged: True keeps the labels of flagged pixels, False those of the others.
    """

    selector: Selector
    flagged: bool

    def __call__(self, prediction: Prediction) -> Prediction:
        """Return the prediction with fewer labels."""
        counted = select(self.selector, prediction.logits, prediction.image) == self.flagged
        return replace(prediction, labels=torch.where(counted, prediction.labels, IGNORE))


def _choose_temperature(flagged: Predictions, pixels_per_image: int | None, seed: int) -> tuple[Calibrator, str]:
    pixels = Pixels.draw(flagged, per_image=pixels_per_image, seed=seed)
    optimum = 1 / float(minimum_over_temperatures(pixels, seed=seed).point)
    scores = {
        temperature: mean_nll(TemperatureScaling(temperature), pixels) for temperature in (optimum, 1.0, 2.0, UNIFORM)
    }
    best = min(scores, key=scores.__getitem__)
    listed = ", ".join(f"{temperature:.3g}: {score:.4f}" for temperature, score in scores.items())
    chosen = f"temperature {best:.4g} for suspected mistakes, by NLL of those held out ({listed})"
    return TemperatureScaling(best), chosen


def _base_alone(whole: Calibrator, quality: SelectorQuality | None, why: str) -> SelectiveScaling:
    note = warn_and_note(f"selective scaling falls back to its base alone: {why}")
    return SelectiveScaling(NoSelector(quality=quality), whole, whole, notes=(note,))


def _warnings(quality: SelectorQuality, temperature: float) -> tuple[str, ...]:
    if temperature < 2 or not quality.uniform_is_harmful:
        return ()
    assert quality.flagged_accuracy is not None
    assert quality.flagged_confidence is not None
    return (
        warn_and_note(
            f"a large temperature is harmful for the flagged pixels: {quality.flagged_accuracy:.0%} of them are right "
            f"at a mean confidence of {quality.flagged_confidence:.0%}, and flattening them (here by {temperature:g}) "
            f"helps only below {(quality.flagged_confidence + 1 / quality.num_classes) / 2:.0%}. "
            "SelectiveScaling.fit chooses the temperature on held-out images."
        ),
    )


def _temperature(calibrator: Calibrator, like: Tensor) -> Tensor | None:
    """The temperature of a calibrator that is nothing but one."""
    if isinstance(calibrator, TemperatureScaling):
        return calibrator.divisor
    if isinstance(calibrator, Identity):
        return torch.ones((), device=like.device)
    return None
