"""Predictions written into the files that others work with: pictures, arrays, NIfTI, GeoTIFF, nnU-Net's.

What is written of an image is a map: the label of every pixel, its confidence, the probabilities of all classes, their
entropy, or drawn label maps. Maps of probabilities agree with the labels: see ``calibrant.predictions.with_margin``.
"""

from calibrant.data.export.formats import FORMATS, Format, check_fits, path_of, write_image
from calibrant.data.export.maps import MAPS, maps_of

__all__ = ["FORMATS", "MAPS", "Format", "check_fits", "maps_of", "path_of", "write_image"]
