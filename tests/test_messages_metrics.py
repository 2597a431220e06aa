"""The words of errors of the metrics floor. (Apart, since shape checks would speak first.)"""

import pytest
import torch

from calibrant.errors import InputError, LabelError, LogitsError, ShapeError
from calibrant.metrics import (
    CalibrationBins,
    ClasswiseBins,
    Measurement,
    Score,
    bootstrap,
    boundary,
    expected_calibration_error,
)
from calibrant.predictions import IGNORE

LOGITS, LABELS = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0)), torch.zeros(2, 4, 5).long()


def with_value(tensor, value, place=(1, 0, 0)):
    changed = tensor.clone()
    changed[place] = value
    return changed


@pytest.mark.parametrize("count", [CalibrationBins.of, Measurement.of])
@pytest.mark.parametrize(
    ("logits", "labels", "error", "words"),
    [
        (LOGITS.movedim(1, -1), LABELS, ShapeError, ["(2, 4, 5, 3)", "(2, 1, 4, 5)", "movedim(-1, 1)"]),
        (LOGITS, LABELS[:1], ShapeError, ["(2, 3, 4, 5)", "(1, 1, 4, 5)"]),
        (LOGITS, LABELS[:, :, :4], ShapeError, ["expected logits (n, c, *space)", "(2, 1, 4, 4)"]),
        (LOGITS[:, :, :0], LABELS[:, :0], ShapeError, ["(2, 3, 0, 5)"]),
        (LOGITS[:, :, 0, 0], LABELS[:, 0, 0], ShapeError, ["(2, 3)"]),
        (LOGITS.long(), LABELS, LogitsError, ["floating-point", "torch.int64", "Pass the scores"]),
        (LOGITS[:, :1], LABELS, LogitsError, ["two classes or more", "(2, 1, 4, 5)", "from_sigmoid"]),
        (LOGITS, LABELS.float(), LabelError, ["integer labels", "torch.float32", "labels.long()"]),
        (LOGITS, with_value(LABELS, 255), LabelError, ["image 1 of the batch", "0..2", "1 of 20", "ignore_index=255"]),
        (LOGITS, with_value(LABELS, 3), LabelError, ["got 3", "number of classes"]),
        (LOGITS, with_value(LABELS, -1), LabelError, ["got -1"]),
        (with_value(LOGITS, torch.nan), LABELS, LogitsError, ["image 1 of the batch", "5 NaN and 0 infinite of 60"]),
        (with_value(LOGITS, torch.inf, (1, 0, 0, 0)), LABELS, LogitsError, ["0 NaN and 1 infinite", "Clamp"]),
        (with_value(LOGITS, -torch.inf, (1, 0, 0, 0)), LABELS, LogitsError, ["0 NaN and 1 infinite"]),
        (with_value(LOGITS.double(), 1e300, (0, 0, 0, 0)), LABELS, LogitsError, ["image 0", "1 infinite"]),
        (LOGITS[:0], LABELS[:0], InputError, ["at least one tally"]),
    ],
)  # fmt: skip
def test_what_cannot_be_counted(count, logits, labels, error, words):
    with pytest.raises(error) as raised:
        count(logits, labels)
    for each in words:
        assert each in str(raised.value)


def test_an_unlabelled_pixel_may_not_hold_nan_either():
    with pytest.raises(LogitsError, match="1 NaN"):
        CalibrationBins.of(with_value(LOGITS, torch.nan, (0, 0, 0, 0)), torch.full_like(LABELS, IGNORE))


@pytest.mark.parametrize(
    ("where", "words"),
    [
        (torch.ones(2, 4, 4, dtype=torch.bool), ["(2, 1, 4, 5)", "(2, 1, 4, 4)", "the same labels"]),
        (torch.ones(2, 4, 5), ["true and false", "torch.float32"]),
        (torch.ones(2, 4, 5, dtype=torch.uint8), ["true and false", "torch.uint8"]),
    ],
)
def test_masks_that_do_not_fit(where, words):
    with pytest.raises(ShapeError) as raised:
        CalibrationBins.of(LOGITS, LABELS, where=where)
    for each in words:
        assert each in str(raised.value)


def test_labels_outside_the_mask_need_not_be_classes():
    labels = with_value(LABELS, 255)
    assert CalibrationBins.of(LOGITS, labels, where=labels != 255).count.sum() == 39


def test_an_image_too_large_for_one_row():
    logits = torch.zeros(1).expand(1, 2, 2**15, 2**15 + 1)
    labels = torch.zeros(1, dtype=torch.uint8).expand(1, 2**15, 2**15 + 1)
    with pytest.raises(ShapeError, match=r"at most 1073741824 labels in one image; got \(1, 32768, 32769\).*tiles"):
        CalibrationBins.of(logits, labels)


def test_tallies_of_other_bins_do_not_stack():
    one, other = (ClasswiseBins.of(LOGITS, LABELS, num_bins=b) for b in (10, 15))
    with pytest.raises(ShapeError, match=r"same bins and classes; got .*number 1"):
        ClasswiseBins.stack([one, other])
    with pytest.raises(InputError, match="at least one tally"):
        ClasswiseBins.stack([])


def test_a_boundary_has_a_width():
    with pytest.raises(InputError, match="at least 1 pixel; got 0"):
        boundary(LABELS, width=0)


def test_bins_are_one_or_more():
    for count in (CalibrationBins.of, ClasswiseBins.of, Measurement.of):
        with pytest.raises(InputError, match="at least one bin; got 0"):
            count(LOGITS, LABELS, num_bins=0)


def test_a_bootstrap_needs_resamples():
    bins = CalibrationBins.of(LOGITS, LABELS)
    with pytest.raises(InputError, match="at least one resample; got 0"):
        bootstrap(expected_calibration_error, bins, generator=torch.Generator(), num_resamples=0)


def test_a_better_side_is_lower_or_higher():
    with pytest.raises(InputError, match=r"better side of: lower, higher.*got 'highest'. Did you mean 'higher'"):
        Score("ECE", expected_calibration_error, pooled=True, better="highest")
