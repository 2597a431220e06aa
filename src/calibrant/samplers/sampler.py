"""What a sampler is, and the plainest one.

Conventions
-----------
* Logits come as ``(n, c, *s)``, calibrated already if they are to be; ``image`` is ``(n, k, *s)``, ignored where not
  needed. Label maps go out as ``(m, n, *s)``, samples first, int64, every pixel with a class.
* Everything drawn comes from ``generator``; the same state gives the same maps. Images of a batch are drawn
  independently of each other.
* ``keeps_marginals`` promises that a class is drawn in a pixel exactly as often as ``softmax(logits)`` says.
* ``draws`` says whether the maps of one call are independent of each other. Scores that are unbiased for independent
  maps only (:func:`~calibrant.metrics.generalised_energy_distance` without the diagonal) are biased for others.
* Training mode changes nothing: what a network drops out in training it keeps here.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from calibrant._shapes import Float, Int, Tensor
from calibrant.data._formats.room import LIMIT, limit
from calibrant.errors import InputError, ShapeError


class Sampler(nn.Module, ABC):
    """A fitted source of label maps.

    A subclass, or an instance, says by ``keeps_marginals`` whether it draws classes as often as the logits say, pixel
    by pixel; by ``draws`` how the maps of one call depend on each other, "independent" if they do not; and by
    :meth:`arguments` what its constructor needs, which is all that is stored.

    :param notes: what a fit had to say.
    """

    keeps_marginals: bool = False
    draws: str = "independent"

    def __init__(self, *, notes: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.notes = tuple(notes)

    @abstractmethod
    def sample(
        self,
        logits: Float[Tensor, "n c *s"],
        image: Float[Tensor, "n k *s"] | None = None,
        *,
        num_samples: int,
        generator: torch.Generator,
    ) -> Int[Tensor, "m n *s"]:
        """Return label maps drawn for each image.

        :param logits: scores of each pixel, calibrated already if they are to be.
        :param image: the images; ignored by samplers that do not look at them.
        :param num_samples: how many label maps to draw of each image, m.
        :param generator: where all random numbers come from; the same state gives the same maps.
        """

    @abstractmethod
    def arguments(self) -> dict[str, Any]:
        """Return what the constructor needs to make this sampler again."""


class IndependentSampler(Sampler):
    """Draw each pixel on its own, from its probabilities: right marginals, no coherence (CAR, Fig. 13b).

    :param notes: what the fit had to say.


    >>> maps = IndependentSampler().sample(torch.zeros(1, 2, 4, 4), num_samples=3, generator=torch.Generator())
    >>> maps.shape
    torch.Size([3, 1, 4, 4])
    """

    keeps_marginals = True

    def sample(
        self,
        logits: Float[Tensor, "n c *s"],
        image: Float[Tensor, "n k *s"] | None = None,
        *,
        num_samples: int,
        generator: torch.Generator,
    ) -> Int[Tensor, "m n *s"]:
        """Return label maps without any dependence between pixels.

        :param logits: scores of each pixel, calibrated already if they are to be.
        :param image: the images; ignored by samplers that do not look at them.
        :param num_samples: how many label maps to draw of each image, m.
        :param generator: where all random numbers come from; the same state gives the same maps.
        """
        check_request(logits, num_samples)
        log_probs = logits.float().log_softmax(1)
        return torch.stack([_race(log_probs, generator) for _ in range(num_samples)])

    def arguments(self) -> dict[str, Any]:
        """Return what the constructor needs: nothing."""
        return {}


def _race(log_probs: Float[Tensor, "n c *s"], generator: torch.Generator) -> Int[Tensor, "n *s"]:
    """Return in each pixel the class that comes first, of exponential times at the rates of its probabilities."""
    waits = torch.empty(log_probs.shape, device=generator.device).exponential_(generator=generator)
    return (log_probs - waits.to(log_probs.device).log_()).argmax(1)


def entropy_map(logits: Float[Tensor, "n c *s"]) -> Float[Tensor, "n *s"]:
    """Return the entropy of the probabilities of each pixel, in nats: the aleatoric uncertainty, without a sample.

    :param logits: scores of each pixel, before the softmax.

    >>> entropy_map(torch.zeros(1, 2, 1))
    tensor([[0.6931]])
    """
    log_probs = logits.float().log_softmax(1)
    return torch.special.entr(log_probs.exp()).sum(1)


def check_request(logits: Float[Tensor, "n c *s"], num_samples: int) -> None:
    """Raise unless there is space to draw in and at least one sample is wanted.

    :param logits: what is to be sampled from.
    :param num_samples: how many samples of each image are asked for.
    :raises ShapeError, InputError: telling what came; label maps that would take more memory than may be taken are
        refused before any is.
    """
    if logits.ndim < 3:
        raise ShapeError(
            f"expected logits (images, classes, *space); got {tuple(logits.shape)}. One image: logits[None]."
        )
    if num_samples < 1:
        raise InputError(f"expected 1 sample or more; got num_samples={num_samples}.")
    check_memory((num_samples, len(logits), *logits.shape[2:]), 8, "label maps")


def check_memory(shape: Sequence[int], itemsize: int, what: str) -> None:
    """Raise if an array of samples would take more memory than may be taken.

    :param shape: the shape of the array, samples first.
    :param itemsize: bytes of a number.
    :param what: what the array holds, for the message.
    :raises InputError: it would; naming the size, and how to allow it.
    """
    size, most = math.prod(shape) * itemsize, limit()
    if size > most:
        raise InputError(
            f"expected {what} of {most / 2**30:.4g} GiB together at most; {shape[0]} samples of {shape[1]} images take "
            f"{size / 2**30:.4g} GiB. Draw fewer at a time; if there is room, allow it: "
            f"{LIMIT}={math.ceil(size / 2**30)}."
        )


def gaussian(
    shape: Sequence[int], generator: torch.Generator, device: torch.device | None = None
) -> Float[Tensor, "..."]:
    """Return standard normal numbers, drawn where the generator lives and moved to ``device``.

    :param shape: the shape of the result.
    :param generator: draws the numbers, on its own device.
    :param device: where they go; None leaves them where they were drawn.
    """
    return torch.randn(*shape, generator=generator, device=generator.device).to(device)


MAX_SOBOL = 256
"""Numbers of the longest latent that is drawn from a Sobol sequence: scrambling one of thousands takes longer than most
networks do, and wins little over a Latin hypercube."""


def latents_of(
    shape: tuple[int, int, int], generator: torch.Generator, device: torch.device, *, draws: str
) -> Float[Tensor, "m n d"]:
    """Return standard normal vectors, one a sample and image.

    :param shape: samples, images, and numbers of a vector.
    :param generator: where all random numbers come from.
    :param device: where the vectors go.
    :param draws: "independent", or "spread": of each image the points of a scrambled Sobol sequence (Owen, 1998), or,
        of more than 256 numbers, of a Latin hypercube (McKay, Beckman and Conover, 1979), through the inverse of the
        normal distribution, in random order. Each vector alone is standard normal; together they leave less to chance.
    """
    if draws == "independent":
        return gaussian(shape, generator, device)
    num_samples, num_images, size = shape
    latents = torch.empty(shape)
    seeds = torch.randint(2**31, (num_images,), generator=generator, device=generator.device).tolist()
    order = torch.rand(num_images, num_samples, generator=generator, device=generator.device).argsort(1).cpu()
    for i, seed in enumerate(seeds):
        if size <= MAX_SOBOL:
            points = torch.quasirandom.SobolEngine(size, scramble=True, seed=seed).draw(
                num_samples, dtype=torch.float64
            )
            latents[:, i] = _normal(points)[order[i]]
        else:
            _fill_with_latin_hypercube(latents[:, i], torch.Generator().manual_seed(seed))
    return latents.to(device)


def _normal(points: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Return standard normal numbers of uniform ones."""
    return torch.special.ndtri(points.clamp(1e-7, 1 - 1e-7)).float()


def _fill_with_latin_hypercube(latents: Float[Tensor, "m d"], generator: torch.Generator) -> None:
    """Write points of which each coordinate alone has one in every m-th of the probability, in an order of its own."""
    number = len(latents)
    for some in latents.split(max(1, 2**20 // number), 1):
        cells = torch.rand(some.shape[1], number, generator=generator).argsort(1)
        points = (cells + torch.rand(cells.shape, generator=generator, dtype=torch.float64)) / number
        some.copy_(_normal(points).mT)
