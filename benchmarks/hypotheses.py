"""GED and HM-IoU of drawn label maps against a plain double loop of numpy IoUs: ``python -m benchmarks.hypotheses``.

100 hypotheses and 4 annotators an image of 128 x 128, 200 images. The loop is timed on a few of them and compared by
the image; both take turns, in one process. The plain loop goes over all pairs of hypotheses, as the mean of a GED is
defined; beside it stands one that makes use of their symmetry.
"""

import argparse
import resource
import time

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from scipy.optimize import linear_sum_assignment

from calibrant.metrics import HypothesisDistances, generalised_energy_distance, hungarian_matched_iou


def blobs(num_images: int, num_maps: int, side: int, *, seed: int = 0) -> np.ndarray:
    """Return (images, maps, side, side) of 0 and 1: smooth regions, whose rim and presence are disputed."""
    rng = np.random.default_rng(seed)

    def smooth(width: float, *shape: int) -> np.ndarray:
        field = gaussian_filter(rng.normal(size=(*shape, side, side)), (*[0] * len(shape), width, width))
        return field / field.std()

    common = smooth(side / 12, num_images, 1)
    maps = np.empty((num_images, num_maps, side, side), np.int64)
    for image, shape in zip(maps, common, strict=True):
        level = 1 + 0.3 * rng.normal(size=(num_maps, 1, 1)) + 9 * (rng.random((num_maps, 1, 1)) < 0.2)
        image[:] = shape + 0.2 * smooth(side / 25, num_maps) > level
    return maps


def noise(num_images: int, num_maps: int, side: int, *, seed: int = 0) -> np.ndarray:
    """Return maps without any agreement: nothing can be saved."""
    return np.random.default_rng(seed).integers(0, 2, (num_images, num_maps, side, side))


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Return 1 - IoU of two masks; 0 if both are empty."""
    union = np.logical_or(one, other).sum()
    return 0.0 if union == 0 else 1 - np.logical_and(one, other).sum() / union


def plain(hypotheses: np.ndarray, labels: np.ndarray, *, once: bool) -> tuple[float, float]:
    """Return GED and HM-IoU of one image's masks by loops over pairs; with ``once``, each two hypotheses once."""
    m, a = len(hypotheses), len(labels)
    crossed = np.array([[distance(s, y) for y in labels] for s in hypotheses])
    within = np.zeros((m, m))
    for i in range(m):
        for j in range(i if once else 0, m):
            within[i, j] = distance(hypotheses[i], hypotheses[j])
            if once:
                within[j, i] = within[i, j]
    between = np.array([[distance(x, y) for y in labels] for x in labels])
    repeated = np.tile(crossed, (1, m // a))
    matched = 1 - repeated[linear_sum_assignment(repeated)].mean()
    return 2 * crossed.mean() - within.mean() - between.mean(), matched


def ours(hypotheses: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return GED and HM-IoU of a batch of images."""
    distances = HypothesisDistances.of(hypotheses, labels, num_classes=2, classes=[1])
    return generalised_energy_distance(distances), hungarian_matched_iou(distances)


def compare(maps: np.ndarray, num_labels: int, looped: int) -> None:
    """Print the ratios of the times an image, and the largest difference of the scores."""
    images = torch.from_numpy(maps)
    hypotheses, labels = images[:, num_labels:].movedim(1, 0), images[:, :num_labels]
    ours(hypotheses[:, :2], labels[:2])
    loops = {"all pairs": False, "each pair once": True}
    seconds = dict.fromkeys([*loops, "ours"], 0.0)
    off = 0.0
    for chosen in np.array_split(np.arange(len(maps)), looped):  # in turn, so that a busy machine slows all alike
        start = time.perf_counter()
        part = slice(chosen[0], chosen[-1] + 1)
        fast = ours(hypotheses[:, part], labels[part])
        seconds["ours"] += time.perf_counter() - start
        masks = maps[chosen[0]].astype(bool)
        for name, once in loops.items():
            start = time.perf_counter()
            slow = plain(masks[num_labels:], masks[:num_labels], once=once)
            seconds[name] += time.perf_counter() - start
            off = max(off, *(abs(float(x[0]) - y) for x, y in zip(fast, slow, strict=True)))
    mine = seconds["ours"] / len(maps)
    print(f"  ours {mine * 1e3:.2f} ms an image, of {len(maps)}; largest difference {off:.1e}")
    agreed = "yes" if off <= 1e-6 else "NO"
    print(f"  the same values to 1e-6: {agreed}")
    for name in loops:
        each = seconds[name] / looped
        print(
            f"  plain loop, {name}: {each * 1e3:.0f} ms an image, of {looped}; ours is {each / mine:.1f} times faster"
        )
    fast = "yes" if seconds["all pairs"] / looped >= 20 * mine else "NO"
    print(f"  at least 20 times faster than the plain loop: {fast}")


def many_classes(num_images: int, num_classes: int, side: int) -> None:
    """Print time and memory of 100 hypotheses of many classes."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, num_classes, (num_images, 104, side // 8, side // 8))
    maps = torch.from_numpy(coarse.repeat(8, 2).repeat(8, 3))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    HypothesisDistances.of(maps[:, 4:].movedim(1, 0), maps[:, :4], num_classes=num_classes, empty="nan")
    took = time.perf_counter() - start
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"  {took / num_images * 1e3:.0f} ms an image, {more:.0f} MB above the maps and what came before")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--looped", type=int, default=10, help="images that the loop is timed on")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print("100 hypotheses, 4 annotators, 128 x 128, two classes, regions with a disputed rim")
    compare(blobs(options.images, 104, 128), 4, options.looped)
    print("the same, maps of noise: no pixel on which all agree")
    compare(noise(options.images // 4, 104, 128), 4, options.looped)
    print("100 hypotheses, 4 annotators, 128 x 128, 25 classes, no pixel on which all agree")
    many_classes(4, 25, 128)


if __name__ == "__main__":
    main()
