"""The network of an energy-score sampler as an ONNX file, from whose outputs each sample is one matrix product."""

import os

import torch
from torch import nn

from calibrant._shapes import Float, Tensor
from calibrant.calibrators.export import write_onnx
from calibrant.errors import InputError
from calibrant.samplers.energy_score import EnergyScoreSampler
from calibrant.samplers.orientations import OrientedBasis
from calibrant.training import network_input


class _Basis(nn.Module):
    """From what the file takes to what it gives."""

    def __init__(self, sampler: EnergyScoreSampler) -> None:
        super().__init__()
        self.network, self.standardise, self.inputs = sampler.network, sampler.standardise, sampler.inputs

    def forward(
        self, first: Tensor, second: Tensor, third: Tensor | None = None
    ) -> tuple[Float[Tensor, "n p *s"], Float[Tensor, "n K *s"], Tensor]:
        """Return mean, basis and coefficients, so scaled that logits are ``mean + coefficients @ [basis, 1]``."""
        given = [first, second] if third is None else [first, second, third]  # torch.export takes no *given
        image = None if self.inputs == "probabilities" else given[0]
        maps = []
        if self.inputs != "image":
            # Not softmax: onnxruntime's over axis 1 is ten times slower than its parts.
            weight = (given[-2] - given[-2].amax(1, keepdim=True)).exp()
            maps = [weight / weight.sum(1, keepdim=True)]
        basis = self.network.encode(network_input(image, self.standardise, *maps))
        factors = self.network.factors(basis.pooled, given[-1])
        mean, along = basis.maps[:, :-1].tensor_split([factors.shape[2]], 1)
        return mean, along, factors.movedim(1, 0)


def export_basis(sampler: EnergyScoreSampler, path: str | os.PathLike[str], *, example: Tensor | None = None) -> None:
    """Write the network of a sampler as one ONNX file, with any number of images and samples and any spatial size.

    It takes ``image`` (n, k, *s), ``logits`` (n, c, *s), or both, as the sampler does, and ``latents`` (m, n, d), and
    gives ``mean_map`` (n, p, *s), ``basis`` (n, K, *s) and ``coefficients`` (m, n, p, K + 1), with p = c, or 1 for two
    classes, and K the number of maps of the basis times that of the orientations in which an image is seen. Logits of
    a sample are ``mean_map + coefficients[..., :K] @ basis + coefficients[..., K]``; of two classes they are those
    of the second class, and those of the first are 0. Images larger than those of the training are for the caller to
    cut into windows.

    :param sampler: is written as it is.
    :param path: the file to be written.
    :param example: an image to trace with, (n, k, *s); by default of 32 x 48 pixels.
    :raises PackageError: the extra ``onnx`` is not installed.
    :raises StoreError: the file cannot be written.
    """
    network = sampler.network.network if isinstance(sampler.network, OrientedBasis) else sampler.network
    dims = network.arguments()["dims"]
    channels = 1 if sampler.standardise is None else len(sampler.standardise.mean)
    space = (32, 48) if dims == 2 else (8, 16, 24)
    if example is None:
        example = torch.zeros(2, channels, *space)
    if example.ndim != dims + 2:
        raise InputError(
            f"expected an example (n, k, *s) over {dims} axes of space; got {tuple(example.shape)}. "
            "Pass images as the sampler takes them."
        )
    given = {} if sampler.inputs == "probabilities" else {"image": example}
    if sampler.inputs != "image":
        given["logits"] = torch.zeros(len(example), sampler.network.num_classes, *example.shape[2:])
    latents = torch.zeros(3, len(example), sampler.network.latent_size(example.shape[2:]))
    wrapped = _Basis(sampler)
    write_onnx(
        wrapped,
        {**given, "latents": latents},
        path,
        outputs=("mean_map", "basis", "coefficients"),
        channels={"latents": 2},
    )
