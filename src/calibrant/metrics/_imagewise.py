"""Tallies whose rows stand side by side but have no sum: distances and areas of the maps of one image."""

from typing import NoReturn, TypeVar

from calibrant._shapes import Float, Tensor
from calibrant.errors import InputError
from calibrant.metrics.tally import Tally

T = TypeVar("T", bound="ImageWise")


class ImageWise(Tally):
    """A tally of which only images can be scored: the base of those, never made itself."""

    def pooled(self: T) -> T:
        """Raise: rows of different images have no sum.

        :raises InputError: always.
        """
        self._refuse()

    def resampled(self: T, weights: Float[Tensor, "r n"]) -> T:
        """Raise: rows of different images have no sum; scores of images are resampled instead.

        :raises InputError: always.
        """
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise InputError(
            f"expected a score of single images: rows of {type(self).__name__} cannot be added; got a request for "
            "their sum. Take the mean over images, score(tally).nanmean(), or bootstrap(…, pooled=False)."
        )
