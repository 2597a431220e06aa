"""A torchmetrics metric over tallies: any batches give the score of one tally."""

import pickle

import pytest
import torch

pytest.importorskip("torchmetrics")

from calibrant.errors import InputError
from calibrant.integrations.torchmetrics import TallyMetric
from calibrant.metrics import (
    CalibrationBins,
    LikelihoodSums,
    Measurement,
    expected_calibration_error,
    negative_log_likelihood,
)
from calibrant.predictions import IGNORE

LOGITS = torch.randn(5, 3, 6, 6, generator=torch.Generator().manual_seed(0))
LABELS = torch.randint(0, 3, (5, 6, 6), generator=torch.Generator().manual_seed(1))
LABELS[:, 0] = 255
KNOWN = LABELS.masked_fill(LABELS == 255, IGNORE)


@pytest.mark.parametrize("pooled", [True, False])
def test_batches_give_the_score_of_the_whole(pooled):
    metric = TallyMetric(pooled=pooled)
    for part in (slice(0, 2), slice(2, 5)):
        metric.update(LOGITS[part], LABELS[part])
    whole = CalibrationBins.of(LOGITS, KNOWN)
    expected = expected_calibration_error(whole.pooled() if pooled else whole).mean()
    assert float(metric.compute()["ece"]) == pytest.approx(float(expected), rel=1e-6)
    again = pickle.loads(pickle.dumps(metric))
    assert again.compute()["ece"] == metric.compute()["ece"]
    metric.reset()
    metric.update(LOGITS[:1], LABELS[:1])
    assert float(metric.compute()["ece"]) != pytest.approx(float(expected), rel=1e-3)


def test_other_tallies_and_scores():
    metric = TallyMetric({"nll": negative_log_likelihood}, tally=LikelihoodSums)
    metric.update(LOGITS, LABELS)
    expected = negative_log_likelihood(LikelihoodSums.of(LOGITS, KNOWN).pooled())
    assert float(metric.compute()["nll"]) == pytest.approx(float(expected), rel=1e-6)
    with pytest.raises(InputError, match="Make a metric for each"):
        TallyMetric(tally=Measurement)
