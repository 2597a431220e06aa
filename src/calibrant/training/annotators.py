"""Learning from several annotators: all of them at once, or one drawn for each image."""

import torch

from calibrant._shapes import IGNORE, Float, Int, Tensor


def annotator_cross_entropy(logits: Float[Tensor, "n c *s"], labels: Int[Tensor, "n a *s"]) -> Float[Tensor, ""]:
    """Return the mean negative log-likelihood of all labels that annotators gave (eq. 2), unlabelled ones left out.

    With ``chosen_annotator(labels)[:, None]`` it is that of one annotator drawn for each image, as in the released
    code: the same on average, with more noise.

    :param logits: scores of each pixel.
    :param labels: one map per annotator; ``IGNORE`` where unlabelled.

    >>> annotator_cross_entropy(torch.zeros(1, 2, 3), torch.tensor([[[0, 1, -100], [1, 1, -100]]]))
    tensor(0.6931)
    """
    log_probs = logits.log_softmax(1)
    known = labels != IGNORE
    picked = log_probs.gather(1, labels.clamp_min(0)) * known
    return -picked.sum() / known.sum().clamp_min(1)


def chosen_annotator(labels: Int[Tensor, "n a *s"], generator: torch.Generator) -> Int[Tensor, "n *s"]:
    """Return for each image the map of one annotator, drawn among those who labelled any pixel of it.

    :param labels: one map per annotator; ``IGNORE`` where unlabelled.
    :param generator: where the random numbers come from.
    """
    has_labels = (labels != IGNORE).flatten(2).any(2)
    chances = torch.rand(has_labels.shape, generator=generator, device=generator.device).to(labels.device)
    chosen = (chances + has_labels).argmax(1)
    return labels[torch.arange(len(labels), device=labels.device), chosen]
