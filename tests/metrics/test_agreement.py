"""The test of gaps over images: right as often as it says under calibration, and it finds what is there."""

import torch

from calibrant.metrics import CalibrationBins, GapTest, gap_test


def rows(generator, *, num_images=20, num_pixels=50, off=0.0, patchy=True):
    """Images of one confidence, 0.8, right as often less ``off``; the pixels of a patch share their fate."""
    groups = num_pixels // 10 if patchy else num_pixels
    right = torch.rand(num_images, groups, generator=generator) < 0.8 - off
    correct = right.double().sum(1) * (num_pixels / groups)
    count = torch.full((num_images, 1), num_pixels)
    return CalibrationBins(count, correct[:, None], 0.8 * count.double())


def test_calibrated_predictors_are_said_to_depart_once_in_twenty():
    """Pixels come in patches that are right or wrong together, as on real images."""
    generator = torch.Generator().manual_seed(0)
    said = sum(gap_test([rows(generator)], by="all").departs()[0] for _ in range(1000))
    assert 30 <= said <= 75  # 50 expected; binomial, three standard deviations, and t for 20 images
    found = sum(gap_test([rows(generator, off=0.15)], by="all").departs()[0] for _ in range(100))
    assert found > 80


def test_groups_are_judged_together():
    generator = torch.Generator().manual_seed(1)
    said = 0
    for _ in range(200):
        parts = [rows(generator) for _ in range(15)]
        stacked = CalibrationBins(*(torch.cat(c, 1) for c in zip(*(p.columns() for p in parts), strict=True)))
        said += any(gap_test([stacked]).departs())
    assert said <= 22  # 10 expected


def test_repetitions_of_an_image_are_one_image():
    generator = torch.Generator().manual_seed(2)
    one = CalibrationBins(*rows(generator).columns(), keys=tuple(map(str, range(20))))
    once, twice = gap_test([one], by="all"), gap_test([one, one], by="all")
    assert torch.allclose(once.p_value, twice.p_value)
    assert int(twice.num_images) == 20


def test_few_images_say_nothing_and_an_exact_match_departs_nowhere():
    generator = torch.Generator().manual_seed(3)
    few = gap_test([rows(generator, num_images=4, off=0.7)], by="all")
    assert bool(few.p_value.isnan().all())
    assert few.departs() == [False]
    exact = CalibrationBins(torch.full((6, 1), 10), torch.full((6, 1), 8), torch.full((6, 1), 8.0).double())
    assert gap_test([exact]).departs() == [False]
    empty = CalibrationBins(torch.zeros(6, 2).long(), torch.zeros(6, 2).long(), torch.zeros(6, 2).double())
    assert gap_test([empty]).departs() == [False, False]


def test_groups_are_classes_bins_or_everything():
    count = torch.randint(1, 9, (7, 3, 4), generator=torch.Generator().manual_seed(4))
    bins = CalibrationBins(count, count // 2, 0.9 * count.double())
    assert [len(gap_test([bins], by=by).gap) for by in ("bin", "group", "all")] == [4, 3, 1]
    gap = (bins.confidence - bins.correct).sum((0, 2)) / count.sum((0, 2))
    assert torch.allclose(gap_test([bins], by="group").gap, gap)
    assert isinstance(gap_test([bins]), GapTest)
