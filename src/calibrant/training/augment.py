"""Random crops, shifts, flips and quarter turns of an image, its logits and its labels together.

All of them move whole pixels: nothing is interpolated, labels stay labels and probabilities stay calibrated.
"""

import itertools
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

import torch

from calibrant._shapes import Tensor
from calibrant.errors import InputError, ShapeError


@dataclass(frozen=True)
class Augmentation:
    """What is drawn anew each time an image is read.

    :param crop: size of the window to take at random; None takes the whole image.
    :param shift: move the window by up to so many pixels, past the edge if need be, where the last pixel is repeated.
    :param flips: axes to flip half of the time, counted from the last (1) on; (1,) is left to right alone.
    :param turns: exchange the last two axes half of the time where the window is square, which together with both
        flips makes all quarter turns.
    """

    _: KW_ONLY
    crop: tuple[int, ...] | None = None
    shift: int = 0
    flips: tuple[int, ...] = ()
    turns: bool = False

    def __post_init__(self) -> None:
        if self.shift < 0 or (self.crop is not None and min(self.crop) < 1) or not set(self.flips) <= {1, 2, 3}:
            raise InputError(
                "expected a crop of 1 pixel or more a side, a shift of 0 or more, and flips of axes counted from the "
                f"last, 1 to 3; got crop={self.crop}, shift={self.shift}, flips={self.flips}."
            )

    @classmethod
    def of_scans(cls, *, crop: tuple[int, ...] | None = None, shift: int = 4) -> "Augmentation":
        """Return what suits pictures without an upright, such as slices of a scan: all of it.

        :param crop: size of the window to take at random; None takes the whole image.
        :param shift: move the window by up to so many pixels.
        """
        return cls(crop=crop, shift=shift, flips=(1, 2), turns=True)

    @classmethod
    def of_scenes(cls, *, crop: tuple[int, ...] | None = None) -> "Augmentation":
        """Return what suits photographs of scenes: left to right, and windows.

        :param crop: size of the window to take at random; None takes the whole image.
        """
        return cls(crop=crop, flips=(1,))

    def orientations(self, dims: int) -> tuple["Orientation", ...]:
        """Return all orientations that an image may be drawn in, each once; first as it is.

        :param dims: the number of axes of space.

        >>> len(Augmentation.of_scenes().orientations(2)), len(Augmentation.of_scans().orientations(2))
        (2, 8)
        """
        flips = sorted(axis for axis in self.flips if axis <= dims)
        flipped = [axes for count in range(len(flips) + 1) for axes in itertools.combinations(flips, count)]
        turned = (False, True) if self.turns and dims > 1 else (False,)
        return tuple(Orientation(flips=axes, turned=each) for each in turned for axes in flipped)

    def draw(self, space: Sequence[int], generator: torch.Generator) -> "Placement":
        """Return one way to place a window in images of a size.

        :param space: the size of the images, in pixels.
        :param generator: where the random numbers come from.
        :raises ShapeError: the window is larger than the image, or has other dimensions.
        """
        crop = tuple(space) if self.crop is None else self.crop
        if len(crop) != len(space) or any(size > side for size, side in zip(crop, space, strict=True)):
            raise ShapeError(
                f"expected images of {crop} pixels or larger; got {tuple(space)}. Choose a smaller crop, or None."
            )

        def whole(low: int, high: int) -> int:
            return int(torch.randint(low, high + 1, (), generator=generator))

        axes = []
        for number, (size, side) in enumerate(zip(crop, space, strict=True)):
            start = whole(0, side - size) + whole(-self.shift, self.shift)
            places = (start + torch.arange(size)).clamp(0, side - 1)
            flip = whole(0, 1) == 1 and len(space) - number in self.flips
            axes.append(places.flip(0) if flip else places)
        turned = whole(0, 1) == 1 and self.turns and len(crop) > 1 and crop[-1] == crop[-2]
        return Placement(tuple(axes), turned)


@dataclass(frozen=True)
class Placement:
    """Where each pixel of a window comes from, along each axis, and whether the last two axes are exchanged.

    :param axes: for each axis of space, the place in the image of each place in the window.
    :param turned: whether the last two axes are exchanged.
    """

    axes: tuple[Tensor, ...]
    turned: bool

    def of(self, maps: Tensor) -> Tensor:
        """Return the window of maps (channels, *space).

        :param maps: maps (channels, *space) of one image.
        """
        for number, places in enumerate(self.axes):
            maps = maps.index_select(number + 1, places.to(maps.device))
        return maps.transpose(-1, -2) if self.turned else maps


@dataclass(frozen=True)
class Orientation:
    """An image flipped along some axes, and then, it may be, with its last two axes exchanged.

    :param flips: axes that are flipped, counted from the last (1) on.
    :param turned: whether the last two axes are exchanged.
    """

    _: KW_ONLY
    flips: tuple[int, ...] = ()
    turned: bool = False

    def of(self, maps: Tensor) -> Tensor:
        """Return maps in this orientation.

        :param maps: maps whose last axes are those of space.
        """
        maps = maps.flip([-axis for axis in self.flips]) if self.flips else maps
        return maps.transpose(-1, -2) if self.turned else maps

    def undone(self, maps: Tensor) -> Tensor:
        """Return maps in this orientation as they were.

        :param maps: what :meth:`of` returned, or maps of the same size.

        >>> maps = torch.arange(6).view(2, 3)
        >>> orientation = Orientation(flips=(1, 2), turned=True)
        >>> torch.equal(orientation.undone(orientation.of(maps)), maps)
        True
        """
        maps = maps.transpose(-1, -2) if self.turned else maps
        return maps.flip([-axis for axis in self.flips]) if self.flips else maps
