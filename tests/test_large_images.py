"""Images read in parts: whatever the parts, the bits are those of the whole, and so are files written in parts."""

from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch
from benchmarks.memory import calibrators, growth

from calibrant.calibrators import CalibratedInParts, Identity, MetaCal, TemperatureScaling, calibrated
from calibrant.calibrators.calibrator import Calibrator, block_width
from calibrant.data import write_store
from calibrant.errors import LogitsError, ShapeError, StoreError
from calibrant.evaluation import tally_all
from calibrant.metrics import Measurement
from calibrant.metrics.regions import boundary, boundary_of_run
from calibrant.predictions import (
    IGNORE,
    ChangedInParts,
    Mapped,
    Prediction,
    Subset,
    WholeInParts,
    each_in_parts,
    parts,
    read_ahead,
    with_logits,
)


@dataclass(frozen=True)
class Through:
    """What ``apply`` sends images through."""

    calibrator: Calibrator

    def __call__(self, prediction):
        return with_logits(prediction, calibrated(prediction, self.calibrator))

    def in_parts(self, image):
        return ChangedInParts(CalibratedInParts(image, self.calibrator), lambda logits: logits)


SPACES = [(300, 500), (20, 80, 90)]
"""Sizes of more than two runs of the smallest length."""


def made(space=SPACES[0], classes=3, annotators=1, with_image=True, dtype=torch.float32, seed=0):
    rng = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(classes, *space, generator=rng)
    logits[:, ::7] = logits[:, ::7].round()  # with ties
    labels = torch.where(torch.rand(annotators, *space, generator=rng) < 0.6, logits.argmax(0), 0)
    labels[torch.rand(labels.shape, generator=rng) < 0.1] = IGNORE
    image = torch.rand(2, *space, generator=rng) if with_image else None
    return Prediction("a", logits.to(dtype), labels, image)


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first.columns(), second.columns(), strict=True))


@pytest.fixture(params=[1, 300_000])
def numbers(request, monkeypatch):
    """Runs of one grid step, and of one or two of them."""
    monkeypatch.setattr(parts, "NUMBERS", request.param)
    return request.param


def test_blocks_of_pixels_divide_the_grid_on_which_runs_begin():
    assert all(parts.GRID % block_width(c) == 0 for c in range(1, 3000))


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("name", ["temperature", "vector-kept", "dirichlet-kept", "isotonic", "selective"])
def test_what_is_pixel_by_pixel_gives_the_same_bits_in_any_parts(space, name, numbers):
    calibrator = calibrators(3, len(space))[name]
    assert calibrator.reach == 0
    prediction = made(space)
    with torch.no_grad():
        whole = calibrator(prediction.logits[None], prediction.image[None])[0].flatten(1)
    image = CalibratedInParts(WholeInParts(prediction), calibrator)
    runs = [*image.runs()]
    assert len(runs) > 1
    assert torch.equal(torch.cat([image.logits(*run) for run in runs], 1), whole)


@pytest.mark.parametrize("space", SPACES)
def test_what_looks_around_gives_the_same_in_slabs_with_a_margin(space, numbers, monkeypatch):
    calibrator = calibrators(3, len(space))["local"]
    prediction = made(space)
    with torch.no_grad():
        whole = calibrator(prediction.logits[None])[0]
    monkeypatch.setattr("calibrant.calibrators.parts.SLAB", 3 * 30 * 500)
    found = calibrated(prediction, calibrator)
    torch.testing.assert_close(found, whole, rtol=1e-6, atol=1e-6)
    assert torch.equal(found.argmax(0), whole.argmax(0))
    image = CalibratedInParts(WholeInParts(prediction), calibrator)
    again = torch.cat([image.logits(*run) for run in image.runs()], 1)
    assert torch.equal(again.reshape(found.shape), found)


class MeanMargin(Calibrator):
    """Looks at the whole image, as any calibrator may that does not say otherwise."""

    def forward(self, logits, image=None):
        return logits / logits.std()

    def arguments(self):
        return {}


def test_what_does_not_say_how_far_it_looks_is_given_the_whole_image(numbers):
    prediction = made()
    image = CalibratedInParts(WholeInParts(prediction), MeanMargin())
    whole = MeanMargin()(prediction.logits[None])[0].flatten(1)
    assert torch.equal(torch.cat([image.logits(*run) for run in image.runs()], 1), whole)
    assert calibrators(2, 2)["selective"].reach == 0
    assert MetaCal(0.5, MeanMargin()).reach is None
    assert MetaCal(0.5, calibrators(2, 2)["local"]).reach == 4


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("annotators", [1, 2])
def test_a_measurement_in_parts_has_the_same_bits(space, annotators, numbers):
    prediction = made(space, annotators=annotators)
    whole = Measurement.of(prediction.logits[None], prediction.labels[None], num_bins=10, width=3)
    assert same(Measurement.of_parts(WholeInParts(prediction), num_bins=10, width=3), whole)


def test_a_boundary_is_the_same_in_any_parts():
    prediction = made((23, 11), annotators=2)
    image, whole = WholeInParts(prediction), boundary(prediction.labels, width=2).flatten(1)
    for start, stop in [(0, 1), (0, 253), (37, 38), (100, 187), (252, 253)]:
        assert torch.equal(boundary_of_run(image, start, stop, width=2), whole[:, start:stop])


def test_evaluation_reads_in_parts_what_can_be_counted_so(tmp_path, numbers):
    prediction = made()
    stored = write_store([prediction], tmp_path / "store")
    through = {"raw": None, **calibrators(3, 2)}
    count = partial(Measurement.of, num_bins=10)
    found = tally_all(count, Mapped(Subset(stored, [0]), Through(Identity())), through)
    for name, tally in found.items():
        z = calibrated(prediction, through[name])
        assert same(tally, count(z[None], prediction.labels[None])), name
    other = tally_all(lambda z, y: count(z, y), stored, {"raw": None})  # nobody knows how to count this in parts
    assert same(other["raw"], found["raw"])


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("with_image", [False, True])
def test_a_stored_image_in_parts_is_the_stored_image(tmp_path, numbers, space, dtype, with_image):
    prediction = made(space, annotators=2, with_image=with_image, dtype=dtype)
    stored = write_store([prediction], tmp_path / "store")
    (image,) = each_in_parts(stored)
    assert not isinstance(image, WholeInParts)
    assert (image.key, image.num_classes, image.space) == ("a", 3, space)
    whole = image.whole()
    for name in ("logits", "labels", "image"):
        expected, parted = getattr(prediction, name), getattr(whole, name)
        assert parted is expected is None or torch.equal(parted, expected)
        if expected is not None:
            assert torch.equal(getattr(image, name)(70_001, 90_000), expected.flatten(1)[:, 70_001:90_000])


@pytest.mark.parametrize("dtype", [None, "float16", "bfloat16", "float32"])
@pytest.mark.parametrize("picture", ["none", "bytes", "floats"])
def test_a_file_written_in_parts_is_the_same_file(tmp_path, monkeypatch, dtype, picture):
    prediction = made(dtype=torch.float16, annotators=2, classes=3)
    pictures = {"none": None, "bytes": (prediction.image * 255).round() / 255, "floats": prediction.image}
    source = write_store([replace(prediction, key='a "b" \\ü', image=pictures[picture])], tmp_path / "source")
    through = Mapped(source, Through(TemperatureScaling(2.0)))
    write_store(through, tmp_path / "whole", dtype=dtype)
    monkeypatch.setattr(parts, "NUMBERS", 1)
    write_store(through, tmp_path / "parts", dtype=dtype)
    for file in (tmp_path / "whole").iterdir():
        assert file.read_bytes() == (tmp_path / "parts" / file.name).read_bytes(), file.name


def test_going_on_finds_what_was_written_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "NUMBERS", 1)
    source = write_store([replace(made(seed=i), key=f"{i}") for i in range(2)], tmp_path / "source")
    read = []

    class Once(Through):
        def in_parts(self, image):
            read.append(image.key)
            if len(read) == 2:
                raise KeyboardInterrupt
            return super().in_parts(image)

    through = Mapped(source, Once(TemperatureScaling(2.0)))
    with pytest.raises(KeyboardInterrupt):
        write_store(through, tmp_path / "found")
    write_store(through, tmp_path / "found")
    assert read == ["0", "1", "1"]
    write_store(Mapped(source, Through(TemperatureScaling(2.0))), tmp_path / "expected")
    for file in (tmp_path / "expected").iterdir():
        assert file.read_bytes() == (tmp_path / "found" / file.name).read_bytes()


@pytest.mark.parametrize("at", [0, 0.3, 0.9, 1])
def test_a_changed_byte_of_a_large_image_is_found(tmp_path, monkeypatch, at):
    monkeypatch.setattr(parts, "NUMBERS", 1)
    stored = write_store([made()], tmp_path)
    content = bytearray((tmp_path / "a.safetensors").read_bytes())
    content[600 + round(at * (len(content) - 601))] ^= 4
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(StoreError, match=r"a\.safetensors"):
        tally_all(Measurement.of, stored, {"raw": None})
    with pytest.raises(StoreError, match=r"a\.safetensors"):
        write_store(Mapped(stored, Through(TemperatureScaling(2.0))), tmp_path / "other")


def test_bad_numbers_in_a_large_image_are_named_and_leave_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "NUMBERS", 1)
    stored = write_store([made()], tmp_path / "store")

    class Broken(Calibrator):
        reach = 0

        def forward(self, logits, image=None):
            return logits * torch.inf

        def arguments(self):
            return {}

    with pytest.raises(LogitsError, match="image 'a': expected finite logits"):
        write_store(Mapped(stored, Through(Broken())), tmp_path / "broken")
    assert not (tmp_path / "broken").exists()
    with pytest.raises(LogitsError, match="image 'a': pixels 0 to 65535: expected finite logits"):
        tally_all(Measurement.of, stored, {"broken": Broken()})
    with pytest.raises(LogitsError, match="image 'a': expected logits within"):
        write_store(Mapped(stored, Through(TemperatureScaling(1e-6))), tmp_path / "narrow", dtype="float16")


def test_labels_of_another_shape_are_refused_though_they_are_as_many():
    prediction = made((4, 6))
    turned = replace(prediction, labels=prediction.labels.mT)
    with pytest.raises(ShapeError, match=r"image 'a': .*got \(3, 4, 6\) and \(1, 6, 4\)"):
        tally_all(Measurement.of, [turned], {"raw": None})


def test_reading_ahead_keeps_the_order_and_raises_in_its_turn():
    seen = []

    def read(number):
        seen.append(number)
        return 1 // number

    ahead = read_ahead(read, [1, 2, 0, 3])
    assert [next(ahead), next(ahead)] == [1, 0]
    with pytest.raises(ZeroDivisionError):
        next(ahead)
    assert seen[:3] == [1, 2, 0]


@pytest.mark.slow
def test_memory_of_a_large_image_does_not_grow_with_it(tmp_path):
    """256 MB of logits: less than one copy of them, and nothing of the 300 MB that a small machine has to spare."""
    found = growth(tmp_path, (16, 1024, 4096), "float32", ["dirichlet-kept"])
    assert len(found) == 3
    for what, (more, own) in found.items():
        assert own > 256
        assert more < own, f"{what}: {more:.0f} MB above the baseline for an image of {own:.0f} MB"
