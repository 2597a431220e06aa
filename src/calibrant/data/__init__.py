"""Where images, labels and stored predictions come from."""

from calibrant.data.store import Provenance, StoredPredictions, write_store
from calibrant.data.strided import StridedPrediction

__all__ = ["Provenance", "StoredPredictions", "StridedPrediction", "write_store"]
