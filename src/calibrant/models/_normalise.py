"""What a network expects of its images: how values in [0, 1] are scaled before they go in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from calibrant._input.checks import shape_of
from calibrant._shapes import Float, Tensor
from calibrant.errors import InputError, ShapeError


@dataclass(frozen=True)
class Normalisation:
    """(image x scale - mean) / deviation, each channel with its own; the image in [0, 1].

    :param mean, deviation: one number a channel, or none for images as they are.
    :param reverse: channels in the other order, blue first.
    """

    mean: Sequence[float] = ()
    deviation: Sequence[float] = ()
    scale: float = 1.0
    reverse: bool = False

    def __str__(self) -> str:
        """Say it in words."""
        said = ["images in [0, 1]" if self.scale == 1 else f"images in [0, {self.scale:g}]"]
        if self.reverse:
            said.append("channels reversed")
        if self.mean:
            said.append(f"less {list(self.mean)}, over {list(self.deviation)}")
        return ", ".join(said)

    @classmethod
    def named(cls, name: str) -> "Normalisation":
        """Return what ``none``, ``imagenet``, or ``0.5,0.5,0.5/0.2,0.2,0.2`` (means, deviations) stands for.

        :raises InputError: it is none of these.
        """
        if name == "none":
            return cls()
        if name == "imagenet":
            return cls((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        try:
            mean, deviation = (tuple(float(number) for number in part.split(",")) for part in name.split("/"))
            if len(mean) != len(deviation) or min(deviation) <= 0:
                raise ValueError("as many means as deviations, and these above 0")
        except ValueError as error:
            raise InputError(
                "expected a normalisation: none, imagenet, or means and deviations such as 0.5,0.5,0.5/0.25,0.25,0.25 "
                f"of images in [0, 1]; got {name!r} ({error})."
            ) from error
        return cls(mean, deviation)

    @classmethod
    def of_hugging_face(cls, found: Mapping[str, Any]) -> "Normalisation":
        """Return what a ``preprocessor_config.json`` says; its image processors start from values in 0..255."""
        reverse = bool(found.get("do_flip_channel_order"))
        scale = 255.0 * (found.get("rescale_factor", 1 / 255) if found.get("do_rescale", True) else 1.0)
        scale = round(scale, 9)  # 255 x (1 / 255) is one
        # Processors that reverse the channels do not normalise unless they say so; all others do unless they say no.
        if not found.get("do_normalize", "image_mean" in found and not reverse):
            return cls(scale=scale, reverse=reverse)
        return cls(tuple(found["image_mean"]), tuple(found["image_std"]), scale, reverse)


class Normalise(nn.Module):
    """Applies a :class:`Normalisation`.

    >>> normalise = Normalise(Normalisation((0.5,), (0.25,)))
    >>> normalise(torch.ones(1, 1, 2, 2)).unique()
    tensor([2.])
    """

    def __init__(self, how: Normalisation):
        super().__init__()
        self.how = how
        self.register_buffer("mean", torch.tensor(how.mean), persistent=False)
        self.register_buffer("deviation", torch.tensor(how.deviation), persistent=False)

    def forward(self, images: Float[Tensor, "n k *s"]) -> Float[Tensor, "n k *s"]:
        """Return images as the network expects them."""
        if self.how.reverse:
            images = images.flip(1)
        if self.how.scale != 1:
            images = images * self.how.scale
        if not self.how.mean:
            return images
        mean, deviation = self.mean, self.deviation
        assert isinstance(mean, Tensor)
        assert isinstance(deviation, Tensor)
        if len(mean) not in (1, images.shape[1]):
            raise ShapeError(
                f"expected images of {len(mean)} channels, as many as the model's normalisation has means; got "
                f"{shape_of(images)}. Choose another model or data set, or say how to scale: --normalise."
            )
        shape = (-1, *[1] * (images.ndim - 2))
        return (images - mean.view(shape)) / deviation.view(shape)
