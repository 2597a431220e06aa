"""Fits are the same bits however images are spread: over shards, machines, orders of arrival and threads."""

from functools import partial

import pytest
import torch
from quick_methods import QUICK
from sharding.machines import Machines

from calibrant.calibrators import DirichletScaling, IsotonicScaling, TemperatureScaling, VectorScaling
from calibrant.calibrators._likelihood import mean_nll_of_images
from calibrant.calibrators._passes import SERIAL, serial_sum
from calibrant.calibrators.pixels import Pixels
from calibrant.errors import FitError, InputError, LogitsError
from calibrant.methods import METHODS, parse_method
from calibrant.predictions import Mapped, Sharded, Subset, mapped_in_shards, summed
from calibrant.testing import toy_predictions, uneven_predictions

STREAMED = {
    "temperature": partial(TemperatureScaling.fit, pixels_per_image=None),
    "vector": partial(VectorScaling.fit, pixels_per_image=None, strength=0.01),
    "dirichlet": partial(DirichletScaling.fit, pixels_per_image=None, strength=0.01),
    "isotonic": partial(IsotonicScaling.fit, pixels_per_image=None),
}
DRAWN = ["temperature", "vector", "dirichlet-kept", "isotonic", "selective", "meta-cal"]


def same(one, other):
    first, second = one.state_dict(), other.state_dict()
    return one.notes == other.notes and all(torch.equal(first[name], second[name]) for name in first | second)


@pytest.mark.parametrize("name", STREAMED)
def test_streamed_fits_are_the_same_however_images_are_spread(name):
    images = uneven_predictions(150 if name == "temperature" else 70)
    whole = STREAMED[name](images)
    for size in (1, 7, 64):
        machines = Machines(seed=size)
        assert same(STREAMED[name](Sharded(images, machines, shard_size=size)), whole)
        assert machines.num_tasks >= len(images) / size


@pytest.mark.parametrize("name", DRAWN)
def test_fits_on_drawn_pixels_are_the_same_however_images_are_spread(name):
    assert name in METHODS
    images = uneven_predictions(30)
    fit = partial(parse_method(QUICK[name]).fit, pixels_per_image=20)
    machines = Machines()
    assert same(fit(Sharded(images, machines, shard_size=7)), fit(images))
    assert machines.num_tasks >= 5


def test_the_share_of_an_image_is_that_of_the_whole():
    images = uneven_predictions(20)
    whole = Pixels.draw(images, most=200)
    spread = Pixels.draw(Sharded(images, Machines(), shard_size=3), most=200)
    assert all(torch.equal(getattr(whole, name), getattr(spread, name)) for name in ("logits", "labels", "image"))


@pytest.mark.parametrize(
    "name", ["temperature", *(pytest.param(n, marks=pytest.mark.slow) for n in STREAMED if n != "temperature")]
)
def test_streamed_fits_are_the_same_on_any_number_of_threads(name):
    large = toy_predictions(num_images=2, num_classes=2, size=(200, 200), spread=4.0)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone, losses = STREAMED[name](large), mean_nll_of_images([TemperatureScaling(1.3)], large)
        for count in (2, 3):
            torch.set_num_threads(count)
            assert same(STREAMED[name](large), alone)
            assert mean_nll_of_images([TemperatureScaling(1.3)], large) == losses
    finally:
        torch.set_num_threads(threads)


def test_torch_adds_so_few_numbers_on_one_thread():
    """Fails if a version of torch splits shorter sums over threads; longer ones it does split."""
    rng = torch.Generator().manual_seed(0)
    values = torch.randn(2**17, generator=rng, dtype=torch.float64)
    threads, split = torch.get_num_threads(), set()
    try:
        for count in (1, 2, 3, 4):
            torch.set_num_threads(count)
            split.add(float(values.sum()))
            if count == 1:
                alone = [float(part.sum()) for part in values.split(SERIAL)], serial_sum(values)
            assert ([float(part.sum()) for part in values.split(SERIAL)], serial_sum(values)) == alone
    finally:
        torch.set_num_threads(threads)
    assert len(split) > 1


def test_sums_are_those_of_groups_in_order():
    values = [10.0 ** (number * 37 % 23 - 11) for number in range(300)]
    whole = summed(float, values)
    assert whole != sum(reversed(values))  # the order does matter
    for size in (1, 5, 63, 64, 65, 1000):
        assert summed(float, Sharded(values, Machines(seed=size), shard_size=size)) == whole


def test_a_source_seen_through_functions_and_in_part_is_spread_too():
    machines = Machines()
    source = Subset(Mapped(Sharded(uneven_predictions(8), machines, shard_size=2), _itself), (5, 2, 7))
    assert list(mapped_in_shards(_keys, source)) == [(0, ["im 005", "Street"]), (2, ["street"])]
    assert machines.num_tasks == 2


def test_what_is_sent_does_not_hold_the_whole_source():
    images, machines = uneven_predictions(60), Machines()
    Pixels.draw(Sharded(images, machines, shard_size=2))
    assert machines.largest < 20_000


def test_no_more_is_in_flight_than_the_window():
    machines = Machines(window=3)
    for _ in mapped_in_shards(_keys, Sharded(uneven_predictions(20), machines, shard_size=1)):
        assert len(machines.waiting) <= 3


def test_progress_is_told_by_shards_in_order():
    told = []
    list(mapped_in_shards(_keys, Sharded(uneven_predictions(5), Machines(), shard_size=2, advance=told.append)))
    assert told == [2, 2, 1]


def test_what_a_worker_raises_names_the_image():
    images = uneven_predictions(6)
    images[4].logits[0, 0, 0] = float("nan")
    with pytest.raises(LogitsError, match="image 'im 004'"):
        Pixels.draw(Sharded(images, Machines(), shard_size=2))


def test_nothing_to_fit_on_is_a_sentence():
    nothing = [uneven_predictions(3)[1]] * 2
    with pytest.raises(FitError, match="unlabelled"):
        TemperatureScaling.fit(Sharded(nothing, Machines(), shard_size=1), pixels_per_image=None)
    with pytest.raises(InputError, match="one image a shard"):
        Sharded(nothing, Machines(), shard_size=0)


def _itself(prediction):
    return prediction


def _keys(images, first):
    return first, [each.key for each in images]
