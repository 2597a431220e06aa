"""Whatever is wrong with a store is said in a sentence: which file, what was expected, what to do."""

import json

import pytest
import torch

from calibrant.data import Provenance, StoredPredictions, write_store
from calibrant.data.store._manifest import digest_of
from calibrant.errors import LogitsError, MethodError, StoreError
from calibrant.predictions import Prediction, StridedPrediction


def toy(key="a", classes=3):
    return Prediction(key, torch.randn(classes, 4, 5), torch.zeros(1, 4, 5, dtype=torch.long))


@pytest.fixture
def store(tmp_path):
    write_store([toy("a"), toy("b")], tmp_path / "store")
    return tmp_path / "store"


def edit(store, **changes):
    path = store / "manifest.json"
    changed = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(changed | {"digest": digest_of(changed)}))


def test_no_such_folder(tmp_path):
    with pytest.raises(StoreError, match=r"nothing: expected a store of predictions; there is no such folder"):
        StoredPredictions(tmp_path / "nothing")


def test_an_empty_folder(tmp_path):
    with pytest.raises(StoreError, match=r"a folder with manifest\.json; there is none.*open_folder.*calibrant import"):
        StoredPredictions(tmp_path)


def test_a_file_instead_of_a_folder(store):
    with pytest.raises(StoreError, match="expected the folder of a store; got a file"):
        StoredPredictions(store / "manifest.json")
    with pytest.raises(StoreError, match="expected a folder to write a store to; got a file"):
        write_store([toy()], store / "manifest.json")


def test_an_address_that_nothing_can_reach():
    with pytest.raises(StoreError, match="expected a folder or an address that fsspec can reach"):
        StoredPredictions("gopher://store")


def test_a_manifest_that_is_no_json(store):
    (store / "manifest.json").write_text('{"format": ')
    with pytest.raises(StoreError, match=r"manifest\.json: expected JSON"):
        StoredPredictions(store)


def test_a_manifest_of_something_else(store):
    edit(store, format="web page")
    with pytest.raises(StoreError, match=r"got another file of that name"):
        StoredPredictions(store)


def test_a_store_written_by_a_newer_version(store):
    edit(store, version=5)
    with pytest.raises(StoreError, match=r"version 4 or older; got version 5.*pip install --upgrade calibrant"):
        StoredPredictions(store)
    with pytest.raises(StoreError, match="Upgrade"):
        write_store([toy("a"), toy("b")], store)


@pytest.mark.parametrize(
    "changes", [{"images": []}, {"images": None}, {"images": [{}]}, {"provenance": 3}, {"num_classes": 9}]
)
def test_a_manifest_with_something_missing(store, changes):
    edit(store, **changes)
    with pytest.raises(StoreError, match="something is missing or of the wrong kind"):
        StoredPredictions(store)


def test_a_missing_image_file(store):
    (store / "b.safetensors").unlink()
    stored = StoredPredictions(store)
    assert stored[0].key == "a"
    with pytest.raises(StoreError, match=r"b\.safetensors: expected the file of image 'b'.*it is missing"):
        stored[1]


def test_an_image_file_cut_off(store):
    path = store / "b.safetensors"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(StoreError, match=r"b\.safetensors: expected \d+ bytes.*cut off or replaced"):
        StoredPredictions(store)[1]


def test_an_image_file_with_a_damaged_header(store):
    path = store / "b.safetensors"
    whole = path.read_bytes()
    path.write_bytes(b"\xff" * 40 + whole[40:])
    with pytest.raises(StoreError, match=r"b\.safetensors: expected a whole safetensors file that can be read"):
        StoredPredictions(store)[1]


def test_a_changed_byte_is_found_by_verify(store):
    path = store / "b.safetensors"
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1
    path.write_bytes(whole)
    with pytest.raises(StoreError, match=r"b\.safetensors: expected the content with checksum"):
        StoredPredictions(store).verify()


def test_unlike_class_counts(tmp_path):
    with pytest.raises(StoreError, match="expected 3 classes, as image 'a' has; got 4 in image 'b'"):
        write_store([toy("a"), toy("b", classes=4)], tmp_path)


def test_class_names_that_do_not_fit(tmp_path):
    with pytest.raises(StoreError, match="expected 2 classes, one for each class name; got 3 in image 'a'"):
        write_store([toy()], tmp_path, provenance=Provenance(class_names=("x", "y")))


def test_nothing_to_store(tmp_path):
    with pytest.raises(StoreError, match="expected at least one image"):
        write_store([], tmp_path)


def test_numbers_too_large_for_the_type(tmp_path):
    big = Prediction("a", torch.full((2, 3), 7e4), torch.zeros(1, 3, dtype=torch.long))
    with pytest.raises(LogitsError, match=r"image 'a': expected logits within ±65504.*got 70000"):
        write_store([big], tmp_path, dtype="float16")


def test_a_type_that_does_not_exist(tmp_path):
    with pytest.raises(MethodError, match="Did you mean 'float16'"):
        write_store([toy()], tmp_path, dtype="flaot16")
    assert not list(tmp_path.iterdir())


def test_bad_numbers_never_reach_the_disk(tmp_path):
    bad = toy("b")
    bad.logits[0, 0, 0] = float("nan")
    with pytest.raises(LogitsError, match="image 'b'"):
        write_store([toy("a"), bad], tmp_path)
    small = StridedPrediction("c", torch.full((2, 2, 2), float("inf")), torch.zeros(1, 4, 4, dtype=torch.long))
    with pytest.raises(LogitsError, match="image 'c'"):
        write_store([small], tmp_path / "small")
    assert {path.name for path in tmp_path.glob("*.safetensors")} == {"a.safetensors"}


def test_a_source_whose_keys_lie(tmp_path):
    class Liar(list):
        keys = ("a", "z")

    with pytest.raises(StoreError, match="expected image 'z', as the source's keys say; got 'b'"):
        write_store(Liar([toy("a"), toy("b")]), tmp_path)


def test_a_folder_that_may_not_be_written_to(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="could not write the settings"):
        write_store([toy()], tmp_path / "file" / "store")
