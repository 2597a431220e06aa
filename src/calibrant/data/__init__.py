"""Where images, labels and stored predictions come from."""

from calibrant.data.folder import FolderPredictions, open_folder
from calibrant.data.store import Provenance, StoredPredictions, write_store
from calibrant.data.strided import StridedPrediction
from calibrant.data.synthetic import StreetScenes

__all__ = [
    "FolderPredictions",
    "Provenance",
    "StoredPredictions",
    "StreetScenes",
    "StridedPrediction",
    "open_folder",
    "write_store",
]
