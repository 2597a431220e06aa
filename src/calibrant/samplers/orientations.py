"""A network of basis maps that sees each image in several orientations, with which samples are means over them."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from calibrant._input.checks import check_choice
from calibrant._shapes import Float, Tensor
from calibrant.networks import Basis, BasisUNet
from calibrant.training import Augmentation

ORIENTATIONS: Mapping[str, Augmentation] = {
    "one": Augmentation(),
    "left-right": Augmentation.of_scenes(),
    "all": Augmentation.of_scans(),
}
"""In which orientations an image is seen, by name: as it is; also from left to right; flipped and turned."""


class OrientedBasis(nn.Module):
    """Runs a network on an image in several orientations; the logits of a sample are the mean over them.

    For a network that was trained on images in these orientations. A latent means the same in all of them, for nothing
    in it has a place. It takes as many passes of the network as there are orientations.

    :param network: what is run; one whose latents have no place.
    :param orientations: "left-right" (2), or "all" flips and quarter turns of the last two axes (8); or "one".
    :raises MethodError: no such orientations.

    >>> network = OrientedBasis(BasisUNet(3, 2, width=4, depth=2).eval(), "all")
    >>> bases = network.encode(torch.zeros(2, 3, 21, 30))
    >>> len(bases), network.decode(bases, torch.zeros(5, 2, 8), (21, 30)).shape
    (8, torch.Size([5, 2, 1, 21, 30]))
    """

    def __init__(self, network: BasisUNet, orientations: str) -> None:
        super().__init__()
        check_choice(orientations, ORIENTATIONS, "set of orientations")
        self.network, self.orientations = network, orientations
        self.in_channels, self.num_classes = network.in_channels, network.num_classes
        self.sample_channels = network.sample_channels

    def arguments(self) -> dict[str, Any]:
        """Return the network and its orientations."""
        return {"network": self.network, "orientations": self.orientations}

    def latent_size(self, space: Sequence[int]) -> int:
        """Return how many numbers a latent has, whatever the size of the image.

        :param space: the size of the image, in pixels.
        """
        return self.network.latent_size(space)

    def encode(self, seen: Float[Tensor, "n k *s"]) -> tuple[Basis, ...]:
        """Return what all samples of an image share, for each orientation, turned back.

        :param seen: the image, or probabilities, or both, concatenated.
        """
        found = []
        for each in ORIENTATIONS[self.orientations].orientations(seen.ndim - 2):
            maps, pooled = self.network.encode(each.of(seen))
            found.append(Basis(each.undone(maps), pooled))
        return tuple(found)

    def decode(
        self, bases: Sequence[Basis], latents: Float[Tensor, "m n d"], space: Sequence[int]
    ) -> Float[Tensor, "m n p *s"]:
        """Return the logits of one sample for each latent, of two classes those of the second.

        :param bases: what :meth:`encode` returned.
        :param latents: one standard normal vector for each sample and image.
        :param space: the size of the label maps, in pixels.
        """
        total = self.network.decode(bases[0], latents, space)
        for basis in bases[1:]:
            total += self.network.decode(basis, latents, space)
        return total.div_(len(bases))


def joined(
    network: BasisUNet, bases: Sequence[Basis], latents: Float[Tensor, "m n d"]
) -> tuple[Float[Tensor, "n p *s"], Float[Tensor, "n K *s"], Float[Tensor, "m n p coefficients"]]:
    """Return several orientations as one: logits are ``mean + coefficients @ [maps, 1]``.

    :param network: made the bases.
    :param bases: one an orientation.
    :param latents: one standard normal vector for each sample and image.
    """
    gain, planes = network.definition["gain"], network.planes
    coefficients = [gain / len(bases) * network.coefficients(basis.pooled, latents) for basis in bases]
    constant = torch.stack([each[..., -1:] for each in coefficients]).sum(0)
    mean = gain * torch.stack([basis.maps[:, :planes] for basis in bases]).mean(0)
    maps = torch.cat([basis.maps[:, planes:-1] for basis in bases], 1) * network.basis_size**-0.5
    return mean, maps, torch.cat([*(each[..., :-1] for each in coefficients), constant], -1)
