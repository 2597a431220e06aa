"""Values that an option cannot have are one sentence that names the option, and exit code 2."""

import re

import pytest

ODD = {
    "compare --fraction nan": ["compare", "STORE", "--fraction", "nan"],
    "compare --fraction 1": ["compare", "STORE", "--fraction", "1"],
    "compare --num-bins": ["compare", "STORE", "--num-bins", "100000000"],
    "compare --num-seeds": ["compare", "STORE", "--num-seeds", "1000000000"],
    "compare --boundary-width": ["compare", "STORE", "--boundary-width", "1000000000"],
    "measure --num-bins": ["measure", "STORE", "--num-bins", "100000000"],
    "fit --seed": ["fit", "STORE", "--method", "temperature", "-o", "OUT", "--seed", "100000000000000000000"],
    "fit --seed word": ["fit", "STORE", "--method", "temperature", "-o", "OUT", "--seed", "1e20"],
    "fit --pixels-per-image": ["fit", "STORE", "--method", "temperature", "-o", "OUT", "--pixels-per-image", "-5"],
    "refine --classes": ["refine", "STORE", "-o", "OUT", "--method", "copula", "--classes", "x"],
    "refine --device": ["refine", "STORE", "-o", "OUT", "--device", "cuda:77"],
    "refine --device name": ["refine", "STORE", "-o", "OUT", "--device", "nosuch"],
    "refine --precision": ["refine", "STORE", "-o", "OUT", "--precision", "bad"],
    "refine --seed": ["refine", "STORE", "-o", "OUT", "--seed", "-1"],
    "sample --classes": ["sample", "STORE", "-o", "OUT", "--classes", "0,,1"],
    "sample --empty": ["sample", "STORE", "-o", "OUT", "--empty", "maybe"],
    "sample --seed": ["sample", "STORE", "-o", "OUT", "--seed", "100000000000000000000"],
    "import --ignore-index": ["import", "STORE", "-o", "OUT", "--ignore-index", "100000000000000000000"],
    "import --class-axis": ["import", "STORE", "-o", "OUT", "--class-axis", "99999999999999999999"],
    "predict --scales": ["predict", "m.onnx", "STORE", "-o", "OUT", "--scales", "nan"],
    "predict --scales inf": ["predict", "m.onnx", "STORE", "-o", "OUT", "--scales", "1,inf"],
    "predict --scales huge": ["predict", "m.onnx", "STORE", "-o", "OUT", "--scales", "1e9"],
    "predict --crop": ["predict", "m.onnx", "STORE", "-o", "OUT", "--crop", "0"],
    "predict --overlap": ["predict", "m.onnx", "STORE", "-o", "OUT", "--overlap", "nan"],
    "predict --precision": ["predict", "m.onnx", "STORE", "-o", "OUT", "--precision", "bad"],
    "predict --device": ["predict", "m.onnx", "STORE", "-o", "OUT", "--device", "cuda:77"],
    "predict --ignore-index": ["predict", "m.onnx", "STORE", "-o", "OUT", "--ignore-index", "100000000000000000000"],
    "demo --seed": ["demo", "-o", "OUT", "--seed", "100000000000000000000"],
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_value_is_one_sentence(calibrant, store, tmp_path, name):
    given = [{"STORE": store, "OUT": tmp_path / "out"}.get(each, each) for each in ODD[name]]
    code, out, err = calibrant(*given)
    assert code == 2
    assert out == ""
    assert name.split()[1] in err
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


def test_names_that_are_no_utf8_are_told_with_their_file(calibrant, folder, tmp_path):
    (tmp_path / "names.txt").write_bytes("Straße\nHimmel\n".encode("latin-1"))
    code, _, err = calibrant("import", folder, "-o", tmp_path / "s", "--class-names", tmp_path / "names.txt")
    assert code == 2
    assert re.search(r"names\.txt: expected the names of classes as text in UTF-8.* byte 4", err)


def test_a_class_that_is_not_there_is_told(calibrant, store, tmp_path):
    code, _, err = calibrant("sample", store, "-o", tmp_path / "out", "--classes", "9")
    assert code == 2
    assert "0..3" in err
