"""Draw hypotheses of every image of a source, and count them."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

import torch

from calibrant._shapes import Int, Tensor
from calibrant._statistics.generators import generator_for
from calibrant.calibrators import Calibrator, calibrated
from calibrant.evaluation._labelled import Labelled, naming, nothing_labelled, over
from calibrant.metrics import HypothesisDistances, Tally
from calibrant.predictions import Executor, Prediction, Predictions, mapped_in_shards, with_logits
from calibrant.samplers import Sampler

T = TypeVar("T", bound=Tally)
CountHypotheses = Callable[[Tensor, Tensor], T]
"""From hypotheses (m, n, *s) and labels (n, a, *s) to a tally with n rows, such as ``HypothesisDistances.of``."""


def draw_hypotheses(
    sampler: Sampler,
    predictions: Iterable[Prediction],
    calibrator: Calibrator | None = None,
    *,
    num_samples: int,
    generator: torch.Generator,
) -> Iterator[tuple[Prediction, Int[Tensor, "m *s"]]]:
    """Yield each prediction, its logits calibrated, with label maps drawn for it.

    What is drawn for an image depends on the state of the generator and on the key of the image alone: not on the
    images before it, their order, or which machine reads it.

    :param sampler: what draws the maps.
    :param predictions: read once, in order.
    :param calibrator: what the logits go through first; None leaves them as they are.
    :param num_samples: how many maps are drawn for each image.
    :param generator: what is drawn depends on its state, which moves on by one number.

    >>> from calibrant.samplers import IndependentSampler
    >>> sure = Prediction("a", torch.tensor([[[60.0, 0.0]], [[0.0, 60.0]]]), torch.tensor([[[0, 1]]]))
    >>> [(_, maps)] = draw_hypotheses(IndependentSampler(), [sure], num_samples=2, generator=torch.Generator())
    >>> maps.tolist()
    [[[0, 1]], [[0, 1]]]
    """
    yield from Draws.of(sampler, calibrator, num_samples, generator).from_each(predictions)


@dataclass(frozen=True)
class Draws:
    """How hypotheses are drawn: all that must be sent to who draws them.

    :param sampler: what draws the maps.
    :param calibrator: what the logits go through first; None leaves them as they are.
    :param num_samples: how many maps are drawn for each image.
    :param seed: decides, with the key of an image, what is drawn.
    :param device: where the generators live.
    """

    sampler: Sampler
    calibrator: Calibrator | None
    num_samples: int
    seed: int
    device: torch.device

    @classmethod
    def of(
        cls, sampler: Sampler, calibrator: Calibrator | None, num_samples: int, generator: torch.Generator
    ) -> "Draws":
        """Return draws whose seed is the generator's next number.

        :param sampler: what draws the maps.
        :param calibrator: what the logits go through first; None leaves them as they are.
        :param num_samples: how many maps are drawn for each image.
        :param generator: its state moves on by one number.
        """
        seed = int(torch.randint(2**32, (), generator=generator, device=generator.device))
        return cls(sampler, calibrator, num_samples, seed, generator.device)

    def from_each(self, predictions: Iterable[Prediction]) -> Iterator[tuple[Prediction, Int[Tensor, "m *s"]]]:
        """Yield each prediction, its logits calibrated, with the maps drawn for it.

        :param predictions: read once, in order.
        """
        for prediction in predictions:
            prediction = with_logits(prediction, calibrated(prediction, self.calibrator))
            own = generator_for(self.seed, prediction.key, device=self.device)
            image = None if prediction.image is None else prediction.image[None]
            drawn = self.sampler.sample(prediction.logits[None], image, num_samples=self.num_samples, generator=own)
            yield prediction, drawn[:, 0]


def tally_hypotheses(
    count: CountHypotheses[T],
    sampler: Sampler,
    predictions: Predictions,
    calibrator: Calibrator | None = None,
    *,
    num_samples: int,
    generator: torch.Generator,
    executor: Executor | None = None,
) -> T:
    """Draw hypotheses of every image of a source and count them against its labels, one row an image.

    Distances of hypotheses are marked as dependent where the sampler says by ``draws`` that they are.

    :param count: from hypotheses (m, n, *s) and labels (n, a, *s) to a tally with n rows, such as
        ``functools.partial(HypothesisDistances.of, num_classes=2, classes=[1])``.
    :param sampler: what draws the maps.
    :param predictions: read once, in order.
    :param calibrator: what the logits go through first; None leaves them as they are.
    :param num_samples: how many maps are drawn for each image.
    :param generator: what is drawn depends on its state, which moves on by one number.
    :param executor: whose workers draw and count, in shards, with the same result to the bit; None does it here.
    :raises InputError: no image has a labelled pixel, or one cannot be counted (the message names it).

    >>> from functools import partial
    >>> from calibrant.metrics import HypothesisDistances, generalised_energy_distance
    >>> from calibrant.samplers import IndependentSampler
    >>> sure = Prediction("a", torch.tensor([[[60.0, 0.0]], [[0.0, 60.0]]]), torch.tensor([[[0, 1]]]))
    >>> distances = tally_hypotheses(partial(HypothesisDistances.of, num_classes=2), IndependentSampler(), [sure],
    ...     num_samples=4, generator=torch.Generator())
    >>> generalised_energy_distance(distances)
    tensor([0.], dtype=torch.float64)
    """
    draws = Draws.of(sampler, calibrator, num_samples, generator)
    shards = list(mapped_in_shards(_hypotheses_of_shard, over(predictions, executor), draws, count))
    rows = [row for of_shard, _ in shards for row in of_shard]
    if not rows:
        raise nothing_labelled(len(predictions))
    return replace(type(rows[0]).stack(rows), left_out=tuple(sorted(key for _, keys in shards for key in keys)))


def _hypotheses_of_shard(
    images: Iterable[Prediction], first: int, draws: Draws, count: CountHypotheses[T]
) -> tuple[list[T], list[str]]:
    """Return the rows of some images, and the names of those without a label."""
    rows: list[T] = []
    left_out: list[str] = []
    for prediction, hypotheses in draws.from_each(Labelled(images, left_out)):
        with naming(prediction.key):
            row = count(hypotheses[:, None], prediction.labels[None])
        if isinstance(row, HypothesisDistances) and draws.sampler.draws != "independent":
            row = replace(row, independent=torch.zeros_like(row.independent))
        rows.append(replace(row, keys=(prediction.key,)))
    return rows, left_out
