r"""Stacked scaling: several calibrators at once, a look at the surroundings, and caution where images are unlike.

Given logits z of an image, w their largest at a pixel:

(1) pool            v = Σ_m u_m (logits of member m), the anchor (temperature scaling) first: a product of powers of
                    their probabilities, with weights learnt on images left out. ``pool.py``
(2) confidence      the log-odds that w is right, from the anchor, the pool, and what lies around the pixel; the other
                    classes keep their proportions in the pool, and one that exceeds w shares with it. ``context.py``,
                    ``confidence.py``
(3) gate            z' = share * (2) + (1 - share) * anchor, in logits, with one share an image: 1 within the range of
                    the images of the fit, less the farther outside, and 0 from twice as far on. ``gate.py``
(4) labels          w stays the winner of every pixel.

A member is kept only if it lowers the negative log-likelihood of images left out by more than the standard error of
that gain, the confidence unless it raises it by as much, and all of it only if it lowers that of the anchor. Otherwise
the result is the anchor.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from calibrant._input.checks import check_classes_as_fitted
from calibrant._shapes import Bool, Float, Tensor
from calibrant.calibrators._notes import inner_fits, warn_and_note
from calibrant.calibrators._projections import (
    EXCLUDED,
    NEXT_BELOW,
    apart,
    nearest_with_winner,
    replaced_where,
)
from calibrant.calibrators._tensors import keep_tensors
from calibrant.calibrators.calibrator import Calibrator, Fit, by_pixel_blocks, is_unasked, maps_by_pixel_blocks
from calibrant.calibrators.dirichlet import DirichletScaling
from calibrant.calibrators.stacked.confidence import ConfidenceNetwork, of_pool, shared, unshared
from calibrant.calibrators.stacked.context import context_of
from calibrant.calibrators.stacked.fit import dealt_images, is_pixelwise, learn
from calibrant.calibrators.stacked.gate import MAX_PARTS, Gate, fit_gate
from calibrant.calibrators.stacked.pool import Pool
from calibrant.calibrators.stacked.sample import SampledImage, sample_images
from calibrant.calibrators.stacked.training import Recipe
from calibrant.calibrators.temperature import TemperatureScaling
from calibrant.calibrators.vector import VectorScaling
from calibrant.errors import InputError
from calibrant.predictions import PredictionsLike, predictions_of

MAX_CLASSES_OF_MATRIX = 32
"""With more classes Dirichlet scaling is left out: its matrix costs as many operations a logit as there are classes."""

MEMBERS: tuple[Fit, ...] = (VectorScaling.fit, DirichletScaling.fit)
"""What is pooled with the anchor if nothing else is said."""


class StackedScaling(Calibrator):
    """Pool calibrators, look at what lies around, and stay with the anchor where images are unlike; labels stay.

    It is *not* pixel by pixel: give it whole images (crops see less), at the resolution it was fitted at. Each image is
    calibrated on its own, whatever else is in the batch. The equations stand at the top of
    ``calibrators/stacked/stacked.py``. A member need not keep the label map; the pool does. No gradient flows through
    the context.

    :param anchor: the simplest member; must keep the label map.
    :param members: what is pooled with it.
    :param weights: (1), of the anchor and of each member; none below 0.
    :param confidence: (2), how sure to be of the winner; None for the pool's own confidence.
    :param gate: (3), what share of all this an image gets; None for all.
    :param notes: what a fit found.
    :raises InputError: the anchor does not keep the label map, or there is not one weight, 0 or more, for each.

    >>> halves = StackedScaling(TemperatureScaling(1.0), [TemperatureScaling(2.0)], torch.tensor([0.5, 0.5]))
    >>> halves(torch.tensor([[[1.0], [3.0]]])).flatten()
    tensor([-1.5000,  0.0000])
    """

    keeps_labels = True
    weights: Tensor

    def __init__(
        self,
        anchor: Calibrator,
        members: Sequence[Calibrator],
        weights: Float[Tensor, " m"],
        confidence: ConfidenceNetwork | None = None,
        gate: Gate | None = None,
        *,
        notes: tuple[str, ...] = (),
    ) -> None:
        super().__init__(notes=notes)
        if not anchor.keeps_labels:
            raise InputError(
                f"expected an anchor that keeps the label map; got {type(anchor).__name__}. "
                "Vector and Dirichlet scaling keep it with keep_labels=True."
            )
        if weights.shape != (1 + len(members),) or not bool((weights >= 0).all() & weights.isfinite().all()):
            raise InputError(
                f"expected a weight, 0 or more, for the anchor and for each of {len(members)} members; got "
                f"{weights.tolist()}. Pass as many."
            )
        self.anchor, self.members = anchor, nn.ModuleList(members)
        self.confidence, self.gate = confidence, gate
        keep_tensors(self, weights=weights)

    @property
    def calibrators(self) -> tuple[Calibrator, ...]:
        """What is pooled: the anchor and the members."""
        return (self.anchor, *(each for each in self.members if isinstance(each, Calibrator)))

    def forward(
        self, logits: Float[Tensor, "n c *s"], image: Float[Tensor, "n k *s"] | None = None
    ) -> Float[Tensor, "n c *s"]:
        """Return logits, the largest of each pixel at 0, with the argmax of the input.

        :param logits: raw logits, class axis second, in any floating-point type.
        :param image: passed on to the anchor and the members.
        :raises ShapeError: there are more or fewer classes than in the fit.
        """
        for part in (self.confidence, self.gate):
            if part is not None:
                check_classes_as_fitted(logits, part.num_classes)
        if len(self.weights) == 1 and self.confidence is None:
            return self.anchor(logits, image)
        if torch.compiler.is_compiling() or len(logits) < 2:
            return self._of_images(logits, image)
        images = [None] * len(logits) if image is None else image.split(1)
        return torch.cat([self._of_images(*each) for each in zip(logits.split(1), images, strict=True)])

    def shares(
        self, logits: Float[Tensor, "n c *s"], image: Float[Tensor, "n k *s"] | None = None
    ) -> Float[Tensor, " n"]:
        """Return the share of what was learnt that each image gets; below 1 it is drawn back to the anchor.

        :param logits: raw logits, class axis second, in any floating-point type.
        :param image: passed on to the anchor.
        """
        if self.gate is None:
            return torch.ones(len(logits), device=logits.device)
        return self.gate(context_of(logits, image, self.anchor))

    def _of_images(self, logits: Float[Tensor, "n c *s"], image: Float[Tensor, "n k *s"] | None) -> Tensor:
        n, p = len(logits), logits[0, 0].numel()
        maps: dict[str, Tensor] = {}
        if self.confidence is not None or self.gate is not None:
            context = context_of(logits, image, self.anchor)
            if self.confidence is not None:
                maps |= {"context": context.values, "winner": context.winner[:, None]}
            if self.gate is not None:
                share = self.gate(context)
                if is_unasked(share) or bool((share < 1).any()):
                    maps["share"] = share[:, None, None].expand(n, 1, p)
        for number, each in enumerate(self.calibrators):
            if not is_pixelwise(each):
                maps[f"given {number}"] = each(logits, image)

        pool = Pool.of(self.calibrators, self.weights)

        def stacked(z: Tensor, *parts: Tensor) -> Tensor:
            return self._stacked(z, pool, dict(zip(maps, parts, strict=True)))[0]

        def with_unlike(z: Tensor, *parts: Tensor) -> tuple[Tensor, Tensor]:
            return self._stacked(z, pool, dict(zip(maps, parts, strict=True)), share=False)

        if self.confidence is None or logits.requires_grad or is_unasked(logits):
            return by_pixel_blocks(stacked, logits, *maps.values())
        found, unlike = maps_by_pixel_blocks(with_unlike, logits, *maps.values())
        columns = (each.flatten(2) for each in (logits, *maps.values()))
        return replaced_where(unlike.flatten(2), found.flatten(2), stacked, *columns).view(logits.shape)

    def _stacked(
        self, z: Float[Tensor, "n c p"], pool: Pool, maps: Mapping[str, Tensor], *, share: bool = True
    ) -> tuple[Float[Tensor, "n c p"], Bool[Tensor, "n 1 p"]]:
        """Equations (1) to (4) for pixels whose maps are known, and where classes share, or would if it were asked."""
        z = z.float()
        given = {k: maps[f"given {k}"] for k in range(len(self.weights)) if f"given {k}" in maps}
        mixed = pool.of_logits(z, given)
        if self.confidence is None:
            found = nearest_with_winner(z, mixed)
            found = found - found.amax(1, keepdim=True)
            unlike = torch.zeros_like(found[:, :1], dtype=torch.bool)
        else:
            winner, parts = maps["winner"], apart(mixed, maps["winner"])
            odds = self.confidence(maps["context"], of_pool(parts), winner)
            tied = maps["context"][:, 1:2] == 0  # no gap
            found, unlike = unshared(odds, parts, winner, tied)
            if share:
                found = torch.where(unlike, shared(odds, parts, winner, tied, z), found)
        if "share" in maps:
            part, anchored = maps["share"], given[0] if 0 in given else self.anchor(z)
            mixed = part * found + (1 - part) * (anchored - anchored.amax(1, keepdim=True))
            lead = z - z.amax(1, keepdim=True)
            found = torch.where(lead == 0, 0.0, mixed.clamp_(EXCLUDED, -NEXT_BELOW))
        return found, unlike

    def arguments(self) -> dict[str, Any]:
        """Return anchor, members, weights, confidence and gate."""
        names = ("anchor", "weights", "confidence", "gate")
        return {**{name: getattr(self, name) for name in names}, "members": list(self.members)}

    def extra_repr(self) -> str:
        """Show the weights."""
        return f"weights={[round(weight, 3) for weight in self.weights.tolist()]}"

    @classmethod
    def fit(
        cls,
        predictions: PredictionsLike,
        labels: Any = None,
        *,
        members: Sequence[Fit] = MEMBERS,
        anchor: Fit = TemperatureScaling.fit,
        use_context: bool = True,
        use_gate: bool = True,
        groups: Mapping[str, str] | None = None,
        pixels_per_image: int | None = 10_000,
        num_epochs: int = Recipe.num_epochs,
        hidden: int = Recipe.hidden,
        image_weight: float = Recipe.image_weight,
        level_weight: float = Recipe.level_weight,
        seed: int = 0,
    ) -> "StackedScaling":
        """Return the members that images left out gain by, with their weights; with none of them the anchor alone.

        The notes say how much was gained by each part. Reads the predictions once, after the anchor has read them
        (and more often for members that need whole maps); memory does not grow with their number.

        :param predictions: two labelled images or more; with fewer the result is the anchor alone.
        :param labels: label maps, where logits (n, c, *s) are given in place of predictions: see
            :func:`~calibrant.predictions.predictions_of`, which also takes loaders and data sets of pairs.
        :param members: fits to be pooled with the anchor; by default vector scaling, and Dirichlet scaling where there
            are 32 classes or fewer. They need not keep the label map.
        :param anchor: a fit for what an image is drawn back to; what it returns must keep the label map.
        :param use_context: learn from the surroundings of a pixel how sure to be.
        :param use_gate: draw images that are unlike those of the fit back to the anchor.
        :param groups: by the key of an image, its group (a drive, a patient, a place); None for none. Whole groups are
            left out, so that what is kept holds beyond the groups of the fit.
        :param pixels_per_image: pixels kept of each image, None for all; fewer where there are many images or classes.
        :param num_epochs: training epochs of each network of the confidence, of 15 batches of 8 images.
        :param hidden: width of the hidden layer of each network; there are four.
        :param image_weight: weight, in their loss, of the squared gap between mean confidence and accuracy of images.
        :param level_weight: weight, in their loss, of the calibration error of each image at ten levels of confidence.
        :param seed: seed of everything that is drawn here: pixels, folds, networks, batches. The anchor's fit has its
            own: ``partial(TemperatureScaling.fit, seed=1)``.
        :raises FitError: there is no labelled pixel.
        :raises InputError: an image has no group.
        """
        predictions = predictions_of(predictions, labels)
        with inner_fits():
            first = anchor(predictions)
        images = sample_images(predictions, first, pixels_per_image, seed=seed)
        dealt = dealt_images([image.key for image in images], groups, seed)
        if why_not := _reason_not_to_fit(images, dealt):
            return cls(first, [], torch.ones(1), notes=(_falls_back(why_not),))
        if members is MEMBERS and len(images[0].logits) > MAX_CLASSES_OF_MATRIX:
            members = MEMBERS[:1]
        recipe = Recipe(hidden, num_epochs, image_weight, level_weight) if use_context else None
        learnt = learn(first, members, images, dealt, predictions, recipe, seed)
        if not learnt.gain.is_real:
            note = _falls_back(f"NLL of images left out {learnt.gain}.")
            return cls(first, [], torch.ones(1), notes=(*learnt.notes, note))
        gate = None
        if use_gate:
            each = dealt_images([image.key for image in images], groups, seed, MAX_PARTS)
            gate = fit_gate(torch.stack([image.description for image in images]), each)
        notes = (*learnt.notes, f"in all: NLL of images left out {learnt.gain} than by {type(first).__name__}")
        notes += _note_of_gate(gate, images, use_gate)
        return cls(first, learnt.members, torch.tensor(learnt.weights), learnt.confidence, gate, notes=notes)


def _reason_not_to_fit(images: Sequence[SampledImage], dealt: Sequence[Sequence[int]]) -> str:
    """Why nothing can be learnt from these images; empty if something can."""
    if len(dealt) < 2:
        return "there is only one labelled image, or group of images, and none to leave out. Add images to the fit."
    right, count = sum(float(image.is_right.sum()) for image in images), sum(image.labels.numel() for image in images)
    if right in (0, count):
        return f"all pixels of the fit are {'right' if right else 'mistakes'}. Fit on images that hold both."
    return ""


def _falls_back(why: str) -> str:
    return warn_and_note(f"stacked scaling falls back to its anchor alone: {why}")


def _note_of_gate(gate: Gate | None, images: Sequence[SampledImage], wanted: bool) -> tuple[str, ...]:
    if not wanted:
        return ()
    if gate is None:
        return (warn_and_note(f"no gate: {len(images)} images are too few to know what is unlike them."),)
    away = gate.distance(torch.stack([image.description for image in images]))
    end = "" if gate.end is None else f", and left to it from {gate.limit * gate.end:.2f} on"
    return (
        f"gate: distances of the images of the fit up to {float(away.max()):.2f}; beyond {gate.limit:.2f} an image is "
        f"drawn back to the anchor{end}",
    )
