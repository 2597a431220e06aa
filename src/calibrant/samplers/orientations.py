"""A network of basis maps that sees each image in several orientations, with which samples are means over them."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from calibrant._input.checks import check_choice
from calibrant._shapes import Float, Tensor
from calibrant.networks import Basis, BasisUNet, sample_logits
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
    >>> basis = network.encode(torch.zeros(2, 3, 21, 30))
    >>> network.decode(basis, torch.zeros(5, 2, 8), (21, 30)).shape
    torch.Size([5, 2, 1, 21, 30])
    """

    def __init__(self, network: BasisUNet, orientations: str) -> None:
        super().__init__()
        check_choice(orientations, ORIENTATIONS, "set of orientations")
        self.network, self.orientations = network, orientations
        self.in_channels, self.num_classes = network.in_channels, network.num_classes

    def arguments(self) -> dict[str, Any]:
        """Return the network and its orientations."""
        return {"network": self.network, "orientations": self.orientations}

    def latent_size(self, space: Sequence[int]) -> int:
        """Return how many numbers a latent has, whatever the size of the image.

        :param space: the size of the image, in pixels.
        """
        return self.network.latent_size(space)

    def encode(self, seen: Float[Tensor, "n k *s"]) -> Basis:
        """Return what all samples of an image share: the bases of all orientations, turned back, as one.

        :param seen: the image, or probabilities, or both, concatenated.
        """
        maps, pooled = [], []
        for each in ORIENTATIONS[self.orientations].orientations(seen.ndim - 2):
            basis = self.network.encode(each.of(seen))
            maps.append(each.undone(basis.maps))
            pooled.append(basis.pooled)
        planes = self.network.planes
        mean = torch.stack([each[:, :planes] for each in maps]).mean(0)
        along = [each[:, planes:-1] for each in maps]
        return Basis(torch.cat([mean, *along, maps[0][:, -1:]], 1), torch.stack(pooled, 1))

    def factors(self, pooled: Float[Tensor, "n o w"], latents: Float[Tensor, "m n d"]) -> Float[Tensor, "n m p f"]:
        """Return the factors of the maps that samples vary along, for each sample and class.

        :param pooled: the deepest features in each orientation, their mean over space.
        :param latents: one standard normal vector for each sample and image.
        """
        found = [self.network.factors(each, latents) / pooled.shape[1] for each in pooled.unbind(1)]
        constant = torch.stack([each[..., -1:] for each in found]).sum(0)
        return torch.cat([*(each[..., :-1] for each in found), constant], -1)

    def decode(self, basis: Basis, latents: Float[Tensor, "m n d"], space: Sequence[int]) -> Float[Tensor, "m n p *s"]:
        """Return the logits of one sample for each latent, of two classes those of the second.

        :param basis: what :meth:`encode` returned.
        :param latents: one standard normal vector for each sample and image.
        :param space: the size of the label maps, in pixels.
        """
        return sample_logits(basis.maps, self.factors(basis.pooled, latents))
