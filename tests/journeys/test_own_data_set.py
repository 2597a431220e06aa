"""A data set of one's own, declared outside the package: read, predicted, stored and measured, by command too.

Nothing here but public names: what a user writes who has read the documentation.
"""

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from calibrant.cli import main
from calibrant.data import DataSet, StoredPredictions, split_by_group, write_store
from calibrant.errors import DataError, LabelError, MethodError
from calibrant.evaluation import tally
from calibrant.metrics import CalibrationBins, expected_calibration_error
from calibrant.models import ModelPredictions
from calibrant.predictions import IGNORE, Mapped, keys_of

DECLARED = '''
import torch
from calibrant.data import DataSet
from calibrant.predictions import IGNORE

ORCHARDS = DataSet(
    "Orchards",
    "the page of the orchards (orchards.example)",
    """orchards/
       ├── photos/{2024,2025}/ROW/TREE.jpg
       └── outlines/{2024,2025}/ROW/TREE_ids.png""",
    images="photos/{}/*.jpg",
    labels="outlines/{}/*_ids.png",
    class_names=("grass", "trunk", "apple"),
    table={10: 0, 20: 1, 31: 2, 32: 2, 0: IGNORE},
    ignore="0, out of focus",
    splits={"fit": ("2024",), "test": ("2025",), "all": ("2024", "2025")},
    folder_name="orchards",
)


def orchards(path, split="test"):
    return ORCHARDS.examples(path, split)


def row(key):
    return key.split("/")[0]


def model():
    torch.manual_seed(0)
    return torch.nn.Conv2d(3, 3, 2, stride=2)


def nothing(path):
    return 7
'''


@pytest.fixture
def declared(tmp_path, monkeypatch):
    """The module of the user's, and three images in the layout that it declares."""
    rng = np.random.default_rng(0)
    for year, tree in (("2024", "r1/t1"), ("2025", "r1/t2"), ("2025", "r2/t1")):
        photo = tmp_path / f"orchards/photos/{year}/{tree}.jpg"
        outline = tmp_path / f"orchards/outlines/{year}/{tree}_ids.png"
        for file in (photo, outline):
            file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 12, 3), dtype=np.uint8)).save(photo)
        ids = rng.choice(np.array([10, 20, 31, 32], np.uint8), (8, 12))
        ids[0] = 0
        Image.fromarray(ids).save(outline)
    (tmp_path / "orchard_code.py").write_text(DECLARED)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    import orchard_code

    yield orchard_code
    del sys.modules["orchard_code"]


def calibrant(monkeypatch, capsys, *arguments):
    monkeypatch.setattr("sys.argv", ["calibrant", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    printed = capsys.readouterr()
    return stopped.value.code or 0, printed.out, " ".join(printed.err.split())


def test_it_is_read_as_declared(declared, tmp_path):
    assert isinstance(declared.ORCHARDS, DataSet)
    test = declared.orchards(tmp_path)
    assert (test.name, test.keys) == ("Orchards test", ("r1/t2", "r2/t1"))
    assert declared.orchards(tmp_path / "orchards", "all").keys == ("r1/t1", "r1/t2", "r2/t1")
    ids = np.array(Image.open(tmp_path / "orchards/outlines/2025/r1/t2_ids.png")).astype(int)
    wanted = np.vectorize({10: 0, 20: 1, 31: 2, 32: 2, 0: IGNORE}.get)(ids)
    assert test[0].labels[0].tolist() == wanted.tolist()
    assert (test[0].image.shape, test.num_classes) == ((3, 8, 12), 3)
    one, other = split_by_group(test, (1, 1), group=declared.row, seed=0)
    assert len({*one.keys, *other.keys}) == 2


def test_what_is_wrong_with_it_is_told_as_of_any_other(declared, tmp_path):
    with pytest.raises(
        DataError, match=r"expected the folder of Orchards.*orchards\.example[\s\S]*photos/\{2024,2025\}"
    ):
        declared.orchards(tmp_path / "nowhere")
    with pytest.raises(MethodError, match="split of Orchards of: fit, test, all; got 'tset'"):
        declared.orchards(tmp_path, "tset")
    file = tmp_path / "orchards/outlines/2025/r1/t2_ids.png"
    Image.new("L", (12, 8), 11).save(file)
    with pytest.raises(LabelError, match=r"t2_ids\.png: expected label ids of Orchards, 0, 10, 20, 31\.\.32; got 11"):
        declared.orchards(tmp_path)[0]
    file.unlink()
    with pytest.raises(DataError, match=r"image 'r1/t2' of Orchards: expected labels at .*2025/r1/t2_ids\.png"):
        declared.orchards(tmp_path)


def test_it_is_predicted_stored_and_measured(declared, tmp_path):
    predictions = ModelPredictions(declared.model(), declared.orchards(tmp_path, "all"))
    stored = write_store(predictions, tmp_path / "store")
    assert stored.keys == keys_of(predictions) == ("r1/t1", "r1/t2", "r2/t1")
    counted = tally(CalibrationBins.of, stored)
    labelled = sum(int((p.labels != IGNORE).sum()) for p in predictions)
    assert int(counted.pooled().count.sum()) == labelled == 3 * 7 * 12
    # The darker the photo, the less there is to see: a source seen through a function of the user's.
    dark = Mapped(declared.orchards(tmp_path, "all"), darkened)
    assert (dark.keys, dark.class_names) == (stored.keys, ("grass", "trunk", "apple"))
    other = tally(CalibrationBins.of, ModelPredictions(declared.model(), dark))
    ece = expected_calibration_error(counted)
    assert ece.shape == (3,)
    assert not torch.equal(ece, expected_calibration_error(other))


def darkened(example):
    return type(example)(example.key, 0.1 * example.image, example.labels)


def test_the_command_line_takes_it_as_it_is(declared, tmp_path, monkeypatch, capsys):
    def predict(dataset, *options):
        given = ("predict", "orchard_code:model", "orchards", "--dataset", dataset, *options, "-o", tmp_path / "store")
        return calibrant(monkeypatch, capsys, *given)

    code, _, told = predict("orchard_code:orchards", "--split", "all")
    assert code == 2
    assert "orchard_code:orchards: expected permission to run code" in told
    for wrong, words in (
        ("orchard_code:nothing", "expected examples, with a length and read by number"),
        ("orchard_code:DECLARED", "expected 'DECLARED' in the Python module 'orchard_code'"),
        ("no_such_code:orchards", "No module named 'no_such_code'"),
    ):
        code, _, told = predict(wrong, "--trust")
        assert code == 2
        assert words in told
    code, out, told = predict("orchard_code:orchards", "--split", "all", "--trust")
    assert (code, told) == (0, "")
    assert "3 images, 3 classes" in out
    stored = StoredPredictions(tmp_path / "store")
    assert stored.class_names == ("grass", "trunk", "apple")
    assert (stored.provenance.data, stored.provenance.ignore) == ("Orchards all", "0, out of focus")
    code, _, told = calibrant(monkeypatch, capsys, "measure", tmp_path / "store", "--json", tmp_path / "measured.json")
    assert (code, told) == (0, "")
    assert "ece_images" in json.loads((tmp_path / "measured.json").read_text())["scores"]
