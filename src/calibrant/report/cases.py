"""Single images of a page: what the model said, where it was wrong, how sure it was before and after."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from calibrant._shapes import IGNORE, Float, Int, Tensor
from calibrant.errors import InputError
from calibrant.metrics import Score, Tally
from calibrant.predictions import Prediction
from calibrant.report.scale import level_of_confidence, level_of_entropy

LONGEST = 640
"""Pixels of the longer side of what a case keeps, at most: larger maps are thinned."""

NUM_SLICES = 5
"""Slices of a volume that are shown, at most."""


@dataclass(frozen=True)
class Sureness:
    """How sure a method is in an image, over all labelled pixels of it.

    :param everywhere: its mean confidence; NaN if nothing is labelled.
    :param on_mistakes: its mean confidence where the first method's label is wrong; NaN if it is wrong nowhere.
    """

    everywhere: float
    on_mistakes: float


@dataclass(frozen=True)
class Case:
    """One image of the test set, or a slice of a volume, shown on the page. Maps may be thinned; numbers are of all.

    :param key: its name.
    :param labels: the reference, of the first annotator; ``IGNORE`` where unlabelled.
    :param prediction: the label map of the first method, the model as it is.
    :param confidence: by method, the level of the largest probability (``scale.level_of_confidence``).
    :param entropy: the level of the first method's entropy.
    :param wrong: the share of the labelled pixels at which the first method's label is wrong; NaN if none is labelled.
    :param sureness: by method.
    :param relabelled: the label maps of methods that change a label.
    :param image: the picture itself, as bytes, with one or three channels.
    :param scores: numbers for the caption: method, then name of a score in the comparison, then value.
    :param part: which slice of a volume it is, in words; empty for a whole image.
    :param why: why it is shown, in words.
    :param num_annotators: how many annotators labelled it.
    """

    key: str
    labels: Int[Tensor, "h w"]
    prediction: Int[Tensor, "h w"]
    confidence: Mapping[str, Int[Tensor, "h w"]]
    entropy: Int[Tensor, "h w"]
    wrong: float
    sureness: Mapping[str, Sureness]
    relabelled: Mapping[str, Int[Tensor, "h w"]] = field(default_factory=dict)
    image: Int[Tensor, "k h w"] | None = None
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    part: str = ""
    why: str = ""
    num_annotators: int = 1

    @property
    def title(self) -> str:
        """Its name, and which slice it is."""
        return f"{self.key}, {self.part}" if self.part else self.key


def case_of(
    prediction: Prediction,
    logits: Mapping[str, Float[Tensor, "c h w"]],
    *,
    scores: Mapping[str, Mapping[str, float]] | None = None,
    why: str = "",
) -> Case:
    """Return a case from a prediction and the logits that each method made of it.

    The first annotator's labels are shown, and the first method's label map; the image is brought into [0, 1].

    :param prediction: one of two dimensions; ``cases_of`` also takes volumes.
    :param logits: by method, the model as it is first; (c, h, w).
    :param scores: numbers for the caption: method, then name of a score in the comparison, then value.
    :param why: why it is shown, in words.
    :raises InputError: it is no image of two dimensions.
    """
    if prediction.logits.ndim != 3:
        raise InputError(
            f"expected an image of two dimensions; {prediction.key!r} has {prediction.logits.ndim - 1}. Show slices of "
            "it: cases_of."
        )
    labels, (first, *_) = prediction.labels[0].cpu(), logits.values()
    step = max(1, -(-max(labels.shape) // LONGEST))
    said = {method: z.detach().float().cpu() for method, z in logits.items()}
    winners = {method: z.argmax(0) for method, z in said.items()}
    predicted = next(iter(winners.values()))
    known = labels != IGNORE
    wrong = known & (labels != predicted)
    sureness, confidence = {}, {}
    for method, z in said.items():
        sure = z.softmax(0).amax(0)
        sureness[method] = Sureness(_mean(sure, known), _mean(sure, wrong))
        confidence[method] = torch.from_numpy(level_of_confidence(sure[::step, ::step].numpy()))
    log_probs = first.detach().float().cpu()[:, ::step, ::step].log_softmax(0)
    entropy = torch.special.entr(log_probs.exp()).sum(0).numpy()
    image = None if prediction.image is None else as_bytes(prediction.image[:, ::step, ::step])
    return Case(
        prediction.key,
        labels[::step, ::step],
        predicted[::step, ::step],
        confidence,
        torch.from_numpy(level_of_entropy(entropy, len(first))),
        _mean(wrong, known),
        sureness,
        {m: labels_[::step, ::step] for m, labels_ in winners.items() if not torch.equal(labels_, predicted)},
        image,
        scores or {},
        why=why,
        num_annotators=len(prediction.labels),
    )


def cases_of(
    prediction: Prediction,
    logits: Mapping[str, Float[Tensor, "c *s"]],
    *,
    scores: Mapping[str, Mapping[str, float]] | None = None,
    why: str = "",
) -> list[Case]:
    """Return the cases of an image: itself, or some slices of a volume, the one with the most mistakes among them.

    Slices are cut across the first axis of space, which is z of NIfTI.

    :param prediction: what the model said of the image, of two or three dimensions; of one, there is nothing to show.
    :param logits: by method, the model as it is first; (c, *s).
    :param scores: numbers for the caption: method, then name of a score in the comparison, then value.
    :param why: why it is shown, in words.
    """
    if prediction.logits.ndim == 3:
        return [case_of(prediction, logits, scores=scores, why=why)]
    if prediction.logits.ndim != 4:
        return []
    depth, found = prediction.labels.shape[1], []
    for z in slices_shown(prediction.labels[0].cpu(), next(iter(logits.values())).argmax(0).cpu()):
        image = None if prediction.image is None else prediction.image[:, z]
        one = replace(prediction, logits=prediction.logits[:, z], labels=prediction.labels[:, z], image=image)
        case = case_of(one, {method: each[:, z] for method, each in logits.items()}, scores=scores, why=why)
        found.append(replace(case, part=f"slice {z + 1} of {depth}"))
    return found


def slices_shown(labels: Int[Tensor, "d h w"], prediction: Int[Tensor, "d h w"]) -> list[int]:
    """Return the numbers of the slices of a volume that are shown: the one with most mistakes, and others between.

    The others lie evenly among the slices that show more than the volume's most frequent label.

    :param labels: the reference; ``IGNORE`` where unlabelled.
    :param prediction: the label map.
    """
    known = labels != IGNORE
    mistakes = (known & (labels != prediction)).flatten(1).sum(1)
    usual = labels[known].mode().values if bool(known.any()) else torch.tensor(0)
    shows = torch.nonzero(((labels != usual) & known).flatten(1).any(1)).flatten()
    if len(shows) == 0:
        shows = torch.arange(len(labels))
    others = min(NUM_SLICES - 1, len(shows))
    places = ((np.arange(others) + 0.5) / others * len(shows)).astype(int)
    return sorted({int(mistakes.argmax()), *(int(shows[i]) for i in places.tolist())})


def worst_images(tally: Tally, score: Score, *, count: int = 6) -> list[str]:
    """Return the keys of the images with the worst values of a score, the worst first.

    :param tally: one row an image, with keys.
    :param score: the worst values are the highest, unless higher is better; images without a value are left out.
    :param count: how many images, at most.
    :raises InputError: the rows have no names.

    >>> from dataclasses import replace
    >>> from calibrant.metrics import SCORES, Measurement
    >>> labels = torch.tensor([[[0, 0]], [[0, 1]]])
    >>> rows = Measurement.of(torch.tensor([[5.0, 5.0], [0.0, 0.0]])[None, :, None].repeat(2, 1, 1, 1), labels)
    >>> worst_images(replace(rows, keys=("right", "half wrong")), SCORES["ece_images"], count=1)
    ['half wrong']
    """
    if len(tally.keys) != len(tally):
        raise InputError(
            f"expected the names of {len(tally)} images; got {len(tally.keys)} keys. Count with "
            "calibrant.evaluation.tally, which names the rows."
        )
    values = score.of(tally).double()
    sign = -1 if score.better == "higher" else 1
    order = torch.argsort((sign * values).nan_to_num(nan=-torch.inf), descending=True, stable=True)
    return [tally.keys[i] for i in order[:count].tolist() if not values[i].isnan()]


def telling_images(before: Tally, after: Tally | None, score: Score, *, count: int = 6) -> dict[str, str]:
    """Return the keys of images to look at, each with the reason: half of them the worst, the others not.

    A third shows where calibration helps most and where it harms most; one is typical, in the middle of all.

    :param before: counts of the model as it is, one row an image, with keys.
    :param after: counts of the same images through the method that is set against it; None if there is none.
    :param score: a score of single images.
    :param count: how many images, at most.
    :raises InputError: the rows have no names.
    """
    worst = worst_images(before, score, count=len(before))
    title = score.in_sentence
    candidates = [(key, f"among the worst in {title}") for key in worst[: (count + 1) // 2]]
    if len(worst) > 1:
        candidates.append((worst[len(worst) // 2], f"typical: in the middle of all images in {title}"))
    if after is not None and len(worst) > 1:
        sign = -1 if score.better == "higher" else 1
        gain = sign * (score.of(before) - score.of(after)).double()
        known = [i for i in range(len(before)) if not bool(gain[i].isnan())]
        order = sorted(known, key=lambda i: (-float(gain[i]), before.keys[i]))
        if order and float(gain[order[0]]) > 0:
            candidates.append((before.keys[order[0]], f"helped most in {title}"))
        if order and float(gain[order[-1]]) < 0:
            candidates.append((before.keys[order[-1]], f"harmed most in {title}"))
    candidates += [(key, f"among the worst in {title}") for key in worst]
    chosen: dict[str, str] = {}
    for key, why in candidates:
        if key in chosen and why not in chosen[key] and len(chosen) <= count and "among" not in why:
            chosen[key] += f"; {why}"
        elif key not in chosen and len(chosen) < count:
            chosen[key] = why
    return chosen


def _mean(values: Tensor, where: Tensor) -> float:
    return float(values[where].double().mean()) if bool(where.any()) else float("nan")


def as_bytes(image: Float[Tensor, "k h w"]) -> Int[Tensor, "c h w"]:
    """Return one or three channels of a picture as bytes, brought into [0, 1] if they have another range.

    :param image: as models see it.
    """
    pixels = image.detach().cpu().float()[: 3 if len(image) >= 3 else 1]
    low, high = (float(bound) for bound in torch.aminmax(pixels))
    if low < 0 or high > 1:
        pixels = (pixels - low) / max(high - low, 1e-9)
    return (pixels.clamp(0, 1) * 255).round().byte()
