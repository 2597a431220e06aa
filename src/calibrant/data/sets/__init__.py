"""One file for each data set: where its files lie, what its label ids mean, where to get it."""

from calibrant.data.sets._dataset import FileExamples
from calibrant.data.sets.ade20k import ade20k
from calibrant.data.sets.aerial import aerial
from calibrant.data.sets.bdd100k import bdd100k
from calibrant.data.sets.brats import brats
from calibrant.data.sets.camvid import camvid
from calibrant.data.sets.cityscapes import cityscapes
from calibrant.data.sets.coco_stuff import coco_stuff
from calibrant.data.sets.davis import davis
from calibrant.data.sets.huggingface import huggingface_examples
from calibrant.data.sets.images import image_folder
from calibrant.data.sets.kitti import kitti
from calibrant.data.sets.lidc import LidcExamples, lidc_contours, lidc_crops, lidc_folder, lidc_pickle
from calibrant.data.sets.spacenet7 import spacenet7
from calibrant.data.sets.synthia import synthia

__all__ = [
    "FileExamples",
    "LidcExamples",
    "ade20k",
    "aerial",
    "bdd100k",
    "brats",
    "camvid",
    "cityscapes",
    "coco_stuff",
    "davis",
    "huggingface_examples",
    "image_folder",
    "kitti",
    "lidc_contours",
    "lidc_crops",
    "lidc_folder",
    "lidc_pickle",
    "spacenet7",
    "synthia",
]
