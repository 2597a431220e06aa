"""What comes back from a store is what went in, whole or in part."""

import json
import pickle
import weakref

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.numpy import load_file

from calibrant.data import Provenance, StoredPredictions, merge_store_parts, write_store, write_store_part
from calibrant.data.store._manifest import digest_of
from calibrant.errors import StoreError
from calibrant.predictions import IGNORE, Prediction, Predictions, StridedPrediction

SPACES = {"2-D": (6, 7), "3-D": (3, 4, 5)}


def toy(key="a", *, classes=4, space=(6, 7), annotators=1, dtype=torch.float32, image=True, seed=0):
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (annotators, *space), generator=draw)
    labels[:, 0] = IGNORE
    picture = torch.randint(0, 256, (3, *space), generator=draw).float() / 255 if image else None
    return Prediction(key, torch.randn(classes, *space, generator=draw).to(dtype), labels, picture)


def same(one, other):
    assert one.key == other.key
    assert one.logits.dtype == other.logits.dtype
    assert torch.equal(one.logits, other.logits)
    assert torch.equal(one.labels, other.labels)
    assert (one.image is None) == (other.image is None)
    assert one.image is None or (torch.equal(one.image, other.image) and one.image.dtype == other.image.dtype)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES.keys())
def test_stored_as_it_comes_a_prediction_returns_bit_for_bit(tmp_path, dtype, space):
    made = [toy(key, dtype=dtype, space=space, annotators=2, seed=i) for i, key in enumerate("ab")]
    stored = write_store(made, tmp_path / "store")
    assert isinstance(stored, Predictions)
    for one, other in zip(stored, made, strict=True):
        same(one, other)


@pytest.mark.parametrize("url", ["{tmp}/plain", "file://{tmp}/file", "memory://round-trip/{name}"])
def test_a_store_reads_the_same_at_every_kind_of_address(tmp_path, url):
    made = [toy(key, seed=i) for i, key in enumerate("abc")]
    url = url.format(tmp=tmp_path, name=tmp_path.name)
    write_store(made, url)
    stored = StoredPredictions(url)
    assert stored.keys == ("a", "b", "c")
    same(stored[-1], made[2])
    same(stored.crop(1, (slice(2, 5), slice(-3, None))), crop(made[1], (slice(2, 5), slice(4, 7))))
    stored.verify()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_logits_are_narrowed_as_asked(tmp_path, dtype):
    made = toy()
    stored = write_store([made], tmp_path, dtype=dtype)[0]
    assert torch.equal(stored.logits, made.logits.to(getattr(torch, dtype)))


@pytest.mark.parametrize(("classes", "expected"), [(2, "U8"), (255, "U8"), (256, "I16"), (40_000, "I32")])
def test_labels_take_the_smallest_integers_and_keep_unlabelled_pixels(tmp_path, classes, expected):
    labels = torch.tensor([[IGNORE, 0, classes - 1]])
    stored = write_store([Prediction("a", torch.randn(classes, 3), labels)], tmp_path)
    assert json.loads((tmp_path / "manifest.json").read_text())["images"][0]["tensors"]["labels"]["dtype"] == expected
    assert torch.equal(stored[0].labels, labels)
    assert torch.equal(stored.labels(0), labels)


def test_an_eight_bit_image_takes_one_byte_a_number_and_any_other_is_kept_exactly(tmp_path):
    eight_bit, other = toy("eight"), toy("other")
    other.image[0, 0, 0] += 1e-3
    write_store([eight_bit, other], tmp_path)
    images = json.loads((tmp_path / "manifest.json").read_text())["images"]
    assert [image["tensors"]["image"]["dtype"] for image in images] == ["U8", "F32"]
    same(StoredPredictions(tmp_path)[1], other)


def test_images_are_left_out_when_not_wanted(tmp_path):
    assert write_store([toy()], tmp_path, with_images=False)[0].image is None


def crop(p, window):
    cut = (slice(None), *window)
    return Prediction(p.key, p.logits[cut], p.labels[cut], None if p.image is None else p.image[cut])


@pytest.mark.parametrize(
    ("space", "window"),
    [((6, 7), (slice(1, 4), slice(None))), ((3, 4, 5), (slice(1, 2), slice(0, 3), slice(-2, None)))],
)
def test_a_window_equals_the_same_part_of_the_whole(tmp_path, space, window):
    stored = write_store([toy(space=space, annotators=3)], tmp_path)
    same(stored.crop(0, window), crop(stored[0], window))


def strided(key="a", small=(3, 4), space=(12, 16), seed=0, align_corners=False):
    full = toy(key, space=space, seed=seed)
    logits = torch.randn(4, *small, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)
    return StridedPrediction(key, logits.half(), full.labels, full.image, align_corners=align_corners)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(
    ("small", "space", "mode"), [((3, 4), (12, 15), "bilinear"), ((2, 3, 4), (4, 5, 9), "trilinear")]
)
def test_logits_at_the_networks_own_stride_are_stored_small_and_read_large(tmp_path, small, space, mode, align_corners):
    made = strided(small=small, space=space, align_corners=align_corners)
    stored = write_store([made], tmp_path)
    entry = json.loads((tmp_path / "manifest.json").read_text())["images"][0]
    assert entry["upsampling"] == {"mode": mode, "align_corners": align_corners}
    assert entry["tensors"]["logits"]["shape"] == [4, *small]
    expected = F.interpolate(made.logits[None].float(), size=space, mode=mode, align_corners=align_corners)[0]
    assert torch.equal(stored[0].logits, expected)
    assert torch.equal(stored.strided(0).logits, made.logits)
    assert stored.shape(0) == space
    window = tuple(slice(1, 3) for _ in space)
    same(stored.crop(0, window), crop(stored[0], window))


def test_the_manifest_says_where_the_predictions_come_from(tmp_path):
    said = Provenance(
        model="a net", data="val", resolution="full", class_names=("road", "sky", "car", "tree"), ignore="255"
    )
    write_store([toy()], tmp_path, provenance=said, dtype="float16")
    stored = StoredPredictions(str(tmp_path))
    assert stored.provenance == said
    assert stored.class_names == ("road", "sky", "car", "tree")
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert (manifest["version"], manifest["num_classes"], manifest["dtype"]) == (3, 4, "float16")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "manifest.json"]


def test_keys_that_no_file_system_takes_are_kept_all_the_same(tmp_path):
    keys = ["berlin/0001", "berlin_0001", "A", "a", ".hidden", "../up", "ü" * 300, "con:1", ""]
    made = [toy(key, seed=i) for i, key in enumerate(keys)]
    stored = write_store(made, tmp_path / "store")
    assert list(stored.keys) == keys
    for one, other in zip(stored, made, strict=True):
        same(one, other)
    files = [path.name for path in (tmp_path / "store").glob("*.safetensors")]
    assert len({name.casefold() for name in files}) == len(keys) == len(files)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_any_file_of_a_store_is_plain_safetensors(tmp_path):
    made = toy(dtype=torch.float16)
    write_store([made], tmp_path)
    tensors = load_file(tmp_path / "a.safetensors")
    assert np.array_equal(tensors["logits"], made.logits.numpy())
    assert np.array_equal(tensors["labels"] == 255, made.labels.numpy() == IGNORE)


@pytest.mark.parametrize("place", ["manifest", "provenance", "image"])
def test_what_a_manifest_of_this_version_does_not_know_is_refused(tmp_path, place):
    write_store([toy()], tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    {"manifest": manifest, "provenance": manifest["provenance"], "image": manifest["images"][0]}[place]["mood"] = "good"
    manifest["digest"] = digest_of(manifest)
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match="mood"):
        StoredPredictions(tmp_path)


def test_a_stored_source_can_be_sent_to_another_process(tmp_path):
    stored = pickle.loads(pickle.dumps(write_store([toy()], tmp_path)))
    same(stored[0], toy())


def test_changing_what_was_read_leaves_the_store_alone(tmp_path):
    stored = write_store([toy()], tmp_path)
    stored[0].logits.zero_()
    same(stored[0], toy())


def test_numbers_outside_the_store_are_refused(tmp_path):
    stored = write_store([toy()], tmp_path)
    with pytest.raises(IndexError):
        stored[1]
    with pytest.raises(IndexError):
        stored[-2]


def test_a_store_can_be_written_from_a_store(tmp_path):
    made = [toy(key, seed=i) for i, key in enumerate("ab")]
    first = write_store(made, tmp_path / "first")
    write_store(first, tmp_path / "second")
    for file in ("a.safetensors", "b.safetensors", "manifest.json"):
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()


def test_one_image_at_a_time_is_all_that_is_held(tmp_path):
    alive = weakref.WeakSet()
    most = 0

    def source():
        nonlocal most
        for i in range(5):
            item = StridedPrediction.of(toy(f"{i}", seed=i))
            alive.add(item)
            most = max(most, len(alive))
            yield item
            del item

    write_store(source(), tmp_path)
    assert most == 1


@pytest.fixture
def some(monkeypatch):
    """Images of a store whose manifest is in several files, three images in each."""
    from calibrant.data.store import _manifest

    monkeypatch.setattr(_manifest, "IN_ONE", 3)
    return [Prediction(f"im {n}", torch.randn(2, 3, 4), torch.zeros(1, 3, 4, dtype=torch.long)) for n in range(8)]


def test_a_manifest_in_several_files_is_the_same_store(some, tmp_path, monkeypatch):
    from calibrant.data.store import _manifest

    stored = write_store(some, tmp_path / "many")
    assert len(list((tmp_path / "many").glob("manifest-*.json"))) == 3
    monkeypatch.setattr(_manifest, "IN_ONE", 100)
    one = write_store(some, tmp_path / "one")
    assert (stored.keys, stored.digest, len(stored), stored.num_classes) == (one.keys, one.digest, 8, 2)
    stored.verify()
    assert [stored[i].key for i in (7, 0, 3, -1)] == ["im 7", "im 0", "im 3", "im 7"]
    part = pickle.loads(pickle.dumps(stored.part([6, 1])))
    assert part.keys == ("im 6", "im 1")
    assert torch.equal(part[0].logits, some[6].logits)


@pytest.mark.untyped
def test_opening_reads_the_manifest_alone_and_lists_nothing(some, tmp_path, monkeypatch):
    from calibrant._storage import place

    write_store(some, tmp_path)
    read = []
    whole = place.Place.read
    monkeypatch.setattr(place.Place, "read", lambda self, file: read.append(file) or whole(self, file))
    monkeypatch.setattr(place.Place, "sizes", lambda self: pytest.fail("it was listed"))
    stored = StoredPredictions(tmp_path)
    assert len(stored) == 8
    assert read == ["manifest.json"]
    assert stored[4].key == "im 4"
    assert len(read) == 2


def test_a_manifest_in_several_files_is_gone_on_with_replaced_and_merged(some, tmp_path):
    write_store(some, tmp_path / "whole")
    write_store(some, tmp_path / "whole")  # it is there
    with pytest.raises(StoreError, match="images in another order"):
        write_store(some[::-1], tmp_path / "whole")
    write_store(some[:5], tmp_path / "whole", overwrite=True)
    write_store(some[:5], tmp_path / "new")
    assert [len(list((tmp_path / name).glob("*"))) for name in ("whole", "new")] == [5 + 2 + 1] * 2
    for number in (1, 2):
        write_store_part(_Keyed(some[:5]), tmp_path / "parts", (number, 2))
    merge_store_parts(tmp_path / "parts")
    assert {p.name: p.read_bytes() for p in (tmp_path / "parts").iterdir()} == {
        p.name: p.read_bytes() for p in (tmp_path / "new").iterdir()
    }


@pytest.mark.untyped
def test_a_damaged_part_of_a_manifest_is_a_sentence(some, tmp_path):
    stored = write_store(some, tmp_path)
    file = sorted(tmp_path.glob("manifest-*.json"))[0]
    file.write_bytes(file.read_bytes().replace(b"im ", b"am "))
    with pytest.raises(StoreError, match="expected a part of the manifest, as it was written; it has changed"):
        StoredPredictions(tmp_path).keys  # noqa: B018
    file.unlink()
    with pytest.raises(StoreError, match="expected a part of the manifest"):
        StoredPredictions(tmp_path).verify()
    assert len(stored) == 8
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    manifest["parts"][0][0] = "../manifest.json"
    manifest["digest"] = digest_of(manifest)
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match="does not lie in the store"):
        StoredPredictions(tmp_path)


class _Keyed(list):
    @property
    def keys(self):
        return [image.key for image in self]
