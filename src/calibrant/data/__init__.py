"""Where images, labels and stored predictions come from."""

from calibrant.data.folder import FolderPredictions, open_folder
from calibrant.data.store import Provenance, StoredPredictions, write_store
from calibrant.data.strided import StridedPrediction

__all__ = [
    "FolderPredictions",
    "Provenance",
    "StoredPredictions",
    "StridedPrediction",
    "open_folder",
    "write_store",
]
