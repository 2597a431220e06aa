"""What a fit gains on images that it did not see: measured by a second fit, without some of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from calibrant.methods import Method

QUICK = 60.0
"""Seconds: a fit that took less is made again without a part of the images if nobody said otherwise."""

PART = 0.2
"""The part of the images, or of their groups, that is left out if nobody said otherwise."""


def gained(
    method: Method,
    stored: Any,
    groups: Mapping[str, str],
    part: float,
    progress: Any,
    *,
    pixels_per_image: int,
    seed: int,
) -> str:
    """Fit to a part of the images, and return in words what the calibrator gains on the others.

    :param method: what is fitted.
    :param stored: labelled predictions.
    :param groups: by key, the group of each image, of which whole ones are left out; empty if each is its own.
    :param part: the part of the images, or groups, that is left out.
    :param progress: shows the bars.
    :param pixels_per_image: as for the fit itself.
    :param seed: of the choice, and of the fit.
    """
    from calibrant.errors import FitError, InputError

    kept, held = _parts(stored.keys, groups, part, seed)
    if not held:
        return "one image, or one group, alone: none can be left out to see what is gained"
    known = {"groups": {key: groups[key] for key in (stored.keys[i] for i in kept)}} if groups else {}
    try:
        return _in_words(method, stored, kept, held, progress, pixels_per_image=pixels_per_image, seed=seed, **known)
    except (FitError, InputError) as error:  # what is left may be too little, and the calibrator is there
        return f"what it gains on images left out is not known: {error}"


def _in_words(method: Method, stored: Any, kept: Sequence[int], held: Sequence[int], progress: Any, **how: Any) -> str:
    """Fit to the images kept, and say what is gained on those held out."""
    from calibrant._statistics.left_out import Gain
    from calibrant.cli._console import with_progress
    from calibrant.evaluation import tally_all
    from calibrant.metrics import LikelihoodSums, negative_log_likelihood
    from calibrant.predictions import Subset

    fitted = method.fitted(with_progress(Subset(stored, kept), progress, f"{method.title}, images left out"), **how)
    rest = with_progress(Subset(stored, held), progress, "images left out")
    found = tally_all(LikelihoodSums.of, rest, {"before": None, "after": fitted})
    losses = {name: negative_log_likelihood(tally) for name, tally in found.items()}
    gain = Gain.of(losses["before"].tolist(), losses["after"].tolist())
    after = float(losses["after"].mean())
    beyond = "" if gain.is_real else ", which may be chance"
    return (
        f"fitted again without {gain.num_images} of {len(stored)} images: on these the negative log-likelihood is "
        f"{after:.4f} nats a pixel, {gain} than the model's{beyond}"
    )


def _parts(keys: Sequence[str], groups: Mapping[str, str], part: float, seed: int) -> tuple[list[int], list[int]]:
    """The numbers of the images to fit to, and of those left out; none are left out of a single image or group."""
    from calibrant._statistics.left_out import kept_and_held

    group = [groups.get(key, key) for key in keys]
    names = sorted(set(group))
    if len(names) < 2:
        return list(range(len(keys))), []
    held = {names[i] for i in kept_and_held(len(names), 1 - part, seed=seed)[1]}
    return [i for i, name in enumerate(group) if name not in held], [i for i, n in enumerate(group) if n in held]
