"""What samplers with a network share: what it sees, latents, windows."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable

import torch

from calibrant._input.checks import check_choice
from calibrant._shapes import Float, Int, Tensor
from calibrant.errors import InputError, ShapeError
from calibrant.models.windows import window_starts
from calibrant.networks import Basis, sample_logits, with_all_classes, with_channels_last
from calibrant.samplers._fields import label_type, largest
from calibrant.samplers.sampler import Sampler, check_request, latents_of
from calibrant.training import Standardise, network_input

INPUTS = ("both", "image", "probabilities")
"""What a network can be given: the image, the probabilities of the model and its calibrator, or both."""

OVERLAP = 1 / 3
"""The share of a window that the next one repeats, at least; usual for images."""

_NUMBERS = 2**22
"""Numbers of one block of samples at full resolution: 16 MB of float32, which a processor's cache holds."""

_CACHED = 2**19
"""Numbers of one block of samples and pixels: 2 MB of float32, which lie near one core."""

_WIDTH = 256
"""Pixels of such a block are a multiple of this: others are multiplied and compared more slowly."""

_KEPT = 2**27
"""Pixels, times channels of the input, up to which what the network says of all windows is kept: a few GB at most."""


@runtime_checkable
class SampleNetwork(Protocol):
    """What a network of a sampler has besides its weights."""

    in_channels: int
    num_classes: int

    def latent_size(self, space: Sequence[int]) -> int:
        """Return how many standard normal numbers a sample of an image takes.

        :param space: the size of the image, in pixels.
        """
        ...

    def encode(self, seen: Float[Tensor, "n k *s"]) -> Any:
        """Return what all samples of an image share.

        :param seen: what the network is given.
        """
        ...

    def decode(self, shared: Any, latents: Float[Tensor, "m n d"], space: Sequence[int]) -> Float[Tensor, "m n p *s"]:
        """Return the logits of one sample for each latent; of two classes those of the second are enough.

        What is returned may be overwritten.

        :param shared: what :meth:`encode` returned.
        :param latents: one standard normal vector for each sample and image.
        :param space: the size of the label maps, in pixels.
        """
        ...

    def arguments(self) -> dict[str, Any]:
        """Return what the constructor needs to make this network again."""
        ...


class NetworkSampler(Sampler):
    """Draws label maps by a network, encoded once an image, decoded once a latent: in a pixel the largest logit wins.

    :param network: a :class:`SampleNetwork`; on its moving average after a fit.
    :param standardise: makes images as the network knows them; None for one that sees probabilities alone.
    :param inputs: "both", "image" or "probabilities": what the network is given.
    :param window: images larger than this are decoded in windows that overlap by a third, with one latent over all of
        them and the mean of their logits; None takes every image whole.
    :param draws: "independent", or "spread": latents of a set that fill space more evenly than chance.
    :param notes: what the fit had to say.
    :raises InputError: a network that sees images without their standardisation, or the other way round.
    """

    def __init__(
        self,
        network: Any,
        standardise: Standardise | None = None,
        *,
        inputs: str = "both",
        window: Sequence[int] | None = None,
        draws: str = "independent",
        notes: tuple[str, ...] = (),
    ) -> None:
        super().__init__(notes=notes)
        check_choice(inputs, INPUTS, "input of a sampler's network")
        check_choice(draws, ("independent", "spread"), "way to draw")
        if (standardise is None) != (inputs == "probabilities"):
            raise InputError(
                f"expected a standardisation of images if the network sees them; got inputs={inputs!r} and "
                f"{'none' if standardise is None else 'one'}. Standardise.of(predictions) makes it."
            )
        self.network, self.standardise, self.inputs = with_channels_last(network), standardise, inputs
        self.window = None if window is None else tuple(window)
        self.draws = draws
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode: what differs between samples is their latent alone.

        :param mode: has no effect.
        """
        return super().train(False)

    @torch.no_grad()
    def sample(
        self,
        logits: Float[Tensor, "n c *s"],
        image: Float[Tensor, "n k *s"] | None = None,
        *,
        num_samples: int,
        generator: torch.Generator,
    ) -> Int[Tensor, "m n *s"]:
        """Return label maps, each from a latent of its own.

        :param logits: scores of each pixel, calibrated already if they are to be.
        :param image: the images; needed if the sampler was trained with images.
        :param num_samples: how many label maps to draw of each image, m.
        :param generator: where all random numbers come from; the same state gives the same maps.
        :raises ShapeError: classes or channels are not those of the training, or the image is missing.
        """
        drawn = self._drawn(logits, image, num_samples, generator, self.draws)
        (n, c, *space), done = logits.shape, 0
        labels = torch.empty(num_samples, n, *space, dtype=label_type(c), device=logits.device)
        if drawn.shared is not None and len(drawn.shared) == 1 and isinstance(drawn.shared[0], Basis):
            basis = drawn.shared[0]
            factors = self.network.factors(basis.pooled, drawn.latents)
            _write_products(labels.flatten(2), basis.maps.flatten(2), factors, c)
        else:
            for planes in self._decoded(drawn):
                _write_largest(labels[done : done + len(planes)], planes, c)
                done += len(planes)
        return labels.long()

    @torch.no_grad()
    def scores(
        self,
        logits: Float[Tensor, "n c *s"],
        image: Float[Tensor, "n k *s"] | None = None,
        *,
        num_samples: int,
        generator: torch.Generator,
        draws: str | None = None,
    ) -> Iterator[Float[Tensor, "m n c *s"]]:
        """Yield the logits of samples, some at a time.

        :param logits: scores of each pixel, calibrated already if they are to be.
        :param image: the images; needed if the sampler was trained with images.
        :param num_samples: how many samples of each image, m.
        :param generator: where all random numbers come from; the same state gives the same samples.
        :param draws: how latents are drawn, "independent" or "spread"; by default as the sampler draws.
        """
        drawn = self._drawn(logits, image, num_samples, generator, draws or self.draws)
        for planes in self._decoded(drawn):
            yield with_all_classes(planes, logits.shape[1])

    def _drawn(
        self,
        logits: Float[Tensor, "n c *s"],
        image: Float[Tensor, "n k *s"] | None,
        num_samples: int,
        generator: torch.Generator,
        draws: str,
    ) -> "_Drawn":
        """Check what is asked for, and return the latents and what the network says of the images."""
        check_request(logits, num_samples)
        seen = network_input(image, self.standardise, *self._maps(logits))
        if seen.shape[1] != self.network.in_channels or logits.shape[1] != self.network.num_classes:
            raise ShapeError(
                f"expected {self.network.num_classes} classes and an image as in training, {self.network.in_channels} "
                f"channels in all; got {logits.shape[1]} classes, {seen.shape[1]} channels. "
                "Pass the model and the images that it was trained behind."
            )
        windows = _Windows.over(logits.shape[2:], self.window)
        shape = (num_samples, len(logits), self.network.latent_size(windows.size))
        latents = latents_of(shape, generator, logits.device, draws=draws)
        shared = [self.network.encode(seen[window]) for window in windows.all] if seen.numel() <= _KEPT else None
        return _Drawn(seen, windows, latents, shared)

    def _decoded(self, drawn: "_Drawn") -> Iterator[Float[Tensor, "m n p *s"]]:
        """Yield logits as the network decodes them, some samples at a time."""
        space, windows = drawn.seen.shape[2:], drawn.windows
        block = max(1, _NUMBERS // (32 * drawn.seen[:, 0].numel()))
        for part in drawn.latents.split(block):
            total = None
            for number, window in enumerate(windows.all):
                kept = self.network.encode(drawn.seen[window]) if drawn.shared is None else drawn.shared[number]
                planes = self.network.decode(kept, part, windows.size)
                if len(windows.all) == 1:
                    yield planes
                    break
                total = planes.new_zeros(*planes.shape[:3], *space) if total is None else total
                total[window] += planes
            if total is not None:
                yield total.div_(windows.count.to(total.device))

    def mean_logits(
        self,
        logits: Float[Tensor, "n c *s"],
        image: Float[Tensor, "n k *s"] | None = None,
        *,
        num_samples: int = 100,
        generator: torch.Generator,
    ) -> Float[Tensor, "n c *s"]:
        """Return the logarithm of the mean over samples of their probabilities, the softmax of their scores.

        Latents are spread, so that the mean of a number of samples is as near as can be to that of all.

        :param logits: scores of each pixel, calibrated already if they are to be.
        :param image: the images; needed if the sampler was trained with images.
        :param num_samples: how many samples the mean is over.
        :param generator: where all random numbers come from.
        """
        blocks = self.scores(logits, image, num_samples=num_samples, generator=generator, draws="spread")
        total = sum(scores.softmax(2).sum(0) for scores in blocks)
        assert isinstance(total, Tensor)
        return (total / num_samples).clamp_min(1e-12).log()

    def _maps(self, logits: Float[Tensor, "n c *s"]) -> list[Float[Tensor, "n c *s"]]:
        return [] if self.inputs == "image" else [logits.float().softmax(1)]


def _write_largest(labels: Int[Tensor, "m n *s"], planes: Float[Tensor, "m n p *s"], num_classes: int) -> None:
    """Write the class of the largest logit; planes of the second of two classes alone are overwritten."""
    if planes.shape[2] == num_classes:
        labels.copy_(largest(planes))
    else:  # whether it is above 0, in less than half the time of the comparison
        labels.view(torch.bool).copy_(planes[:, :, 0].relu_())


def _write_products(
    labels: Int[Tensor, "m n q"], maps: Float[Tensor, "n maps q"], factors: Float[Tensor, "n m p f"], num_classes: int
) -> None:
    """Write the class of the largest logit of samples that are products, some samples and pixels at a time."""
    images, samples, planes, _ = factors.shape
    numbers = _CACHED if maps.device.type == "cpu" else _NUMBERS
    some = min(samples, max(1, numbers // (_WIDTH * images * planes)))
    width = max(1, numbers // (some * images * planes * _WIDTH)) * _WIDTH
    for rows, row_factors in zip(labels.split(some), factors.split(some, 1), strict=True):
        for part, part_maps in zip(rows.split(width, 2), maps.split(width, 2), strict=True):
            _write_largest(part, sample_logits(part_maps, row_factors), num_classes)


@dataclass(frozen=True)
class _Drawn:
    """Latents, and what a network is given and says: of each window, or None where that is too much to keep."""

    seen: Float[Tensor, "n k *s"]
    windows: "_Windows"
    latents: Float[Tensor, "m n d"]
    shared: list[Any] | None


@dataclass(frozen=True)
class _Windows:
    """Where windows lie: an index each, their size, and how many cover each pixel."""

    all: list[tuple[Any, ...]]
    size: tuple[int, ...]
    count: Tensor

    @classmethod
    def over(cls, space: Sequence[int], window: tuple[int, ...] | None) -> "_Windows":
        if window is not None and len(window) != len(space):
            raise ShapeError(
                f"expected images over {len(window)} axes of space, as in training; got {tuple(space)}. "
                "Pass images of the kind that the sampler was trained on."
            )
        size = tuple(space) if window is None else tuple(map(min, zip(space, window, strict=True)))
        starts = (window_starts(side, length, overlap=OVERLAP) for side, length in zip(space, size, strict=True))
        corners = itertools.product(*starts)
        found = [
            (..., *(slice(at, at + length) for at, length in zip(corner, size, strict=True))) for corner in corners
        ]
        count = torch.zeros(tuple(space))
        for each in found:
            count[each] += 1
        return cls(found, size, count)
