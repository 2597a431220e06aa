"""Small synthetic predictions and logits, whose truth is known."""

from collections.abc import Sequence

import torch

from calibrant._shapes import IGNORE, Float, Tensor
from calibrant.predictions import Prediction


def toy_predictions(
    *,
    num_images: int = 4,
    num_classes: int = 3,
    size: Sequence[int] = (12, 16),
    overconfidence: float = 2.0,
    void: float = 0.1,
    spread: float = 2.0,
    num_annotators: int = 1,
    seed: int = 0,
) -> list[Prediction]:
    """Return predictions whose labels are drawn from softmax(logits / overconfidence): that temperature is the truth.

    Each has an image of two channels, which say nothing.

    :param num_images: how many, named toy0, toy1, …
    :param num_classes: how many classes the logits have.
    :param size: height and width, or depth, height and width, in pixels.
    :param overconfidence: what the true logits are multiplied by.
    :param void: the share of unlabelled pixels.
    :param spread: the standard deviation of the true logits: the larger, the more accurate.
    :param num_annotators: how many label maps are drawn for each image.
    :param seed: one seed gives the same predictions each time.

    >>> toy_predictions(size=(4, 5, 6))[0].logits.shape
    torch.Size([3, 4, 5, 6])
    """
    generator = torch.Generator().manual_seed(seed)
    predictions = []
    for number in range(num_images):
        true = spread * torch.randn(num_classes, *size, generator=generator)
        shape = (num_annotators, num_classes, *size)
        gumbel = -torch.empty(shape).exponential_(generator=generator).log()
        labels = (true + gumbel).argmax(1)
        labels[torch.rand(labels.shape, generator=generator) < void] = IGNORE
        image = torch.rand(2, *size, generator=generator)
        predictions.append(Prediction(f"toy{number}", overconfidence * true, labels, image))
    return predictions


def tied_logits(num_classes: int = 3, *, seed: int = 0) -> Float[Tensor, "n c h w"]:
    """Return logits with every trouble for an argmax: ties, neighbours one step apart, denormals, huge and equal ones.

    In float32; cast to float16 or bfloat16 they tie still more often.

    :param num_classes: two or more.
    :param seed: one seed gives the same logits each time.

    >>> tied_logits().shape
    torch.Size([8, 3, 6, 8])
    """
    generator = torch.Generator().manual_seed(seed)
    scales = torch.tensor([0.0, 1e-42, 1e-30, 1e-5, 1.0, 8.0, 300.0, 3e4]).reshape(-1, 1, 1, 1)
    z = scales * torch.randn(len(scales), num_classes, 6, 8, generator=generator)
    top = z.amax(1)
    z[:, 0, 0], z[:, -1, 0] = top[:, 0], top[:, 0]  # the first row: the first and the last class tie
    z[:, 0, 1] = torch.nextafter(top[:, 1], torch.tensor(-torch.inf))  # the second: the last wins by one step
    z[:, -1, 1] = top[:, 1]
    z[:, 1:, 1] = torch.minimum(z[:, 1:, 1], top[:, None, 1])
    z[:, :, 2] = top[:, None, 2]  # the third: all alike
    z[:, 0, 3], z[:, -1, 3] = torch.nextafter(top[:, 3], torch.tensor(-torch.inf)), top[:, 3]
    z[:, 1:-1, 3] = torch.nextafter(top[:, 3], torch.tensor(-torch.inf))[:, None]
    return z.clamp(-6e4, 6e4)  # within float16
