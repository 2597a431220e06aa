"""COCO-Stuff 164K: 80 things and 91 stuff classes on the images of COCO 2017.

The official list numbers 91 things and 91 stuff classes from 1; eleven of the things (hat, shoe, street sign, …) were
never drawn. The stuff-thing maps hold that number less one, so 0..181 with eleven gaps, and 255 for unlabelled.
"""

import os

from calibrant._shapes import IGNORE
from calibrant.data.sets._dataset import DataSet
from calibrant.data.sets._examples import FileExamples

_LIST = """
    person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, -, stop sign,
    parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, -, backpack, umbrella, -,
    -, handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard,
    surfboard, tennis racket, bottle, -, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange,
    broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, -, dining table, -, -, toilet, -,
    tv, laptop, mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, -, book, clock, vase,
    scissors, teddy bear, hair drier, toothbrush, -, banner, blanket, branch, bridge, building-other, bush, cabinet,
    cage, cardboard, carpet, ceiling-other, ceiling-tile, cloth, clothes, clouds, counter, cupboard, curtain,
    desk-stuff, dirt, door-stuff, fence, floor-marble, floor-other, floor-stone, floor-tile, floor-wood, flower, fog,
    food-other, fruit, furniture-other, grass, gravel, ground-other, hill, house, leaves, light, mat, metal,
    mirror-stuff, moss, mountain, mud, napkin, net, paper, pavement, pillow, plant-other, plastic, platform,
    playingfield, railing, railroad, river, road, rock, roof, rug, salad, sand, sea, shelf, sky-other, skyscraper, snow,
    solid-other, stairs, stone, straw, structural-other, table, tent, textile-other, towel, tree, vegetable, wall-brick,
    wall-concrete, wall-other, wall-panel, wall-stone, wall-tile, wall-wood, water-other, waterdrops, window-blind,
    window-other, wood"""
_BY_ID = [" ".join(name.split()) for name in _LIST.split(",")]
IDS = tuple(number for number, name in enumerate(_BY_ID) if name != "-")
"""The id in the label files of each class."""
CLASSES = tuple(_BY_ID[number] for number in IDS)

COCO_STUFF = DataSet(
    "COCO-Stuff 164K",
    "the COCO-Stuff page (github.com/nightrome/cocostuff): train2017.zip, val2017.zip, stuffthingmaps_trainval2017.zip",
    """coco_stuff/
       ├── images/{train2017,val2017}/000000000139.jpg
       └── annotations/{train2017,val2017}/000000000139.png""",
    images="images/{}/*.jpg",
    labels="annotations/{}/*.png",
    class_names=CLASSES,
    table={number: k for k, number in enumerate(IDS)} | {255: IGNORE},
    ignore="255, unlabelled",
    splits={"train": ("train2017",), "val": ("val2017",)},
)


def coco_stuff(path: str | os.PathLike[str], split: str = "val") -> FileExamples:
    """Return the images of a split: 118,287 of ``train``, 5,000 of ``val``.

    :param path: the folder with ``images`` and ``annotations``.
    :param split: ``train`` or ``val``.
    :raises DataError: files are missing or misplaced.
    :raises MethodError: no split of that name.
    """
    return COCO_STUFF.examples(path, split)
