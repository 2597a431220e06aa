"""Images as networks like them: each channel with mean zero and standard deviation one over the training images."""

import torch
from torch import nn

from calibrant._shapes import Float, Tensor
from calibrant.errors import ShapeError
from calibrant.predictions import Predictions


class Standardise(nn.Module):
    """Subtract a mean from every channel and divide by a standard deviation.

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
        """Return what suits the images of a source, judged by some of them, evenly spaced; None if it has none."""
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
