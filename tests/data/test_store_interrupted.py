"""A write that is interrupted anywhere leaves whole images only, and the same call goes on with it."""

import errno
import os

import pytest
import torch

from calibrant._storage.place import Place
from calibrant.data import Provenance, StoredPredictions, write_store
from calibrant.errors import StoreError
from calibrant.predictions import Prediction, StridedPrediction

KEYS = tuple("abcde")


def toy(key):
    draw = torch.Generator().manual_seed(ord(key[0]))
    return Prediction(key, torch.randn(3, 4, 5, generator=draw), torch.randint(0, 3, (1, 4, 5), generator=draw))


class Source:
    """A slow source: it tells its keys, remembers what it was asked for, and fails where told."""

    def __init__(self, keys=KEYS, fail_at=None, error=RuntimeError):
        self.keys, self.fail_at, self.error, self.asked = tuple(keys), fail_at, error, []

    def __len__(self):
        return len(self.keys)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __getitem__(self, i, /):
        self.asked.append(self.keys[i])
        if self.keys[i] == self.fail_at:
            raise self.error("stopped")
        return toy(self.keys[i])


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OSError])
@pytest.mark.parametrize("fail_at", ["a", "c", "e"])
def test_going_on_gives_the_bytes_of_an_uninterrupted_write(tmp_path, fail_at, error):
    with pytest.raises(error):
        write_store(Source(fail_at=fail_at, error=error), tmp_path / "cut", dtype="float16")
    there = KEYS[: KEYS.index(fail_at)]
    assert set(content(tmp_path / "cut")) == {"manifest.partial.json", *(f"{key}.safetensors" for key in there)}
    again = Source()
    write_store(again, tmp_path / "cut", dtype="float16")
    assert again.asked == list(KEYS[len(there) :]), "what is whole already is not asked for again"
    write_store(Source(), tmp_path / "whole", dtype="float16")
    assert content(tmp_path / "cut") == content(tmp_path / "whole")


def test_going_on_with_logits_of_a_smaller_stride_gives_the_same_bytes(tmp_path):
    class Small(Source):
        def __getitem__(self, i, /):
            made = super().__getitem__(i)
            return StridedPrediction(made.key, made.logits[:, ::2, ::2], made.labels)

    with pytest.raises(RuntimeError):
        write_store(Small(fail_at="c"), tmp_path / "cut")
    write_store(Small(), tmp_path / "cut")
    write_store(Small(), tmp_path / "whole")
    assert content(tmp_path / "cut") == content(tmp_path / "whole")


def test_a_write_that_failed_before_its_first_image_binds_nobody_to_its_settings(tmp_path):
    with pytest.raises(RuntimeError):
        write_store(Source(fail_at="a"), tmp_path / "cut", provenance=Provenance(model="wrong"))
    write_store(Source(), tmp_path / "cut", provenance=Provenance(model="right"))
    write_store(Source(), tmp_path / "whole", provenance=Provenance(model="right"))
    assert content(tmp_path / "cut") == content(tmp_path / "whole")


def test_a_source_without_keys_is_read_again_and_compared(tmp_path):
    def items(last):
        yield from (toy(key) for key in KEYS[:last])
        if last < len(KEYS):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_store(items(3), tmp_path / "cut")
    write_store(items(5), tmp_path / "cut")
    write_store([toy(key) for key in KEYS], tmp_path / "whole")
    # The partial manifest alone knows how many images there would be, and it is gone.
    assert content(tmp_path / "cut") == content(tmp_path / "whole")


def test_going_on_works_in_a_bucket(tmp_path):
    url = f"memory://interrupted/{tmp_path.name}"
    with pytest.raises(RuntimeError):
        write_store(Source(fail_at="d"), url)
    again = Source()
    stored = write_store(again, url)
    assert again.asked == ["d", "e"]
    assert stored.keys == KEYS
    assert torch.equal(stored[1].logits, toy("b").logits)


@pytest.mark.parametrize("broken", ["cut off", "emptied", "header", "foreign"])
def test_a_file_that_is_not_whole_is_written_again(tmp_path, broken):
    with pytest.raises(RuntimeError):
        write_store(Source(fail_at="d"), tmp_path / "cut")
    path = tmp_path / "cut" / "b.safetensors"
    whole = path.read_bytes()
    path.write_bytes(
        {"cut off": whole[:-1], "emptied": b"", "header": b"x" * 300, "foreign": b"\2" + b"\0" * 7 + b"{}"}[broken]
    )
    again = Source()
    write_store(again, tmp_path / "cut")
    assert again.asked == ["b", "d", "e"]
    assert path.read_bytes() == whole


def test_temporary_files_of_a_killed_write_are_swept_away(tmp_path):
    with pytest.raises(RuntimeError):
        write_store(Source(fail_at="d"), tmp_path / "cut")
    (tmp_path / "cut" / ".d.safetensors.tmp").write_bytes(b"half")
    write_store(Source(), tmp_path / "cut")
    assert not list((tmp_path / "cut").glob(".*"))


def test_a_killed_manifest_leaves_an_unfinished_store_that_only_needs_the_manifest(tmp_path, monkeypatch):
    real = Place.write

    def killed(self, file, content):
        if file == "manifest.json":
            raise KeyboardInterrupt
        real(self, file, content)

    monkeypatch.setattr(Place, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        write_store(Source(), tmp_path / "cut")
    monkeypatch.undo()
    with pytest.raises(StoreError, match="interrupted after 5 of 5 images"):
        StoredPredictions(tmp_path / "cut")
    again = Source()
    write_store(again, tmp_path / "cut")
    assert again.asked == []


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_is_told_leaves_nothing_half_written_and_is_gone_on_from(tmp_path, monkeypatch, step):
    real, calls = getattr(os, step), 0
    most = {"fsync": 6, "replace": 3}[step]  # the settings and two images fit; fsync is of a file and of its folder

    def full(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls > most:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*args, **kwargs)

    monkeypatch.setattr(os, step, full)
    with pytest.raises(StoreError) as caught:
        write_store(Source(), tmp_path / "cut")
    monkeypatch.undo()
    for words in ("could not write image 'c'", "No space left on device", "2 of 5 images are whole", "it resumes"):
        assert words in str(caught.value)
    assert set(content(tmp_path / "cut")) == {"manifest.partial.json", "a.safetensors", "b.safetensors"}
    again = Source()
    write_store(again, tmp_path / "cut")
    assert again.asked == ["c", "d", "e"]


def test_an_unfinished_store_is_not_read_and_says_how_far_it_got(tmp_path):
    with pytest.raises(RuntimeError):
        write_store(Source(fail_at="d"), tmp_path)
    with pytest.raises(StoreError, match=r"interrupted after 3 of 5 images\. Run the command that wrote it again"):
        StoredPredictions(tmp_path)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"dtype": "float16"}, "dtype is 'float32' there and 'float16' now"),
        ({"with_images": False}, "with_images is True there and False now"),
        ({"provenance": Provenance(model="B")}, "model is 'A' there and 'B' now"),
        (
            {"provenance": Provenance(model="A", class_names="xyz")},
            r"class_names is \[\] there and \['x', 'y', 'z'\] now",
        ),
    ],
)
@pytest.mark.parametrize("fail_at", ["d", None], ids=["unfinished", "finished"])
def test_other_settings_are_refused(tmp_path, other, words, fail_at):
    settings = {"dtype": "float32", "provenance": Provenance(model="A")}
    if fail_at:
        with pytest.raises(RuntimeError):
            write_store(Source(fail_at=fail_at), tmp_path, **settings)
    else:
        write_store(Source(), tmp_path, **settings)
    before = content(tmp_path)
    again = Source()
    with pytest.raises(StoreError, match=words):
        write_store(again, tmp_path, **settings | other)
    assert again.asked == []
    assert content(tmp_path) == before


def test_a_finished_store_is_not_written_again(tmp_path):
    write_store(Source(), tmp_path)
    times = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    again = Source()
    assert write_store(again, tmp_path).keys == KEYS
    assert again.asked == []
    write_store([toy(key) for key in KEYS], tmp_path)
    assert times == {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("abc", "holds 2 images that are not among these 3, such as 'd'"),
        ("abcdef", "without image 'f'"),
        ("abced", "order"),
    ],
)
@pytest.mark.parametrize("with_keys", [True, False])
def test_a_finished_store_of_other_images_is_refused_unless_overwritten(tmp_path, keys, words, with_keys):
    write_store(Source(), tmp_path)
    before = content(tmp_path)
    source = Source(keys) if with_keys else [toy(key) for key in keys]
    with pytest.raises(StoreError, match=words):
        write_store(source, tmp_path)
    assert content(tmp_path) == before
    assert write_store(source, tmp_path, overwrite=True).keys == tuple(keys)
    assert len(content(tmp_path)) == len(keys) + 1


def test_other_numbers_under_the_same_names_are_refused(tmp_path):
    write_store([toy(key) for key in KEYS], tmp_path)
    changed = [Prediction(p.key, p.logits + 1, p.labels) for p in map(toy, KEYS)]
    with pytest.raises(StoreError, match="other predictions under the same name"):
        write_store(changed, tmp_path)
    assert torch.equal(write_store(changed, tmp_path, overwrite=True)[0].logits, changed[0].logits)


def changed_numbers():
    return [Prediction(p.key, p.logits + 1, p.labels) for p in map(toy, KEYS)]


@pytest.mark.parametrize("number", range(1, 7))
@pytest.mark.parametrize("recorded", [None, {"seed": "1"}])
def test_a_store_is_whole_until_the_one_that_replaces_it_is(tmp_path, monkeypatch, number, recorded):
    write_store([toy(key) for key in KEYS], tmp_path)
    before, real, calls = content(tmp_path), Place.write, []

    def killed(self, file, content):
        calls.append(file)
        if len(calls) == number + 1:
            raise KeyboardInterrupt
        real(self, file, content)

    monkeypatch.setattr(Place, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        write_store(changed_numbers(), tmp_path, overwrite=True, made_from=recorded)
    monkeypatch.undo()
    assert content(tmp_path).items() >= before.items()
    StoredPredictions(tmp_path).verify()
    stored = write_store(changed_numbers(), tmp_path, made_from=recorded)
    assert all(torch.equal(one.logits, other.logits) for one, other in zip(stored, changed_numbers(), strict=True))
    assert len(content(tmp_path)) == len(KEYS) + 1


@pytest.mark.parametrize("number", range(1, 7))
def test_a_write_that_was_killed_while_it_removed_what_it_replaced_is_finished(tmp_path, monkeypatch, number):
    write_store([toy(key) for key in KEYS], tmp_path)
    removed = []

    def killed(self, file):
        removed.append(file)
        if len(removed) == number:
            raise KeyboardInterrupt
        os.remove(self.local_path(file))

    monkeypatch.setattr(Place, "remove", killed)
    with pytest.raises(KeyboardInterrupt):
        write_store(changed_numbers(), tmp_path, overwrite=True)
    monkeypatch.undo()
    for stored in (StoredPredictions(tmp_path), write_store(changed_numbers(), tmp_path)):
        assert all(torch.equal(one.logits, other.logits) for one, other in zip(stored, changed_numbers(), strict=True))
    assert len(content(tmp_path)) == len(KEYS) + 1


def test_overwriting_twice_gives_the_first_names_again(tmp_path):
    write_store(Source(), tmp_path)
    before = content(tmp_path)
    for times in (1, 2):
        write_store(Source(), tmp_path, overwrite=True)
        assert (content(tmp_path) == before) == (times == 2)


def test_what_is_whole_is_known_by_its_content(tmp_path):
    with pytest.raises(RuntimeError):
        write_store(Source(fail_at="d"), tmp_path)
    path = tmp_path / "b.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    again = Source()
    write_store(again, tmp_path)
    assert again.asked == ["b", "d", "e"]
    assert path.read_bytes() == whole


def test_a_second_writer_is_told_that_another_writes(tmp_path):
    class Slow(Source):
        def __getitem__(self, i, /):
            with pytest.raises(StoreError, match=r"the only one who writes here; another process is writing"):
                write_store(Source(), tmp_path)
            return super().__getitem__(i)

    assert write_store(Slow(), tmp_path).keys == KEYS


def test_the_same_key_twice_is_refused(tmp_path):
    with pytest.raises(StoreError, match="got 'a' twice"):
        write_store([toy("a"), toy("a")], tmp_path / "list")
    source = Source("aba")
    with pytest.raises(StoreError, match="got 'a' twice"):
        write_store(source, tmp_path / "keys")
    assert source.asked == []


def test_files_that_are_no_store_are_never_touched(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"precious")
    for overwrite in (False, True):
        with pytest.raises(StoreError, match=r"other files, such as a\.safetensors"):
            write_store(Source(), tmp_path, overwrite=overwrite)
    (tmp_path / "manifest.json").write_text('{"name": "a web page"}')
    with pytest.raises(StoreError, match="another file of that name"):
        write_store(Source(), tmp_path, overwrite=True)
    assert (tmp_path / "a.safetensors").read_bytes() == b"precious"


def test_a_store_is_never_overwritten_by_itself(tmp_path):
    stored = write_store(Source(), tmp_path)
    before = content(tmp_path)
    with pytest.raises(StoreError, match="another folder than the one read from"):
        write_store(stored, f"file://{tmp_path}/", overwrite=True)
    assert content(tmp_path) == before


def test_strides_may_be_mixed_and_are_resumed_too(tmp_path):
    small = StridedPrediction("s", torch.randn(3, 2, 2), torch.zeros(1, 4, 5, dtype=torch.long))
    write_store([toy("a"), small], tmp_path)
    write_store([toy("a"), small], tmp_path)
    assert [tuple(p.logits.shape) for p in StoredPredictions(tmp_path)] == [(3, 4, 5), (3, 4, 5)]
