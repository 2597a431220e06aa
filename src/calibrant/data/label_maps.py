"""Maps between the label spaces of published data sets.

ADE20K and COCO-Stuff have no map into one another: walls, floors and food are finer in one, chairs, lamps and bodies of
water in the other. Both are merged into the classes that they share, along the lines of MSeg (Lambert et al., CVPR
2020, whose taxonomy the selective-scaling paper follows). MSeg also drew masks anew where one class had to be split;
without those, such classes are merged here (animals, food, chairs, lamps), and what is unclear is left out.
"""

from calibrant.data.relabel import LabelMap
from calibrant.data.sets.ade20k import CLASSES as ADE20K
from calibrant.data.sets.camvid import CLASSES as CAMVID
from calibrant.data.sets.cityscapes import CLASSES as CITYSCAPES
from calibrant.data.sets.coco_stuff import CLASSES as COCO_STUFF
from calibrant.data.sets.synthia import CLASSES as SYNTHIA

_COMMON = """
    person      | person | person
    animal      | animal | bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe
    bicycle     | bicycle | bicycle
    car         | car, van | car
    motorcycle  | minibike | motorcycle
    airplane    | airplane | airplane
    bus         | bus | bus
    truck       | truck | truck
    boat        | boat, ship | boat
    traffic light | traffic light | traffic light
    bench       | bench | bench
    bag         | bag | backpack, handbag, suitcase
    ball        | ball | sports ball
    bottle      | bottle | bottle
    glass       | glass | wine glass, cup
    food        | food | banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake, fruit, \
food-other, salad, vegetable
    chair       | chair, armchair, swivel chair, stool, seat | chair
    couch       | sofa | couch
    potted plant | pot | potted plant
    bed         | bed | bed
    table       | table, coffee table | dining table, table
    desk        | desk | desk-stuff
    toilet      | toilet | toilet
    television  | television | tv
    microwave   | microwave | microwave
    oven        | oven, stove | oven
    sink        | sink | sink
    refrigerator | refrigerator | refrigerator
    book        | book | book
    clock       | clock | clock
    vase        | vase | vase
    toy         | plaything | teddy bear
    blanket     | blanket | blanket
    bridge      | bridge | bridge
    building    | building, house, skyscraper, booth, hovel, tower, grandstand | building-other, house, roof, skyscraper
    cabinet     | cabinet, buffet, wardrobe, chest of drawers | cabinet, cupboard
    box         | box | cardboard
    ceiling     | ceiling | ceiling-other, ceiling-tile
    clothes     | apparel | clothes
    counter     | counter, countertop, kitchen island | counter
    curtain     | curtain | curtain
    door        | door, screen door | door-stuff
    fence       | fence | fence, cage
    floor       | floor | floor-marble, floor-other, floor-tile, floor-wood
    terrain     | land, earth, field, grass, sand, dirt track | grass, sand, dirt, mud, moss, straw
    light       | light, lamp, sconce, chandelier, streetlight | light
    mirror      | mirror | mirror-stuff
    mountain    | mountain, hill | mountain, hill
    sidewalk    | sidewalk, path | pavement, floor-stone
    pillow      | pillow, cushion | pillow
    railing     | railing, bannister | railing
    river       | river, lake | river
    road        | road | road
    rock        | rock | rock, stone
    rug         | rug | rug, carpet, mat
    sea         | sea | sea
    shelf       | shelf, bookcase | shelf
    sky         | sky | sky-other, clouds, fog
    stairs      | stairs, stairway | stairs
    tent        | tent | tent
    towel       | towel | towel
    vegetation  | tree, palm, flower | tree, bush, branch, leaves, flower
    wall        | wall | wall-brick, wall-concrete, wall-other, wall-panel, wall-stone, wall-tile, wall-wood
    water       | water | water-other, waterdrops
    window      | windowpane | window-other
    window blind | blind | window-blind
"""
_ROWS = [[cell.strip() for cell in line.split("|")] for line in _COMMON.strip().splitlines()]
COMMON = tuple(name for name, _, _ in _ROWS)
"""The classes that ADE20K and COCO-Stuff share."""

ADE20K_TO_COMMON = LabelMap.of(ADE20K, COMMON, {name: ade.split(", ") for name, ade, _ in _ROWS})
COCO_STUFF_TO_COMMON = LabelMap.of(COCO_STUFF, COMMON, {name: coco.split(", ") for name, _, coco in _ROWS})

SYNTHIA_TO_CITYSCAPES = LabelMap.of(
    SYNTHIA,
    CITYSCAPES,
    {name: [name] for name in CITYSCAPES if name not in ("road", "person")}
    | {"road": ["road", "lane marking"], "person": ["pedestrian"]},
)
"""Lane markings are road, as Cityscapes labels them; parking slots and road work have no class there.

Much domain adaptation work instead leaves lane markings unlabelled, and scores 16 or 13 classes only."""

CITYSCAPES_TO_CAMVID = LabelMap.of(
    CITYSCAPES,
    CAMVID,
    {
        "Sky": ["sky"],
        "Building": ["building"],
        "Pole": ["pole"],
        "Road": ["road"],
        "Pavement": ["sidewalk"],
        "Tree": ["vegetation"],
        "SignSymbol": ["traffic light", "traffic sign"],
        "Fence": ["fence"],
        "Car": ["car", "truck", "bus"],
        "Pedestrian": ["person"],
        "Bicyclist": ["rider", "bicycle"],
    },
)
"""Wall, terrain, train and motorcycle are left out: CamVid's rule for them is unclear."""
