"""Where images, labels and stored predictions come from."""

from calibrant.data.annotators import BlobAnnotators
from calibrant.data.folder import FolderPredictions, open_folder
from calibrant.data.lidc import LidcExamples, lidc_contours, lidc_crops, lidc_folder, lidc_pickle
from calibrant.data.relabel import CAMVID_FLIPS, CITYSCAPES_FLIPS, ClassFlips, FlippedExamples
from calibrant.data.store import Provenance, StoredPredictions, write_store
from calibrant.data.strided import StridedPrediction
from calibrant.data.synthetic import StreetScenes
from calibrant.data.toy_regression import REGRESSION_SETTINGS, BimodalRegression

__all__ = [
    "CAMVID_FLIPS",
    "CITYSCAPES_FLIPS",
    "REGRESSION_SETTINGS",
    "BimodalRegression",
    "BlobAnnotators",
    "ClassFlips",
    "FlippedExamples",
    "FolderPredictions",
    "LidcExamples",
    "Provenance",
    "StoredPredictions",
    "StreetScenes",
    "StridedPrediction",
    "lidc_contours",
    "lidc_crops",
    "lidc_folder",
    "lidc_pickle",
    "open_folder",
    "write_store",
]
