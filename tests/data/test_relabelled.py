"""Label spaces merged: labels by look-up, logits by adding probabilities."""

import math

import pytest
import torch

from calibrant.data import (
    ADE20K_TO_COMMON,
    CITYSCAPES_TO_CAMVID,
    COCO_STUFF_TO_COMMON,
    SYNTHIA_TO_CITYSCAPES,
    LabelMap,
    relabelled,
)
from calibrant.errors import InputError, LabelError, ShapeError
from calibrant.predictions import IGNORE, Example, Prediction, Predictions

MAP = LabelMap.of(["a", "b", "c", "d"], ["x", "y", "none"], {"x": ["a", "c"], "y": ["b"]})


def logits(num_classes=4, size=(5, 6)):
    return torch.randn(num_classes, *size, generator=torch.Generator().manual_seed(0)) * 4


def test_merged_probabilities_add_up_given_that_a_kept_class_is_meant():
    probs = logits().double().softmax(0)
    kept = probs[:3].sum(0)
    merged = MAP.logits(logits().double()).softmax(0)
    assert torch.allclose(merged[0], (probs[0] + probs[2]) / kept, atol=1e-12)
    assert torch.allclose(merged[1], probs[1] / kept, atol=1e-12)
    assert (merged[2] < 1.3e-38).all()


def test_a_map_onto_itself_changes_no_probability():
    same = LabelMap(tuple("abcd"), tuple("abcd"), (0, 1, 2, 3))
    assert torch.equal(same.logits(logits()), logits())
    labels = torch.tensor([[0, 3, IGNORE]])
    assert torch.equal(same.labels(labels), labels)


def test_labels():
    assert MAP.labels(torch.tensor([[0, 1, 2, 3, IGNORE]])).tolist() == [[0, 1, 0, IGNORE, IGNORE]]
    with pytest.raises(LabelError, match=r"labels to be merged: expected labels in 0\.\.3, or unlabelled; got 4"):
        MAP.labels(torch.tensor([4]))


def test_half_precision_is_merged_in_float32_and_stays_finite():
    merged = MAP.logits(logits().half())
    assert merged.dtype == torch.float32
    assert merged.isfinite().all()


def test_wrong_maps_and_logits_are_told():
    with pytest.raises(LabelError, match=r"'a' → 'y' goes to two classes"):
        LabelMap.of("ab", "xy", {"x": ["a"], "y": ["a"]})
    with pytest.raises(LabelError, match=r"'c' → 'x' is not there"):
        LabelMap.of("ab", "xy", {"x": ["c"]})
    with pytest.raises(LabelError, match=r"one target for each of 2 classes, in 0\.\.0 or -100"):
        LabelMap(("a", "b"), ("x",), (0, 1))
    with pytest.raises(ShapeError, match=r"logits of 4 classes, a, …; got 3"):
        MAP.logits(logits(3))
    with pytest.raises(LabelError, match=r"expected a map .* got none"):
        relabelled([])
    with pytest.raises(LabelError, match=r"into the same classes; got 11 classes .* and 19 classes"):
        relabelled([], labels=CITYSCAPES_TO_CAMVID, logits=SYNTHIA_TO_CITYSCAPES)


def test_a_source_is_relabelled_when_read():
    labels = torch.tensor([[[0, 1, 3]]])
    predictions = relabelled([Prediction("k", logits(4, (1, 3)), labels)], labels=MAP, logits=MAP)
    assert isinstance(predictions, Predictions)
    assert (predictions.keys, predictions.class_names, predictions.num_classes) == (("k",), ("x", "y", "none"), 3)
    assert predictions[0].checked().labels.tolist() == [[[0, 1, IGNORE]]]
    examples = [Example("k", torch.zeros(3, 1, 3), labels)]
    assert [e.labels.tolist() for e in relabelled(examples, labels=MAP)] == [[[[0, 1, IGNORE]]]]
    with pytest.raises(InputError, match=r"k: expected a prediction; got an example without logits"):
        relabelled(examples, logits=MAP)[0]
    only = relabelled([Prediction("k", logits(4, (1, 3)), labels)], logits=MAP)
    assert torch.equal(only[0].labels, labels)


@pytest.mark.parametrize(
    ("label_map", "pairs"),
    [
        (ADE20K_TO_COMMON, {"van": "car", "hovel": "building", "lake": "river", "minibike": "motorcycle"}),
        (COCO_STUFF_TO_COMMON, {"wall-brick": "wall", "zebra": "animal", "mud": "terrain", "tv": "television"}),
        (SYNTHIA_TO_CITYSCAPES, {"lane marking": "road", "pedestrian": "person", "sky": "sky", "bus": "bus"}),
        (CITYSCAPES_TO_CAMVID, {"truck": "Car", "rider": "Bicyclist", "sidewalk": "Pavement", "sky": "Sky"}),
    ],
)
def test_published_maps_reach_every_class(label_map, pairs):
    assert set(label_map.targets) == {*range(label_map.num_classes), IGNORE}
    for old, new in pairs.items():
        assert label_map.class_names[label_map.targets[label_map.from_names.index(old)]] == new


def test_classes_that_cityscapes_and_camvid_do_not_share():
    def left_out(m):
        return {name for name, k in zip(m.from_names, m.targets, strict=True) if k == IGNORE}

    assert left_out(CITYSCAPES_TO_CAMVID) == {"wall", "terrain", "train", "motorcycle"}
    assert left_out(SYNTHIA_TO_CITYSCAPES) == {"parking slot", "road work"}
    assert math.isclose(len(left_out(ADE20K_TO_COMMON)) / 150, 0.3, abs_tol=0.1)
