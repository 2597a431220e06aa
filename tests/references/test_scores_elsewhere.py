"""Scores against independent libraries: torchmetrics and scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.metrics import brier_score_loss, f1_score, jaccard_score, log_loss, roc_auc_score

import calibrant.metrics as cm
from calibrant.metrics import CalibrationBins, ClassCounts, ConfidenceRanks, LikelihoodSums
from calibrant.predictions import IGNORE


@pytest.fixture(scope="module")
def case():
    """Two images without certainty, so that every library bins alike; a tenth is void."""
    rng = torch.Generator().manual_seed(5)
    logits = 1.5 * torch.randn(2, 6, 40, 50, generator=rng)
    labels = torch.where(torch.rand(2, 40, 50, generator=rng) < 0.6, logits.argmax(1), 0)
    labels[torch.rand(labels.shape, generator=rng) < 0.1] = IGNORE
    return logits, labels


@pytest.fixture(scope="module")
def flat(case):
    """Probabilities (p, c), labels and predictions of the labelled pixels, as numpy arrays."""
    logits, labels = case
    kept = labels != IGNORE
    probs = logits.double().softmax(1).movedim(1, -1)[kept].numpy()
    return probs, labels[kept].numpy(), probs.argmax(1)


@pytest.mark.parametrize("norm", ["l1", "max"])
def test_calibration_error_of_torchmetrics(case, norm):
    from torchmetrics.classification import MulticlassCalibrationError

    logits, labels = case
    metric = MulticlassCalibrationError(6, n_bins=15, norm=norm, ignore_index=IGNORE)
    expected = metric(logits.softmax(1), labels).item()
    bins = CalibrationBins.of(logits, labels).pooled()
    ours = cm.expected_calibration_error(bins) if norm == "l1" else cm.maximum_calibration_error(bins)
    assert ours.item() == pytest.approx(expected, rel=1e-5)


def test_overlap_of_torchmetrics(case):
    from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score, MulticlassJaccardIndex

    logits, labels = case
    counts = ClassCounts.of(logits, labels).pooled()
    options = {"num_classes": 6, "average": "none", "ignore_index": IGNORE}
    iou = MulticlassJaccardIndex(**options)(logits, labels)
    f1 = MulticlassF1Score(**options)(logits, labels)
    accuracy = MulticlassAccuracy(6, average="micro", ignore_index=IGNORE)(logits, labels)
    assert cm.intersection_over_union(counts)[0].tolist() == pytest.approx(iou.tolist(), rel=1e-6)
    assert cm.dice(counts)[0].tolist() == pytest.approx(f1.tolist(), rel=1e-6)
    assert cm.mean_iou(counts).item() == pytest.approx(iou.mean().item(), rel=1e-6)
    assert cm.pixel_accuracy(counts).item() == pytest.approx(accuracy.item(), rel=1e-6)


def test_overlap_of_scikit_learn(case, flat):
    _, labels, predictions = flat
    counts = ClassCounts.of(*case).pooled()
    assert cm.intersection_over_union(counts)[0].numpy() == pytest.approx(
        jaccard_score(labels, predictions, average=None)
    )
    assert cm.dice(counts)[0].numpy() == pytest.approx(f1_score(labels, predictions, average=None))


def test_proper_scores_of_scikit_learn(case, flat):
    probs, labels, predictions = flat
    sums = LikelihoodSums.of(*case).pooled()
    assert cm.negative_log_likelihood(sums).item() == pytest.approx(log_loss(labels, probs), rel=1e-6)
    binary = brier_score_loss(predictions == labels, probs.max(1))
    assert cm.top_label_brier_score(sums).item() == pytest.approx(binary, rel=1e-6)
    whole = np.square(probs - np.eye(6)[labels]).sum(1).mean()
    assert cm.brier_score(sums).item() == pytest.approx(whole, rel=1e-6)


def test_auroc_of_scikit_learn(case, flat):
    probs, labels, predictions = flat
    ranks = ConfidenceRanks.of(*case).pooled()
    exact = roc_auc_score(predictions == labels, probs.max(1))
    assert abs(cm.auroc(ranks).item() - exact) < 5e-4
    assert abs(cm.auroc(ranks).item() - exact) <= cm.auroc_error_bound(ranks).item()
