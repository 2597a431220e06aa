"""The fit: one stage after another, each kept only if images that it has not seen gain by it.

The order is (3) mistakes, (4) second member, (2) temperatures, (5) recalibration: the temperatures are trained with the
terms of (3) and (4) in place. A stage is fitted once on all images, which gives the part that is stored, and once
without each fold of the images, which gives its terms for the images of the fold. Gains are measured with these terms.
(What is not left out: the strength of (3), the epoch of a network in (2) and the map of (5) are chosen on the
images on which the gain is measured.)
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import nn

from calibrant._statistics.left_out import Gain, folds
from calibrant.calibrators.correctness.mistakes import Mistakes, fit_mistake_model
from calibrant.calibrators.correctness.pool import MAX_CLASSES, Recalibration, fit_second_member
from calibrant.calibrators.correctness.sample import SampledImage, Terms, moments
from calibrant.calibrators.correctness.temperature_training import Recipe, joined, train

log = logging.getLogger("calibrant")

FOLDS = 4
"""Parts into which the images are dealt for the mistakes and the second member."""

MAX_COST = 0.1
"""A recalibration may cost at most this fraction of the gain in NLL over the base."""


@dataclass(frozen=True)
class Stage:
    """A fitted part, and what it says of each image as fitted without that image.

    :param argument: the name of the part in the constructor of ``CorrectnessScaling``.
    :param part: the part as fitted on all images.
    :param terms: for each image, those of the stages before with this one's.
    :param note: what else the fit found.
    """

    argument: str
    part: nn.Module
    terms: Sequence[Terms]
    note: str = ""

    def is_worth(self, gain: Gain, gain_before: Gain) -> bool:
        """Whether the stage is kept.

        :param gain: gain in the NLL of left-out images by this stage.
        :param gain_before: gain over the base by all stages before.
        """
        if self.argument == "recalibration":
            return -gain.mean <= MAX_COST * max(0.0, gain_before.mean)
        return gain.is_real

    def described(self, gain: Gain, gain_before: Gain) -> str:
        """Say what the stage gains or costs.

        :param gain: gain in the NLL of left-out images by this stage.
        :param gain_before: gain over the base by all stages before.
        """
        if self.argument == "recalibration":
            cost = f"higher by {-gain.mean:.4f} ± {gain.error:.4f}, of the {gain_before.mean:.4f} gained over the base"
            return f"{self.argument}: NLL of images left out {cost}"
        return f"{self.argument}: NLL of images left out {gain}{self.note}"


M = TypeVar("M")

Propose = Callable[[Sequence[SampledImage], Sequence[Terms]], Stage | str]
"""From the images and the terms of the stages accepted so far to one stage more, or to why there is none."""


@dataclass(frozen=True)
class Fitted:
    """The parts of the accepted stages by their argument, and a note about each proposed stage."""

    parts: Mapping[str, Any]
    notes: tuple[str, ...]


def fit_stages(images: Sequence[SampledImage], proposals: Sequence[Propose]) -> Fitted:
    """Return the parts that lower the negative log-likelihood of images left out.

    :param images: two sampled images or more.
    :param proposals: the stages in the order of the fit.
    """
    accepted: Sequence[Terms] = [Terms()] * len(images)
    parts: dict[str, nn.Module] = {}
    notes: list[str] = []
    of_base = nll = _nll(images, accepted)
    for propose in proposals:
        stage = propose(images, accepted)
        if isinstance(stage, str):
            notes.append(stage)
            continue
        nll_with = _nll(images, stage.terms)
        gain, gain_before = Gain.of(nll, nll_with), Gain.of(of_base, nll)
        kept = stage.is_worth(gain, gain_before)
        note = f"{stage.described(gain, gain_before)}{'' if kept else '; not used'}"
        log.info("correctness scaling: %s", note)
        notes.append(note)
        if kept:
            parts[stage.argument], accepted, nll = stage.part, stage.terms, nll_with
    return Fitted(parts, tuple(notes))


def _nll(images: Sequence[SampledImage], terms: Sequence[Terms]) -> list[float]:
    return [of_image.nll(image) for image, of_image in zip(images, terms, strict=True)]


def _by_image(models: Sequence[M], dealt: Sequence[Sequence[int]]) -> dict[int, M]:
    """For the number of each image the model that was fitted without its fold."""
    return {i: model for model, fold in zip(models, dealt, strict=True) for i in fold}


@torch.no_grad()
def propose_mistakes(images: Sequence[SampledImage], terms: Sequence[Terms], *, seed: int) -> Stage | str:
    """Propose equation (3), from the misclassified pixels."""
    mistaken = [i for i, image in enumerate(images) if not bool(image.is_right.all())]
    if len(mistaken) < 2:
        return "mistake_model: fewer than two images hold mistakes; not used"
    dealt = folds(len(mistaken), FOLDS, seed=seed)
    fitted = fit_mistake_model([_mistakes(images[i]) for i in mistaken], dealt)
    unseen = dict.fromkeys(range(len(images)), fitted.model)  # an image without mistakes is not in any fit
    unseen |= {mistaken[i]: model for i, model in _by_image(fitted.without, dealt).items()}
    others = [unseen[i](image.margins.T[None], image.winner[None])[0].T.contiguous() for i, image in enumerate(images)]
    with_others = [replace(before, others=after) for before, after in zip(terms, others, strict=True)]
    short = "" if fitted.converged else ", stopped short of its optimum"
    return Stage("mistake_model", fitted.model, with_others, f" (strength {fitted.strength:g}{short})")


def _mistakes(image: SampledImage) -> Mistakes:
    wrong = ~image.is_right
    return Mistakes(image.margins[wrong], image.labels[wrong], image.winner[wrong])


@torch.no_grad()
def propose_second_member(images: Sequence[SampledImage], terms: Sequence[Terms], *, seed: int) -> Stage | str:
    """Propose equation (4), where there are few classes."""
    if images[0].num_classes > MAX_CLASSES:
        return f"second_member: more than {MAX_CLASSES} classes; not used"
    dealt = folds(len(images), FOLDS, seed=seed)
    member, without = fit_second_member([i.margins for i in images], [i.labels for i in images], dealt, seed=seed)
    unseen = _by_image(without, dealt)
    log_probs = [unseen[i](image.margins.T[None])[0].log_softmax(0).T.contiguous() for i, image in enumerate(images)]
    with_member = [replace(before, member=after) for before, after in zip(terms, log_probs, strict=True)]
    return Stage("second_member", member, with_member)


def propose_temperatures(
    images: Sequence[SampledImage], terms: Sequence[Terms], recipe: Recipe, *, num_networks: int, seed: int
) -> Stage:
    """Propose equation (2): one network without each fold of the images, and their mean."""
    dealt = folds(len(images), num_networks, seed=seed)
    standard = moments(images)
    networks = [
        train(images, terms, fold, standard, recipe, seed=seed * 1000 + number) for number, fold in enumerate(dealt)
    ]
    unseen = _by_image(networks, dealt)
    with torch.no_grad():
        factors = [unseen[i](image) for i, image in enumerate(images)]
    with_factor = [replace(before, factor=after) for before, after in zip(terms, factors, strict=True)]
    return Stage("temperature_network", joined(networks), with_factor)


@torch.no_grad()
def propose_recalibration(images: Sequence[SampledImage], terms: Sequence[Terms]) -> Stage | str:
    """Propose equation (5), from the confidence of images left out."""
    if terms[0].member is None:
        return "recalibration: there is no pool to recalibrate; not used"
    confidence = [before.confidence(image) for image, before in zip(images, terms, strict=True)]
    fitted = Recalibration.fit(confidence, [image.is_right for image in images], images[0].num_classes)
    return Stage("recalibration", fitted, [replace(before, recalibration=fitted) for before in terms])
