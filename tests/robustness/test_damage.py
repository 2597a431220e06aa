"""Whatever happens to a stored file, its numbers are those that were written, or one sentence says that it is damaged.

A thousand changes of stores, interrupted stores, calibrators, samplers and measurement files, the same ones every time;
the slow test makes twenty times as many others. ``-s`` prints how many of each sort were found, and how many changed
nothing (a file that is not needed, or a JSON that says the same).
"""

import os
import random
import shutil
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from damage import damage
from outcomes import Outcomes
from worlds import copied

from calibrant.calibrators import TemperatureScaling, VectorScaling, load, save
from calibrant.cli._study import Study
from calibrant.data import Provenance, StoredPredictions, write_store
from calibrant.errors import CalibrantError
from calibrant.metrics import Measurement, load_measurement
from calibrant.predictions import Prediction, StridedPrediction
from calibrant.samplers import CopulaSampler, IndependentSampler, load_sampler, save_sampler

KEYS = tuple("abcd")
ORIGIN = {"store": "sha256:1", "--seed": "0"}


def toy(key):
    draw = torch.Generator().manual_seed(ord(key))
    logits, labels = torch.randn(3, 4, 5, generator=draw), torch.randint(0, 3, (1, 4, 5), generator=draw)
    if key == "d":
        return StridedPrediction(key, logits[:, ::2, ::2].contiguous(), labels)
    return Prediction(key, logits, labels, torch.rand(3, 4, 5, generator=draw))


class Source:
    keys = KEYS

    def __init__(self, end=4):
        self.end = end

    def __len__(self):
        return len(KEYS)

    def __getitem__(self, i, /):
        if i >= self.end:
            raise KeyboardInterrupt
        return toy(KEYS[i])


SETTINGS = {"provenance": Provenance(model="toy", class_names=("x", "y", "z")), "made_from": ORIGIN}


def store(path):
    write_store(Source(), path, **SETTINGS)


def begun(path):
    with pytest.raises(KeyboardInterrupt):
        write_store(Source(3), path, **SETTINGS)


def overwritten(path):
    write_store([toy("a"), toy("b")], path)
    with pytest.raises(KeyboardInterrupt):
        write_store(Source(3), path, overwrite=True, **SETTINGS)


def read_store(path):
    stored = StoredPredictions(path)
    words = [stored.keys, stored.class_names, repr(stored.provenance), stored.made_from]
    return words + [(p.key, p.logits.tolist(), p.labels.tolist(), p.image is not None) for p in stored]


def resumed(path):
    write_store(Source(), path, **SETTINGS)
    return read_store(path)


def parts_of_store(path):
    """What is read of a store without reading any image whole."""
    stored = StoredPredictions(path)
    return [(stored.shape(i), stored.labels(i).shape, stored.crop(i, (slice(0, 2),) * 2).key) for i in range(4)]


CALIBRATORS = {
    "temperature": TemperatureScaling(1.98),
    "vector": VectorScaling(torch.tensor([1.0, 2.0, 0.5]), torch.tensor([0.0, 0.1, -0.1])),
}


def calibrator(name):
    return lambda path: save(CALIBRATORS[name], path, made_from=ORIGIN)


def read_calibrator(path):
    logits = torch.randn(1, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    return load(path)(logits).tolist()


def samplers(sampler):
    return lambda path: save_sampler(sampler, path, made_from=ORIGIN)


def read_sampler(path):
    logits = torch.randn(1, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    return load_sampler(path).sample(logits, num_samples=3, generator=torch.Generator().manual_seed(1)).tolist()


def measurements(path):
    items = [toy(key) for key in "abc"]
    rows = [replace(Measurement.of(p.logits[None], p.labels[None]), keys=(p.key,)) for p in items]
    stacked = Measurement.stack(rows)
    study = Study({"one": [stacked], "two": [stacked.take([0, 2])]}, ("x", "y", "z"), {"model": "toy"}, ("a note",))
    study.save(path, ORIGIN)


def read_measurements(path):
    study = Study.load([path])
    found = {
        title: [(m.keys, [c.tolist() for c in m.columns()]) for m in ms] for title, ms in study.measurements.items()
    }
    return found, list(study.class_names), dict(study.facts), list(study.notes)


COPULA = CopulaSampler(pixels=0.5, cells={8: 0.25, 3: 0.25})
TARGETS = {
    "a store, read": (store, read_store),
    "a store, in parts": (store, parts_of_store),
    "a store, written again": (store, resumed),
    "an interrupted store": (begun, resumed),
    "an interrupted overwriting": (overwritten, resumed),
    "a calibrator": (calibrator("temperature"), read_calibrator),
    "a calibrator with tensors": (calibrator("vector"), read_calibrator),
    "a sampler": (samplers(COPULA), read_sampler),
    "a sampler without tensors": (samplers(IndependentSampler()), read_sampler),
    "measurements": (measurements, read_measurements),
}


def trials(tmp_path, count, seed):
    """Damage each target so many times; return how often what came of it, by target, and all that broke a promise."""
    counts, outcomes = Counter(), Outcomes("damage")
    for target, (make, read) in TARGETS.items():
        whole = tmp_path / "whole"
        shutil.rmtree(whole, ignore_errors=True)
        make(whole)
        expected = read(copied(whole, tmp_path / "read"))
        for number in range(count):
            draw = random.Random(f"{seed} {target} {number}")
            outcomes.trials += 1
            how = damage(copied(whole, tmp_path / "damaged"), draw)
            try:
                found = read(tmp_path / "damaged")
            except CalibrantError:
                counts[target, "told"] += 1
                continue
            except Exception as error:
                outcomes.tracebacks.append(f"seed {seed}, trial {number}, {target}, {how}: {error!r}")
                continue
            counts[target, "unchanged" if found == expected else "silent"] += 1
            if found != expected:
                outcomes.silent.append(f"seed {seed}, trial {number}, {target}, {how}")
    return counts, outcomes


def show(counts):
    print()
    for target in TARGETS:
        print(f"{target:30}", *(f"{sort} {counts[target, sort]:5}" for sort in ("told", "unchanged", "silent")))


def test_no_number_changes_without_a_word(tmp_path, record_property):
    counts, outcomes = trials(tmp_path, 20, seed=0)
    show(counts)
    outcomes.told(record_property)


@pytest.mark.slow
def test_no_number_changes_without_a_word_in_many_trials(tmp_path, record_property):
    counts, outcomes = trials(tmp_path, 300, seed=1)
    show(counts)
    outcomes.told(record_property)


@pytest.mark.fuzz
def test_no_number_changes_without_a_word_in_random_trials(tmp_path, record_property):
    counts, outcomes = trials(tmp_path, 2000, seed=time.time_ns())
    show(counts)
    outcomes.told(record_property)


@pytest.mark.parametrize(
    ("written", "changed"),
    [
        (rb"\"key\": \"a\"", rb"\"key\": \"c\""),
        (rb"\"key\": \"a\"", rb"\"key\": \"z\""),
        (rb"\"unlabelled\": 255", rb"\"unlabelled\": 002".replace(b"00", b"  ")),
        (rb'"logits":{"dtype":"F32","shape":[3,4,5]', rb'"logits":{"dtype":"F32","shape":[3,5,4]'),
        (rb'"labels":{"dtype":"U8","shape":[1,4,5]', rb'"labels":{"dtype":"U8","shape":[5,4,1]'),
    ],
)
def test_an_image_whose_own_words_are_damaged_is_written_again(tmp_path, written, changed):
    begun(tmp_path / "store")
    expected = resumed(copied(tmp_path / "store", tmp_path / "whole"))
    file = tmp_path / "store" / "a.safetensors"
    content = file.read_bytes()
    assert content.count(written) == 1
    file.write_bytes(content.replace(written, changed))
    assert resumed(tmp_path / "store") == expected


@pytest.mark.parametrize("name", ["manifest.json", "a.safetensors"])
def test_a_pipe_instead_of_a_file_of_a_store_is_not_waited_for(tmp_path, name):
    store(tmp_path / "s")
    (tmp_path / "s" / name).unlink()
    os.mkfifo(tmp_path / "s" / name)
    with pytest.raises(CalibrantError):
        read_store(tmp_path / "s")


@pytest.mark.parametrize("make", ["calibrator.json", "sampler.json", "m.measurement"])
def test_a_pipe_instead_of_another_file_is_not_waited_for(tmp_path, make):
    os.mkfifo(tmp_path / make)
    read = {"calibrator.json": load, "sampler.json": load_sampler}.get(make, lambda path: load_measurement(path / make))
    with pytest.raises(CalibrantError, match="no regular file"):
        read(tmp_path)


@pytest.mark.parametrize("file", ["../secret/a.safetensors", "/etc/a.safetensors", "x/../../secret/a.safetensors"])
def test_a_file_outside_of_the_store_is_not_read(tmp_path, file):
    import json

    from calibrant.data.store._manifest import digest_of

    store(tmp_path / "s")
    store(tmp_path / "secret")
    path = tmp_path / "s" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["images"][0]["file"] = file
    path.write_text(json.dumps(manifest | {"digest": digest_of(manifest)}))
    with pytest.raises(CalibrantError, match="does not lie in the store"):
        StoredPredictions(tmp_path / "s")


@pytest.mark.parametrize("twice", ["key", "file"])
def test_an_image_that_is_there_twice_is_refused(tmp_path, twice):
    import json

    from calibrant.data.store._manifest import digest_of

    store(tmp_path / "s")
    path = tmp_path / "s" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["images"][1][twice] = manifest["images"][0][twice]
    path.write_text(json.dumps(manifest | {"digest": digest_of(manifest)}))
    with pytest.raises(CalibrantError, match=f"two images have one {twice}"):
        StoredPredictions(tmp_path / "s")


def test_files_of_an_old_store_that_were_exchanged_are_found(tmp_path):
    old = copied(Path(__file__).parents[1] / "golden" / "version1" / "store", tmp_path / "s")
    one, other = sorted(old.glob("*.safetensors"))[:2]
    one.rename(tmp_path / "aside")
    other.rename(one)
    (tmp_path / "aside").rename(other)
    with pytest.raises(CalibrantError):
        list(StoredPredictions(old))


def test_parts_nested_too_deeply(tmp_path):
    import json

    from calibrant._storage.saved import _digest

    save(TemperatureScaling(2.0), tmp_path)
    path = tmp_path / "calibrator.json"
    found = json.loads(path.read_text())
    for _ in range(400):
        found["calibrator"] = {"kind": "temperature scaling", "arguments": {"temperature": found["calibrator"]}}
    path.write_text(json.dumps(found | {"digest": _digest(found)}))
    with pytest.raises(CalibrantError):
        load(tmp_path)
