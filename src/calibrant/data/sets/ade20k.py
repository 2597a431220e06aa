"""ADE20K, the scene parsing challenge of 2016: 150 classes, 20,210 training and 2,000 validation images.

Label files hold 0 for pixels outside the 150 classes and 1..150 for the classes, in the order of ``objectInfo150.txt``.
Zero counts nowhere, as in the challenge's evaluation; classes are numbered from 0 (elsewhere ``reduce_zero_label``).
"""

import os

from calibrant._shapes import IGNORE
from calibrant.data.sets._dataset import DataSet
from calibrant.data.sets._examples import FileExamples

_LIST = """
    wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, cabinet, sidewalk, person, earth, door,
    table, mountain, plant, curtain, chair, car, water, painting, sofa, shelf, house, sea, mirror, rug, field, armchair,
    seat, fence, desk, rock, wardrobe, lamp, bathtub, railing, cushion, base, box, column, signboard, chest of drawers,
    counter, sand, sink, skyscraper, fireplace, refrigerator, grandstand, path, stairs, runway, case, pool table,
    pillow, screen door, stairway, river, bridge, bookcase, blind, coffee table, toilet, flower, book, hill, bench,
    countertop, stove, palm, kitchen island, computer, swivel chair, boat, bar, arcade machine, hovel, bus, towel,
    light, truck, tower, chandelier, awning, streetlight, booth, television, airplane, dirt track, apparel, pole, land,
    bannister, escalator, ottoman, bottle, buffet, poster, stage, van, ship, fountain, conveyer belt, canopy, washer,
    plaything, swimming pool, stool, barrel, basket, waterfall, tent, bag, minibike, cradle, oven, ball, food, step,
    tank, trade name, microwave, pot, animal, bicycle, lake, dishwasher, screen, blanket, sculpture, hood, sconce, vase,
    traffic light, tray, ashcan, fan, pier, crt screen, plate, monitor, bulletin board, shower, radiator, glass, clock,
    flag"""
CLASSES = tuple(" ".join(name.split()) for name in _LIST.split(","))
"""The first of each class's official names."""

ADE20K = DataSet(
    "ADE20K",
    "the MIT scene parsing challenge page (sceneparsing.csail.mit.edu), file ADEChallengeData2016.zip",
    """ADEChallengeData2016/
       ├── images/{training,validation}/ADE_val_00000001.jpg
       └── annotations/{training,validation}/ADE_val_00000001.png""",
    images="images/{}/*.jpg",
    labels="annotations/{}/*.png",
    class_names=CLASSES,
    table={0: IGNORE} | {k + 1: k for k in range(len(CLASSES))},
    ignore="0, outside the 150 classes",
    splits={"train": ("training",), "val": ("validation",)},
    folder_name="ADEChallengeData2016",
)


def ade20k(path: str | os.PathLike[str], split: str = "val") -> FileExamples:
    """Return the images of a split.

    :param path: ``ADEChallengeData2016``, or the folder that holds it.
    :param split: ``train`` or ``val``.
    :raises DataError: files are missing or misplaced.
    :raises MethodError: no split of that name.
    """
    return ADE20K.examples(path, split)
