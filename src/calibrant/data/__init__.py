"""Where images, labels and stored predictions come from."""

from calibrant.data._pairs_of_files import FileExamples
from calibrant.data.ade20k import ade20k
from calibrant.data.aerial import aerial
from calibrant.data.annotators import BlobAnnotators
from calibrant.data.bdd100k import bdd100k
from calibrant.data.brats import brats
from calibrant.data.camvid import camvid
from calibrant.data.cityscapes import cityscapes
from calibrant.data.coco_stuff import coco_stuff
from calibrant.data.corruptions import CORRUPTIONS, Corrupted, corrupt
from calibrant.data.davis import davis
from calibrant.data.folder import FolderPredictions, open_folder
from calibrant.data.huggingface import huggingface_examples
from calibrant.data.images import image_folder
from calibrant.data.kitti import kitti
from calibrant.data.label_maps import (
    ADE20K_TO_COMMON,
    CITYSCAPES_TO_CAMVID,
    COCO_STUFF_TO_COMMON,
    SYNTHIA_TO_CITYSCAPES,
)
from calibrant.data.lidc import LidcExamples, lidc_contours, lidc_crops, lidc_folder, lidc_pickle
from calibrant.data.relabel import CAMVID_FLIPS, CITYSCAPES_FLIPS, ClassFlips, FlippedExamples, LabelMap, Relabelled
from calibrant.data.shift import CALIBRATOR_COUNTS, halves_in_time, split_by_group, split_by_image
from calibrant.data.spacenet7 import spacenet7
from calibrant.data.store import Provenance, StoredPredictions, write_store
from calibrant.data.strided import StridedPrediction
from calibrant.data.synthetic import StreetScenes
from calibrant.data.synthia import synthia
from calibrant.data.toy_regression import REGRESSION_SETTINGS, BimodalRegression

__all__ = [
    "ADE20K_TO_COMMON",
    "CALIBRATOR_COUNTS",
    "CAMVID_FLIPS",
    "CITYSCAPES_FLIPS",
    "CITYSCAPES_TO_CAMVID",
    "COCO_STUFF_TO_COMMON",
    "CORRUPTIONS",
    "REGRESSION_SETTINGS",
    "SYNTHIA_TO_CITYSCAPES",
    "BimodalRegression",
    "BlobAnnotators",
    "ClassFlips",
    "Corrupted",
    "FileExamples",
    "FlippedExamples",
    "FolderPredictions",
    "LabelMap",
    "LidcExamples",
    "Provenance",
    "Relabelled",
    "StoredPredictions",
    "StreetScenes",
    "StridedPrediction",
    "ade20k",
    "aerial",
    "bdd100k",
    "brats",
    "camvid",
    "cityscapes",
    "coco_stuff",
    "corrupt",
    "davis",
    "halves_in_time",
    "huggingface_examples",
    "image_folder",
    "kitti",
    "lidc_contours",
    "lidc_crops",
    "lidc_folder",
    "lidc_pickle",
    "open_folder",
    "spacenet7",
    "split_by_group",
    "split_by_image",
    "synthia",
    "write_store",
]
