"""Axis letters, tensor types and, from the root, the one constant for unlabelled pixels.

=====  ==========================================================================
axis   meaning
=====  ==========================================================================
n      images (rows of a tally)
c      classes
a      annotators
*s     space: ``h w`` or ``d h w`` (a plain list of pixels, ``p``, also serves)
k      channels of an image
b      bins
m      hypotheses
p      pixels drawn from many images
r      resamples of a bootstrap
=====  ==========================================================================

``Float[Tensor, "n c *s"]`` is checked when the tests run with ``make shapes``, and never in a user's program.
"""

from jaxtyping import Bool, Float, Shaped
from jaxtyping import Integer as Int  # unsigned ones, too
from torch import Tensor

from calibrant import IGNORE

__all__ = ["IGNORE", "Bool", "Float", "Int", "Shaped", "Tensor"]
