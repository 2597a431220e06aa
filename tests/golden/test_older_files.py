"""What version 0.1.0 wrote still opens and answers as it did.

``version1/`` was written by the code of commit ea0df81: the first three streets of ``calibrant demo``, cropped to
64 x 64 (float16 logits of the small U-Net that the demo trains), calibrators of every kind fitted to other streets, two
samplers, a measurement, and what each calibrator made of every fourth pixel of the first image.

Isotonic scaling answers otherwise on purpose. Version 0.1.0 reached the wanted confidence by a temperature of each
pixel's own, bounded from below; now the winner's probability is set, and the others keep their proportions, which has
a better likelihood. So labels and confidences are those of the file (no pixel of it had reached the bound), and the
rest of the distribution is another.
"""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from calibrant.calibrators import load
from calibrant.data import StoredPredictions
from calibrant.errors import StoreError
from calibrant.evaluation import tally
from calibrant.metrics import Measurement, load_measurement
from calibrant.samplers import load_sampler

OLD = Path(__file__).with_name("version1")
CALIBRATORS = sorted(path.name for path in (OLD / "calibrators").iterdir())


@pytest.fixture(scope="module")
def predictions():
    stored = StoredPredictions(OLD / "store")
    stored.verify()
    return list(stored)


def answers(name, predictions):
    calibrator, first = load(OLD / "calibrators" / name), predictions[0]
    with torch.no_grad():
        found = calibrator(first.logits[None], first.image[None])[0, :, ::4, ::4]
    return calibrator, found, load_file(OLD / "calibrated.safetensors")[name]


def test_an_old_isotonic_scaling_opens_and_is_as_sure_as_it_was(predictions):
    _, found, expected = answers("isotonic", predictions)
    assert torch.equal(found.argmax(0), predictions[0].logits[:, ::4, ::4].argmax(0))
    gap = (found.softmax(0).amax(0) - expected.softmax(0).amax(0)).abs()
    assert float(gap.max()) < 1e-4


@pytest.mark.parametrize("name", sorted({*CALIBRATORS} - {"isotonic"}))
def test_an_old_calibrator_opens_and_answers_as_it_did(name, predictions):
    calibrator, found, expected = answers(name, predictions)
    torch.testing.assert_close(found.log_softmax(0), expected.log_softmax(0), rtol=1e-4, atol=1e-4)
    if calibrator.keeps_labels:
        assert torch.equal(found.argmax(0), predictions[0].logits[:, ::4, ::4].argmax(0))


@pytest.mark.parametrize("name", sorted({*CALIBRATORS} - {"identity"}))
def test_what_is_printed_of_a_calibrator_says_its_parameters(name):
    calibrator = load(OLD / "calibrators" / name)
    assert calibrator.extra_repr() or len(list(calibrator.children())) > 0
    assert repr(calibrator) != f"{type(calibrator).__name__}()"


@pytest.mark.parametrize("name", ["independent", "copula"])
def test_an_old_sampler_opens(name, predictions):
    sampler = load_sampler(OLD / "samplers" / name)
    drawn = sampler.sample(predictions[0].logits[None], num_samples=2, generator=torch.Generator())
    assert drawn.shape == (2, 1, *predictions[0].labels.shape[1:])


def test_an_old_measurement_opens_and_its_numbers_have_not_moved(predictions):
    measured, facts = load_measurement(OLD / "measurement.safetensors")
    again = tally(Measurement.of, predictions)
    assert facts == {"source": "store"}
    assert measured.keys == again.keys
    assert measured.near_ties.isnan().all()  # which it did not count, nor pixels by the class predicted
    assert not measured.by_prediction.count.any()
    known = [replace(each, by_prediction=each.bins, near_ties=each.bins.count) for each in (measured, again)]
    for one, other in zip(*(each.columns() for each in known), strict=True):
        torch.testing.assert_close(one, other)


def test_a_store_with_checksums_of_sha_256_opens_and_is_checked(tmp_path):
    """``version2/`` was written before stores had checksums of BLAKE3."""
    stored = StoredPredictions(OLD.with_name("version2") / "store")
    stored.verify()
    assert stored.digest == "sha256:c528e6641ffbdcdc6e2ff0b72088d96c45f2e4a105e6443fc0e1b03835efd123"  # as it was
    assert [float(p.logits.double().sum()) for p in stored] == pytest.approx([4.130133628845215, 36.91893005371094])
    shutil.copytree(stored.url, tmp_path / "store")
    file = tmp_path / "store" / "a.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(StoreError, match="expected the content with checksum sha256:"):
        StoredPredictions(tmp_path / "store")[0]
