"""A result that is there is the answer to the same question alone; another question is refused in one sentence."""

import itertools
import os
import shutil
import sys

import pytest
from outcomes import Outcomes
from worlds import FIT, MODEL, arrays, contents, copied


@pytest.fixture(scope="module")
def world(tmp_path_factory, calibrant):
    """Two folders of arrays and what several commands make of them; tests read it and write elsewhere."""
    path = tmp_path_factory.mktemp("world")
    before = os.getcwd()
    os.chdir(path)
    arrays(path / "d")
    arrays(path / "e", seed=1)
    for name, source in {"s": "d", "t": "e"}.items():
        assert calibrant("import", source, "-o", name)[0] == 0
    for name, method in {"ts": "temperature", "vs": "vector:safe=false", "iso": "isotonic"}.items():
        code, _, err = calibrant("fit", "s", "--method", method, "-o", name)
        assert code == 0, err
    for name, count in {"cop": 2, "cop3": 3}.items():
        assert calibrant("refine", "s", "--method", "copula", "--num-samples", count, "-o", name)[0] == 0
    yield path
    os.chdir(before)


QUESTIONS = {
    "import": [
        ("import", "d"),
        ("import", "e"),
        ("import", "d", "--labels", "e/labels"),
        ("import", "d", "--images", "e/images"),
        ("import", "d", "--class-names", "x,y,z"),
        ("import", "d", "--dtype", "float16"),
        ("import", "d", "--ignore-index", "2"),
        ("import", "d", "--data", "others"),
    ],
    "apply": [
        ("apply", "ts", "s"),
        ("apply", "vs", "s"),
        ("apply", "iso", "s"),
        ("apply", "ts", "t"),
        ("apply", "ts", "s", "--dtype", "float16"),
        ("apply", "ts", "s", "--margin", "0"),
    ],
    "fit": [
        ("fit", "s", "--method", "temperature"),
        ("fit", "t", "--method", "temperature"),
        ("fit", "s", "--method", "vector:safe=false"),
        ("fit", "s", "--method", "vector:safe=false,strength=0.5"),
        ("fit", "s", "--method", "temperature", "--seed", "1"),
        ("fit", "s", "--method", "temperature", "--pixels-per-image", "7"),
    ],
    "refine": [
        ("refine", "s", "--method", "copula", "--num-samples", "2"),
        ("refine", "t", "--method", "copula", "--num-samples", "2"),
        ("refine", "s", "--method", "copula", "--num-samples", "3"),
        ("refine", "s", "--method", "copula", "--num-samples", "2", "--calibrator", "ts"),
        ("refine", "s", "--method", "copula", "--num-samples", "2", "--seed", "1"),
        ("refine", "s", "--method", "copula", "--num-samples", "2", "--classes", "1"),
    ],
    "sample": [
        ("sample", "s", "--num-samples", "2"),
        ("sample", "t", "--num-samples", "2"),
        ("sample", "s", "--num-samples", "3"),
        ("sample", "s", "--num-samples", "2", "--seed", "1"),
        ("sample", "s", "--num-samples", "2", "--calibrator", "ts"),
        ("sample", "s", "--num-samples", "2", "--sampler", "cop"),
        ("sample", "s", "--num-samples", "2", "--sampler", "cop", "--calibrator", "vs"),
    ],
    "export": [
        ("export", "s", "--as", "npy"),
        ("export", "t", "--as", "npy"),
        ("export", "s", "--as", "npz"),
        ("export", "s", "--as", "npy", "--what", "entropy"),
        ("export", "s", "--as", "npy", "--calibrator", "ts"),
        ("export", "s", "--as", "npy", "--what", "hypotheses", "--num-samples", "2"),
        ("export", "s", "--as", "npy", "--what", "hypotheses", "--num-samples", "2", "--seed", "1"),
    ],
    "measure": [
        ("measure", "s"),
        ("measure", "t"),
        ("measure", "s", "--num-bins", "7"),
        ("measure", "s", "--boundary-width", "1"),
        ("measure", "s", "--calibrator", "ts"),
        ("measure", "s", "--calibrator", "vs"),
    ],
    "compare": [
        ("compare", "s", "--methods", "uncalibrated", "--num-seeds", "1"),
        ("compare", "s", "--methods", "uncalibrated", "--num-seeds", "2"),
        ("compare", "s", "--methods", "temperature", "--num-seeds", "1"),
        ("compare", "s", "--methods", "uncalibrated", "--num-seeds", "1", "--fraction", "0.25"),
        ("compare", "t", "--methods", "uncalibrated", "--num-seeds", "1"),
    ],
}


QUICK = ("fit", "apply")
"""Commands that are run quickly; a dozen comparisons with their pages take as long as all others."""


def place(command, where):
    if command == "compare":
        return ("--num-cases", "0", "-o", where / "r.html", "--tallies", where / "out")
    return ("-o", where / "out")


@pytest.mark.parametrize(
    "command", [pytest.param(each, marks=() if each in QUICK else pytest.mark.slow) for each in QUESTIONS]
)
def test_another_question_is_refused_and_the_same_one_finds_its_answer(
    calibrant, world, tmp_path, command, record_property
):
    made: list[dict[str, bytes]] = []
    outcomes = Outcomes("stale results")
    for number, question in enumerate(QUESTIONS[command]):
        where = tmp_path / str(number)
        where.mkdir()
        code, _, err = calibrant(*question, *place(command, where))
        assert code == 0, err
        made.append(contents(where / "out"))
        code, _, err = calibrant(*question, *place(command, where))
        assert code == 0, err
        assert contents(where / "out") == made[number], question
        outcomes.trials += 1
    for one, other in itertools.permutations(range(len(made)), 2):
        code, _, err = calibrant(*QUESTIONS[command][other], *place(command, tmp_path / str(one)))
        told = (QUESTIONS[command][one], QUESTIONS[command][other], err)
        assert code == 2, told
        assert "--overwrite" in err, told
        assert " there and " in err or "not the same" in err or "holds " in err, told
        assert contents(tmp_path / str(one) / "out") == made[one], told
        outcomes.trials += 1
    for number in (1, 2):
        where = tmp_path / "0"
        code, _, err = calibrant(*QUESTIONS[command][number], *place(command, where), "--overwrite")
        assert code == 0, err
        found, expected = contents(where / "out"), made[number]
        if command in ("import", "apply"):  # the names of files differ, what they hold does not
            found, expected = (sorted(v for k, v in each.items() if k[0] in "abcd") for each in (found, expected))
        assert found == expected
        outcomes.trials += 1
    outcomes.told(record_property)


def touched(path, change):
    """Change a file of the same size, as an editor would: its content, and so its time."""
    about = path.stat()
    change(path)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns + 1_000_000))


def flipped(path):
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


@pytest.mark.parametrize("name", ["logits/a.npy", "logits/d.npy", "labels/b.png", "images/c.png"])
def test_an_import_whose_files_changed(calibrant, tmp_path, name):
    arrays(tmp_path / "d")
    question = ("import", tmp_path / "d", "-o", tmp_path / "s")
    assert calibrant(*question)[0] == 0
    before = contents(tmp_path / "s")
    other = arrays(tmp_path / "e", seed=2) / name
    touched(tmp_path / "d" / name, lambda path: shutil.copyfile(other, path))
    code, _, err = calibrant(*question)
    assert code == 2, err
    assert "not the same input files" in err
    assert contents(tmp_path / "s") == before


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A model of the user's own in a folder that commands run in; it is imported anew by each."""
    monkeypatch.chdir(tmp_path)
    arrays(tmp_path / "d", size=(8, 8))
    (tmp_path / "net.py").write_text("SCALE = 0.1\n")
    (tmp_path / "mine.py").write_text(MODEL)
    (tmp_path / "fits.py").write_text(FIT.format(temperature=2))
    yield tmp_path
    for name in ("mine", "net", "fits"):
        sys.modules.pop(name, None)


def fresh(calibrant, *arguments):
    """Run a command as in a new process, as far as modules of the user's own go."""
    for name in ("mine", "net", "fits"):
        sys.modules.pop(name, None)
    sys.dont_write_bytecode = True
    return calibrant(*arguments)


CHANGES = {
    "code": lambda path: (path / "mine.py").write_text(MODEL + "# another line\n"),
    "code that it imports": lambda path: (path / "net.py").write_text("SCALE = 0.2\n"),
    "an image": lambda path: touched(path / "d" / "images" / "a.png", flipped),
    "labels": lambda path: touched(path / "d" / "labels" / "a.png", flipped),
}
OPTIONS = [("--flip",), ("--overlap", "0.25"), ("--scales", "1,0.5"), ("--resolution", "label"), ("--batch", "2")]


@pytest.mark.parametrize("change", CHANGES)
def test_a_prediction_whose_model_or_images_changed(calibrant, model, change):
    question = ("predict", "mine:build", "d", "--class-names", "x,y,z", "--trust", "-o", "p")
    assert fresh(calibrant, *question)[0] == 0
    before = contents(model / "p")
    assert fresh(calibrant, *question)[0] == 0
    CHANGES[change](model)
    code, _, err = fresh(calibrant, *question)
    assert code == 2, err
    assert contents(model / "p") == before


@pytest.mark.parametrize("option", OPTIONS)
def test_a_prediction_with_another_option(calibrant, model, option):
    question = ("predict", "mine:build", "d", "--class-names", "x,y,z", "--trust", "-o", "p")
    assert fresh(calibrant, *question)[0] == 0
    code, _, err = fresh(calibrant, *question, *option)
    assert code == 2, err
    assert option[0] in err or "resolution" in err


def test_an_onnx_file_whose_weights_lie_beside_it(calibrant, model):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    numpy_helper, helper = onnx.numpy_helper, onnx.helper
    np = pytest.importorskip("numpy")

    def written(scale):
        weight = (scale * np.arange(9).reshape(3, 3, 1, 1)).astype(np.float32)
        graph = helper.make_graph(
            [helper.make_node("Conv", ["image", "w"], ["logits"])],
            "net",
            [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["n", 3, "h", "w_"])],
            [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["n", 3, "h", "w_"])],
            [numpy_helper.from_array(weight, "w")],
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.save(made, "net.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)

    written(0.1)
    question = ("predict", "net.onnx", "d", "--class-names", "x,y,z", "-o", "p")
    code, _, err = calibrant(*question)
    assert code == 0, err
    before, file = contents(model / "p"), (model / "net.onnx").read_bytes()
    (model / "w.bin").unlink()
    written(0.2)
    assert (model / "net.onnx").read_bytes() == file, "the weights alone have changed"
    code, _, err = calibrant(*question)
    assert code == 2, err
    assert "not the same files of the model" in err
    assert contents(model / "p") == before


def test_a_fit_of_ones_own_whose_code_changed(calibrant, world, model, monkeypatch):
    monkeypatch.chdir(model)
    question = ("fit", world / "s", "--method", "fits:fit", "--trust", "-o", model / "c")
    code, _, err = fresh(calibrant, *question)
    assert code == 0, err
    assert fresh(calibrant, *question)[0] == 0
    (model / "fits.py").write_text(FIT.format(temperature=3))
    code, _, err = fresh(calibrant, *question)
    assert code == 2, err
    assert "not the same code of fits" in err
    assert fresh(calibrant, *question, "--overwrite")[0] == 0


@pytest.mark.parametrize("command", ["apply", "import"])
def test_an_interrupted_write_is_not_gone_on_with_by_another_command(calibrant, world, tmp_path, monkeypatch, command):
    from calibrant._storage.place import Place

    monkeypatch.chdir(world)
    one, other = {"apply": ((("ts", "s")), ("vs", "s")), "import": (("d",), ("d", "--labels", "e/labels"))}[command]
    real, calls = Place.write, []

    def killed(self, file, content):
        calls.append(file)
        if len(calls) == 4:
            raise KeyboardInterrupt
        real(self, file, content)

    monkeypatch.setattr(Place, "write", killed)
    assert calibrant(command, *one, "-o", tmp_path / "out")[0] != 0
    monkeypatch.undo()
    monkeypatch.chdir(world)
    code, _, err = calibrant(command, *other, "-o", tmp_path / "out")
    assert code == 2, err
    assert calibrant(command, *one, "-o", tmp_path / "out")[0] == 0
    assert calibrant(command, *one, "-o", tmp_path / "whole")[0] == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_training_that_is_there_is_not_that_of_another_store_or_calibrator(calibrant, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, seed in {"d": 0, "e": 1}.items():
        arrays(tmp_path / name, seed=seed, size=(16, 16))
        assert calibrant("import", name, "-o", f"{name}s")[0] == 0
    assert calibrant("fit", "ds", "--method", "temperature", "-o", "ts")[0] == 0
    given = ("--method", "refinement", "--steps", 1, "--num-samples", 2, "-o", "r")
    assert calibrant("refine", "ds", *given)[0] == 0
    (tmp_path / "r" / "sampler.json").unlink()  # as if it had been killed before the end
    for other in (("refine", "es", *given), ("refine", "ds", "--calibrator", "ts", *given)):
        code, _, err = calibrant(*other)
        assert code == 2, err
        assert "checkpoint of this training; got one of another" in err
    assert calibrant("refine", "ds", *given)[0] == 0
    assert calibrant("refine", "es", *given, "--overwrite")[0] == 0


def test_what_does_not_say_what_it_was_made_from(calibrant, world, tmp_path, monkeypatch):
    from pathlib import Path

    monkeypatch.chdir(world)
    old = copied(Path(__file__).parents[1] / "golden" / "version1", tmp_path / "old")
    assert calibrant("measure", old / "store")[0] == 0
    for command in (
        ("import", "d", "-o", old / "store"),
        ("apply", "ts", "s", "-o", old / "store"),
        ("fit", "s", "--method", "temperature", "-o", old / "calibrators" / "temperature"),
        ("refine", "s", "--method", "copula", "-o", old / "samplers" / "copula"),
    ):
        before = contents(old)
        code, _, err = calibrant(*command)
        assert code == 2, err
        assert "not recorded there" in err or "does not say what it was made from" in err, err
        assert contents(old) == before


def test_measurements_of_several_commands_in_one_folder_are_not_shown_as_one(calibrant, world, tmp_path, monkeypatch):
    monkeypatch.chdir(world)
    assert calibrant("measure", "s", "--calibrator", "ts", "-o", tmp_path / "m")[0] == 0
    assert calibrant("measure", "t", "-o", tmp_path / "n")[0] == 0
    shutil.copy(tmp_path / "n" / "00-00.measurement", tmp_path / "m" / "00-00.measurement")
    code, _, err = calibrant("report", tmp_path / "m", "-o", tmp_path / "r.html")
    assert code == 2, err
    assert "got those of several" in err


def test_calibrators_of_one_name_are_all_measured(calibrant, world, tmp_path, monkeypatch):
    monkeypatch.chdir(world)
    for name in ("x", "y"):
        copied(world / ("ts" if name == "x" else "vs"), tmp_path / name / "c")
    given = ("--calibrator", tmp_path / "x" / "c", "--calibrator", tmp_path / "y" / "c")
    code, out, err = calibrant("measure", "s", *given, "-o", tmp_path / "m")
    assert code == 0, err
    assert "x/c" in out
    assert "y/c" in out
    assert len(list((tmp_path / "m").iterdir())) == 3


@pytest.mark.parametrize(
    "command",
    [
        ("measure", "s", "--json", "s/manifest.json"),
        ("measure", "s", "-o", "s"),
        ("fit", "s", "--method", "temperature", "-o", "s/ts"),
        ("apply", "ts", "s", "-o", "s"),
        ("apply", "ts", "s", "-o", "ts"),
        ("sample", "s", "-o", "s/samples"),
        ("compare", "s", "--methods", "uncalibrated", "-o", "s/a.safetensors"),
        ("refine", "s", "--method", "copula", "-o", "s"),
    ],
)
def test_nothing_is_written_into_what_is_read(calibrant, world, monkeypatch, command):
    monkeypatch.chdir(world)
    before = contents(world)
    code, _, err = calibrant(*command)
    assert code == 2, err
    assert "expected another place for the result than what it is made from" in err
    assert contents(world) == before


def test_a_demo_does_not_replace_the_store_of_somebody_else(calibrant, world, tmp_path):
    copied(world / "s", tmp_path / "demo" / "store")
    before = contents(tmp_path)
    code, _, err = calibrant("demo", "-o", tmp_path / "demo")
    assert code == 2, err
    assert "holds the store of another command" in err
    assert contents(tmp_path) == before
