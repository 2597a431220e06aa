"""Tiny LIDC folders and pickles in their real layout."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from calibrant.data import lidc_folder, lidc_pickle, split_groups
from calibrant.data.sets.lidc import patient
from calibrant.errors import DataError, InputError


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture
def folder(tmp_path):
    """Twelve crops of one slice, so that name order and number order differ, and one of another patient."""
    rng = np.random.default_rng(0)
    truth = {}
    for who, z, crops in (("LIDC-IDRI-0001", "-105.0", 12), ("LIDC-IDRI-0002", "7.5", 1)):
        for crop in range(crops):
            name = f"{who}/z-{z}_c{crop}"
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
    assert set(map(patient, examples.keys)) == {"LIDC-IDRI-0001", "LIDC-IDRI-0002"}
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
    with pytest.raises(DataError, match=r"z-7\.5_c0_l2\.png: expected a whole file of numbers; it cannot be read"):
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
    assert examples.keys == tuple(f"1.2.{i // 2}/slice{i}" for i in range(10))
    np.testing.assert_allclose(examples[3].image[0], records["slice3"]["image"], rtol=1e-6)
    np.testing.assert_array_equal(examples[3].labels, np.stack(records["slice3"]["masks"]))
    parts = split_groups(examples, (0.6, 0.2, 0.2), group=patient, seed=0)
    assert [len(part) for part in parts] == [6, 2, 2]
    assert sorted(key for part in parts for key in part.keys) == sorted(examples.keys)
    assert sum(len(set(map(patient, part.keys))) for part in parts) == 5
    assert parts[0][0].key == parts[0].keys[0]
    with pytest.raises(InputError, match="leave each part a group"):
        split_groups(examples, (0.95, 0.05), group=patient, seed=0)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(DataError, match="stefanknegt"):
        lidc_pickle(file, allow_pickle=True)
    with pytest.raises(DataError, match=r"there is none.*stefanknegt"):
        lidc_pickle(tmp_path / "missing", allow_pickle=True)
