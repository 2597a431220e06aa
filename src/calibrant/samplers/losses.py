"""The losses of calibrated adversarial refinement (Kassapis et al., ICCV 2021), each a pure function.

The networks of the paper: F makes probabilities, G refines them into samples, D judges samples. The cross-entropy of F
is :func:`calibrant.training.annotator_cross_entropy`.
"""

import torch
from torch.nn import functional as F

from calibrant._shapes import Float, Int, Tensor

FLOOR = 1e-3
"""Probabilities in the calibration loss stay this far from 0 and 1, as in the released code."""


def label_planes(labels: Int[Tensor, "n *s"], num_classes: int) -> Float[Tensor, "n c *s"]:
    """Return a label map as D sees it: one plane a class, all of them 0 where nothing is known.

    :param labels: one label map an image, ``IGNORE`` where unlabelled.
    :param num_classes: how many classes there are.
    """
    classes = torch.arange(num_classes, device=labels.device).reshape(-1, *[1] * (labels.ndim - 1))
    return (labels[:, None] == classes).float()


def calibration_loss(
    samples: Float[Tensor, "m n c *s"], target: Float[Tensor, "n c *s"], *, floor: float = FLOOR
) -> Float[Tensor, ""]:
    """Return KL(mean of samples ‖ F), the mean over images and pixels (eq. 6); no gradient reaches the target.

    :param samples: probabilities.
    :param floor: both are kept within ``floor`` and ``1 - floor`` and not normalised again, as released.
    :param target: the calibrated probabilities F.

    >>> half = torch.tensor([[[0.5], [0.5]]])
    >>> float(calibration_loss(torch.stack([half.round(), 1 - half.round()]), half))
    0.0
    """
    mean = samples.mean(0).clamp(floor, 1 - floor)
    aim = target.detach().clamp(floor, 1 - floor)
    return (mean * (mean.log() - aim.log())).sum(1).mean()


def adversarial_loss(fake: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """Return -log D of the samples, from D's logits: the non-saturating loss of G (eq. 3).

    :param fake: D's logits of samples, one each.
    """
    return F.softplus(-fake).mean()


def discriminator_loss(real: Float[Tensor, " n"], fake: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """Return -log D of the annotators' maps less log(1 - D) of the samples, from D's logits (eq. 4).

    :param real: D's logits of annotators' maps, one each.
    :param fake: D's logits of samples, one each.
    """
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def r1_penalty(
    real: Float[Tensor, " n"], pairs: Float[Tensor, "n k *s"], *, of_probability: bool = True
) -> Float[Tensor, ""]:
    """Return the mean squared norm of the gradient of D by what it saw (Mescheder et al., 2018), differentiably.

    :param pairs: images and real label maps, joined, which ``real`` was computed from; they require gradients.
    :param of_probability: D's probability, as released: the penalty fades where D is sure. Otherwise its logit.
    :param real: D's logits of annotators' maps, computed from ``pairs``.
    """
    judged = real.sigmoid() if of_probability else real
    (gradient,) = torch.autograd.grad(judged.sum(), pairs, create_graph=True)
    return gradient.flatten(1).square().sum(1).mean()


def spread(samples: Float[Tensor, "m n c *s"], target: Float[Tensor, "n c *s"]) -> Float[Tensor, ""]:
    """Return the variance of the samples as a share of what the target asks for: 1 if hard and calibrated, 0 if alike.

    :param samples: probabilities of m samples.
    :param target: the probabilities that their mean is to have.

    >>> half = torch.tensor([[[0.5], [0.5]]])
    >>> float(spread(torch.stack([half, half]), half))
    0.0
    """
    asked = (target * (1 - target)).sum(1).mean()
    # The mean square less the squared mean: samples.var(0) takes ten times as long.
    varied = (samples.square().mean(0) - samples.mean(0).square()).sum(1).mean() * len(samples) / (len(samples) - 1)
    return varied / asked.clamp_min(1e-12)
