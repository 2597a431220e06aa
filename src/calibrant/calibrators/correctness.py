"""Correctness scaling: estimate how likely each pixel is to be right, and soften or sharpen it accordingly.

What selective scaling (Wang et al., CVPR 2023) wants to be. In place of a yes or no for each pixel and one large
temperature, a small network sees the pixel's logits and what lies around it (:mod:`calibrant.calibrators._context`)
and gives the pixel a temperature of its own, trained by proper scores.
"""

import logging
import math
import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from calibrant._shapes import IGNORE, Float, Tensor
from calibrant.calibrators._alternatives import Alternatives, Mistakes, fit_alternatives, spread
from calibrant.calibrators._context import NAMES, context_of, first_true
from calibrant.calibrators._opinion import MOST_CLASSES, pooled, recalibration, second_opinion
from calibrant.calibrators._softening import ContextPixels, Softening, Trainee, joined, train
from calibrant.calibrators.calibrator import Calibrator, Fit, in_blocks, keep_argmax, remark
from calibrant.calibrators.temperature import TemperatureScaling
from calibrant.errors import FitError, InputError, ShapeError
from calibrant.predictions import Predictions

log = logging.getLogger("calibrant")

MOST_NUMBERS = 50_000_000
"""Numbers kept in memory by a fit, whatever the number of images (200 MB)."""


class CorrectnessScaling(Calibrator):
    """Give every pixel its own temperature, by how likely it is to be right; the label map stays.

    A pixel's temperature depends on its surroundings: this calibrator is *not* pixel by pixel. Give it whole images
    (crops see less), at the resolution it was fitted at. Each image is on its own, whatever else is in the batch.

    With ``alternatives`` the temperature only says how sure a pixel is of its winner, and what remains is spread as is
    usual for mistakes, with no class above the winner. With an ``opinion`` the probabilities are the mean of these and
    of its own, and ``recalibration`` gives them the confidence that such a mean has been worth. Without either, the
    order of all classes is the base's.

    Memory beside the logits: some 40 numbers a pixel. No gradient flows through the temperatures.

    :param base: calibrates first; must keep the argmax.
    :param softening: gives the factor on the logits; None leaves it at the base.
    :param alternatives: gives the spread of the other classes; None leaves it at the base.
    :param opinion: comes after the base, too, and has the same say; must keep the argmax.
    :param recalibration: comes last; must keep the argmax.
    :param notes: what a fit had to say.
    :raises InputError: the base, the opinion or the recalibration does not keep the argmax.

    >>> from calibrant.calibrators import TemperatureScaling
    >>> CorrectnessScaling(TemperatureScaling(2.0), None)(torch.tensor([[[[1.0]], [[3.0]]]])).flatten()
    tensor([0.5000, 1.5000])
    """

    keeps_argmax = True

    def __init__(
        self,
        base: Calibrator,
        softening: Softening | None,
        alternatives: Alternatives | None = None,
        opinion: Calibrator | None = None,
        recalibration: Calibrator | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        super().__init__(notes)
        for name, part in {"base": base, "opinion": opinion, "recalibration": recalibration}.items():
            if part is not None and not part.keeps_argmax:
                raise InputError(
                    f"expected {name} to keep the argmax; got {type(part).__name__}. "
                    "Vector and Dirichlet scaling keep it with keep_argmax=True."
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
            return in_blocks(self._spread, based)
        whole = torch.compiler.is_compiling() or len(logits) == 0
        parts = [based] if whole else based.split(1)  # one image's context in memory at a time
        factor = torch.cat([self.softening(context_of(part.detach())) for part in parts])
        return in_blocks(self._spread, based, factor)

    def _spread(self, z: Float[Tensor, "n c p"], factor: Float[Tensor, "n 1 p"] | None = None) -> Tensor:
        below = z - z.amax(1, keepdim=True)
        factor = torch.ones_like(below[:, :1]) if factor is None else factor
        winners = below == 0
        others = None if self.alternatives is None else self.alternatives(below, first_true(winners)[:, 0])
        logits = spread(below, winners, factor, others)
        if self.opinion is not None:
            logits = pooled(logits.log_softmax(1), self.opinion(below).log_softmax(1))
        # Where another class shares the winner's place in both, their mean may round in its favour.
        logits = keep_argmax(z, logits, lift=self.opinion is not None)
        return logits if self.recalibration is None else self.recalibration(logits)

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
        opinion is recalibrated by what its confidence has been worth on images left out; that costs likelihood.

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
        images = _draw(predictions, whole, pixels_per_image, seed)
        why_not = _hopeless(images)
        if why_not:
            return _base_alone(whole, (), why_not)
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed)).tolist()
        images, alternatives, opinion, recalibrated, notes = [images[i] for i in order], None, None, None, ()
        if not keep_order:
            alternatives, found = fit_alternatives([_mistakes(image) for image in images])
            notes = (found,)
            log.info("correctness scaling: %s", found)
            if alternatives is not None:
                images = [_with_others(image, alternatives) for image in images]
            if images[0].below.shape[1] <= MOST_CLASSES:
                images, opinion, found = _with_opinion(images, seed)
                notes = (*notes, found)
        centre, scale = _moments(images)
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
            compared = remark(f"correctness scaling keeps the temperatures of its base: no gain, {compared}.")
            networks = []
        if opinion is not None:
            recalibrated = _recalibration(images, networks)
        softening = joined(networks) if networks else None
        return cls(whole, softening, alternatives, opinion, recalibrated, (*notes, compared))


@torch.no_grad()
def _draw(predictions: Predictions, base: Calibrator, per_image: int | None, seed: int) -> list[ContextPixels]:
    """Labelled pixels of each image that has any; which ones depends on the seed and the image's key alone."""
    drawn: list[ContextPixels] = []
    for prediction in predictions:
        most = MOST_NUMBERS // (len(predictions) * (3 * prediction.num_classes + len(NAMES)))
        count = max(16, most if per_image is None else min(per_image, most))
        flat = prediction.labels.flatten()
        labelled = torch.nonzero(flat != IGNORE).squeeze(1)
        if len(labelled) == 0:
            continue
        generator = torch.Generator().manual_seed(zlib.crc32(prediction.key.encode(), seed))
        chosen = labelled[torch.randperm(len(labelled), generator=generator)[:count].to(labelled.device)]
        image = None if prediction.image is None else prediction.image[None]
        logits = base(prediction.logits[None], image)
        context = context_of(logits)
        z = logits[0].flatten(1)
        pixel = chosen % z.shape[1]
        drawn.append(
            ContextPixels(
                context.numbers[0][:, pixel].T.contiguous(),
                (z[:, pixel] - z[:, pixel].amax(0)).T.contiguous(),
                None,
                None,
                flat[chosen].long(),
                context.winner[0][pixel],
                context.runner_up[0][pixel],
            )
        )
        log.info("correctness scaling: read %s", prediction.key)
    if not drawn:
        raise FitError(
            f"expected labelled pixels to fit on; all pixels of the {len(predictions)} images are unlabelled. "
            "Check ignore_index."
        )
    return drawn


def _hopeless(images: Sequence[ContextPixels]) -> str:
    """Why nothing can be learnt from these images, if so."""
    if len(images) < 2:
        return "there is only one labelled image, and none to leave out. Add images to the fit."
    right = sum(int((i.winner == i.labels).sum()) for i in images)
    if right in (0, sum(map(len, images))):
        return f"all pixels of the fit are {'right' if right else 'mistakes'}. Fit on images that hold both."
    return ""


def _moments(images: Sequence[ContextPixels]) -> tuple[Tensor, Tensor]:
    count = sum(map(len, images))
    centre = sum((i.numbers.double().sum(0) for i in images), torch.zeros((), dtype=torch.float64)) / count
    square = sum(((i.numbers - centre).square().sum(0) for i in images), torch.zeros((), dtype=torch.float64)) / count
    return centre.float(), square.sqrt().clamp_min(1e-3).float()


def _mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """The mean and its standard error."""
    mean = math.fsum(values) / len(values)
    return mean, math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1) / len(values))


def _mistakes(image: ContextPixels) -> Mistakes:
    wrong = image.winner != image.labels
    return Mistakes(image.below[wrong], image.labels[wrong], image.winner[wrong])


@torch.no_grad()
def _with_others(image: ContextPixels, alternatives: Alternatives) -> ContextPixels:
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
def _recalibration(images: Sequence[ContextPixels], networks: Sequence[Trainee]) -> Calibrator:
    """What the confidence in each image is worth, through the network that has not seen it, if there are networks."""
    confidence = [
        1 - image.judged(_factor(image, networks[number % len(networks)] if networks else None))[0]
        for number, image in enumerate(images)
    ]
    return recalibration(confidence, [i.winner == i.labels for i in images], images[0].below.shape[1])


@torch.no_grad()
def _gain(before: ContextPixels, after: ContextPixels, network: Trainee | None = None) -> float:
    """By how much what is known after, and a network, lower the mean negative log-likelihood of an image."""
    return float((before.judged(_factor(before, None))[1] - after.judged(_factor(after, network))[1]).mean())


def _factor(image: ContextPixels, network: Trainee | None) -> Float[Tensor, " p"]:
    if network is None:
        return torch.ones_like(image.below[:, 0])
    return network(image.numbers, image.winner, image.runner_up)


def _base_alone(whole: Calibrator, notes: tuple[str, ...], why: str) -> CorrectnessScaling:
    last = remark(f"correctness scaling falls back to its base alone: {why}")
    return CorrectnessScaling(whole, None, notes=(*notes, last))
