"""One file per architecture, each a plain module."""

from calibrant.networks.temperature_tree import TemperatureTree
from calibrant.networks.unet import SmallUNet

__all__ = ["SmallUNet", "TemperatureTree"]
