"""Sampled frequencies: slow loops, known laws, exact expectations."""

import itertools
import math

import numpy as np
import pytest
import torch

from calibrant.metrics import (
    FlipCounts,
    SampleDivergence,
    SampleFrequencies,
    classwise_calibration_error,
    expected_calibration_error,
    expected_sample_divergence,
    flip_frequencies,
    flip_offsets,
    sample_divergence,
)
from calibrant.predictions import IGNORE


def maps(*shape, num_classes=3, seed=0):
    return torch.randint(num_classes, shape, generator=torch.Generator().manual_seed(seed))


def test_frequencies_are_those_of_a_slow_loop():
    m, n, num_bins = 5, 2, 4
    hypotheses, labels = maps(m, n, 4, 5), maps(n, 3, 4, 5, seed=1)
    labels[0, 0, :2] = IGNORE
    labels[1, :, 0] = IGNORE
    weights = torch.tensor([[1.0, 2, 1], [1, 1, 0]])
    found = SampleFrequencies.of(hypotheses, labels, num_classes=3, num_bins=num_bins, weights=weights)
    for i in range(n):
        top, classwise = np.zeros((3, num_bins)), np.zeros((3, 3, num_bins))
        for pixel in np.ndindex(4, 5):
            annotators = [(float(w), int(y[pixel])) for w, y in zip(weights[i], labels[i], strict=True)]
            annotators = [(w, y) for w, y in annotators if y != IGNORE and w > 0]
            if not annotators:
                continue
            total = sum(w for w, _ in annotators)
            said = [int(x[i][pixel]) for x in hypotheses]
            for k in range(3):
                share = sum(w for w, y in annotators if y == k) / total
                # Bins (lo, hi] in whole numbers: b / num_bins < times / m <= (b + 1) / num_bins.
                bins = [b for b in range(num_bins) if b * m < said.count(k) * num_bins <= (b + 1) * m]
                here = np.array([1, share, said.count(k) / m])
                classwise[:, k, bins[0] if bins else 0] += here
                if k == max(range(3), key=lambda c: (said.count(c), -c)):
                    top[:, bins[0]] += here
        for row, slow in ((found.top, top), (found.classwise, classwise)):
            for column, expected in zip(row.columns(), slow, strict=True):
                np.testing.assert_allclose(column[i], expected, atol=1e-12)


def test_samples_with_the_annotators_frequencies_are_calibrated():
    labels = maps(2, 4, 8, 8)
    found = SampleFrequencies.of(labels.movedim(1, 0).repeat(3, 1, 1, 1), labels, num_classes=3)
    assert float(expected_calibration_error(found.top.pooled())) == pytest.approx(0, abs=1e-12)
    assert float(classwise_calibration_error(found.classwise).max()) == pytest.approx(0, abs=1e-12)
    collapsed = SampleFrequencies.of(labels.movedim(1, 0)[:1], labels, num_classes=3)
    agree = (labels[:, :1] == labels).double().mean((1, 2, 3))
    torch.testing.assert_close(expected_calibration_error(collapsed.top), 1 - agree)


def test_divergence_by_hand_and_its_expectation_over_all_draws():
    """Two pixels, three classes, two samples: all 81 pairs of maps, weighted by their probability."""
    logits = torch.tensor([[[0.0, 1.0], [2.0, 0.5], [-1.0, 0.0]]])
    probs = logits[0].double().softmax(0)
    expected = 0.0
    for draw in itertools.product(range(3), repeat=4):
        hypotheses = torch.tensor(draw).view(2, 1, 2)
        chance = math.prod(float(probs[k, pixel]) for k, pixel in zip(draw, (0, 1, 0, 1), strict=True))
        found = SampleDivergence.of(hypotheses, logits)
        expected += chance * float(sample_divergence(found))
    assert float(expected_sample_divergence(found)) == pytest.approx(expected, abs=1e-7)
    same = SampleDivergence.of(torch.tensor([[[1, 1]], [[1, 1]]]), logits)
    assert float(sample_divergence(same)) == pytest.approx(float(-probs[1].log().mean()))
    half = SampleDivergence.of(torch.tensor([[[1, 1]], [[0, 1]]]), logits, where=torch.tensor([[True, False]]))
    by_hand = math.log(0.5) - 0.5 * float(probs[0, 0].log() + probs[1, 0].log())
    assert float(sample_divergence(half)) == pytest.approx(by_hand)
    assert half.pixels.tolist() == [1]
    nowhere = SampleDivergence.of(torch.tensor([[[1, 1]]]), logits, where=torch.zeros(1, 2, dtype=torch.bool))
    assert nowhere.pixels.tolist() == [0]
    assert bool(sample_divergence(nowhere).isnan())


def test_divergence_of_many_samples_is_expected():
    rng = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(1, 4, 60, 60, generator=rng)
    flat = logits[0].flatten(1).softmax(0).T
    drawn = torch.multinomial(flat, 100, replacement=True, generator=rng).T.reshape(100, 1, 60, 60)
    found = SampleDivergence.of(drawn, logits)
    assert float(sample_divergence(found)) == pytest.approx(float(expected_sample_divergence(found)), rel=0.03)
    wrong = SampleDivergence.of(drawn, 0.8 * logits)
    assert float(sample_divergence(wrong)) > 1.5 * float(expected_sample_divergence(wrong))


def test_flips_are_counted_over_the_clean_class():
    clean = torch.tensor([[0, 0, 0, 1], [1, 1, IGNORE, 2]])
    hypotheses = torch.tensor([[[3, 0, 2, 4], [1, 4, 3, 3]], [[3, 3, 0, 1], [1, 4, 0, 0]]])
    found = FlipCounts.of(hypotheses, clean, pairs=[(0, 3), (1, 4)])
    assert found.asked.tolist() == [[6, 2], [0, 4]]
    assert found.kept.tolist() == [[2, 1], [0, 2]]
    assert found.flipped.tolist() == [[3, 1], [0, 2]]
    pooled = flip_frequencies(found.pooled())
    torch.testing.assert_close(pooled, torch.tensor([[[2 / 6, 3 / 6], [0.5, 0.5]]]).double())
    offsets = flip_offsets(found.pooled(), [0.25, 0.5])
    torch.testing.assert_close(offsets, torch.tensor([[[0.75 - 2 / 6, 0.25], [0, 0]]]).double())
    assert flip_frequencies(found)[1, 0].isnan().all()


def test_probabilities_of_flips_are_summed_where_asked():
    logits = torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(0))
    clean, where = maps(2, 3, 4), maps(2, 3, 4, num_classes=2, seed=3).bool()
    found = FlipCounts.of_probabilities(logits, clean, pairs=[(0, 3), (2, 4)], where=where)
    probs = logits.softmax(1)
    for j, pair in enumerate([(0, 3), (2, 4)]):
        for i in range(2):
            asked = (clean[i] == pair[0]) & where[i]
            assert int(found.asked[i, j]) == int(asked.sum())
            for column, k in zip((found.kept, found.flipped), pair, strict=True):
                assert float(column[i, j]) == pytest.approx(float(probs[i, k][asked].sum()), rel=1e-6)
