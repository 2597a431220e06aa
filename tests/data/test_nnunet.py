"""Results of nnU-Net as they lie: names, folds, splits, labels, and regions that overlap."""

import json
import shutil

import numpy as np
import pytest
import torch

from calibrant.data import open_folder, regions_in
from calibrant.errors import DataError, ShapeError
from calibrant.predictions import IGNORE

LABELS = {"background": 0, "edema": 1, "core": 2, "ignore": 3}
REGIONS = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3, "ignore": 4}


def case(folder, key, channels, seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    probs = torch.randn(channels, 2, 3, 4, generator=torch.Generator().manual_seed(seed)).softmax(0)
    np.savez(folder / f"{key}.npz", probabilities=probs.numpy())
    (folder / f"{key}.pkl").write_bytes(b"never opened")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two folds of results in the folders of nnU-Net, with labels as arrays."""
    root = tmp_path_factory.mktemp("nnunet")
    results = root / "nnUNet_results/Dataset001_Brain/nnUNetTrainer__nnUNetPlans__3d_fullres"
    for fold, key in enumerate("ab"):
        case(results / f"fold_{fold}/validation", key, 3, fold)
    (results / "dataset.json").write_text(json.dumps({"labels": LABELS}))
    labels = root / "nnUNet_raw/Dataset001_Brain/labelsTr"
    labels.mkdir(parents=True)
    for seed, key in enumerate("ab"):
        maps = np.random.default_rng(seed).integers(0, 4, (2, 3, 4))
        np.save(labels / f"{key}.npy", maps.astype(np.uint8))
    return root


@pytest.fixture
def results(made, tmp_path):
    """A copy to change."""
    shutil.copytree(made, tmp_path / "nnunet")
    return next((tmp_path / "nnunet/nnUNet_results/Dataset001_Brain").iterdir())


def splits(results, *folds):
    place = results.parents[2] / "nnUNet_preprocessed" / results.parent.name / "splits_final.json"
    place.parent.mkdir(parents=True)
    place.write_text(json.dumps([{"train": train, "val": val} for train, val in folds]))


def test_folds_are_joined_and_everything_is_said(results):
    splits(results, (["b"], ["a"]), (["a"], ["b", "c"]))
    found = open_folder(results)
    assert found.keys == ("a", "b")
    assert found.class_names == ("background", "edema", "core")
    assert bool((found[0].labels == IGNORE).any()), "label 3 is nnU-Net's ignore"
    assert torch.allclose(
        found[1].logits.softmax(0),
        torch.from_numpy(np.load(results / "fold_1/validation/b.npz")["probabilities"]),
        atol=1e-6,
    )
    lines = "\n".join(found.survey.lines)
    for words in (
        "edema, core",
        "2 cases of fold_0, fold_1; all are out of fold",
        "1 of 2 cases of fold 1",
        "labelsTr",
    ):
        assert words in lines
    assert open_folder(results / "fold_1").keys == ("b",)
    assert open_folder(results / "fold_1" / "validation").keys == ("b",)


def test_without_a_split_it_is_said_that_nothing_was_checked_and_a_fold_of_all_is_left_out(results):
    case(results / "fold_all/validation", "a", 3)
    lines = "\n".join(open_folder(results).survey.lines)
    assert "was not checked, as there is no splits_final.json" in lines
    assert "fold_all is left out" in lines


def test_cases_that_were_trained_on_are_refused(results):
    splits(results, (["a"], ["b"]), (["a"], ["b"]))
    with pytest.raises(DataError, match=r"a\.npz: expected a case that .* leaves out of fold 0"):
        open_folder(results)


def wrong_split(results):
    splits(results, (["b"], ["a"]))


def only_all(results):
    (results / "fold_0").rename(results / "fold_all")
    shutil.rmtree(results / "fold_1")


def twice(results):
    case(results / "fold_1/validation", "a", 3)


def no_probabilities(results):
    (results / "fold_1/validation/b.npz").unlink()


def a_gap(results):
    (results / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "core": 2}}))


def no_number(results):
    (results / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "core": "2"}}))


def cut_off(results):
    (results / "dataset.json").write_text('{"labels": {"back')


def regions(results):
    (results / "dataset.json").write_text(json.dumps({"labels": REGIONS}))


WRONG = {
    wrong_split: "expected a fold that .* describes",
    only_all: "fold_all is trained on all",
    twice: "expected every case in one fold",
    no_probabilities: "options val and npz",
    a_gap: "expected labels 0, 1, 2, … without a gap",
    no_number: "a number, or a list of numbers",
    cut_off: "dataset.json: expected JSON",
    regions: "regions that overlap, whole, core, enhancing",
}


@pytest.mark.parametrize("spoil", WRONG, ids=lambda each: each.__name__)
def test_what_cannot_be_is_one_sentence(results, spoil):
    spoil(results)
    with pytest.raises(DataError, match=WRONG[spoil]):
        open_folder(results)


def test_each_region_is_a_binary_problem_of_its_own(results):
    regions(results)
    found = regions_in(results)
    assert [each.labels for each in found] == [(1, 2, 3), (2, 3), (3,)]
    assert {(each.num_channels, each.ignore) for each in found} == {(3, 4)}
    stored = np.load(results / "fold_0/validation/a.npz")["probabilities"]
    given = torch.from_numpy(np.load(results.parents[2] / "nnUNet_raw/Dataset001_Brain/labelsTr/a.npy"))
    for region in found:
        one = open_folder(results, region=region)
        assert one.class_names == (f"not {region.name}", region.name)
        assert torch.allclose(one[0].logits.softmax(0)[1], torch.from_numpy(stored[region.channel]), atol=1e-6)
        assert torch.equal(one[0].labels[0], torch.isin(given, torch.tensor(region.labels)).long())
    four = regions_in(results, {"a": (1,), "b": (2,), "c": (3,), "d": (1, 2)})
    with pytest.raises(ShapeError, match="a channel for each of 4 regions; got 3"):
        open_folder(results, region=four[0])[0]
