"""How ``calibrant predict`` has a model see its images."""

from dataclasses import dataclass
from typing import Any

from calibrant.cli import _options


@dataclass(frozen=True)
class Views:
    """How a model sees an image: in windows, at several sizes, mirrored.

    :param crop: the size of the windows, in pixels; None for the whole image.
    :param overlap: the share of a window that the next repeats.
    :param scales: factors of the image's size.
    :param flip: mirrored, left to right, too.
    :param shorter_side: images are resized to this before all else; None leaves them.
    """

    crop: tuple[int, ...] | None
    overlap: float
    scales: tuple[float, ...]
    flip: bool
    shorter_side: int | None

    @classmethod
    def parsed(cls, *, crop: str | None, scales: str, **others: Any) -> "Views":
        """Read what the options say."""
        window = None if crop is None else _options.numbers_in(crop, int)
        return cls(crop=window, scales=_options.numbers_in(scales, float), **others)

    def around(self, run: Any) -> Any:
        """Return a model that is run in these views, or itself if the view is the image as it is."""
        from calibrant.models import InViews

        if not (self.crop or self.scales != (1.0,) or self.flip or self.shorter_side):
            return run
        return InViews(
            run,
            crop=self.crop,
            overlap=self.overlap,
            scales=self.scales,
            flip=self.flip,
            shorter_side=self.shorter_side,
        )

    def described(self, answers: str, resolution: str) -> str:
        """Say in words at what size the model is judged, and how it was run."""
        said = (
            "the labels' size, logits upsampled linearly"
            if resolution == "label"
            else "the network's own, upsampled linearly to the labels when read"
        )
        parts = [said, answers]
        if self.shorter_side is not None:
            parts.append(f"images resized to a shorter side of {self.shorter_side}")
        if self.crop is not None:
            size = " x ".join(map(str, self.crop))
            parts.append(f"windows of {size}, overlap {self.overlap:.3g}, mean of logits")
        if self.scales != (1.0,) or self.flip:
            mirrored = " and mirrored" if self.flip else ""
            views = f"scales {', '.join(f'{scale:g}' for scale in self.scales)}{mirrored}"
            parts.append(f"{views}, mean of probabilities" if len(self.scales) > 1 or self.flip else views)
        return "; ".join(part for part in parts if part)
