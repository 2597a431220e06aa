"""The words of errors at the door: what was expected, what came, what to do."""

import numpy as np
import pytest
import torch

from calibrant.calibrators import TemperatureScaling
from calibrant.calibrators.pixels import Pixels
from calibrant.errors import FitError, LabelError, LogitsError, ShapeError
from calibrant.evaluation import tally
from calibrant.metrics import CalibrationBins
from calibrant.predictions import Prediction, from_arrays, from_probabilities, split

LOGITS = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
LABELS = np.zeros((2, 4, 5), dtype=np.int64)


def changed(array, at, value):
    array = array.copy()
    array[at] = value
    return array


def test_the_class_axis_in_the_wrong_place_is_found_and_the_cure_is_named():
    with pytest.raises(ShapeError, match=r"image '0000'.*class axis.*first.*axis 2 \(3 long\).*logits.movedim\(2, 0\)"):
        from_arrays(np.moveaxis(LOGITS, 1, -1), LABELS)


def test_255_is_explained_where_it_is_a_label():
    with pytest.raises(LabelError, match=r"expected labels in 0..2.*got 255 in 1 of 20 pixels.*pass ignore_index=255"):
        from_arrays(LOGITS, changed(LABELS, (1, 0, 0), 255), ignore_index=None)


def test_labels_out_of_range_are_listed():
    with pytest.raises(LabelError, match=r"image '0001'.*expected labels in 0..2.*got -1, 7 in 2 of 20"):
        from_arrays(LOGITS, changed(changed(LABELS, (1, 0, 0), 7), (1, 1, 1), -1))


def test_labels_that_are_no_integers():
    with pytest.raises(LabelError, match=r"expected integer labels; got torch.float64.*astype"):
        from_arrays(LOGITS, LABELS / 2)


@pytest.mark.parametrize(("value", "words"), [(np.nan, "1 NaN and 0 infinite"), (np.inf, "0 NaN and 1 infinite")])
def test_numbers_that_are_not_finite_name_the_image(value, words):
    with pytest.raises(LogitsError, match=f"image '0001'.*expected finite logits; got {words} of 60"):
        from_arrays(changed(LOGITS, (1, 2, 0, 0), value), LABELS)


def test_probabilities_given_as_logits():
    probs = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
    with pytest.raises(LogitsError, match=r"before the softmax.*which are probabilities.*from_probabilities"):
        from_arrays(probs, LABELS)


def test_logits_that_happen_to_lie_between_zero_and_one_are_logits():
    assert len(from_arrays(LOGITS.clip(0, 1) / 2, LABELS)) == 2


def test_logits_given_as_probabilities():
    with pytest.raises(LogitsError, match=r"expected probabilities in \[0, 1\].*If these are logits"):
        from_probabilities(torch.from_numpy(LOGITS[0]))
    with pytest.raises(LogitsError, match=r"sum to one.*off by"):
        from_probabilities(torch.full((3, 2, 2), 0.5))


def test_label_maps_of_another_size_name_both():
    with pytest.raises(ShapeError, match=r"over space \(4, 5\) and labels over space \(8, 10\).*Resize"):
        from_arrays(LOGITS, np.zeros((2, 8, 10), dtype=np.int64))


def test_counts_of_images_that_differ():
    with pytest.raises(ShapeError, match=r"as many label maps as logit maps; got 1 and 2"):
        from_arrays(LOGITS, LABELS[:1])


def test_a_sigmoid_output_instead_of_scores():
    with pytest.raises(LogitsError, match=r"before the sigmoid"):
        from_arrays(np.full((1, 1, 2, 2), 0.5, np.float32), LABELS[:1, :2, :2])


def test_a_sigmoid_head_becomes_two_classes():
    (prediction,) = from_arrays(np.array([[[[-2.0, 3.0]]]]), np.array([[[0, 1]]]))
    assert prediction.logits.tolist() == [[[0.0, 0.0]], [[-2.0, 3.0]]]


def test_evaluation_names_the_image_that_cannot_be_counted():
    broken = Prediction("street 7", torch.full((3, 2, 2), torch.nan), torch.zeros(1, 2, 2, dtype=torch.long))
    with pytest.raises(LogitsError, match=r"street 7.*finite"):
        tally(CalibrationBins.of, [broken])


def test_forgetting_to_fit_is_a_type_error():
    with pytest.raises(TypeError, match="temperature"):
        TemperatureScaling()


def test_nothing_to_fit_on():
    void = Prediction("a", torch.zeros(3, 2, 2), torch.full((1, 2, 2), -100))
    with pytest.raises(FitError, match=r"all pixels of the 1 images are unlabelled.*ignore_index"):
        Pixels.draw([void])
    with pytest.raises(FitError, match=r"at least one image"):
        TemperatureScaling.fit([])
    with pytest.raises(FitError, match=r"images on both sides; got 0.5 of 1"):
        split([void], 0.5, seed=0)
