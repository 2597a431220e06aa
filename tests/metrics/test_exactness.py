"""The same bits however images come: batches, shards, threads, memory order; and counts beyond float32."""

import numpy as np
import pytest
import torch

import calibrant.metrics as cm
from calibrant.metrics import CalibrationBins, ClassCounts, ClasswiseBins, ConfidenceRanks, LikelihoodSums, Measurement
from calibrant.predictions import IGNORE

KINDS = [CalibrationBins, ClasswiseBins, LikelihoodSums, ClassCounts, ConfidenceRanks, Measurement]


def batch(shape=(7, 5, 13, 17), seed=0, scale=3.0):
    rng = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(shape, generator=rng)
    labels = torch.randint(shape[1], (shape[0], *shape[2:]), generator=rng)
    labels[torch.rand(labels.shape, generator=rng) < 0.1] = IGNORE
    return logits, labels


def same(first, second) -> bool:
    pairs = list(zip(first.columns(), second.columns(), strict=True))
    return all(torch.equal(a, b) and a.dtype == b.dtype for a, b in pairs)


@pytest.mark.parametrize("kind", KINDS)
def test_any_batch_size_gives_the_same_bits(kind):
    logits, labels = batch()
    whole = kind.of(logits, labels)
    for size in (1, 3):
        parts = [kind.of(*each) for each in zip(logits.split(size), labels.split(size), strict=True)]
        assert same(kind.stack(parts), whole)


def test_any_sharding_gives_the_same_bits():
    logits, labels = batch()
    keys = tuple(f"{i:02d}" for i in range(len(logits)))
    whole = Measurement.of(logits, labels)
    for seed in range(3):
        order = torch.randperm(len(logits), generator=torch.Generator().manual_seed(seed))
        shards = []
        for part in order.split(3):
            rows = Measurement.of(logits[part], labels[part])
            object.__setattr__(rows, "keys", tuple(keys[i] for i in part))
            shards.append(rows)
        stacked = Measurement.stack(shards)
        assert stacked.keys == keys
        assert same(stacked, whole)
        assert Measurement.stack(shards[:1]).keys == tuple(sorted(shards[0].keys))


@pytest.mark.parametrize("kind", [CalibrationBins, Measurement])
def test_any_number_of_threads_gives_the_same_bits(kind):
    logits, labels = batch((1, 9, 300, 331))  # more than one chunk of pixels, more than one block each
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = kind.of(logits, labels)
        torch.set_num_threads(4)
        assert same(kind.of(logits, labels), alone)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.untyped
def test_the_sum_of_very_many_rows_has_the_same_bits_on_any_number_of_threads():
    values = torch.randn(2**18 + 5, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows = cm.LikelihoodSums(*[values] * len(list(LikelihoodSums.of(*batch()).columns())))
    threads, plain = torch.get_num_threads(), set()
    try:
        torch.set_num_threads(1)
        alone = rows.pooled()
        for count in (1, 2, 3, 4):
            torch.set_num_threads(count)
            plain.add(float(values.sum()))
            assert same(rows.pooled(), alone)
    finally:
        torch.set_num_threads(threads)
    assert len(plain) > 1  # torch's own sum has not
    assert torch.allclose(next(alone.columns()), values.sum(0), rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_any_order_in_memory_gives_the_same_bits(kind):
    logits, labels = batch()
    whole = kind.of(logits, labels)
    assert same(kind.of(logits.to(memory_format=torch.channels_last), labels), whole)
    assert same(kind.of(logits.mT.contiguous().mT, labels), whole)
    assert same(kind.of(torch.cat([logits, logits], 3)[..., : logits.shape[3]], labels), whole)
    assert same(kind.of(logits.double().requires_grad_(), labels.to(torch.int16)[:, None]), whole)


def test_labels_in_any_integer_type_count_alike():
    logits, labels = batch((2, 200, 4, 5))
    labels = labels.clamp_min(0)
    whole = Measurement.of(logits, labels)
    for dtype in (torch.int16, torch.int32):
        assert same(Measurement.of(logits, labels.to(dtype)), whole)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_read_as_the_numbers_it_holds(dtype):
    logits, labels = batch()
    logits = logits.to(dtype)
    assert same(Measurement.of(logits, labels), Measurement.of(logits.float(), labels))


def test_space_is_a_list_of_pixels():
    """Two and three dimensions, and no dimension at all, are the same code; only the boundary looks at places."""
    logits, labels = batch((3, 5, 4, 3, 7))
    for kind in KINDS[:-1]:
        assert same(kind.of(logits, labels), kind.of(logits.flatten(2), labels.flatten(1)))


def test_several_annotators_count_each_label_once():
    logits, labels = batch((4, 5, 6, 7))
    more = torch.stack([labels, labels.roll(1, 1), torch.full_like(labels, IGNORE)], 1)
    for kind in KINDS[:-1]:
        both = kind.of(logits, more)
        apart = [kind.of(logits, more[:, a]) for a in range(3)]
        for column, *parts in zip(both.columns(), *(each.columns() for each in apart), strict=True):
            assert torch.allclose(column, sum(parts), rtol=1e-12, atol=1e-12)


def test_ties_go_to_the_first_class():
    for num_classes in (2, 19, 255, 256, 300):
        logits = torch.zeros(1, num_classes, 2, 3)
        logits[0, num_classes - 1, 0] = 1
        logits[0, num_classes // 2 - 1, 0] = 1
        counts = ClassCounts.of(logits, torch.zeros(1, 2, 3, dtype=torch.long))
        assert counts.predicted[0].nonzero().flatten().tolist() == sorted({0, num_classes // 2 - 1})
        assert counts.intersection[0, 0] == (6 if num_classes == 2 else 3)


def test_confidence_on_an_edge_belongs_to_the_bin_below():
    logits = torch.tensor([[[0.0, 200.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]])
    bins = CalibrationBins.of(logits, torch.zeros(1, 2, dtype=torch.long), num_bins=4)
    assert bins.count.tolist() == [[1, 0, 0, 1]]
    assert bins.confidence.tolist() == [[0.25, 0, 0, 1]]
    of_class = ClasswiseBins.of(logits, torch.zeros(1, 2, dtype=torch.long), num_bins=4)
    assert of_class.count[0, 0].tolist() == [1, 0, 0, 1]
    assert of_class.count[0, 1].tolist() == [2, 0, 0, 0]  # a probability of 0 lies in the first bin


def test_a_single_class_present_and_no_mistake():
    logits = torch.tensor([4.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 3, 3)
    found = Measurement.of(logits, torch.zeros(1, 3, 3, dtype=torch.long))
    scores = {name: score.of(found).item() for name, score in cm.SCORES.items()}
    assert scores["miou"] == scores["dice"] == scores["accuracy"] == 1
    assert scores["aurc"] == scores["augrc"] == 0
    undefined = {name for name, value in scores.items() if np.isnan(value)}
    assert undefined == {"auroc", "ece_boundary", "confidence_mistaken"}


def test_a_row_without_labelled_pixels_scores_nan_and_spoils_no_other():
    logits, labels = batch()
    labels[:, :7] = 0  # an interior
    labels[2] = IGNORE
    found = Measurement.of(logits, labels)
    for name, score in cm.SCORES.items():
        values = score.of(found)
        assert values[2].isnan(), name
        others = score.of(found.take([0, 1, 3, 4, 5, 6]))
        assert torch.equal(values[[0, 1, 3, 4, 5, 6]], others), name
        assert not others.isnan().any(), name


def test_extreme_but_finite_logits_count():
    low, high = torch.finfo(torch.float32).min, torch.finfo(torch.float32).max
    logits = torch.tensor([[[low, high, 0.0], [high, low, low]]])
    found = Measurement.of(logits[..., None], torch.tensor([[[1], [0], [0]]]))
    assert found.bins.count[0, -1] == 3
    assert found.likelihood.entropy.item() == 0
    assert found.likelihood.nll.item() == 0
    worst = LikelihoodSums.of(logits, torch.tensor([[0, 0, 0]]))
    assert torch.isfinite(worst.nll).all()


def test_a_bin_with_more_pixels_than_float32_can_count():
    height, width = 4096, 4200
    logits = torch.tensor([3.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, height, width)
    labels = torch.zeros(1, height, width, dtype=torch.int8)
    labels[0, :, :1001] = 1
    bins = CalibrationBins.of(logits, labels)
    pixels, right = height * width, height * (width - 1001)
    assert pixels > 2**24
    assert bins.count.sum() == bins.count.max() == pixels
    assert bins.correct.sum() == right
    sure = torch.tensor([3.0, 0.0]).double().softmax(0)[0].item()
    assert bins.confidence.sum().item() == pytest.approx(pixels * sure, rel=1e-7)
    assert cm.expected_calibration_error(bins).item() == pytest.approx(abs(right / pixels - sure), rel=1e-6)


def test_sums_over_images_do_not_overflow_32_bits():
    logits, labels = batch((1, 3, 4, 4))
    row = Measurement.of(logits, labels)
    large = row.mapped(lambda column: column * 2**26 if column.dtype == torch.int32 else column * 2.0**26)
    many = Measurement.stack([large] * 100)
    assert next(many.columns()).dtype == torch.int32
    whole = many.pooled()
    assert whole.bins.count.sum() == 100 * 2**26 * int((labels != IGNORE).sum())
    for name, score in cm.SCORES.items():
        if name != "ece_images_null":  # the one that depends on how many pixels there are
            expected = score.of(row).item()
            assert score.of(whole).item() == pytest.approx(expected, rel=1e-9, nan_ok=True), name
