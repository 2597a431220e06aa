"""Every data set from a tiny tree in its published layout: keys, classes, label ids; then what is wrong, by name."""

import json
import pickle
from functools import partial
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image
from trees import ids, picture, png16

from calibrant.data import (
    FileExamples,
    ade20k,
    aerial,
    bdd100k,
    brats,
    camvid,
    cityscapes,
    coco_stuff,
    davis,
    image_folder,
    kitti,
    spacenet7,
    synthia,
)
from calibrant.errors import DataError, InputError, LabelError, MethodError
from calibrant.predictions import IGNORE

FRANKFURT = "frankfurt/frankfurt_000000_000294"
PLACE = "L15-0331E-1257N_1327_3160_13"


def ade20k_tree(root):
    for split in ("training", "validation"):
        picture(root / f"ADEChallengeData2016/images/{split}/ADE_{split}_1.jpg")
        ids(root / f"ADEChallengeData2016/annotations/{split}/ADE_{split}_1.png", [0, 1, 13, 150])


def coco_tree(root):
    picture(root / "images/val2017/000000000139.jpg")
    ids(root / "annotations/val2017/000000000139.png", [255, 0, 12, 181])


def cityscapes_tree(root):
    picture(root / f"leftImg8bit/val/{FRANKFURT}_leftImg8bit.png")
    ids(root / f"gtFine/val/{FRANKFURT}_gtFine_labelIds.png", [0, 7, 18, 33])
    ids(root / f"gtFine/val/{FRANKFURT}_gtFine_instanceIds.png", [0])
    ids(root / f"gtFine/val/{FRANKFURT}_gtFine_labelTrainIds.png", [255, 0, 255, 18])


def bdd_tree(root):
    picture(root / "bdd100k/images/10k/val/7d06fefd-f7be05a6.jpg")
    ids(root / "bdd100k/labels/sem_seg/masks/val/7d06fefd-f7be05a6.png", [255, 0, 18])


def camvid_tree(root):
    for part in ("train", "val", "test"):
        for number in ("0001TP_006690", "0016E5_08000"):
            picture(root / f"CamVid/{part}/{part}{number}.png")
            ids(root / f"CamVid/{part}annot/{part}{number}.png", [11, 0, 10])


def kitti_tree(root):
    picture(root / "data_semantics/training/image_2/000000_10.png")
    ids(root / "data_semantics/training/semantic/000000_10.png", [0, 7, 18, 33, 22, 28])


def davis_tree(root):
    lines = []
    for frame in range(5):
        picture(root / f"DAVIS/JPEGImages/480p/bear/0000{frame}.jpg")
        ids(root / f"DAVIS/Annotations/480p/bear/0000{frame}.png", [0, 255])
        lines.append(f"/JPEGImages/480p/bear/0000{frame}.jpg /Annotations/480p/bear/0000{frame}.png 1 ")
    folder = root / "DAVIS/ImageSets/480p"
    folder.mkdir(parents=True)
    (folder / "trainval.txt").write_text("\n".join(lines) + "\n")
    (folder / "val.txt").write_text(lines[0] + "\n")


def synthia_tree(root):
    picture(root / "RAND_CITYSCAPES/RGB/0000000.png")
    labels = np.random.default_rng(0).integers(0, 2**16, (4, 6, 3))  # the other channels hold instances
    labels[..., 0] = np.arange(24).reshape(4, 6) % 23
    png16(root / "RAND_CITYSCAPES/GT/LABELS/0000000.png", labels)


def spacenet_tree(root):
    for month in ("2018_01", "2018_02"):
        name = f"global_monthly_{month}_mosaic_{PLACE}"
        folder = root / "train" / PLACE
        for part in ("images_masked", "labels_match_pix", "images", "labels"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        pixels = np.full((8, 10, 4), 255, np.uint8)
        pixels[0, 0, 3] = 0
        Image.fromarray(pixels).save(folder / "images_masked" / f"{name}.tif", compression="tiff_lzw")
        square = [[[2, 1], [6, 1], [6, 6], [2, 6], [2, 1]], [[3, 3], [5, 3], [5, 5], [3, 5], [3, 3]]]
        shapes = [{"type": "Polygon", "coordinates": square}, {"type": "Polygon", "coordinates": []}, None]
        features = [{"type": "Feature", "properties": {}, "geometry": shape} for shape in shapes]
        text = json.dumps({"type": "FeatureCollection", "features": features})
        (folder / "labels_match_pix" / f"{name}_Buildings.geojson").write_text(text)
        (folder / "labels" / f"{name}_Buildings.geojson").write_text("in degrees")
        Image.fromarray(pixels).save(folder / "images" / f"{name}.tif")


def brats_tree(root):
    folder = root / "Brats17TrainingData/HGG/Brats17_TCIA_105_1"
    folder.mkdir(parents=True)
    volume = np.arange(6 * 4 * 3, dtype=np.int16).reshape(6, 4, 3)
    labels = np.zeros((6, 4, 3), np.uint8)
    labels[:3, 0, 1] = [1, 2, 4]
    for name in ("flair", "t1", "t1ce", "t2", "seg"):
        array = labels if name == "seg" else volume
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), folder / f"Brats17_TCIA_105_1_{name}.nii.gz")


def aerial_tree(root):
    for number in (1, 2):
        folder = root / f"Semantic segmentation dataset/Tile {number}"
        picture(folder / "images/image_part_001.jpg")
        colours = np.full((4, 6, 3), [60, 16, 152], np.uint8)
        colours[0, :3] = [[226, 169, 41], [155, 155, 155], [0, 0, 0]]
        (folder / "masks").mkdir()
        Image.fromarray(colours).save(folder / "masks/image_part_001.png")


def folder_tree(root):
    picture(root / "images/a/street.jpg")
    ids(root / "labels/a/street.png", [255, 0, 1])


SETS = {
    # tree, reader, classes, first key, number of images, first row of labels
    "ADE20K": (ade20k_tree, ade20k, 150, "ADE_validation_1", 1, [IGNORE, 0, 12, 149]),
    "COCO-Stuff": (coco_tree, coco_stuff, 171, "000000000139", 1, [IGNORE, 0, 11, 170]),
    "Cityscapes": (cityscapes_tree, cityscapes, 19, FRANKFURT, 1, [IGNORE, 0, IGNORE, 18]),
    "BDD100K": (bdd_tree, bdd100k, 19, "7d06fefd-f7be05a6", 1, [IGNORE, 0, 18]),
    "CamVid": (camvid_tree, camvid, 11, "test0001TP_006690", 2, [IGNORE, 0, 10]),
    "KITTI": (kitti_tree, kitti, 19, "000000_10", 1, [IGNORE, 0, IGNORE, 18, 9, 15]),
    "DAVIS": (davis_tree, davis, 2, "bear/00000", 1, [0, 1]),
    "SYNTHIA": (synthia_tree, synthia, 22, "0000000", 1, [IGNORE, 0, 1, 2, 3, 4]),
    "SpaceNet 7": (spacenet_tree, spacenet7, 2, f"{PLACE}/2018_01", 2, [IGNORE, 0]),
    "BraTS": (brats_tree, lambda path: brats(path, layers=[2]), 4, "Brats17_TCIA_105_1/002", 1, [1, 2, 3, 0]),
    "aerial": (aerial_tree, aerial, 5, "Tile 1/image_part_001", 2, [4, IGNORE, IGNORE, 0]),
    "folder": (folder_tree, lambda path: image_folder(path, class_names="xy"), 2, "a/street", 1, [IGNORE, 0, 1]),
}


@pytest.fixture(params=SETS, ids=lambda name: name)
def case(request, tmp_path):
    tree, reader, *facts = SETS[request.param]
    tree(tmp_path)
    return tmp_path, reader, *facts


def test_a_data_set_reads_its_published_layout(case):
    root, reader, num_classes, key, count, row = case
    examples = reader(root)
    assert isinstance(examples, FileExamples)
    assert (len(examples), len(examples.keys), examples.keys[0]) == (count, count, key)
    assert examples.num_classes == len(examples.class_names) == len(set(examples.class_names)) == num_classes
    assert examples.ignore
    example = examples[0]
    assert example.key == key
    assert example.labels[0, 0, : len(row)].tolist() == row
    assert example.labels.dtype == torch.int64
    assert example.labels.shape == (1, *example.image.shape[1:])
    assert example.image.dtype == torch.float32
    assert 0 <= example.image.min() <= example.image.max() <= 1
    assert example.image.shape[0] == (4 if "Brats" in key else 3)
    assert [e.key for e in examples] == list(examples.keys)
    assert examples.take([count - 1]).keys == examples.keys[-1:]
    assert torch.equal(pickle.loads(pickle.dumps(examples))[0].labels, example.labels)  # workers of a loader


def test_no_folder_says_where_to_get_it_and_draws_the_layout(case):
    root, reader, *_ = case
    with pytest.raises(DataError) as told:
        reader(root / "nothing")
    first, *drawn = str(told.value).splitlines()
    assert first.startswith(f"{root / 'nothing'}: expected the folder of ")
    assert "there is none. Get it from " in first
    assert "unpack it to look like" in first
    assert len(drawn) in (3, 4)
    assert all(line.startswith("    ") for line in drawn)


def test_a_wrong_layout_is_told_by_name(case, tmp_path):
    _, reader, *_ = case
    wrong = tmp_path / "wrong"
    (wrong / "pictures").mkdir(parents=True)
    with pytest.raises(DataError, match=r"wrong.*: expected .*there is none[\s\S]*Get it from"):
        reader(wrong)


def _label_file(examples):
    return next(f for f in reversed(examples.files[0]) if isinstance(f, Path))


def test_a_missing_label_file_is_told_by_name(case):
    root, reader, *_ = case
    file = _label_file(reader(root))
    picture(root / "elsewhere" / "keep.png")
    file.unlink()
    with pytest.raises(DataError, match=r"there is none|cannot read"):
        reader(root)[0]


def test_an_unknown_label_is_told_by_name(case):
    root, reader, *_ = case
    examples = reader(root)
    file = _label_file(examples)
    if file.suffix == ".geojson":
        pytest.skip("polygons have no ids")
    if file.suffix == ".gz":
        nibabel.save(nibabel.Nifti1Image(np.full((6, 4, 3), 3, np.uint8), np.eye(4)), file)
        expected = r"0\.\.2, 4; got 3 in 24 of 24"
    elif "Tile" in str(file):
        Image.new("RGB", (6, 4), (1, 2, 3)).save(file)
        expected = "got 66051 in 24 of 24"
    else:
        ids(file, [200, 201], rest=0)
        expected = "got 200, 201 in 2 of 24"
    with pytest.raises(LabelError, match=f"{file.name}: expected label ids of .*{expected} pixels"):
        examples[0]


def test_a_broken_image_is_told_by_name(case):
    root, reader, *_ = case
    examples = reader(root)
    image = examples.files[0][0]
    image = image[0] if isinstance(image, tuple) else image
    image.write_bytes(image.read_bytes()[:20])
    with pytest.raises(DataError, match=image.name):
        examples[0]


def test_images_and_labels_of_unlike_size(tmp_path):
    folder_tree(tmp_path)
    picture(tmp_path / "images/a/street.jpg", size=(5, 6))
    with pytest.raises(DataError, match=r"as large as its labels, 4 x 6 \(rows x columns\); got 5 x 6"):
        image_folder(tmp_path, class_names="xy")[0]


def test_a_folder_with_lists_of_names_for_splits(tmp_path):
    for name in ("b", "a/c", "d"):
        picture(tmp_path / f"images/{name}.png")
        ids(tmp_path / f"labels/{name}.png", [255, 0, 1])
    read = partial(image_folder, tmp_path, class_names="xy")
    with pytest.raises(DataError, match=r"splits: expected lists of names \(\*\.txt\), one of them val\.txt,"):
        read("val")
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits" / "val.txt").write_text("d\na/c\n")
    assert read("val").keys == ("d", "a/c")
    assert read("val").name == f"{tmp_path.name} val"
    assert read().keys == ("a/c", "b", "d")
    with pytest.raises(MethodError, match=r"expected a split of .*: val; got 'vla'\. Did you mean 'val'"):
        read("vla")
    (tmp_path / "splits" / "val.txt").write_text("d\nd\n")
    with pytest.raises(DataError, match="every image once; got 'd' twice"):
        read("val")
    (tmp_path / "splits" / "val.txt").write_text("d\nmissing\n")
    with pytest.raises(DataError, match=r"missing: expected this image .*, which splits/val\.txt lists; there is none"):
        read("val")
    picture(tmp_path / "images/missing.png")
    with pytest.raises(DataError, match=r"image 'missing' of .*: expected labels at .*labels/missing\.png"):
        read("val")


def test_labels_without_an_image_and_how_many_are_missing(tmp_path):
    bdd_tree(tmp_path)
    masks = tmp_path / "bdd100k/labels/sem_seg/masks/val"
    ids(masks / "more.png", [0])
    with pytest.raises(DataError, match=r"image 'more' of BDD100K: expected an image for .*more\.png; there is none\."):
        bdd100k(tmp_path)
    (masks / "more.png").unlink()
    for name in ("x", "y"):
        picture(tmp_path / f"bdd100k/images/10k/val/{name}.jpg")
    with pytest.raises(DataError, match=r"image 'x' .* labels at .*x\.png; there is none \(so do 1 more of 3\)"):
        bdd100k(tmp_path)


@pytest.mark.parametrize("reader", [ade20k, bdd100k, camvid, cityscapes, coco_stuff, davis])
def test_an_unknown_split(reader, tmp_path):
    with pytest.raises(MethodError, match=r"expected a split of .*; got 'tset'"):
        reader(tmp_path, "tset")


def test_official_facts():
    """Places in the official lists that an off-by-one would move."""
    from calibrant.data.sets.ade20k import CLASSES as ADE
    from calibrant.data.sets.cityscapes import FROM_LABEL_IDS
    from calibrant.data.sets.coco_stuff import CLASSES as COCO
    from calibrant.data.sets.coco_stuff import IDS

    assert [ADE[i - 1] for i in (1, 13, 21, 81, 117, 150)] == ["wall", "person", "car", "bus", "minibike", "flag"]
    by_official_number = {number + 1: name for number, name in zip(IDS, COCO, strict=True)}
    assert [by_official_number[n] for n in (1, 13, 90, 92, 149, 157, 182)] == [
        *("person", "stop sign", "toothbrush", "banner", "road", "sky-other", "wood"),
    ]
    assert set(range(1, 183)) - set(by_official_number) == {12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91}
    assert [n for n, k in FROM_LABEL_IDS.items() if k == IGNORE] == [
        *(0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30),
    ]


def test_cityscapes_train_ids_and_kitti_in_camvids_classes(tmp_path):
    cityscapes_tree(tmp_path / "c")
    one, other = (cityscapes(tmp_path / "c", ids=coding)[0] for coding in ("labelIds", "labelTrainIds"))
    assert torch.equal(one.labels[0, 0], other.labels[0, 0])
    kitti_tree(tmp_path / "k")
    merged = kitti(tmp_path / "k", classes="camvid11")
    assert merged[0].labels[0, 0].tolist() == [IGNORE, 3, 2, 10, IGNORE, 8]
    with pytest.raises(MethodError, match="cityscapes19, camvid11; got 'camvid'"):
        kitti(tmp_path / "k", classes="camvid")


def test_bdd100k_of_the_first_release(tmp_path):
    picture(tmp_path / "bdd100k/seg/images/val/a.jpg")
    ids(tmp_path / "bdd100k/seg/labels/val/a_train_id.png", [255, 3])
    assert bdd100k(tmp_path)[0].labels[0, 0, :2].tolist() == [IGNORE, 3]


def test_synthia_reads_all_sixteen_bit_filters(tmp_path):
    synthia_tree(tmp_path)
    wanted = np.arange(24).reshape(4, 6) % 23 - 1
    wanted[wanted < 0] = IGNORE
    assert synthia(tmp_path)[0].labels[0].tolist() == wanted.tolist()
    picture(tmp_path / "RAND_CITYSCAPES/GT/LABELS/0000000.png")
    with pytest.raises(DataError, match=r"16 bits a channel; got colours of eight bits\. Give the files of GT/LABELS"):
        synthia(tmp_path)[0]


def test_footprints_have_holes_and_the_background_can_be_left_out(tmp_path):
    spacenet_tree(tmp_path)
    wanted = torch.zeros(8, 10, dtype=torch.long)
    wanted[1:6, 2:6] = 1
    wanted[3:5, 3:5] = 0
    wanted[0, 0] = IGNORE
    assert torch.equal(spacenet7(tmp_path)[0].labels[0], wanted)
    wanted[wanted == 0] = IGNORE
    assert torch.equal(spacenet7(tmp_path, without_background=True)[0].labels[0], wanted)


def test_brats_layers(tmp_path):
    brats_tree(tmp_path)
    two = brats(tmp_path, layers=[1, 3], modalities=["t1"])
    assert two.keys == ("Brats17_TCIA_105_1/001", "Brats17_TCIA_105_1/003")
    raw = np.arange(6 * 4 * 3).reshape(6, 4, 3)[..., 2].T
    wanted = np.clip(raw / np.percentile(raw[raw > 0], 99.5), 0, 1)
    assert np.allclose(two[1].image[0], wanted)
    with pytest.raises(DataError, match=r"with layer 4; got \(6, 4, 3\)\. Layers are numbered from 1"):
        brats(tmp_path, layers=[4])[0]
    with pytest.raises(InputError, match="layers numbered from 1"):
        brats(tmp_path, layers=[0])
    with pytest.raises(MethodError, match="modality of BraTS 2017"):
        brats(tmp_path, modalities=["t3"])


def test_davis_halves(tmp_path):
    davis_tree(tmp_path)
    assert davis(tmp_path, "first_half").keys == ("bear/00000", "bear/00001")
    assert davis(tmp_path, "second_half").keys == ("bear/00002", "bear/00003", "bear/00004")
    (tmp_path / "DAVIS/JPEGImages/480p/bear/00003.jpg").unlink()
    with pytest.raises(DataError, match=r"bear/00003\.jpg: expected a frame listed in trainval\.txt"):
        davis(tmp_path, "trainval")


def test_footprints_against_a_slow_loop_over_pixels():
    """A pixel is a building if its middle lies in any polygon and not in that polygon's holes."""
    from calibrant.data.sets.spacenet7 import drawn

    rng = np.random.default_rng(0)
    polygons = []
    for _ in range(12):  # stars around random middles, in both senses of rotation, over the rim too, with holes
        angles = np.sort(rng.uniform(0, 2 * np.pi, 7))[:: rng.choice([-1, 1])]
        middle, radii = rng.uniform(0, 24, 2), rng.uniform(2, 7, 7)
        ring = middle + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
        polygons.append([ring.tolist(), (middle + (ring - middle) * 0.4)[:: rng.choice([-1, 1])].tolist()])

    def inside(ring, x, y):
        crossed = False
        for (x0, y0), (x1, y1) in zip(ring, ring[1:] + ring[:1], strict=True):
            if (y0 > y) != (y1 > y) and x > x0 + (y - y0) / (y1 - y0) * (x1 - x0):
                crossed = not crossed
        return crossed

    def building(x, y):
        return any(inside(ring, x, y) and not inside(hole, x, y) for ring, hole in polygons)

    wanted = [[int(building(x + 0.5, y + 0.5)) for x in range(24)] for y in range(20)]
    assert 0 < np.mean(wanted) < 1
    assert drawn(polygons, (20, 24)).tolist() == wanted
    assert not drawn([], (3, 4)).any()
