"""Splits of a data set, or of stored predictions: by image, in time, by place, by light.

All take any source whose images have keys (examples, stored predictions, a list), decide by the keys alone, and return
sources of the same kind, read when asked for. The corruptions are in :mod:`calibrant.data.corruptions`.

The parts of Wang et al. (CVPR 2023, Section 6):

=====================  ================================================================================================
in-domain              ``split_by_image(val, CALIBRATOR_COUNTS["ADE20K"], seed=…)``
DAVIS 2016 in time     ``davis(path, "first_half")``, and ``split_by_image(davis(path, "second_half"), (100, …))``
SpaceNet 7 by place    ``split_by_group(spacenet7(path), (1133, 50, 225), group=place, seed=…)``
SpaceNet 7 in time     ``halves_in_time(spacenet7(path), group=place)``, the second split into 50 and 660 by image
BraTS 2017 by layer    ``brats(path, layers=[75])`` split into 800 and 50, and ``brats(path, layers=[100])``
SYNTHIA → Cityscapes   ``split_by_image(synthia(path), (9000, 400), seed=…)``, and Cityscapes' ``val``
=====================  ================================================================================================

The paper's own draws are not published: counts are kept, images are not. Its counts do not all fit the published sets:
BraTS 2017 has 285 labelled patients, not 1,210, and how the sequences of DAVIS with an odd number of frames were cut is
not said.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from calibrant.errors import InputError
from calibrant.predictions import Subset, keys_of

CALIBRATOR_COUNTS = {"ADE20K": (100, 100, 1800), "COCO-164K": (250, 250, 4500), "BDD100K": (50, 50, 900)}
"""Images of the validation set for the calibrator's training, validation and test (Wang et al., CVPR 2023)."""


def split_by_image(source: Any, counts: Sequence[int], *, seed: int) -> tuple[Any, ...]:
    """Split at random into parts of these sizes; images that they do not need are left out.

    The draw depends on the seed and on the keys alone, not on their order.

    :param source: whose images are split: a data set, predictions or a list.
    :param counts: the number of images of each part.
    :param seed: decides which images go where.
    :raises InputError: there are fewer images, or a part would be empty.

    >>> from calibrant.data import StreetScenes
    >>> train, val = split_by_image(StreetScenes(5, size=(16, 16), seed=0), (3, 1), seed=0)
    >>> len(train), len(val), set(train.keys) & set(val.keys)
    (3, 1, set())
    """
    keys = keys_of(source)
    if min(counts, default=0) < 1 or sum(counts) > len(keys):
        raise InputError(
            f"expected parts of at least one image, {len(keys)} in all or fewer; got {tuple(counts)}, "
            f"{sum(counts)} in all. Give smaller counts, or a larger source."
        )
    order = _shuffled(sorted(range(len(keys)), key=lambda i: keys[i]), seed)
    ends = [sum(counts[: i + 1]) for i in range(len(counts))]
    return tuple(take(source, sorted(order[end - n : end])) for n, end in zip(counts, ends, strict=True))


def split_by_group(source: Any, counts: Sequence[int], *, group: Callable[[str], str], seed: int) -> tuple[Any, ...]:
    """Split into parts of about these sizes, each group of images (a place, a patient, a drive) whole in one of them.

    The groups come in random order, and each goes to the part in which its middle image falls.

    :param source: whose images are split: a data set, predictions or a list.
    :param counts: the numbers of images wanted; all images are used, so only the ratios of the counts matter.
    :param group: returns the group of an image, given its key.
    :param seed: decides the order of the groups.
    :raises InputError: there are too few groups, or they are too large: a part would be empty.

    >>> from calibrant.predictions import keys_of
    >>> from calibrant.testing import toy_predictions
    >>> parts = split_by_group(toy_predictions(num_images=6), (4, 2), group=lambda key: key, seed=0)
    >>> [len(part) for part in parts]
    [4, 2]
    """
    keys = keys_of(source)
    members = _members(keys, group)
    if min(counts, default=0) <= 0:
        raise InputError(f"expected parts larger than 0; got {tuple(counts)}.")
    ends = [sum(counts[: i + 1]) / sum(counts) * len(keys) for i in range(len(counts))]
    parts: list[list[int]] = [[] for _ in counts]
    done = 0
    for name in _shuffled(sorted(members), seed):
        middle = done + len(members[name]) / 2
        parts[next((i for i, end in enumerate(ends) if middle < end), len(ends) - 1)] += members[name]
        done += len(members[name])
    if not all(parts):
        raise InputError(
            f"expected groups small enough for parts of {tuple(counts)}; got {len(members)} groups of up to "
            f"{max((len(m) for m in members.values()), default=0)} images, which leave a part empty. "
            "Give other sizes, another seed or smaller groups."
        )
    return tuple(take(source, sorted(part)) for part in parts)


def split_groups(source: Any, fractions: Sequence[float], *, group: Callable[[str], str], seed: int) -> tuple[Any, ...]:
    """Split the groups of images (patients, say) at random into parts with given fractions of the number of groups.

    :param source: whose images are split: a data set, predictions or a list.
    :param fractions: the fraction of the groups in each part, such as ``(0.6, 0.2, 0.2)``; together 1.
    :param group: returns the group of an image, given its key.
    :param seed: decides which groups go where.
    :raises InputError: the fractions do not add up to 1, or leave a part without a group.

    >>> from calibrant.testing import toy_predictions
    >>> parts = split_groups(toy_predictions(num_images=6), (0.5, 0.5), group=lambda key: key, seed=0)
    >>> [len(part) for part in parts]
    [3, 3]
    """
    members = _members(keys_of(source), group)
    names = sorted(members)
    ends = [round(end) for end in np.cumsum(fractions) * len(names)]
    if abs(sum(fractions) - 1) > 1e-9 or any(a >= b for a, b in zip([0, *ends], ends, strict=False)):
        raise InputError(
            f"expected fractions that add up to 1 and leave each part a group; got {list(fractions)} of {len(names)} "
            "groups."
        )
    order = _shuffled(names, seed)
    parts = (order[start:end] for start, end in zip([0, *ends], ends, strict=False))
    return tuple(take(source, sorted(i for name in part for i in members[name])) for part in parts)


def halves_in_time(source: Any, *, group: Callable[[str], str]) -> tuple[Any, Any]:
    """Cut every group of images in the middle by key: the first halves, and the second.

    Keys of a group must sort in time. Of an odd number the second half has one more.

    :param source: whose images are split: a data set, predictions or a list.
    :param group: returns the video or the place of an image, given its key.

    >>> from calibrant.data import StreetScenes
    >>> first, second = halves_in_time(StreetScenes(5, size=(16, 16), seed=0), group=lambda key: "one drive")
    >>> len(first), len(second)
    (2, 3)
    """
    keys = keys_of(source)
    in_time = sorted(range(len(keys)), key=keys.__getitem__)
    groups = _members([keys[i] for i in in_time], group).values()
    first = [in_time[n] for whole in groups for n in whole[: len(whole) // 2]]
    second = [in_time[n] for whole in groups for n in whole[len(whole) // 2 :]]
    return take(source, first), take(source, second)


def take(source: Any, numbers: Sequence[int]) -> Any:
    """Return some images of a source, by number; a data set stays a data set, with its class names.

    :param source: a data set, predictions or a list.
    :param numbers: which images, in the order in which they are to be read.
    """
    return source.take(numbers) if hasattr(source, "take") else Subset(source, tuple(numbers))


def _members(keys: Sequence[str], group: Callable[[str], str]) -> dict[str, list[int]]:
    """Return the numbers of the images of each group."""
    members: dict[str, list[int]] = {}
    for i, key in enumerate(keys):
        members.setdefault(group(key), []).append(i)
    return members


def _shuffled(items: Sequence[Any], seed: int) -> list[Any]:
    return [items[i] for i in torch.randperm(len(items), generator=torch.Generator().manual_seed(seed)).tolist()]
