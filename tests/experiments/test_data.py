"""The copies of real data sets that experiments use: tiny ones in their layout, and the real ones where they are."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from experiments._data import (
    VARIABLE,
    Crops,
    aerial,
    camvid,
    davis,
    find,
    kitti,
    lidc_contours,
    lidc_crops,
    place,
    use,
)

from calibrant.data import CITYSCAPES_TO_CAMVID, halves_in_time
from calibrant.data.sets.camvid import day_and_dusk
from calibrant.data.sets.davis import sequence
from calibrant.data.sets.lidc import patient
from calibrant.errors import DataError, InputError
from calibrant.metrics import (
    HypothesisDistances,
    annotator_diversity,
    ged_floor,
    generalised_energy_distance,
    hungarian_matched_iou,
    sample_diversity,
)
from calibrant.predictions import IGNORE, Prediction

COPIES = ("camvid", "davis2016_val", "dubai_aerial", "kitti_semantic")
needs_copies = pytest.mark.skipif(None in map(find, COPIES), reason="the data are not here")


def test_where_data_are_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert find("camvid") is None
    with pytest.raises(
        DataError, match=r"CamVid, 701 frames.*neither --data FOLDER nor CALIBRANT_DATA.*splits/SPLIT.txt"
    ):
        place("camvid/images")
    monkeypatch.setenv(VARIABLE, "elsewhere")
    with pytest.raises(DataError, match=r"elsewhere/camvid is no folder\. Get it"):
        place("camvid")
    (tmp_path / "camvid").mkdir()
    use(str(tmp_path))
    assert place("camvid") == tmp_path / "camvid"
    assert place(str(tmp_path)) == tmp_path


def lines(name):
    return set(Path(place(name.partition("/")[0]), name.partition("/")[2]).read_text().split())


@pytest.mark.slow
@needs_copies
def test_camvid_and_its_shift_from_day_to_dusk():
    everything = camvid(place("camvid"), "all")
    assert (len(everything), len(camvid(place("camvid"), "train"))) == (701, 367)
    day, dusk = day_and_dusk(everything)
    assert set(day.keys) == set.union(
        *(lines(f"camvid/splits/lighting_day_{part}.txt") for part in ("train", "val", "test"))
    )
    assert set(dusk.keys) == lines("camvid/splits/lighting_dusk_all.txt")
    assert dusk[0].image.mean() < day[0].image.mean()
    assert len(camvid(place("camvid"), "temporal_second_half_val")) == 45


@needs_copies
def test_davis_lists_are_halves_in_time():
    first, second = davis(place("davis2016_val"), "first_half"), davis(place("davis2016_val"), "second_half")
    assert set(first[0].labels.unique().tolist()) <= {0, 1}
    whole = [*first.keys, *second.keys]
    nothing = torch.zeros(1, 1, dtype=torch.long)
    source = [Prediction(key, torch.zeros(2, 1), nothing) for key in whole]
    mine = halves_in_time(source, group=sequence)
    assert set(mine[0].keys) == set(first.keys)
    assert set(mine[1].keys) == set(second.keys)


@pytest.mark.slow
@needs_copies
def test_kitti_labels_made_here_from_cityscapes_classes_are_those_stored():
    fine, merged = kitti(place("kitti_semantic"), "cityscapes19"), kitti(place("kitti_semantic"))
    assert len(fine) == 200
    for i in range(3):
        mine, stored = CITYSCAPES_TO_CAMVID.labels(fine[i].labels), merged[i].labels
        apart = mine != stored
        assert set(mine[apart].tolist()) <= {IGNORE}
        assert set(stored[apart].tolist()) <= {2}  # groups of poles, which the 19 classes leave out


@needs_copies
def test_aerial_tiles_are_whole_in_one_part():
    tiles = [
        {key.split("_")[0] for key in aerial(place("dubai_aerial"), f"spatial_{part}").keys}
        for part in ("source_train", "target_test")
    ]
    assert not set.intersection(*tiles)
    assert len(aerial(place("dubai_aerial"))) == 72


def write_index(path: Path, rows: list[dict]) -> None:
    with open(path, "w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def arrays(tmp_path):
    rng = np.random.default_rng(0)
    splits = ["train", "val", "train"]
    columns = {
        "image": np.array([-2000, -1000, -300, 400, 3000] * 5, np.int16).reshape(1, 5, 5).repeat(3, 0),
        "masks": rng.integers(0, 2, (3, 4, 5, 5)).astype(np.uint8),
        "other": np.eye(5, dtype=np.uint8)[None].repeat(3, 0),
        "split": np.array(splits),
    }
    np.savez_compressed(tmp_path / "lidc_crops.npz", **columns)
    masks = rng.integers(0, 2, (3, 4, 128, 128)).astype(np.uint8)
    packed = np.packbits(masks.reshape(3, 4, -1), axis=-1)
    np.savez_compressed(tmp_path / "lidc_contours.npz", masks_packed=packed, split=np.array(splits))
    write_index(
        tmp_path / "index.csv",
        [
            {"index": i, "patient": f"LIDC-IDRI-{i:04d}", "split": s, "pixel_spacing_mm": 0.7}
            for i, s in enumerate(splits)
        ],
    )
    return tmp_path, columns, masks


def test_crops_are_windowed_and_the_other_nodule_does_not_count(arrays):
    path, columns, _ = arrays
    val = lidc_crops(path, "val")
    assert val.keys == ("LIDC-IDRI-0001/00001",)
    torch.testing.assert_close(val[0].image[0, 0], torch.tensor([0, 0, 0.5, 1, 1]))
    assert bool((val[0].labels[:, torch.eye(5).bool()] == IGNORE).all())
    whole = lidc_crops(path, ignore_other=False, window=(-300, 400))
    assert len(whole) == 3
    torch.testing.assert_close(whole[2].image[0, 0], torch.tensor([0.0, 0, 0, 1, 1]))
    np.testing.assert_array_equal(whole[2].labels, columns["masks"][2])
    with pytest.raises(DataError, match="expected a split of train, val; got 'valid'"):
        lidc_crops(path, "valid")
    with pytest.raises(InputError, match="window"):
        lidc_crops(path, window=(400, -1000))


def test_contours_are_unpacked_and_have_no_picture(arrays):
    path, _, masks = arrays
    train = lidc_contours(path, "train", crop=64)
    assert len(train) == 2
    assert train[1].image.shape == (0, 64, 64)
    np.testing.assert_array_equal(train[1].labels, masks[2, :, 32:96, 32:96])


def test_arrays_and_index_must_agree(arrays):
    path = arrays[0]
    write_index(path / "index.csv", [{"index": 0, "patient": "p", "split": "val", "pixel_spacing_mm": 1}])
    with pytest.raises(DataError, match=r"as index\.csv lists"):
        lidc_crops(path)
    with pytest.raises(InputError, match="at most 5 pixels; got 6"):
        Crops(path / "lidc_crops.npz", (-1000, 400), True, 6)(0)


needs_crops = pytest.mark.skipif(find("lidc_crops") is None, reason="the crops are not here")


@pytest.fixture(scope="module")
def val_labels():
    """(412, 4, 71, 71) of the validation patients; the second nodule of a crop counts, as for the marks below."""
    return torch.stack([example.labels for example in lidc_crops(place("lidc_crops"), "val", ignore_other=False)])


def of(hypotheses, labels, **options):
    return HypothesisDistances.of(hypotheses, labels, num_classes=2, classes=[1], **options)


@pytest.mark.slow
@needs_crops
def test_marks_of_fixed_masks_on_real_crops(val_labels):
    assert val_labels.shape == (412, 4, 71, 71)
    seen = val_labels.sum(1)
    marks = {1: 0.632, 2: 0.250, 3: 0.240}  # marked by one (the union), by two (a tie is enough), by three or more
    for least, mark in marks.items():
        found = of((seen >= least).long()[None], val_labels)
        assert float(generalised_energy_distance(found).mean()) == pytest.approx(mark, abs=6e-4)
        assert float(hungarian_matched_iou(found).mean()) == pytest.approx(float(1 - found.to_labels.mean()))


@pytest.mark.slow
@needs_crops
def test_marks_of_redrawn_masks_on_real_crops(val_labels):
    """The four masks as all modes of the law: 16 draws of them score .024 in expectation, and so does one set drawn."""
    law = torch.full((412, 4), 0.25)
    drawn = torch.randint(4, (412, 16), generator=torch.Generator().manual_seed(0))
    chosen = val_labels[torch.arange(412)[:, None], drawn].movedim(1, 0)
    known = of(chosen, val_labels, weights=law, modes=True)
    assert float(ged_floor(known, 16).mean()) == pytest.approx(0.0235, abs=5e-4)
    assert float(generalised_energy_distance(known).mean()) == pytest.approx(0.0235, abs=2e-3)
    unbiased = generalised_energy_distance(known, diagonal=False)
    assert abs(float(unbiased.mean())) < 4 * float(unbiased.std()) / 412**0.5
    annotators = of(chosen[:2], val_labels)
    assert float(annotator_diversity(annotators).mean()) == pytest.approx(0.500, abs=5e-4)
    assert float(ged_floor(annotators, 16).mean()) == pytest.approx(0.5003 * (1 / 16 + 1 / 4), abs=5e-4)
    assert float(sample_diversity(known).mean()) == pytest.approx(0.75 * 0.5003, abs=0.01)
    again = of(val_labels.movedim(1, 0), val_labels)
    torch.testing.assert_close(hungarian_matched_iou(again), torch.ones(412, dtype=torch.float64))


@needs_crops
def test_real_crops_split_by_patient_and_leave_the_other_nodule_out():
    train, val = (lidc_crops(place("lidc_crops"), split) for split in ("train", "val"))
    assert (len(train), len(val)) == (1823, 412)
    assert not set(map(patient, train.keys)) & set(map(patient, val.keys))
    assert any((val[i].labels == IGNORE).any() for i in range(60))
    assert 0 <= float(val[0].image.min()) < float(val[0].image.max()) <= 1


@pytest.mark.skipif(find("lidc_contours") is None, reason="the contours are not here")
def test_real_contours_show_nodules_in_the_middle():
    val = lidc_contours(place("lidc_contours"), "val")
    assert len(val) == 2436
    masks = torch.stack([val[i].labels for i in range(0, 2436, 25)])
    assert bool(masks.any(1).flatten(1).any(1).all())
    rows = masks.double().sum((0, 1, 3))
    assert float((rows * torch.arange(128)).sum() / rows.sum()) == pytest.approx(63.5, abs=2)
