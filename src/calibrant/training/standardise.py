"""Images as networks like them: each channel with mean zero and standard deviation one over the training images."""

import torch
from torch import nn

from calibrant._shapes import Float, Tensor
from calibrant.errors import ShapeError
from calibrant.predictions import Predictions


class Standardise(nn.Module):
    """Subtract a mean from every channel and divide by a standard deviation.

    :param mean: the mean of each channel.
    :param deviation: the standard deviation of each channel.

    >>> Standardise(torch.tensor([10.0]), torch.tensor([2.0]))(torch.tensor([[[14.0]]]))
    tensor([[[2.]]])
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: Float[Tensor, " k"], deviation: Float[Tensor, " k"]) -> None:
        super().__init__()
        self.register_buffer("mean", mean.detach().float().clone())
        self.register_buffer("deviation", deviation.detach().float().clone())

    @classmethod
    def of(cls, predictions: Predictions, *, num_images: int = 200) -> "Standardise | None":
        """Return what suits the images of a source, judged by some of them, evenly spaced; None if it has none.

        :param predictions: the source whose images are looked at.
        :param num_images: about how many images are read.
        """
        every = max(1, len(predictions) // num_images)
        count, total, squares = 0, torch.zeros(()), torch.zeros(())
        for number in range(0, len(predictions), every):
            image = predictions[number].image
            if image is None:
                return None
            channels = image.double().flatten(1)
            count += channels.shape[1]
            total, squares = total + channels.sum(1), squares + channels.square().sum(1)
        if count == 0:
            return None
        mean = total / count
        return cls(mean, (squares / count - mean.square()).clamp_min(1e-12).sqrt().clamp_min(1e-6))

    def forward(self, image: Float[Tensor, "n k *s"]) -> Float[Tensor, "n k *s"]:
        """Return the image, standardised, in float32.

        :param image: images as they were in training.
        :raises ShapeError: it has other channels than those that this was made for.
        """
        if image.shape[1] != len(self.mean):
            raise ShapeError(
                f"expected images of {len(self.mean)} channels, as in training; got {image.shape[1]} in "
                f"{tuple(image.shape)}. Pass the images that the training had."
            )
        shape = (-1, *[1] * (image.ndim - 2))
        return (image.float() - self.mean.reshape(shape)) / self.deviation.reshape(shape)

    def arguments(self) -> dict[str, Tensor]:
        """Return mean and deviation."""
        return {"mean": self.mean, "deviation": self.deviation}


def network_input(
    image: Float[Tensor, "n k *s"] | None, standardise: Standardise | None, *maps: Float[Tensor, "n _ *s"]
) -> Float[Tensor, "n j *s"]:
    """Return what a network behind a black box is given: the image and maps of what the black box said, as channels.

    :param image: the image that the black box saw.
    :param standardise: makes images as the network knows them; None for a network that sees no image.
    :param maps: probabilities, or one-hot label maps.
    :raises ShapeError: the network sees images, and there is none, or it has other channels.

    >>> network_input(None, None, torch.zeros(1, 3, 4, 5)).shape
    torch.Size([1, 3, 4, 5])
    """
    if standardise is None:
        return torch.cat(maps, 1)
    if image is None:
        raise ShapeError(
            f"expected the image, which this network was trained with ({len(standardise.mean)} channels); got none. "
            "Pass it, or train with use_image=False."
        )
    return torch.cat([standardise(image), *maps], 1)
