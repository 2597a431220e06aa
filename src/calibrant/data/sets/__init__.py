"""One file for each data set: where its files lie, what its label ids mean, where to get it."""

from calibrant.data.sets._dataset import DataSet
from calibrant.data.sets._examples import FileExamples, same_ids
from calibrant.data.sets.ade20k import ade20k
from calibrant.data.sets.aerial import aerial
from calibrant.data.sets.bdd100k import bdd100k
from calibrant.data.sets.brats import brats
from calibrant.data.sets.camvid import camvid
from calibrant.data.sets.cityscapes import cityscapes
from calibrant.data.sets.coco_stuff import coco_stuff
from calibrant.data.sets.curvas import curvas
from calibrant.data.sets.davis import davis
from calibrant.data.sets.huggingface import huggingface_examples
from calibrant.data.sets.images import image_folder
from calibrant.data.sets.kitti import kitti
from calibrant.data.sets.lidc import lidc_folder, lidc_pickle
from calibrant.data.sets.published import DATA_SETS, Published
from calibrant.data.sets.qubiq import qubiq
from calibrant.data.sets.spacenet7 import spacenet7
from calibrant.data.sets.synthia import synthia

__all__ = [
    "DATA_SETS",
    "DataSet",
    "FileExamples",
    "Published",
    "ade20k",
    "aerial",
    "bdd100k",
    "brats",
    "camvid",
    "cityscapes",
    "coco_stuff",
    "curvas",
    "davis",
    "huggingface_examples",
    "image_folder",
    "kitti",
    "lidc_folder",
    "lidc_pickle",
    "qubiq",
    "same_ids",
    "spacenet7",
    "synthia",
]
