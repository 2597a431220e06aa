"""What every executor promises: the results of one process, to the bit."""

import hashlib
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from calibrant._shapes import IGNORE
from calibrant.calibrators import (
    Calibrator,
    DirichletScaling,
    IsotonicScaling,
    TemperatureScaling,
    VectorScaling,
    calibrated,
)
from calibrant.data import StoredPredictions, write_store
from calibrant.evaluation import tally_all, tally_hypotheses
from calibrant.metrics import HypothesisDistances, Measurement, Tally
from calibrant.predictions import Executor, Mapped, Prediction, Sharded, with_logits
from calibrant.samplers import IndependentSampler
from calibrant.testing.toys import toy_predictions

Job = Callable[[Any, Path], str]
"""From a source and a new folder to the SHA-256 of a result."""

FITS: Mapping[str, Callable[[Any], Calibrator]] = {
    "temperature, streamed": partial(TemperatureScaling.fit, pixels_per_image=None),
    "vector, streamed": partial(VectorScaling.fit, pixels_per_image=None, strength=0.01, safe=False),
    "Dirichlet, streamed": partial(DirichletScaling.fit, pixels_per_image=None, strength=0.01, safe=False),
    "isotonic, streamed": partial(IsotonicScaling.fit, pixels_per_image=None),
    "temperature": partial(TemperatureScaling.fit, pixels_per_image=20),
    "vector": partial(VectorScaling.fit, pixels_per_image=20),
    "isotonic": partial(IsotonicScaling.fit, pixels_per_image=20),
}


def check_engine(
    executor: Executor,
    *,
    num_images: int = 70,
    shard_sizes: Sequence[int] = (1, 7, 64),
    path: str | Path | None = None,
) -> None:
    """Raise unless an executor's results are those of one process, to the bit.

    Tallies, fits on drawn pixels and streamed fits, hypotheses, a store, and that store calibrated into another one are
    made here, on two threads, and by way of the executor, in shards of every size, and the SHA-256 of each pair is
    compared. The images are of unlike size, one has no label, and two keys differ in case alone.

    :param executor: an engine, or whatever has ``submit(function, *arguments)`` and returns a future.
    :param num_images: how many images there are.
    :param shard_sizes: images in a shard.
    :param path: an empty folder that all workers reach; None for one on this machine.
    :raises AssertionError: a result differs; the message says which.

    >>> from concurrent.futures import ThreadPoolExecutor
    >>> with ThreadPoolExecutor(2) as executor:
    ...     check_engine(executor, num_images=5, shard_sizes=[2])
    """
    images = uneven_predictions(num_images)
    with tempfile.TemporaryDirectory() as made:
        root = Path(made if path is None else path)
        with _on_threads(2):
            expected = {name: job(images, root / f"here {n}") for n, (name, job) in enumerate(_jobs().items())}
        for size in shard_sizes:
            source = Sharded(images, executor, shard_size=size)
            for number, (name, job) in enumerate(_jobs().items()):
                found = job(source, root / f"shards of {size}, {number}")
                assert found == expected[name], (
                    f"{name}, shards of {size}: expected the SHA-256 of one process, {expected[name]}; got {found}"
                )


def uneven_predictions(num_images: int = 70, *, num_classes: int = 3) -> list[Prediction]:
    """Return images that are awkward to share out.

    Their sizes are unlike, logits are between a hundredth and a hundred times as large, the second image has no label,
    and the keys of the third and the last differ in case alone.

    :param num_images: how many, three or more.
    :param num_classes: how many classes the logits have.

    >>> [image.key for image in uneven_predictions(4)]
    ['im 000', 'im 001', 'Street', 'street']
    """
    sizes = [(6, 7), (1, 50), (13, 3)]
    images = []
    for number in range(num_images):
        (image,) = toy_predictions(
            num_images=1,
            num_classes=num_classes,
            size=sizes[number % 3],
            seed=number,
            spread=10.0 ** (number % 5 - 2),
        )
        images.append(replace(image, key=f"im {number:03d}"))
    images[1] = replace(images[1], labels=torch.full_like(images[1].labels, IGNORE))
    images[2], images[-1] = replace(images[2], key="Street"), replace(images[-1], key="street")
    return images


def _jobs() -> dict[str, Job]:
    return {
        "tallies": _tallies,
        "hypotheses": _hypotheses,
        **{f"fit of {name}": partial(_fit, fit) for name, fit in FITS.items()},
        "a store": _store,
        "a store calibrated": _applied,
    }


def _tallies(source: Any, folder: Path) -> str:
    found = tally_all(Measurement.of, source, {"raw": None, "softened": TemperatureScaling(1.7)})
    return _sha256(*(_bytes_of(tally) for tally in found.values()))


def _hypotheses(source: Any, folder: Path) -> str:
    generator, count = torch.Generator().manual_seed(0), partial(HypothesisDistances.of, num_classes=3)
    return _sha256(_bytes_of(tally_hypotheses(count, IndependentSampler(), source, num_samples=3, generator=generator)))


def _fit(fit: Callable[[Any], Calibrator], source: Any, folder: Path) -> str:
    fitted = fit(source)
    return _sha256(repr(fitted.notes).encode(), *(_raw(each) for each in fitted.state_dict().values()))


def _store(source: Any, folder: Path) -> str:
    write_store(source, folder)
    return _sha256(*(each for path in sorted(folder.iterdir()) for each in (path.name.encode(), path.read_bytes())))


def _applied(source: Any, folder: Path) -> str:
    stored: Any = write_store(list(source), folder / "raw")
    if isinstance(source, Sharded):
        stored = replace(source, source=StoredPredictions(folder / "raw"))
    return _store(Mapped(stored, _Through(TemperatureScaling(1.7))), folder / "calibrated")


@dataclass(frozen=True)
class _Through:
    calibrator: Calibrator

    def __call__(self, prediction: Prediction) -> Prediction:
        return with_logits(prediction, calibrated(prediction, self.calibrator))


def _bytes_of(tally: Tally) -> bytes:
    return repr((tally.keys, tally.left_out)).encode() + b"".join(_raw(column) for column in tally.columns())


def _raw(tensor: torch.Tensor) -> bytes:
    return repr((tensor.dtype, tuple(tensor.shape))).encode() + tensor.contiguous().numpy().tobytes()


def _sha256(*parts: bytes) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(part)
    return total.hexdigest()


@contextmanager
def _on_threads(count: int) -> Generator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
