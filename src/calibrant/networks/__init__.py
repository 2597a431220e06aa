"""One file per architecture, each a plain module."""

from calibrant.networks.unet import SmallUNet

__all__ = ["SmallUNet"]
