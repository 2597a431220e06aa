"""Where images, labels and stored predictions come from."""

from calibrant.data.corruptions import CORRUPTIONS, corrupt, corrupted
from calibrant.data.flips import CAMVID_FLIPS, CITYSCAPES_FLIPS, ClassFlips, with_class_flips
from calibrant.data.folder import FolderPredictions, Region, open_folder, regions_in
from calibrant.data.geometry import Geometry, geometry_of
from calibrant.data.joined import JoinedStores
from calibrant.data.label_maps import (
    ADE20K_TO_COMMON,
    CITYSCAPES_TO_CAMVID,
    COCO_STUFF_TO_COMMON,
    SYNTHIA_TO_CITYSCAPES,
)
from calibrant.data.relabel import LabelMap, relabelled
from calibrant.data.sets import (
    DATA_SETS,
    DataSet,
    FileExamples,
    ade20k,
    aerial,
    bdd100k,
    brats,
    camvid,
    cityscapes,
    coco_stuff,
    davis,
    huggingface_examples,
    image_folder,
    kitti,
    lidc_folder,
    lidc_pickle,
    same_ids,
    spacenet7,
    synthia,
)
from calibrant.data.splits import CALIBRATOR_COUNTS, halves_in_time, split_by_group, split_by_image, split_groups
from calibrant.data.store import Provenance, StoredPredictions, merge_store_parts, write_store, write_store_part
from calibrant.data.synthetic import REGRESSION_SETTINGS, BimodalRegression, BlobAnnotators, StreetScenes

__all__ = [
    "ADE20K_TO_COMMON",
    "CALIBRATOR_COUNTS",
    "CAMVID_FLIPS",
    "CITYSCAPES_FLIPS",
    "CITYSCAPES_TO_CAMVID",
    "COCO_STUFF_TO_COMMON",
    "CORRUPTIONS",
    "DATA_SETS",
    "REGRESSION_SETTINGS",
    "SYNTHIA_TO_CITYSCAPES",
    "BimodalRegression",
    "BlobAnnotators",
    "ClassFlips",
    "DataSet",
    "FileExamples",
    "FolderPredictions",
    "Geometry",
    "JoinedStores",
    "LabelMap",
    "Provenance",
    "Region",
    "StoredPredictions",
    "StreetScenes",
    "ade20k",
    "aerial",
    "bdd100k",
    "brats",
    "camvid",
    "cityscapes",
    "coco_stuff",
    "corrupt",
    "corrupted",
    "davis",
    "geometry_of",
    "halves_in_time",
    "huggingface_examples",
    "image_folder",
    "kitti",
    "lidc_folder",
    "lidc_pickle",
    "merge_store_parts",
    "open_folder",
    "regions_in",
    "relabelled",
    "same_ids",
    "spacenet7",
    "split_by_group",
    "split_by_image",
    "split_groups",
    "synthia",
    "with_class_flips",
    "write_store",
    "write_store_part",
]
