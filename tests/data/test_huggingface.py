"""Rows of the package ``datasets``, or of a list, as examples; nothing is downloaded."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image

from calibrant.data import huggingface_examples
from calibrant.errors import DataError, LabelError, PackageError
from calibrant.predictions import IGNORE


def rows():
    image = Image.fromarray(np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3))
    labels = np.zeros((4, 6), np.uint8)
    labels[0, :3] = [1, 2, 255]
    return [{"name": name, "image": image, "annotation": Image.fromarray(labels)} for name in ("x", "y")]


def test_rows_of_a_list():
    examples = huggingface_examples(rows(), class_names="abc", key="name")
    assert (examples.keys, len(examples), examples.num_classes) == (("x", "y"), 2, 3)
    example = examples[1]
    assert example.labels[0, 0, :4].tolist() == [1, 2, IGNORE, 0]
    assert example.image[1, 0, 1].item() == pytest.approx(4 / 255)
    assert torch.equal(examples[-1].image, example.image)
    assert huggingface_examples(rows(), class_names="abc").keys == ("00000", "00001")


def test_zero_reduced():
    examples = huggingface_examples(rows(), class_names="ab", reduce_zero_label=True)
    assert examples[0].labels[0, 0, :4].tolist() == [0, 1, IGNORE, IGNORE]


def test_a_folder_that_datasets_saved(tmp_path):
    datasets = pytest.importorskip("datasets")
    saved = datasets.DatasetDict({"validation": datasets.Dataset.from_list(rows())})
    saved.save_to_disk(tmp_path / "set")
    examples = huggingface_examples(tmp_path / "set", class_names="abc", split="validation", key="name")
    assert examples.keys == ("x", "y")
    assert torch.equal(examples[1].labels, huggingface_examples(rows(), class_names="abc")[1].labels)
    with pytest.raises(DataError, match=r"expected one of the parts validation; got None\. Name it: split="):
        huggingface_examples(tmp_path / "set", class_names="abc")


def test_what_is_wrong_is_told(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"expected the column 'label'; got name, image, annotation\."):
        huggingface_examples(rows(), class_names="abc", labels="label")
    with pytest.raises(LabelError, match=r"00000: expected label ids of column 'annotation', 0\.\.1, 255; got 2 in 1"):
        huggingface_examples(rows(), class_names="ab")[0]
    coloured = [row | {"annotation": row["image"]} for row in rows()]
    with pytest.raises(LabelError, match=r"turn colours into class numbers"):
        huggingface_examples(coloured, class_names="abc")[0]
    with pytest.raises(DataError, match="expected names that differ in the column 'name'; got 1 of 2 rows"):
        huggingface_examples([row | {"name": "x"} for row in rows()], class_names="abc", key="name")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(PackageError, match=r"the package datasets.* not installed\. Install it: .*calibrant\[hf\]"):
        huggingface_examples(tmp_path, class_names="abc")
