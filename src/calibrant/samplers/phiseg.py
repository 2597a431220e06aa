"""PHiSeg (Baumgartner et al., MICCAI 2019): latents at several resolutions, whose label maps are added up."""

from calibrant.networks import PHiSeg
from calibrant.samplers.evidence import EvidenceLoss
from calibrant.samplers.learnt_sampler import LearntSampler, SampleLoss
from calibrant.samplers.recipe import SamplerRecipe


class PHiSegSampler(LearntSampler):
    """Draw label maps from PHiSeg: latents from the coarsest level to the finest, each given the one before.

    The way down runs once an image, the rest once a sample. It is trained by the evidence lower bound of the map of one
    annotator, drawn anew for each image and step: the map is compared with what the latents up to each level say, and
    the divergences of all levels count as if each had as many numbers as the finest (4 to the power of the level, in
    two dimensions). The rate is the published one.

    :param network: a :class:`~calibrant.networks.PHiSeg`; on its moving average after a fit.
    :param standardise: makes images as the network knows them; None for one that sees probabilities alone.
    :param inputs: "both", "image" or "probabilities": what the network is given; published: the image.
    :param window: images larger than this are decoded in windows, with one latent over all of them; None takes every
        image whole.
    :param draws: "independent", or "spread" for latents that fill space more evenly than chance.
    :param notes: what the fit had to say.

    >>> import torch
    >>> sampler = PHiSegSampler(PHiSeg.small(3, 3), inputs="probabilities")
    >>> sampler.sample(torch.zeros(1, 3, 8, 9), num_samples=4, generator=torch.Generator()).shape
    torch.Size([4, 1, 8, 9])
    """

    network_class = PHiSeg
    recipe = SamplerRecipe(learning_rate=1e-3)

    @classmethod
    def loss(cls) -> SampleLoss:
        """Return the evidence lower bound, with levels of latents that count alike."""
        return EvidenceLoss(balanced=True)
