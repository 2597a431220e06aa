"""Tallies, hypotheses and stores are the same bits however images are spread."""

from functools import partial

import pytest
import torch
from sharding.machines import Machines

from calibrant.calibrators import TemperatureScaling
from calibrant.data import StoredPredictions, write_store
from calibrant.errors import InputError, StoreError
from calibrant.evaluation import draw_hypotheses, tally, tally_all, tally_hypotheses
from calibrant.metrics import CalibrationBins, HypothesisDistances, Measurement
from calibrant.predictions import Mapped, Sharded, StridedPrediction, Subset
from calibrant.samplers import IndependentSampler
from calibrant.testing import uneven_predictions


def same(one, other):
    columns = zip(one.columns(), other.columns(), strict=True)
    assert (one.keys, one.left_out) == (other.keys, other.left_out)
    return all(torch.equal(a, b) and a.dtype == b.dtype for a, b in columns)


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    "shard_size", [pytest.param(1, marks=pytest.mark.slow), 7, pytest.param(64, marks=pytest.mark.slow)]
)
def test_tallies(shard_size):
    images = uneven_predictions()
    through = {"raw": None, "softened": TemperatureScaling(1.7)}
    whole = tally_all(Measurement.of, images, through)
    machines = Machines(seed=shard_size)
    spread = tally_all(Measurement.of, Sharded(images, machines, shard_size=shard_size), through)
    assert list(spread) == list(whole)
    assert all(same(spread[name], whole[name]) for name in whole)
    assert whole["raw"].left_out == ("im 001",)
    assert machines.num_tasks == -(-70 // shard_size)
    assert same(tally(CalibrationBins.of, images, executor=Machines()), tally(CalibrationBins.of, images))


def test_what_cannot_be_counted_is_named():
    images = uneven_predictions(6)
    images[4].labels[0, 0, 0] = 77
    with pytest.raises(InputError, match="image 'im 004'"):
        tally(CalibrationBins.of, images, executor=Machines())
    with pytest.raises(InputError, match="got none in 2 images"):
        tally(CalibrationBins.of, [uneven_predictions(3)[1]] * 2, executor=Machines())
    mixed = [*uneven_predictions(3), *uneven_predictions(3, num_classes=4)]
    with pytest.raises(InputError, match="as many classes as in the images before"):
        tally(Measurement.of, mixed, executor=Machines())


def test_hypotheses():
    images, count = uneven_predictions(20), partial(HypothesisDistances.of, num_classes=3)

    def counted(source, **options):
        rng = torch.Generator().manual_seed(3)
        return tally_hypotheses(count, IndependentSampler(), source, num_samples=4, generator=rng, **options), rng

    (whole, after), (spread, after_spread) = counted(images), counted(images, executor=Machines())
    assert same(spread, whole)
    assert torch.equal(after.get_state(), after_spread.get_state())
    drawn = draw_hypotheses(IndependentSampler(), images, num_samples=4, generator=torch.Generator().manual_seed(3))
    assert next(drawn)[1].shape[0] == 4


@pytest.mark.parametrize(
    "shard_size", [pytest.param(1, marks=pytest.mark.slow), 7, pytest.param(64, marks=pytest.mark.slow)]
)
def test_stores_are_the_same_to_the_byte(tmp_path, shard_size):
    images = uneven_predictions()
    write_store(images, tmp_path / "one")
    stored = write_store(Sharded(images, Machines(), shard_size=shard_size), tmp_path / "spread")
    assert files_of(tmp_path / "spread") == files_of(tmp_path / "one")
    assert stored.part([3, 1]).keys == ("im 003", "im 001")


def test_a_store_read_in_shards_is_written_at_its_own_stride(tmp_path):
    small = [
        StridedPrediction(f"im {n}", torch.randn(2, 3, 4), torch.zeros(1, 6, 8, dtype=torch.long)) for n in range(5)
    ]
    stored = write_store(small, tmp_path / "small")
    write_store(stored, tmp_path / "one")
    write_store(stored, tmp_path / "spread", executor=Machines())
    write_store(Subset(stored, range(5)), tmp_path / "part")
    assert files_of(tmp_path / "one") == files_of(tmp_path / "spread") == files_of(tmp_path / "part")
    halved = Mapped(stored, _itself)
    write_store(halved, tmp_path / "mapped")
    write_store(Mapped(Sharded(stored, Machines()), _itself), tmp_path / "mapped spread")
    assert files_of(tmp_path / "mapped") == files_of(tmp_path / "mapped spread")
    assert (tmp_path / "mapped" / "manifest.json").read_bytes() != (tmp_path / "one" / "manifest.json").read_bytes()


def test_a_store_is_gone_on_with(tmp_path):
    images, told = uneven_predictions(20), []
    write_store(images, tmp_path / "one")
    broken = [*images[:13], _Broken(images[13].key), *images[14:]]
    with pytest.raises(StoreError, match="as the source's keys say"):
        write_store(_Keyed(broken, [image.key for image in images]), tmp_path / "spread", executor=Machines())
    whole = len(list((tmp_path / "spread").glob("*.safetensors")))
    assert whole >= 13
    machines = Machines()
    write_store(_Keyed(images, [i.key for i in images]), tmp_path / "spread", executor=machines)
    assert machines.num_tasks == 20 - whole
    assert files_of(tmp_path / "spread") == files_of(tmp_path / "one")
    again = Machines()
    source = Sharded(_Keyed(images, [i.key for i in images]), again, advance=told.append)
    write_store(source, tmp_path / "spread")
    assert (again.num_tasks, told) == (0, [20])
    with pytest.raises(StoreError, match="finished store without image 'other'"):
        write_store(_Keyed(images, [*(i.key for i in images[1:]), "other"]), tmp_path / "spread", executor=Machines())


def test_a_store_can_be_sent(tmp_path):
    write_store(uneven_predictions(), tmp_path)
    machines = Machines()
    tally(CalibrationBins.of, Sharded(StoredPredictions(tmp_path), machines, shard_size=2))
    assert machines.largest < 4000


class _Broken:
    def __init__(self, key):
        self.key = f"not {key}"
        self.logits, self.labels, self.image = torch.zeros(3, 2, 2), torch.zeros(1, 2, 2, dtype=torch.long), None


class _Keyed(list):
    def __init__(self, items, keys):
        super().__init__(items)
        self.keys = keys

    def part(self, numbers):
        return _Keyed([self[i] for i in numbers], [self.keys[i] for i in numbers])

    def __reduce__(self):
        return _Keyed, (list(self), self.keys)


def _itself(prediction):
    return prediction
