"""Correctness scaling: estimate how likely each pixel is to be right, and soften or sharpen it accordingly.

What selective scaling (Wang et al., CVPR 2023) wants to be. In place of a yes or no for each pixel and one large
temperature, a small network sees the pixel's logits and what lies around it (``features.py``)
and gives the pixel a temperature of its own, trained by proper scores.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from calibrant._shapes import Float, Tensor
from calibrant.calibrators._notes import warn_and_note
from calibrant.calibrators._projections import first_true, keep_labels
from calibrant.calibrators.calibrator import Calibrator, Fit, by_pixel_blocks
from calibrant.calibrators.correctness.features import context_of
from calibrant.calibrators.correctness.mistakes import MistakeModel, Mistakes, fit_mistake_model, spread
from calibrant.calibrators.correctness.pool import MOST_CLASSES, Recalibration, pooled, second_opinion
from calibrant.calibrators.correctness.sample import ContextPixels, draw, moments
from calibrant.calibrators.correctness.temperature_network import TemperatureNetwork, Trainee, joined, train
from calibrant.calibrators.temperature import TemperatureScaling
from calibrant.errors import InputError, ShapeError
from calibrant.predictions import Predictions

log = logging.getLogger("calibrant")

MOST_COST = 0.1
"""Of the log-likelihood gained over the base, so much may be given for confidences that are right."""


class CorrectnessScaling(Calibrator):
    """Give every pixel its own temperature, by how likely it is to be right; the label map stays.

    A pixel's temperature depends on its surroundings: this calibrator is *not* pixel by pixel. Give it whole images
    (crops see less), at the resolution it was fitted at. Each image is on its own, whatever else is in the batch.

    With ``alternatives`` the temperature only says how sure a pixel is of its winner, and what remains is spread as is
    usual for mistakes, with no class above the winner. With an ``opinion`` the probabilities are the mean of these and
    of its own, and ``recalibration`` makes them as sure as such means have been right. Without either, the order of all
    classes is the base's.

    Memory beside the logits: some 40 numbers a pixel. No gradient flows through the temperatures.

    :param base: calibrates first; must keep the argmax.
    :param softening: gives the factor on the logits; None leaves it at the base.
    :param alternatives: gives the spread of the other classes; None leaves it at the base.
    :param opinion: comes after the base, too, and has the same say; must keep the argmax.
    :param recalibration: comes last.
    :param notes: what a fit had to say.
    :raises InputError: the base or the opinion does not keep the argmax.

    >>> from calibrant.calibrators import TemperatureScaling
    >>> CorrectnessScaling(TemperatureScaling(2.0), None)(torch.tensor([[[[1.0]], [[3.0]]]])).flatten()
    tensor([0.5000, 1.5000])
    """

    keeps_labels = True

    def __init__(
        self,
        base: Calibrator,
        softening: TemperatureNetwork | None,
        alternatives: MistakeModel | None = None,
        opinion: Calibrator | None = None,
        recalibration: Recalibration | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        super().__init__(notes=notes)
        for name, part in {"base": base, "opinion": opinion}.items():
            if part is not None and not part.keeps_labels:
                raise InputError(
                    f"expected {name} to keep the argmax; got {type(part).__name__}. "
                    "Vector and Dirichlet scaling keep it with keep_labels=True."
                )
        self.base, self.softening, self.alternatives = base, softening, alternatives
        self.opinion, self.recalibration = opinion, recalibration

    def forward(
        self, logits: Float[Tensor, "n c *s"], image: Float[Tensor, "n k *s"] | None = None
    ) -> Float[Tensor, "n c *s"]:
        """Return logits less the largest of their pixel, at the pixel's temperature, with the argmax of the input.

        :raises ShapeError: there are more or fewer classes than in the fit.
        """
        based = self.base(logits, image)
        if all(part is None for part in (self.softening, self.alternatives, self.opinion, self.recalibration)):
            return based
        for part in (self.softening, self.alternatives):
            if part is not None and logits.shape[1] != part.num_classes:
                raise ShapeError(
                    f"expected logits of {part.num_classes} classes, as fitted, in axis 1; got "
                    f"{tuple(logits.shape)}. Fit on predictions of this model."
                )
        if self.softening is None:
            return by_pixel_blocks(self._spread, based)
        whole = torch.compiler.is_compiling() or len(logits) == 0
        parts = [based] if whole else based.split(1)  # one image's context in memory at a time
        factor = torch.cat([self.softening(context_of(part.detach())) for part in parts])
        return by_pixel_blocks(self._spread, based, factor)

    def _spread(self, z: Float[Tensor, "n c p"], factor: Float[Tensor, "n 1 p"] | None = None) -> Tensor:
        below = z - z.amax(1, keepdim=True)
        factor = torch.ones_like(below[:, :1]) if factor is None else factor
        winners = below == 0
        others = None if self.alternatives is None else self.alternatives(below, first_true(winners)[:, 0])
        logits = spread(below, winners, factor, others)
        if self.opinion is not None:
            logits = pooled(logits.log_softmax(1), self.opinion(below).log_softmax(1))
        if self.recalibration is not None:
            logits = self.recalibration(logits.log_softmax(1), winners)
        # Where another class shares the winner's place in both, their mean may round in its favour.
        return keep_labels(z, logits, lift=self.opinion is not None)

    def arguments(self) -> dict[str, Any]:
        """Return base, softening, alternatives, opinion and recalibration."""
        names = ("base", "softening", "alternatives", "opinion", "recalibration")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def fit(
        cls,
        predictions: Predictions,
        *,
        base: Fit = TemperatureScaling.fit,
        keep_order: bool = False,
        pixels_per_image: int | None = 10_000,
        num_networks: int = 8,
        hidden: int = 6,
        epochs: int = 10,
        image_weight: float = 5.0,
        level_weight: float = 4.0,
        seed: int = 0,
    ) -> "CorrectnessScaling":
        """Return correctness scaling, or its base alone where that is as good on images left out.

        First the alternatives are fitted to the mistakes, and, of up to 32 classes, Dirichlet scaling as the second
        opinion. Then the images are dealt to ``num_networks`` parts, and one network is trained without each, within
        the mean with an opinion that has not seen them, either. All together, as one, they are the result. Of each of
        the three it is measured, on images left out, what it adds to those before it: where the negative log-likelihood
        falls by less than its standard error over images, it is left out, and a note says so. Last, the mean with the
        opinion is recalibrated by what its confidence has been worth on images left out, unless that costs more than a
        tenth of the log-likelihood gained.

        Reads the predictions once, after the base has read them; memory does not grow with their number.

        :param base: a fit for what comes first and must be beaten; must keep the argmax.
        :param keep_order: keep the order of all classes, not of the first alone: no alternatives, no second opinion.
        :param pixels_per_image: pixels kept of each image; fewer, where there are many images or classes.
        :param num_networks: how many networks, at most as many as images.
        :param hidden: width of each.
        :param epochs: of 15 batches of 8 images.
        :param image_weight: weight of the squared error of each image's accuracy.
        :param level_weight: weight of each image's calibration error at ten levels of confidence: more lowers the
            image-wise calibration error, less the negative log-likelihood.
        :raises FitError: there is no labelled pixel.
        """
        whole = base(predictions)
        images = draw(predictions, whole, pixels_per_image, seed)
        why_not = _reason_not_to_fit(images)
        if why_not:
            return _base_alone(whole, (), why_not)
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed)).tolist()
        images, alternatives, opinion, recalibrated, notes = [images[i] for i in order], None, None, None, ()
        if not keep_order:
            alternatives, found = fit_mistake_model([_mistakes(image) for image in images])
            notes = (found,)
            log.info("correctness scaling: %s", found)
            if alternatives is not None:
                images = [_with_others(image, alternatives) for image in images]
            if images[0].below.shape[1] <= MOST_CLASSES:
                images, opinion, found = _with_opinion(images, seed)
                notes = (*notes, found)
        centre, scale = moments(images)
        networks, gains = [], []
        for number in range(min(num_networks, len(images))):
            held = images[number::num_networks]
            network = train(
                [image for i, image in enumerate(images) if i % num_networks != number],
                held,
                centre,
                scale,
                hidden=hidden,
                epochs=epochs,
                image_weight=image_weight,
                level_weight=level_weight,
                seed=seed * 1000 + number,
            )
            networks.append(network)
            gains += [_gain(image, image, network) for image in held]
        gain, error = _mean_and_error(gains)
        compared = f"NLL of images left out lower by {gain:.4f} ± {error:.4f} through temperatures of their own"
        if gain > error:
            log.info("correctness scaling: %s", compared)
        elif alternatives is None and opinion is None:
            return _base_alone(whole, notes, f"no gain, {compared}.")
        else:
            compared = warn_and_note(f"correctness scaling keeps the temperatures of its base: no gain, {compared}.")
            networks = []
        notes = (*notes, compared)
        if opinion is not None:
            recalibrated, found = _recalibration(images, networks)
            notes = (*notes, found)
        softening = joined(networks) if networks else None
        return cls(whole, softening, alternatives, opinion, recalibrated, notes)


def _reason_not_to_fit(images: Sequence[ContextPixels]) -> str:
    """Why nothing can be learnt from these images, if so."""
    if len(images) < 2:
        return "there is only one labelled image, and none to leave out. Add images to the fit."
    right = sum(int((i.winner == i.labels).sum()) for i in images)
    if right in (0, sum(map(len, images))):
        return f"all pixels of the fit are {'right' if right else 'mistakes'}. Fit on images that hold both."
    return ""


def _mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """The mean and its standard error."""
    mean = math.fsum(values) / len(values)
    return mean, math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1) / len(values))


def _mistakes(image: ContextPixels) -> Mistakes:
    wrong = image.winner != image.labels
    return Mistakes(image.below[wrong], image.labels[wrong], image.winner[wrong])


@torch.no_grad()
def _with_others(image: ContextPixels, alternatives: MistakeModel) -> ContextPixels:
    return replace(image, others=alternatives(image.below.T[None], image.winner[None])[0].T.contiguous())


def _with_opinion(images: list[ContextPixels], seed: int) -> tuple[list[ContextPixels], Calibrator | None, str]:
    """The images with a second opinion if that is a gain, what gives it, and a sentence on what was found."""
    opinion, unseen = second_opinion([image.below for image in images], [image.labels for image in images], seed=seed)
    advised = [replace(image, opinion=other) for image, other in zip(images, unseen, strict=True)]
    gain, error = _mean_and_error([_gain(alone, image) for alone, image in zip(images, advised, strict=True)])
    found = f"second opinion: NLL of images left out lower by {gain:.4f} ± {error:.4f} in the mean with the base"
    log.info("correctness scaling: %s", found)
    return (advised, opinion, found) if gain > error else (images, None, f"{found}: no gain, so there is none")


@torch.no_grad()
def _recalibration(images: Sequence[ContextPixels], networks: Sequence[Trainee]) -> tuple[Recalibration | None, str]:
    """What the confidence in each image is worth, through the network that has not seen it, if there are networks."""
    pools = [
        _log_probs(image, networks[number % len(networks)] if networks else None) for number, image in enumerate(images)
    ]
    confidence = [1 - image.judged(pool)[0] for image, pool in zip(images, pools, strict=True)]
    found = Recalibration.fit(confidence, [i.winner == i.labels for i in images], images[0].below.shape[1])

    def recalibrated(image: ContextPixels, pool: Tensor) -> Tensor:
        return found(pool[..., None], image.winners[..., None])[..., 0].log_softmax(1)

    losses = [
        [float(image.judged(each)[1].mean()) for each in (image.below.log_softmax(1), pool, recalibrated(image, pool))]
        for image, pool in zip(images, pools, strict=True)
    ]
    base, before, after = torch.tensor(losses).mean(0).tolist()
    cost, gain = after - before, base - before
    told = f"recalibration: NLL of images left out higher by {cost:.4f}, of the {gain:.4f} gained over the base"
    log.info("correctness scaling: %s", told)
    return (None, f"{told}: too dear, so there is none") if cost > MOST_COST * max(0.0, gain) else (found, told)


@torch.no_grad()
def _gain(before: ContextPixels, after: ContextPixels, network: Trainee | None = None) -> float:
    """By how much what is known after, and a network, lower the mean negative log-likelihood of an image."""
    return float((before.judged(_log_probs(before, None))[1] - after.judged(_log_probs(after, network))[1]).mean())


def _log_probs(image: ContextPixels, network: Trainee | None) -> Float[Tensor, "p c"]:
    factor = None if network is None else network(image.numbers, image.winner, image.runner_up)
    return image.log_probs(torch.ones_like(image.below[:, 0]) if factor is None else factor)


def _base_alone(whole: Calibrator, notes: tuple[str, ...], why: str) -> CorrectnessScaling:
    last = warn_and_note(f"correctness scaling falls back to its base alone: {why}")
    return CorrectnessScaling(whole, None, notes=(*notes, last))
