"""Largest logits kept apart from the next on their way to a file, and how many pixels that concerned."""

from calibrant._shapes import Float, Tensor
from calibrant.predictions import nearly_tied, with_margin


class KeptApart:
    """Sets the largest logit of each pixel a margin above the next, and counts the pixels where it was nearer.

    :param margin: in nats.
    """

    def __init__(self, margin: float) -> None:
        self.margin, self.near, self.pixels = margin, 0, 0

    def __call__(self, logits: Float[Tensor, "c *s"]) -> Float[Tensor, "c *s"]:
        """Return the logits of one image, the largest at 0.

        :param logits: class axis first.
        """
        self.near += int(nearly_tied(logits[None], self.margin).sum())
        self.pixels += logits[0].numel()
        return with_margin(logits[None], self.margin)[0]

    def in_words(self) -> list[str]:
        """Return a sentence on the nearly tied pixels, if there were any."""
        if not self.near:
            return []
        return [
            f"nearly tied: in {self.near / self.pixels:.2%} of the pixels the two largest logits were closer than "
            f"{self.margin:g}; they are now that far apart, so that rounding keeps the labels"
        ]
