"""What every tally starts from: each labelled pixel's confidence, correctness and likelihood, in one pass.

The pass goes over blocks of pixels that fit in a processor's cache, so the logits are read from memory once and no
softmax of a whole image is ever held. Histograms are numpy's: an order faster than torch's on a processor, and in a
fixed order, so that the same image gives the same bits in any batch and on any machine of a kind.
"""

from dataclasses import dataclass

import numpy as np
import torch

from calibrant._check import check_labels, shape_of
from calibrant._shapes import IGNORE, Bool, Float, Int, Tensor
from calibrant.errors import LogitsError, ShapeError

_BLOCK = 2**18  # numbers of one block: 1 MB of float32


@dataclass(frozen=True)
class PixelScores:
    """The labelled pixels of one image, as vectors on the processor; what was not asked for is None.

    :param confidence: the largest probability.
    :param correct: whether the label is the class with the largest logit (the first of them where they tie).
    :param log_odds: log(confidence / (1 - confidence)), infinite where the confidence is 1.
    :param classwise: counts of every class's own probability, see ``ClasswiseBins``.
    """

    label: Int[Tensor, " p"]
    confidence: Float[Tensor, " p"]
    correct: Bool[Tensor, " p"]
    log_odds: Float[Tensor, " p"]
    prediction: Int[Tensor, " p"]
    where: Bool[Tensor, " p"]
    nll: Float[Tensor, " p"] | None = None
    brier: Float[Tensor, " p"] | None = None
    entropy: Float[Tensor, " p"] | None = None
    classwise: "ClasswiseSums | None" = None


@dataclass(frozen=True)
class ClasswiseSums:
    """For each class and bin of its own probability: pixels, pixels labelled so, and the sum of probabilities."""

    count: Int[Tensor, "c b"]
    positive: Int[Tensor, "c b"]
    probability: Float[Tensor, "c b"]


def bin_of(probability: Float[Tensor, "*p"], num_bins: int) -> Int[Tensor, "*p"]:
    """Return the number of the equal-width bin ``(lo, hi]``; 0 belongs to the first bin, 1 to the last.

    The product is exact in float64, so a probability on an edge falls where real numbers would put it.

    >>> bin_of(torch.tensor([0.0, 0.1, 0.25, 0.5, 1.0]), 4)
    tensor([0, 0, 0, 1, 3])
    """
    return (probability.double() * num_bins).ceil_().long().clamp_(1, num_bins).sub_(1)


def histogram(index: Int[Tensor, " p"], size: int, weights: Float[Tensor, " p"] | None = None) -> Tensor:
    """Return int32 counts, or float64 sums of the weights, of each index: what the row of one image holds."""
    counted = np.bincount(index.numpy(), None if weights is None else weights.numpy(), minlength=size)
    return torch.from_numpy(counted).to(torch.int32 if weights is None else torch.float64)


def each_image(logits: Tensor, labels: Tensor, where: Tensor | None):
    """Yield (logits (c, *s), labels (a, *s), where (a, *s) or None) of each image of a batch, checked.

    ``labels`` may come without an annotator axis, and so may ``where``.

    :raises ShapeError: the sizes do not fit.
    """
    if labels.ndim == logits.ndim - 1:
        labels = labels[:, None]
    if labels.ndim != logits.ndim or len(labels) != len(logits) or labels.shape[2:] != logits.shape[2:]:
        raise ShapeError(
            f"expected logits (n, c, *space) and labels (n, *space) or (n, a, *space); got {shape_of(logits)} and "
            f"{shape_of(labels)}. The class axis comes second: logits.movedim(-1, 1) if it is the last."
        )
    if where is not None:
        if where.ndim == logits.ndim - 1:
            where = where[:, None]
        try:
            where = where.expand(labels.shape)
        except RuntimeError as error:
            raise ShapeError(
                f"expected a mask of the labels' shape {shape_of(labels)}; got {shape_of(where)}. "
                "Make it from the same labels."
            ) from error
    for i in range(len(logits)):
        check_labels(labels[i], logits.shape[1], f"image {i} of the batch")
        yield logits[i], labels[i], None if where is None else where[i]


def score_pixels(
    logits: Float[Tensor, "c *s"],
    labels: Int[Tensor, "a *s"],
    where: Bool[Tensor, "a *s"] | None = None,
    *,
    keep_outside: bool = False,
    likelihood: bool = False,
    classwise_bins: int | None = None,
) -> PixelScores:
    """Return the scores of one image's labelled pixels; each annotator's label of a pixel is one of them.

    :param where: restricts the pixels, or with ``keep_outside`` only marks them.
    :raises LogitsError: a logit is NaN or infinite.
    """
    scores = logits.detach().flatten(1)
    marks = torch.ones_like(labels, dtype=torch.bool) if where is None else where
    parts = []
    for label, mark in zip(labels.flatten(1), marks.flatten(1), strict=True):
        kept = label != IGNORE
        if not keep_outside:
            kept = kept & mark
        classwise = None if classwise_bins is None else _ClasswiseCounter(len(scores), classwise_bins)
        columns = _score_blocks(scores, torch.where(kept, label, 0).long(), kept, likelihood, classwise)
        columns |= {"label": label.cpu().long(), "where": mark.cpu()}
        if not bool(kept.all()):
            chosen = torch.from_numpy(np.flatnonzero(kept.cpu().numpy()))
            columns = {name: column.index_select(0, chosen) for name, column in columns.items()}
        parts.append(PixelScores(**columns, classwise=None if classwise is None else classwise.sums()))
    return parts[0] if len(parts) == 1 else _joined(parts)


def _score_blocks(scores: Tensor, label: Tensor, kept: Tensor, likelihood: bool, classwise) -> dict[str, Tensor]:
    num_classes, num_pixels = scores.shape
    size = max(1, _BLOCK // num_classes)
    found: dict[str, Tensor] = {}
    for start in range(0, num_pixels, size):
        here = slice(start, start + size)
        block = scores[:, here].float()
        vectors = _score_block(block, label[here], kept[here], likelihood, classwise)
        for name, vector in vectors.items():
            if name not in found:
                found[name] = torch.empty(num_pixels, dtype=vector.dtype)
            found[name][here] = vector
    if not bool(torch.isfinite(found["confidence"].sum())):
        raise LogitsError(
            "expected finite logits; got NaN or infinite ones. Clamp infinite scores to a large finite value, and look "
            "for a division by zero or a float16 overflow in the model."
        )
    return found


def _score_block(block: Tensor, label: Tensor, kept: Tensor, likelihood: bool, classwise) -> dict[str, Tensor]:
    top = block.amax(0)
    prediction = first_largest(block, top)
    below = block - top
    at_label = below.gather(0, label[None])[0]
    weights = below.exp() if likelihood else below.exp_()
    total = weights.sum(0)
    confidence = total.reciprocal()
    found = {
        "confidence": confidence,
        "prediction": prediction,
        "correct": prediction == label,
        "log_odds": -(total - 1).log(),
    }
    if likelihood:
        log_total = total.log()
        found["nll"] = log_total - at_label
        found["entropy"] = log_total - below.mul_(weights).sum(0) * confidence
        squares = torch.mul(weights, weights, out=below).sum(0) * confidence.square()
        found["brier"] = squares - 2 * at_label.exp() * confidence + 1
    if classwise is not None:
        classwise.add(weights.mul_(confidence), label, kept)
    return found


def first_largest(block: Float[Tensor, "c p"], top: Float[Tensor, " p"]) -> Int[Tensor, " p"]:
    """Return the class of the largest logit, the first where they tie: argmax, at a tenth of torch's time.

    :param top: the largest logit of each column.
    """
    num_classes = len(block)
    rank = torch.arange(num_classes, 0, -1, device=block.device)
    rank = rank.to(torch.uint8 if num_classes < 256 else torch.int16)[:, None]
    if block.device.type == "cpu":  # numpy compares several times faster than torch
        is_top = torch.from_numpy(np.equal(block.numpy(), top.numpy())).view(torch.uint8)
    else:
        is_top = (block == top).to(torch.uint8)
    # The rank falls with the class, so the largest rank among the tied is the first class.
    return num_classes - (is_top * rank).amax(0).long()


class _ClasswiseCounter:
    """Counts every class's probability by bin, block by block.

    Nearly all probabilities lie in the first bin. Only the others are sorted into bins one by one; the first bin is
    what remains of each class's total.
    """

    def __init__(self, num_classes: int, num_bins: int) -> None:
        self.num_bins = num_bins
        self.pixels = 0
        shape = (num_classes, num_bins)
        self.count = torch.zeros(shape, dtype=torch.int32)
        self.positive = torch.zeros(shape, dtype=torch.int32)
        self.probability = torch.zeros(shape, dtype=torch.float64)
        self.total = torch.zeros(num_classes, dtype=torch.float64)

    def add(self, probs: Float[Tensor, "c p"], label: Int[Tensor, " p"], kept: Bool[Tensor, " p"]) -> None:
        """Count a block; ``probs`` may be overwritten."""
        probs, label, kept = probs.cpu(), label.cpu(), kept.cpu()
        if not bool(kept.all()):
            probs *= kept  # a probability of 0 lies in the first bin, and adds nothing there
        size = self.count.numel()
        at_label = probs.gather(0, label[None])[0]
        # Pixels that do not count go to a cell of their own.
        cell = torch.where(kept, label * self.num_bins + bin_of(at_label, self.num_bins), size)
        counted = histogram(cell, size + 1)
        self.positive += counted[:-1].view_as(self.positive)
        self.pixels += int(counted[:-1].sum())
        self.total += probs.sum(1, dtype=torch.float64)
        # The edge in float32 may lie a hair above the true one; a hair of slack costs nothing.
        large = np.flatnonzero(np.greater(probs.numpy(), np.float32((1 - 1e-6) / self.num_bins)))
        values = probs.flatten()[torch.from_numpy(large)]
        cell = torch.from_numpy(large // probs.shape[1]) * self.num_bins + bin_of(values, self.num_bins)
        self.count += histogram(cell, size).view_as(self.count)
        self.probability += histogram(cell, size, values).view_as(self.probability)

    def sums(self) -> ClasswiseSums:
        count, probability = self.count.clone(), self.probability.clone()
        count[:, 0] += self.pixels - count.sum(1)
        probability[:, 0] = (self.total - probability[:, 1:].sum(1)).clamp_min(0)
        return ClasswiseSums(count, self.positive, probability)


def _joined(parts: list[PixelScores]) -> PixelScores:
    def join(name: str):
        columns = [getattr(part, name) for part in parts]
        return None if columns[0] is None else torch.cat(columns)

    names = ("label", "confidence", "correct", "log_odds", "where", "prediction", "nll", "brier", "entropy")
    sums = [part.classwise for part in parts if part.classwise is not None]
    together = None
    if sums:
        together = ClasswiseSums(
            *(torch.stack([getattr(s, name) for s in sums]).sum(0) for name in ("count", "positive", "probability"))
        )
    return PixelScores(**{name: join(name) for name in names}, classwise=together)
