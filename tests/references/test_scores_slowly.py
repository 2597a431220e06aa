"""Every tally and score against plain loops over pixels."""

import itertools
import math

import numpy as np
import pytest
import slow_loops as slow
import torch
from scipy.integrate import quad

import calibrant.metrics as cm
from calibrant.metrics import CalibrationBins, ClassCounts, ClasswiseBins, ConfidenceRanks, LikelihoodSums, Measurement
from calibrant.predictions import IGNORE


def batch(space=(7, 9), annotators=1, num_images=3, num_classes=4, seed=0):
    """Images with void, ties, certainty and despair; labels are right more often than not."""
    rng = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(num_images, num_classes, *space, generator=rng)
    draw = torch.rand(num_images, annotators, *space, generator=rng)
    other = torch.randint(num_classes, draw.shape, generator=rng)
    labels = torch.where(draw < 0.6, logits.argmax(1, keepdim=True), other)
    labels[torch.rand(draw.shape, generator=rng) < 0.1] = IGNORE
    flat = logits.flatten(2)
    flat[:, :, 0] = 0  # all classes tie
    flat[:, 0, 1] = 40  # a confidence of 1 in float32
    flat[:, :, 2] = torch.tensor([3.0, 3.0, 0.0, -50.0])[:num_classes]
    return logits, labels


@pytest.fixture(params=[((7, 9), 1), ((3, 4, 5), 1), ((6, 6), 3)], ids=["2-D", "3-D", "three annotators"])
def case(request):
    space, annotators = request.param
    logits, labels = batch(space, annotators)
    return logits, labels, [slow.pixels_of(*each) for each in zip(logits, labels, strict=True)]


def rows(values):
    return pytest.approx(list(values), rel=2e-6, abs=2e-7, nan_ok=True)


def test_top_label_bins(case):
    logits, labels, images = case
    for num_bins in (1, 10, 15):
        bins = CalibrationBins.of(logits, labels, num_bins=num_bins)
        for i, pixels in enumerate(images):
            expected = slow.bins_of([(p.confidence, p.correct) for p in pixels], num_bins)
            assert bins.count[i].tolist() == [count for count, _, _ in expected]
            assert bins.correct[i].tolist() == [right for _, right, _ in expected]
            assert bins.confidence[i].tolist() == rows(total for _, _, total in expected)


def test_calibration_errors(case):
    logits, labels, images = case
    together = list(itertools.chain(*images))
    bins = CalibrationBins.of(logits, labels)
    assert cm.expected_calibration_error(bins).tolist() == rows(map(slow.ece, images))
    assert cm.expected_calibration_error(bins.pooled()).item() == pytest.approx(slow.ece(together), rel=1e-6)
    assert cm.maximum_calibration_error(bins).tolist() == rows(map(slow.mce, images))
    assert cm.maximum_calibration_error(bins.pooled()).item() == pytest.approx(slow.mce(together), rel=1e-6)
    assert cm.confidence_gap(bins).tolist() == rows(map(slow.signed_gap, images))
    assert cm.mean_confidence(bins).tolist() == rows(slow.mean(p.confidence for p in image) for image in images)


def test_reliability_curve(case):
    logits, labels, images = case
    curve = cm.reliability_curve(CalibrationBins.of(logits, labels, num_bins=5))
    for i, pixels in enumerate(images):
        for b, (count, right, total) in enumerate(slow.bins_of([(p.confidence, p.correct) for p in pixels], 5)):
            found = [float(x[i, b]) for x in (curve.fraction, curve.accuracy, curve.confidence)]
            assert found == rows([count / len(pixels), *([right / count, total / count] if count else [math.nan] * 2)])


def test_classwise(case):
    logits, labels, images = case
    bins = ClasswiseBins.of(logits, labels, num_bins=10)
    for i, pixels in enumerate(images):
        for k in range(logits.shape[1]):
            expected = slow.bins_of([(p.probs[k], p.label == k) for p in pixels], 10)
            assert bins.count[i, k].tolist() == [count for count, _, _ in expected]
            assert bins.positive[i, k].tolist() == [positive for _, positive, _ in expected]
            assert bins.probability[i, k].tolist() == rows(total for _, _, total in expected)
    assert cm.classwise_calibration_error(ClasswiseBins.of(logits, labels)).tolist() == rows(
        map(slow.classwise_ece, images)
    )


def test_likelihood(case):
    logits, labels, images = case
    sums = LikelihoodSums.of(logits, labels)
    assert sums.pixels.tolist() == [len(image) for image in images]
    assert cm.negative_log_likelihood(sums).tolist() == rows(map(slow.nll, images))
    assert cm.brier_score(sums).tolist() == rows(map(slow.brier, images))
    assert cm.top_label_brier_score(sums).tolist() == rows(map(slow.brier_top, images))
    assert cm.mean_entropy(sums).tolist() == rows(map(slow.entropy, images))


def test_overlap(case):
    logits, labels, images = case
    counts = ClassCounts.of(logits, labels)
    classes = range(logits.shape[1])
    ious = [[slow.iou(image, k) for k in classes] for image in images]
    dices = [[slow.dice(image, k) for k in classes] for image in images]
    assert cm.intersection_over_union(counts).flatten().tolist() == rows(itertools.chain(*ious))
    assert cm.mean_iou(counts).tolist() == rows(np.nanmean(ious, 1))
    assert cm.dice(counts).flatten().tolist() == rows(itertools.chain(*dices))
    assert cm.pixel_accuracy(counts).tolist() == rows(map(slow.accuracy, images))


def fine_bins(ranks, i):
    """The pixels of a row as (bin, right), which is all that a tally of ranks knows."""
    found = []
    for b in np.flatnonzero(ranks.count[i].numpy()):
        right = int(ranks.correct[i, b])
        found += [(int(b), True)] * right + [(int(b), False)] * (int(ranks.count[i, b]) - right)
    return found


def test_auroc_is_that_of_all_pairs_within_its_bound(case):
    logits, labels, images = case
    ranks = ConfidenceRanks.of(logits, labels)
    for i, pixels in enumerate(images):
        assert cm.auroc(ranks)[i].item() == pytest.approx(slow.auroc(fine_bins(ranks, i)), abs=1e-12)
        exact = slow.auroc([(p.confidence, p.correct) for p in pixels])
        assert abs(cm.auroc(ranks)[i].item() - exact) <= cm.auroc_error_bound(ranks)[i].item() + 1e-9
        assert cm.auroc_error_bound(ranks)[i].item() < 0.04


def test_risk_and_coverage(case):
    logits, labels, images = case
    ranks = ConfidenceRanks.of(logits, labels)
    curve = cm.risk_coverage_curve(ranks)
    for i, pixels in enumerate(images):
        steps = slow.risks(fine_bins(ranks, i))
        at = {round(kept / len(pixels), 9): wrong / kept for kept, wrong in steps}
        for coverage, risk in zip(curve.coverage[i].tolist(), curve.risk[i].tolist(), strict=True):
            if coverage > 0:
                assert risk == pytest.approx(at[round(coverage, 9)], abs=1e-12)
        # Both areas, with errors spread evenly between two numbers of kept pixels.
        area, generalised, last = 0.0, 0.0, (0, 0.0)
        for kept, wrong in steps:
            rate = wrong - last[1]

            def risk_at(k, last=last, rate=rate):
                return (last[1] + rate * (k - last[0])) / k if k else rate

            area += quad(risk_at, last[0], kept)[0]
            generalised += (last[1] + wrong) / 2
            last = (kept, wrong)
        assert cm.aurc(ranks)[i].item() == pytest.approx(area / len(pixels), rel=1e-9)
        assert cm.augrc(ranks)[i].item() == pytest.approx(generalised / len(pixels) ** 2, rel=1e-9)
        # Without fine bins, pixel by pixel.
        exact = slow.risks([(p.confidence, p.correct) for p in pixels])
        assert cm.aurc(ranks)[i].item() == pytest.approx(slow.mean(w / k for k, w in exact), abs=0.02)


def test_adaptive_calibration_error_shares_fine_bins_in_proportion(case):
    logits, labels, _ = case
    ranks = ConfidenceRanks.of(logits, labels)
    for i in range(len(ranks)):
        parts = []  # (mass, gap) of every fine bin, cut at every edge of equal mass
        total = int(ranks.count[i].sum())
        error, place, sums = 0.0, 0.0, [0.0] * 15
        for b in np.flatnonzero(ranks.count[i].numpy()):
            mass, gap = int(ranks.count[i, b]), float(ranks.correct[i, b] - ranks.confidence[i, b])
            parts.append((place, place + mass, gap / mass))
            place += mass
        for q in range(15):
            lo, hi = q * total / 15, (q + 1) * total / 15
            sums[q] = sum(max(0.0, min(hi, end) - max(lo, start)) * gap for start, end, gap in parts)
        error = sum(map(abs, sums)) / total
        assert cm.adaptive_calibration_error(ranks)[i].item() == pytest.approx(error, abs=1e-12)


def test_adaptive_calibration_error_nears_that_of_sorted_pixels():
    rng = torch.Generator().manual_seed(3)
    logits = 3 * torch.randn(1, 5, 150, 150, generator=rng)
    labels = torch.where(torch.rand(1, 150, 150, generator=rng) < 0.7, logits.argmax(1), 0)
    confidence, prediction = logits.double().softmax(1).max(1)
    order = confidence.flatten().argsort()
    gap = (confidence - (prediction == labels).double()).flatten()[order]
    exact = gap.reshape(15, -1).sum(1).abs().sum() / gap.numel()
    found = cm.adaptive_calibration_error(ConfidenceRanks.of(logits, labels))
    assert found.item() == pytest.approx(exact.item(), abs=1e-3)


@pytest.mark.parametrize("width", [1, 2, 4])
@pytest.mark.parametrize("space", [(9, 13), (5, 6, 7)])
def test_boundary(space, width):
    rng = torch.Generator().manual_seed(width)
    labels = torch.randint(0, 2, (2, *[-(-size // 4) for size in space]), generator=rng)
    for axis, size in enumerate(space, start=1):
        labels = labels.repeat_interleave(4, axis).narrow(axis, 0, size)  # blocks, so that some pixels lie inside
    labels[torch.rand(labels.shape, generator=rng) < 0.15] = IGNORE
    expected = torch.from_numpy(slow.boundary(labels.numpy(), width))
    assert torch.equal(cm.boundary(labels, width=width), expected)
    assert torch.equal(cm.interior(labels, width=width), ~expected & (labels != IGNORE))
    assert 0 < int(expected.sum()) < int((labels != IGNORE).sum()) or width == 4


def test_measurement_by_region_correctness_and_class(case):
    logits, labels, images = case
    found = Measurement.of(logits, labels, width=1)
    edges = [slow.boundary(each.numpy(), 1) for each in labels]

    def expect(bins, choose):
        for i, pixels in enumerate(images):
            chosen = [p for p in pixels if choose(p, edges[i])]
            expected = slow.bins_of([(p.confidence, p.correct) for p in chosen], 15)
            assert bins.count[i].tolist() == [count for count, _, _ in expected]
            assert bins.correct[i].tolist() == [right for _, right, _ in expected]
            assert bins.confidence[i].tolist() == rows(total for _, _, total in expected)

    expect(found.bins, lambda p, edge: True)
    expect(found.boundary, lambda p, edge: edge[p.place])
    expect(found.interior, lambda p, edge: not edge[p.place])
    expect(found.mistaken, lambda p, edge: not p.correct)
    expect(found.correct, lambda p, edge: p.correct)
    for k in range(logits.shape[1]):
        of_class = CalibrationBins(*(column[:, k] for column in found.by_prediction.columns()))
        expect(of_class, lambda p, edge, k=k: p.prediction == k)


def test_where_restricts_every_tally(case):
    logits, labels, _ = case
    where = torch.rand(labels.shape, generator=torch.Generator().manual_seed(1)) < 0.5
    images = [slow.pixels_of(*each) for each in zip(logits, labels, where, strict=True)]
    assert cm.expected_calibration_error(CalibrationBins.of(logits, labels, where=where)).tolist() == rows(
        map(slow.ece, images)
    )
    assert cm.classwise_calibration_error(ClasswiseBins.of(logits, labels, where=where)).tolist() == rows(
        map(slow.classwise_ece, images)
    )
    assert cm.negative_log_likelihood(LikelihoodSums.of(logits, labels, where=where)).tolist() == rows(
        map(slow.nll, images)
    )
    assert cm.pixel_accuracy(ClassCounts.of(logits, labels, where=where)).tolist() == rows(map(slow.accuracy, images))
    ranks = ConfidenceRanks.of(logits, labels, where=where)
    assert ranks.count.sum(1).tolist() == [len(image) for image in images]
    found = Measurement.of(logits, labels, where=where, width=1)
    assert cm.expected_calibration_error(found.bins).tolist() == rows(map(slow.ece, images))
    # The boundary is that of the whole label map, not of the mask.
    near = [slow.boundary(each.numpy(), 1) for each in labels]
    assert found.boundary.count.sum(1).tolist() == [
        sum(bool(near[i][p.place]) for p in image) for i, image in enumerate(images)
    ]


def test_mistaken_marks_labelled_pixels_that_are_wrong():
    logits, labels = batch()
    marked = cm.mistaken(logits, labels[:, 0])
    for i in range(len(logits)):
        wrong = {p.place[1:] for p in slow.pixels_of(logits[i], labels[i]) if not p.correct}
        assert {tuple(place) for place in marked[i].nonzero().tolist()} == wrong


def test_brier_decomposition_with_what_is_left_within_bins(case):
    logits, labels, images = case
    parts = cm.brier_decomposition(CalibrationBins.of(logits, labels))
    for i, pixels in enumerate(images):
        within = 0.0
        for b in range(15):
            here = [p for p in pixels if slow.bin_number(p.confidence, 15) == b]
            if here:
                sure, right = slow.mean(p.confidence for p in here), slow.mean(p.correct for p in here)
                within += sum(
                    (p.confidence - sure) ** 2 - 2 * (p.confidence - sure) * (p.correct - right) for p in here
                )
        whole = parts.reliability[i] - parts.resolution[i] + parts.uncertainty[i] + within / len(pixels)
        assert whole.item() == pytest.approx(slow.brier_top(pixels), abs=1e-6)
        accuracy = slow.accuracy(pixels)
        assert parts.uncertainty[i].item() == pytest.approx(accuracy * (1 - accuracy))


def test_brier_decomposition_is_exact_where_confidences_in_a_bin_are_equal():
    rng = torch.Generator().manual_seed(0)
    levels = torch.tensor([0.2, 1.0, 2.5, 6.0])
    gap = levels[torch.randint(4, (2, 8, 8), generator=rng)]
    logits = torch.stack([gap, torch.zeros_like(gap)], 1)
    labels = torch.randint(2, (2, 8, 8), generator=rng)
    parts = cm.brier_decomposition(CalibrationBins.of(logits, labels))
    expected = cm.top_label_brier_score(LikelihoodSums.of(logits, labels))
    found = parts.reliability - parts.resolution + parts.uncertainty
    assert found.tolist() == pytest.approx(expected.tolist(), rel=1e-12)
