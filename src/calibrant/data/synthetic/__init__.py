"""Generated data whose true probabilities are known."""

from calibrant.data.synthetic.blobs import BlobAnnotators
from calibrant.data.synthetic.regression import REGRESSION_SETTINGS, BimodalRegression
from calibrant.data.synthetic.streets import StreetScenes

__all__ = [
    "REGRESSION_SETTINGS",
    "BimodalRegression",
    "BlobAnnotators",
    "StreetScenes",
]
