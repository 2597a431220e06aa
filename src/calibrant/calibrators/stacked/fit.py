"""Parts of the fit: members on all images and on all but some, and what the confidence gains on those.

The anchor is not fitted again without images, so that what is gained over it is if anything understated. (Strengths of
members are chosen once, on all images, and so is the epoch of each network, on the images on which its gain is
measured.)
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import Any

import torch
from torch import nn

from calibrant._shapes import Float, Tensor
from calibrant._statistics.left_out import Gain, folds
from calibrant.calibrators._notes import inner_fits
from calibrant.calibrators._projections import Apart, apart, nearest_with_winner
from calibrant.calibrators.calibrator import Calibrator, Fit
from calibrant.calibrators.stacked.confidence import ConfidenceNetwork, as_sure, of_pool
from calibrant.calibrators.stacked.pool import weigh
from calibrant.calibrators.stacked.sample import SampledImage
from calibrant.calibrators.stacked.training import Recipe, Seen, train
from calibrant.errors import InputError
from calibrant.predictions import Predictions, Subset

log = logging.getLogger("calibrant")

FOLDS = 4
"""Parts into which the images, or their groups, are dealt; each part is left out once."""

LEFT_OUT_PIXELS = 2000
"""Pixels of an image to which a member is fitted that is thrown away once it has been judged."""


@dataclass(frozen=True)
class Learnt:
    """What is pooled with the anchor, and what was found on images left out.

    :param members: those that gain, fitted to all images.
    :param weights: of the anchor and of each.
    :param confidence: None where there is none.
    :param gain: in NLL over the anchor, of images left out.
    :param notes: of each part.
    """

    members: Sequence[Calibrator]
    weights: tuple[float, ...]
    confidence: ConfidenceNetwork | None
    gain: Gain
    notes: tuple[str, ...]


def learn(
    anchor: Calibrator,
    members: Sequence[Fit],
    images: Sequence[SampledImage],
    dealt: Sequence[Sequence[int]],
    predictions: Predictions,
    recipe: Recipe | None,
    seed: int,
) -> Learnt:
    """Return the pool, and the confidence if a recipe is given.

    :param anchor: fitted.
    :param members: fits of the others.
    :param images: the sample.
    :param dealt: the numbers of the images in each part.
    :param predictions: what the sample was drawn from.
    :param recipe: how networks are trained; None for no confidence.
    :param seed: of what is drawn.
    """
    with inner_fits(), torch.no_grad():
        whole = [_whole_fit(fit, images, predictions, seed) for fit in members]
        unseen = [[image.anchor for image in images]]
        for fit, calibrator in zip(members, whole, strict=True):
            unseen.append(_unseen_logits(fit, calibrator, images, dealt, predictions, seed))
        names = [type(each).__name__ for each in (anchor, *whole)]
        weighed = weigh(unseen, [image.labels for image in images], names)
        pooled = weighed.pooled(unseen)
        kept = [nearest_with_winner(i.logits[None], v[None])[0] for i, v in zip(images, pooled, strict=True)]
    losses = [_nll(z, image) for z, image in zip(kept, images, strict=True)]
    confidence, notes = None, weighed.notes
    if recipe is not None:
        confidence, losses, note = _confidence(images, pooled, losses, dealt, recipe, seed)
        notes += (note,)
    gain = Gain.of([_nll(image.anchor, image) for image in images], losses)
    return Learnt([whole[member - 1] for member in weighed.members[1:]], weighed.weights, confidence, gain, notes)


def dealt_images(
    keys: Sequence[str], groups: Mapping[str, str] | None, seed: int, count: int = FOLDS
) -> list[list[int]]:
    """Return the numbers of the images in each part; images of one group are in one part.

    :param keys: the names of the images.
    :param groups: by name of an image, its group; None where each image is its own.
    :param seed: of the order in which they are dealt.
    :param count: how many parts; no more than there are images, or groups.
    :raises InputError: an image has no group.

    >>> sorted(dealt_images("abc", {"a": "x", "b": "y", "c": "x"}, 0))
    [[0, 2], [1]]
    """
    if groups is None:
        return folds(len(keys), count, seed=seed)
    missing = [key for key in keys if key not in groups]
    if missing:
        raise InputError(
            f"expected a group for every image; {missing[0]!r} has none ({len(missing)} of {len(keys)}). "
            "Name the group of each image by its key."
        )
    names = sorted({groups[key] for key in keys})
    parts = folds(len(names), count, seed=seed)
    return [[i for i, key in enumerate(keys) if names.index(groups[key]) in part] for part in parts]


def is_pixelwise(calibrator: nn.Module | type) -> bool:
    """Return whether a calibrator, or a class of them, says that it works on each pixel alone.

    :param calibrator: an instance or a class.
    """
    return getattr(calibrator, "reach", None) == 0


def _is_fit_of_pixels(fit: Fit) -> bool:
    inner: Any = fit
    while isinstance(inner, partial):
        inner = inner.func
    owner = getattr(inner, "__self__", None)
    return isinstance(owner, type) and is_pixelwise(owner)


def _seeded(fit: Callable[..., Calibrator], seed: int) -> Callable[..., Calibrator]:
    """The fit with the seed, where it takes one and none is set."""
    known = signature(fit).parameters
    return partial(fit, seed=seed) if "seed" in known and "seed" not in getattr(fit, "keywords", {}) else fit


def _whole_fit(fit: Fit, images: Sequence[SampledImage], predictions: Predictions, seed: int) -> Calibrator:
    """Return a member fitted to all images: pixel by pixel to the sample, else to the predictions themselves.

    :param fit: of the member.
    :param images: the sample.
    :param predictions: what it was drawn from.
    :param seed: for fits that take one.
    """
    if not _is_fit_of_pixels(fit):
        return _seeded(fit, seed)(predictions)
    return _seeded(fit, seed)([image.as_prediction(len(image.labels)) for image in images])


def _unseen_logits(
    fit: Fit,
    whole: Calibrator,
    images: Sequence[SampledImage],
    dealt: Sequence[Sequence[int]],
    predictions: Predictions,
    seed: int,
) -> list[Float[Tensor, "c _"]]:
    """Return a member's logits of the sampled pixels of each image, as fitted without the image's part.

    :param fit: of the member.
    :param whole: the member fitted to all images, whose strength, if it has one, is taken over.
    :param images: the sample.
    :param dealt: the numbers of the images in each part.
    :param predictions: what the sample was drawn from.
    :param seed: for fits that take one.
    """
    pixelwise, again = _is_fit_of_pixels(fit), _seeded(fit, seed)
    strength = getattr(whole, "strength", None)
    if strength is not None:
        again = partial(again, strength=strength, safe=False)
    source: Predictions = [image.as_prediction(LEFT_OUT_PIXELS) for image in images] if pixelwise else predictions
    numbers = range(len(images)) if pixelwise else [image.number for image in images]
    found: dict[int, Tensor] = {}
    for part in dealt:
        calibrator = again(Subset(source, [numbers[i] for i in range(len(images)) if i not in set(part)]))
        for i in part:
            found[i] = _logits_of(calibrator, images[i], None if pixelwise else predictions)
    return [found[i] for i in range(len(images))]


def _logits_of(calibrator: Calibrator, image: SampledImage, predictions: Predictions | None) -> Float[Tensor, "c p"]:
    if predictions is None:
        return calibrator(image.logits[None])[0]
    prediction = predictions[image.number]
    given = None if prediction.image is None else prediction.image[None]
    return calibrator(prediction.logits[None], given)[0].flatten(1)[:, image.pixels]


def _nll(logits: Float[Tensor, "c p"], image: SampledImage) -> float:
    """Return the mean negative log-likelihood of the labels of an image.

    :param logits: of its sampled pixels.
    :param image: the sample.
    """
    return -float(logits.log_softmax(0).gather(0, image.labels[None]).mean(dtype=torch.float64))


def _seen(image: SampledImage, parts: Apart) -> Seen:
    of_pixels = of_pool(parts)[0].T.contiguous()
    return Seen(image.context.T.contiguous(), of_pixels, image.winner, image.is_right)


def _confidence(
    images: Sequence[SampledImage],
    pooled: Sequence[Float[Tensor, "c _"]],
    losses: Sequence[float],
    dealt: Sequence[Sequence[int]],
    recipe: Recipe,
    seed: int,
) -> tuple[ConfidenceNetwork | None, list[float], str]:
    """Return the confidence unless images left out lose by it, the NLL of each image with what is kept, and a note.

    It is judged by networks that stand alone, and is the mean of them, which is better than any; so it is enough that
    these do not raise the NLL by more than its standard error. It is there to make confidence right, which NLL says
    little about.

    :param images: the sample.
    :param pooled: logits of the pool, as fitted without each image.
    :param losses: NLL of each image by the pool with labels kept.
    :param dealt: the numbers of the images in each part.
    :param recipe: how networks are trained.
    :param seed: of what is drawn.
    """
    parts = [apart(v[None].clone(), i.winner[None, None]) for v, i in zip(pooled, images, strict=True)]
    seen = [_seen(image, part) for image, part in zip(images, parts, strict=True)]
    network, without = train(seen, len(images[0].logits), dealt, recipe, seed=seed)
    sure: dict[int, float] = {}
    with torch.no_grad(), inner_fits():
        for each, fold in zip(without, dealt, strict=True):
            for i in fold:
                odds = each(seen[i].context.T[None], seen[i].pool.T[None], seen[i].winner[None, None])
                winner, tied = images[i].winner[None, None], images[i].tied[None, None]
                sure[i] = _nll(as_sure(odds, parts[i], winner, tied, images[i].logits[None])[0], images[i])
    with_it = [sure[i] for i in range(len(images))]
    gain = Gain.of(losses, with_it)
    note = f"confidence from context: NLL of images left out {gain}"
    log.info("stacked scaling: %s", note)
    if -gain.mean > gain.margin:
        return None, list(losses), f"{note}; not used"
    return network, with_it, note
