"""One row an image, whatever comes before it."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from calibrant.calibrators import TemperatureScaling
from calibrant.errors import InputError, LabelError
from calibrant.evaluation import draw_hypotheses, tally_hypotheses
from calibrant.metrics import HypothesisDistances, generalised_energy_distance
from calibrant.predictions import IGNORE
from calibrant.samplers import CopulaSampler, IndependentSampler
from calibrant.testing import toy_predictions

COUNT = partial(HypothesisDistances.of, num_classes=3)


def run(predictions, calibrator=None, sampler=None, seed=0):
    sampler = CopulaSampler(image=0.5, pixels=0.5) if sampler is None else sampler
    generator = torch.Generator().manual_seed(seed)
    return tally_hypotheses(COUNT, sampler, predictions, calibrator, num_samples=5, generator=generator)


def test_rows_do_not_depend_on_order_or_company():
    predictions = toy_predictions(num_annotators=2, void=0.0)
    forth, back, alone = run(predictions), run(predictions[::-1]), run(predictions[2:3])
    assert forth.keys == back.keys == ("toy0", "toy1", "toy2", "toy3")
    assert torch.equal(forth.to_labels, back.to_labels)
    assert torch.equal(forth.to_labels[2:3], alone.to_labels)
    assert not torch.equal(forth.to_labels, run(predictions, seed=1).to_labels)


def test_ragged_annotators_are_padded():
    predictions = toy_predictions(num_annotators=3, void=0.0)
    predictions[1] = replace(predictions[1], labels=predictions[1].labels[:2])
    rows = run(predictions)
    assert rows.label_weights[1].tolist() == [0.5, 0.5, 0.0]
    assert torch.equal(generalised_energy_distance(rows)[1:2], generalised_energy_distance(run(predictions[1:2])))


def test_the_calibrator_stands_in_front():
    predictions = toy_predictions(num_images=2, void=0.0)
    drawn = list(
        draw_hypotheses(
            IndependentSampler(),
            predictions,
            TemperatureScaling(1e-3),
            num_samples=3,
            generator=torch.Generator().manual_seed(0),
        )
    )
    for (prediction, maps), raw in zip(drawn, predictions, strict=True):
        assert torch.equal(prediction.logits, raw.logits.float() / 1e-3)
        # So cold that all but ties is certain.
        assert (maps == raw.logits.argmax(0)).double().mean() > 0.97


def test_unlabelled_images_are_left_out_and_errors_name_the_image():
    predictions = toy_predictions(num_annotators=2, void=0.0)
    void = replace(predictions[1], labels=torch.full_like(predictions[1].labels, IGNORE))
    rows = run([predictions[0], void])
    assert (rows.keys, rows.left_out) == (("toy0",), ("toy1",))
    with pytest.raises(InputError, match="got none in 1 images"):
        run([void])
    wrong = replace(predictions[3], labels=torch.full_like(predictions[3].labels, 7))
    with pytest.raises(LabelError, match="image 'toy3'"):
        run([predictions[0], wrong])
