"""Layers for two dimensions or three, by name."""

from torch import nn

from calibrant.errors import InputError

_BY_DIMS = {
    "conv": (nn.Conv2d, nn.Conv3d),
    "transposed": (nn.ConvTranspose2d, nn.ConvTranspose3d),
    "norm": (nn.BatchNorm2d, nn.BatchNorm3d),
    "reflect": (nn.ReflectionPad2d, nn.ReflectionPad3d),
    "zero": (nn.ZeroPad2d, nn.ZeroPad3d),
    "dropout": (nn.Dropout, nn.Dropout),  # single numbers, as published, not whole channels
}


def layer(name: str, dims: int) -> type[nn.Module]:
    """Return the class of a layer.

    :raises InputError: for other than two or three dimensions.
    """
    if dims not in (2, 3):
        raise InputError(f"expected 2 or 3 dimensions; got dims={dims}. 2 is h w, 3 is d h w.")
    return _BY_DIMS[name][dims - 2]
