"""How long the samplers that are compared train and draw: steps and samples of each, timed in one run.

Scores are made in parts, on machines that are busy or not; times that are to be compared are not kept among them.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median
from typing import Any

import torch
from torch import Tensor

from calibrant.networks import RefinementUNet
from calibrant.predictions import Prediction
from calibrant.samplers import CopulaSampler, Coupled, RefinementSampler, Sampler
from calibrant.samplers.learnt_sampler import SampleLoss
from calibrant.samplers.network_sampler import NetworkSampler
from calibrant.samplers.storage import LEARNT
from calibrant.training import Standardise
from experiments.car.rivals_config import Config, loss_of
from experiments.car.rivals_jobs import training_images
from experiments.car.rivals_rows import COPULA, Source, in_another_way, marginals_of, rows_of, sources


def seconds_a_step(config: Config, *, num_steps: int = 8) -> Iterator[tuple[str, float]]:
    """Yield the seconds of processor that a step of each sampler's training takes, from the image alone.

    The median over steps but the first two, in which memory is got.
    """
    images = training_images(config)[: 8 * config.batch_size]
    for name in config.steps:
        kind = LEARNT[name]
        times = [time.process_time()]
        loss = _Timed(loss_of(name), times)
        recipe = replace(config.recipe(name), num_steps=num_steps)
        kind.fit(images, inputs="image", loss=loss, recipe=recipe, make=config.make(name))
        steps = [later - earlier for earlier, later in pairwise(times)]
        yield name, median(steps[2:])


@dataclass(frozen=True)
class _Timed:
    """A loss that notes when it is asked for."""

    loss: SampleLoss
    times: list[float]

    def __call__(self, *given: Any) -> Mapping[str, Tensor]:
        self.times.append(time.process_time())
        return self.loss(*given)


def milliseconds_a_sample(config: Config, image: Prediction, *, rounds: int = 3) -> dict[str, float]:
    """Return the milliseconds of processor that a sample of each row takes, in sets of the size that is scored.

    All rows take turns; the least time of each counts. The networks are untrained, which takes as long. What F costs,
    once an image, is not counted.

    :param image: is drawn of, with random logits in place of its own.
    """
    noise = torch.randn(image.logits.shape, generator=torch.Generator().manual_seed(0))
    image = replace(image, logits=2 * noise)
    tasks = {row: sampler for source in sources(config) for row, sampler in _untrained(config, source, image)}
    least = dict.fromkeys(tasks, float("inf"))
    for _ in range(rounds):
        for row, sampler in tasks.items():
            begun = time.process_time()
            sampler.sample(
                image.logits[None],
                None if image.image is None else image.image[None],
                num_samples=config.num_samples,
                generator=torch.Generator().manual_seed(0),
            )
            least[row] = min(least[row], time.process_time() - begun)
    return {row: 1000 * seconds / config.num_samples for row, seconds in least.items()}


def _untrained(config: Config, source: Source, image: Prediction) -> Iterator[tuple[str, Sampler]]:
    """Yield what draws each row of the first seed of a source, with a network that has learnt nothing."""
    if source.seed != config.seeds[0]:
        return
    if source.name == COPULA:
        yield source.title, CopulaSampler(image=1.0)
        return
    standardise = Standardise.of([image])
    sampler: NetworkSampler
    if source.name in LEARNT:
        network = config.make(source.name)(1 if source.inputs == "image" else 3, 2)
        sampler = LEARNT[source.name](network, standardise, inputs=source.inputs)
    else:
        sampler = RefinementSampler(RefinementUNet.small(3, 2), standardise)
    for row in rows_of(config, source):
        if "coupled" in row:
            yield row, Coupled(sampler, marginals_of(row, source.title, sampler, None), set_size=config.num_samples)
        else:
            yield row, in_another_way(row, source.title, sampler) or sampler
