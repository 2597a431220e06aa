"""A U-Net that runs once an image, from which each label map is one matrix product: a mean and a basis of maps."""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from calibrant._shapes import Float, Tensor
from calibrant.errors import InputError
from calibrant.networks._layers import layer
from calibrant.predictions import resized


class Basis(NamedTuple):
    """What all samples of an image share.

    :param maps: the part of the logits that does not vary, one map a class (one in all for two classes); the K maps
        that samples vary along; and a map of ones, along which they vary everywhere alike.
    :param pooled: the deepest features, their mean over space: besides a latent, what factors of the maps follow from.
    """

    maps: Float[Tensor, "n maps *s"]
    pooled: Float[Tensor, "n ..."]


def sample_logits(maps: Float[Tensor, "n maps *s"], factors: Float[Tensor, "n m p f"]) -> Float[Tensor, "m n p *s"]:
    """Return the logits of samples, of two classes those of the second: one product an image.

    :param maps: those of a :class:`Basis`, in all pixels or in some.
    :param factors: what the maps that samples vary along are multiplied by, for each sample and class.
    """
    (_, number, planes, _), rows, flat = factors.shape, factors.flatten(1, 2), maps.flatten(2)
    if planes == 1:  # what does not vary is a map like the others
        logits = (F.pad(rows, (1, 0), value=1.0) @ flat).unflatten(1, (number, planes))
    else:
        logits = (rows @ flat[:, planes:]).unflatten(1, (number, planes))
        logits += flat[:, None, :planes]  # in place: here, memory is what takes time
    return logits.movedim(0, 1).unflatten(-1, maps.shape[2:])


def _block(before: int, after: int, stride: int = 1, *, dims: int) -> nn.Sequential:
    """Return two convolutions with normalisation, the first with the stride."""
    conv, norm = layer("conv", dims), layer("norm", dims)
    layers: list[nn.Module] = []
    for channels, step in ((before, stride), (after, 1)):
        layers += [conv(channels, after, 3, step, 1, bias=False), norm(after), nn.SiLU()]
    return nn.Sequential(*layers)


def with_all_classes(planes: Float[Tensor, "m n p *s"], num_classes: int) -> Float[Tensor, "m n c *s"]:
    """Return logits of all classes: as they are, or, if they are those of the second of two classes alone, after zeros.

    :param planes: what the ``decode`` of a network returned.
    :param num_classes: how many classes there are.
    """
    if planes.shape[2] == num_classes:
        return planes
    return F.pad(planes, (0, 0) * (planes.ndim - 3) + (1, 0))


class BasisUNet(nn.Module):
    """Logits of label maps, one for each latent vector: ``n k *s`` and ``m n d`` to ``m n c *s``.

    .. math:: \\ell_c = 2\\,\\bigl(\\mu_c + K^{-1/2} \\textstyle\\sum_k a_{ck}(z, h)\\,b_k + a_{c0}(z, h)\\bigr)

    The maps mu_c and b_k come from one pass of the U-Net; the coefficients a from a network of two hidden layers that
    sees the latent z and h, the mean over space of the deepest features. Each class has coefficients of its own, so the
    K maps serve as a basis for all classes. With two classes the second's logit varies and the first's is 0.

    A level is two convolutions, each with batch normalisation and SiLU; the first convolution of a level down has
    stride 2, a level up interpolates linearly. Batch statistics never mix samples of one image, for the U-Net sees
    no latent.

    With a stride of 2 the first level has half as many pixels a side. Its maps are interpolated linearly, and the
    channels of the input join the basis and K, so that what is fine in the input can be fine in samples. Training
    takes less time; where the input has many classes, less is saved.

    :param in_channels: channels of the input: those of the image and one a class, concatenated, or one of the two.
    :param num_classes: how many classes there are.
    :param width: channels of the first level; doubled at each halving.
    :param depth: how many times the first level is halved.
    :param stride: how many pixels of the image a pixel of the first level stands for along each axis: 1 or 2.
    :param num_maps: how many maps the U-Net makes that samples vary along.
    :param latent_size: d, numbers of a latent.
    :param hidden: channels of each hidden layer of the network of coefficients.
    :param dropout: the share of whole channels of the deepest features left out at random in training.
    :param dims: 2 for ``h w``, 3 for ``d h w``.
    :raises InputError: a number below 1, or other dimensions.

    >>> network = BasisUNet(3, 2, width=4, depth=2).eval()
    >>> network(torch.zeros(2, 3, 21, 30), torch.zeros(5, 2, 8)).shape
    torch.Size([5, 2, 2, 21, 30])
    """

    definition: ClassVar[Mapping[str, float]] = {"gain": 2.0}
    """The factor of all logits, with which the first samples are neither hard nor all alike."""

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        width: int = 16,
        depth: int = 3,
        stride: int = 1,
        num_maps: int = 24,
        latent_size: int = 8,
        hidden: int = 128,
        dropout: float = 0.2,
        dims: int = 2,
    ) -> None:
        super().__init__()
        if min(depth, num_maps, latent_size) < 1 or stride not in (1, 2):
            raise InputError(
                "expected 1 halving or more, a stride of 1 or 2, 1 map or more, and latents of 1 number or more; got "
                f"depth={depth}, stride={stride}, num_maps={num_maps}, latent_size={latent_size}."
            )
        self._arguments = {
            "in_channels": in_channels,
            "num_classes": num_classes,
            "width": width,
            "depth": depth,
            "stride": stride,
            "num_maps": num_maps,
            "latent_size": latent_size,
            "hidden": hidden,
            "dropout": dropout,
            "dims": dims,
        }
        self.in_channels, self.num_classes = in_channels, num_classes
        self.basis_size = num_maps if stride == 1 else num_maps + in_channels
        self._latent_size = latent_size
        self.planes = 1 if num_classes == 2 else num_classes
        conv, block = layer("conv", dims), partial(_block, dims=dims)
        widths = [width * 2**level for level in range(depth + 1)]
        self.down = nn.ModuleList([block(in_channels, width, stride), *(block(a, b, 2) for a, b in pairwise(widths))])
        self.drop = (nn.Dropout2d, nn.Dropout3d)[dims - 2](dropout)
        targets = [num_maps, *widths[1:-1]]  # the last level up ends in as many channels as there are maps
        before = [*widths[1:-1], widths[-1]]
        self.up = nn.ModuleList(
            block(below + skip, after) for below, skip, after in zip(before, widths[:-1], targets, strict=True)
        )
        self.maps = conv(num_maps, self.planes + num_maps, 1)
        outputs = self.planes * (self.basis_size + 1)
        self.coefficients_of = nn.Sequential(
            nn.Linear(latent_size + widths[-1], hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, outputs),
        )

    @classmethod
    def small(cls, in_channels: int, num_classes: int, **sizes: Any) -> "BasisUNet":
        """Return one that a processor trains in half an hour or less: the defaults, but with a stride of 2.

        Chosen on crops of train patients of LIDC-IDRI who were left out, at about equal seconds: a stride of 2
        against one of 1, 16 channels against 32, and the input as part of the basis against the maps alone.

        :param in_channels: channels of the input.
        :param num_classes: how many classes there are.
        :param sizes: other arguments of the constructor.
        """
        return cls(in_channels, num_classes, **{"stride": 2} | sizes)

    def latent_size(self, space: Sequence[int]) -> int:
        """Return how many numbers a latent has, whatever the size of the image.

        :param space: the size of the image, in pixels.
        """
        return self._latent_size

    def forward(self, seen: Float[Tensor, "n k *s"], latents: Float[Tensor, "m n d"]) -> Float[Tensor, "m n c *s"]:
        """Return logits.

        :param seen: the image, or probabilities, or both, concatenated.
        :param latents: one standard normal vector for each sample and image.
        """
        return with_all_classes(self.decode(self.encode(seen), latents, seen.shape[2:]), self.num_classes)

    def encode(self, seen: Float[Tensor, "n k *s"]) -> Basis:
        """Return what all samples of an image share; this alone runs the U-Net.

        :param seen: the image, or probabilities, or both, concatenated.
        """
        skips, x = [], seen
        for block in self.down:
            x = block(x)
            skips.append(x)
        x = self.drop(skips.pop())
        pooled = x.flatten(2).mean(2)
        for block in reversed(self.up):
            skip = skips.pop()
            x = block(torch.cat([resized(x, tuple(skip.shape[2:])), skip], 1))
        mean, maps = resized(self.maps(x), tuple(seen.shape[2:])).tensor_split([self.planes], 1)
        of_input = [seen] if maps.shape[1] < self.basis_size else []
        ones = torch.ones_like(seen[:, :1])
        return Basis(torch.cat([self.definition["gain"] * mean, maps, *of_input, ones], 1), pooled)

    def factors(self, pooled: Float[Tensor, "n w"], latents: Float[Tensor, "m n d"]) -> Float[Tensor, "n m p f"]:
        """Return the factors of the maps of a basis that samples vary along, for each sample and class.

        :param pooled: the deepest features, their mean over space.
        :param latents: one standard normal vector for each sample and image.
        """
        first, *others = self.coefficients_of
        assert isinstance(first, nn.Linear)
        of_latents, of_pooled = first.weight.tensor_split([self._latent_size], 1)
        x = F.linear(latents, of_latents) + F.linear(pooled, of_pooled, first.bias)  # the latter once an image
        for part in others:
            x = part(x)
        given = self.definition["gain"] * x.movedim(0, 1).unflatten(-1, (self.planes, self.basis_size + 1))
        return torch.cat([given[..., :-1] * self.basis_size**-0.5, given[..., -1:]], -1)

    def decode(self, basis: Basis, latents: Float[Tensor, "m n d"], space: Sequence[int]) -> Float[Tensor, "m n p *s"]:
        """Return the logits of one sample for each latent, of two classes those of the second.

        :param basis: what :meth:`encode` returned.
        :param latents: one standard normal vector for each sample and image.
        :param space: the size of the label maps, in pixels.
        """
        return sample_logits(basis.maps, self.factors(basis.pooled, latents))

    def arguments(self) -> dict[str, Any]:
        """Return what the constructor needs to make this network again."""
        return dict(self._arguments)
