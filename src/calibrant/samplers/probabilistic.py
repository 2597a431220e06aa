"""The Probabilistic U-Net (Kohl et al., NeurIPS 2018): one latent for a whole label map, at the end of a U-Net."""

from calibrant.networks import ProbabilisticUNet
from calibrant.samplers.evidence import EvidenceLoss
from calibrant.samplers.learnt_sampler import LearntSampler, SampleLoss
from calibrant.samplers.recipe import SamplerRecipe


class ProbabilisticSampler(LearntSampler):
    """Draw label maps from a Probabilistic U-Net: a latent from the prior, joined with the last features of a U-Net.

    The U-Net runs once an image, a few 1 x 1 convolutions once a sample. It is trained by the evidence lower bound of
    one annotator's map, drawn anew for each image and step, with the weight of the divergence rising from 0 at first.
    The rate is that of small networks; published was a tenth of it, with 240,000 steps.

    :param network: a :class:`~calibrant.networks.ProbabilisticUNet`; on its moving average after a fit.
    :param standardise: makes images as the network knows them; None for one that sees probabilities alone.
    :param inputs: "both", "image" or "probabilities": what the network is given; published: the image.
    :param window: images larger than this are decoded in windows, with one latent over all of them; None takes every
        image whole.
    :param draws: "independent", or "spread" for latents that fill space more evenly than chance.
    :param notes: what the fit had to say.

    >>> import torch
    >>> sampler = ProbabilisticSampler(ProbabilisticUNet.small(3, 3), inputs="probabilities")
    >>> sampler.sample(torch.zeros(1, 3, 8, 9), num_samples=4, generator=torch.Generator()).shape
    torch.Size([4, 1, 8, 9])
    """

    network_class = ProbabilisticUNet
    recipe = SamplerRecipe(learning_rate=1e-3)

    @classmethod
    def loss(cls) -> SampleLoss:
        """Return the evidence lower bound."""
        return EvidenceLoss()
