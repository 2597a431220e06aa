"""Every command, run as a user runs it, on a small folder of arrays."""

import json
import re
from functools import partial

import numpy as np
import pytest

from calibrant.methods import METHODS, Method


def test_fit_then_measure_shows_the_calibrated_model_better(calibrant, store, temperature, tmp_path):
    figures = tmp_path / "figures.json"
    code, out, _ = calibrant("measure", store, "--calibrator", temperature, "--json", figures, "-o", tmp_path / "m")
    assert code == 0
    assert "uncalibrated" in out
    text = json.loads(figures.read_text())
    assert text["facts"]["images"].endswith("(8 measured)")
    report = tmp_path / "again.html"
    assert calibrant("report", tmp_path / "m", "-o", report)[0] == 0
    assert report.read_text().startswith("<!DOCTYPE html>")


def test_compare_writes_table_json_and_report(calibrant, store, tmp_path):
    report, figures = tmp_path / "report.html", tmp_path / "figures.json"
    code, out, _ = calibrant(
        "compare",
        store,
        "--methods",
        "uncalibrated,temperature,vector",
        "--num-seeds",
        2,
        "-o",
        report,
        "--json",
        figures,
    )
    assert code == 0
    assert "temperature" in out
    assert "chance" in out
    assert "sky" in report.read_text()
    assert json.loads(figures.read_text())


@pytest.fixture(scope="session")
def stores(store, tmp_path_factory):
    """Eight images in three stores: two to fit on, three and three to test on."""
    from calibrant.data import StoredPredictions, write_store
    from calibrant.predictions import Subset

    path, whole = tmp_path_factory.mktemp("three"), StoredPredictions(store)
    for name, numbers in {"fit": (0, 1), "day": (2, 3, 4), "night": (5, 6, 7)}.items():
        write_store(Subset(whole, numbers), path / name, provenance=whole.provenance)
    return [path / name for name in ("fit", "day", "night")]


@pytest.mark.slow
def test_compare_fits_once_and_reads_each_store_to_test_on_once(calibrant, stores, tmp_path, monkeypatch):
    from calibrant.calibrators import TemperatureScaling
    from calibrant.data import StoredPredictions

    fits, reads = [], []
    fit, read = TemperatureScaling.fit.__func__, StoredPredictions.in_parts

    def counted(cls, predictions, *, pixels_per_image: int | None = 1, seed: int = 0):
        fits.append(seed)
        return fit(cls, predictions, pixels_per_image=pixels_per_image, seed=seed)

    def noted(self, index):
        if index == 0:
            reads.append(self.url.rsplit("/", 1)[-1])
        return read(self, index)

    monkeypatch.setitem(METHODS, "temperature", Method("temperature scaling", partial(counted, TemperatureScaling)))
    monkeypatch.setattr(StoredPredictions, "in_parts", noted)
    given = [
        "--methods",
        "uncalibrated,temperature,isotonic",
        "--num-seeds",
        2,
        "--num-cases",
        1,
        "--json",
        tmp_path / "figures.json",
    ]
    code, out, _ = calibrant("compare", *stores, *given, "-o", tmp_path / "report.html")
    assert code == 0
    assert fits == [0, 1]
    assert (reads.count("day"), reads.count("night")) == (1, 1)
    assert out.count("tested on 3 images") == 2
    assert "mean rank" in out
    figures = {name: json.loads((tmp_path / f"figures-{name}.json").read_text()) for name in ("day", "night")}
    for name, found in figures.items():
        page = tmp_path / f"report-{name}.html"
        assert page.read_text().startswith("<!DOCTYPE html>")
        assert page.read_text().count("<small>night</small>") == 2  # ECE and NLL in the table of places
        other = {"day": "night", "night": "day"}[name]
        assert f'<a href="./report-{other}.html">{other}</a>' in page.read_text()
        assert f"<strong>{name}</strong> (this page)" in page.read_text()
        assert page.stat().st_size < 3_000_000
        assert found["facts"]["pixels to fit"] == "up to 10,000 of each image; isotonic scaling: all"
        assert sorted(row["nll"]["value"] for row in found["ranks"].values()) == [1, 2, 3]
    # The same as each store alone.
    code, _, _ = calibrant("compare", *stores[:2], *given, "-o", tmp_path / "one.html")
    assert code == 0
    assert json.loads((tmp_path / "figures.json").read_text())["values"] == figures["day"]["values"]


def test_apply_keeps_every_label(calibrant, store, temperature, tmp_path):
    from calibrant.data import StoredPredictions

    assert calibrant("apply", temperature, store, "-o", tmp_path / "out")[0] == 0
    for before, after in zip(StoredPredictions(store), StoredPredictions(tmp_path / "out"), strict=True):
        assert (before.logits.argmax(0) == after.logits.argmax(0)).all()
        assert after.logits.softmax(0).amax(0).mean() < before.logits.float().softmax(0).amax(0).mean()


def test_composed_methods_are_named_and_fitted(calibrant, store, tmp_path):
    written = []
    for named in (["selective:base=isotonic,num_epochs=1"], ["selective:num_epochs=1", "--base", "isotonic"]):
        code, out, err = calibrant("fit", store, "--method", *named, "-o", tmp_path / "sel")
        assert code == 0, err
        assert "SelectiveScaling(" in out
        written.append((tmp_path / "sel/calibrator.json").read_text())
    assert written[0] == written[1]
    assert "isotonic scaling" in written[0]


@pytest.mark.parametrize("method", ["copula", "refinement", "energy"])
def test_a_sampler_is_made_and_drawn_from(calibrant, store, temperature, tmp_path, method):
    options = [] if method == "copula" else ["--steps", 2]
    car = tmp_path / "car"
    code, out, err = calibrant(
        "refine", store, "--method", method, "--calibrator", temperature, "--num-samples", 2, *options, "-o", car
    )
    assert (code, err) == (0, "")
    given = [store, "--sampler", car, "--calibrator", temperature, "--num-samples", 3]
    drawn = {}
    for folder in ("a", "b"):
        code, out, _ = calibrant("sample", *given, "-o", tmp_path / folder)
        assert code == 0
        assert "generalised energy distance, 3 samples" in out
        drawn[folder] = {path.name: dict(np.load(path)) for path in sorted((tmp_path / folder).glob("*.npz"))}
    assert len(drawn["a"]) == 8
    for name, arrays in drawn["a"].items():
        assert arrays["hypotheses"].shape == (3, 20, 24)
        assert arrays["hypotheses"].max() < 4
        assert arrays["entropy"].shape == (20, 24)
        assert 0 <= arrays["entropy"].min() <= arrays["entropy"].max() <= np.log(4) + 1e-6
        assert np.array_equal(arrays["hypotheses"], drawn["b"][name]["hypotheses"])


def test_a_sampler_that_looks_at_several_orientations(calibrant, store, tmp_path):
    from calibrant.samplers import load_sampler

    train = ["refine", store, "--steps", 1, "--crop", 16, "--num-samples", 2, "-o", tmp_path / "made", "--orientations"]
    assert calibrant(*train, "all", "--any-orientation")[0] == 0
    assert load_sampler(tmp_path / "made").network.orientations == "all"
    code, _, err = calibrant(*train, "all")
    assert code == 2
    assert "expected --any-orientation with --orientations all" in err
    code, _, err = calibrant(*train, "left-right", "--method", "copula")
    assert code == 2
    assert "expected --orientations with --method energy; got it with copula" in err


@pytest.mark.slow
def test_samples_keep_the_probabilities_of_a_calibrator(calibrant, store, temperature, tmp_path):
    refine = ["refine", store, "--calibrator", temperature, "--num-samples", 2, "--draws", "spread", "--steps", 1]
    code, _, err = calibrant(*refine, "--method", "energy", "--inputs", "image", "-o", tmp_path / "energy")
    assert (code, err) == (0, "")
    given = ["sample", store, "--calibrator", temperature, "--coupled", "--num-samples", 3, "-o", tmp_path / "maps"]
    code, out, err = calibrant(*given, "--sampler", tmp_path / "energy")
    assert (code, err) == (0, "")
    assert "depend on each other: no unbiased excess" in out
    assert "excess (without" not in out
    code, _, err = calibrant(*given[:-1], tmp_path / "others")
    assert code == 2
    assert "got IndependentSampler" in err
    code, _, err = calibrant(*refine, "--method", "refinement", "-o", tmp_path / "x")
    assert code == 2
    assert "--inputs and --draws with --method energy" in err


def test_bad_input_ends_with_two_and_says_what_to_do(calibrant, store, folder, tmp_path):
    def refused(*arguments):
        code, _, err = calibrant(*arguments)
        assert code == 2
        return err

    assert "Did you mean 'temperature'" in refused("fit", store, "--method", "temprature", "-o", tmp_path / "x")
    assert "refinement, copula" in refused("refine", store, "--method", "gan", "-o", tmp_path / "x")
    assert "in both" in refused("compare", store, store, "-o", tmp_path / "r.html")
    assert "there is no such folder" in refused("measure", tmp_path / "nowhere")
    assert "--ignore-index" in refused("import", folder, "-o", tmp_path / "y", "--ignore-index", "-1")
    assert "before the softmax" in refused("import", _probabilities(folder, tmp_path), "-o", tmp_path / "z")
    assert "strength, keep_labels" in refused("fit", store, "--method", "vector:base=temperature", "-o", tmp_path / "x")
    vector = ("fit", store, "--method", "vector", "--base", "temperature", "-o", tmp_path / "x")
    assert "expected a keyword of: strength" in refused(*vector)
    assert not (tmp_path / "r.html").exists()
    assert not (tmp_path / "x").exists()


def _probabilities(folder, tmp_path):
    made = tmp_path / "probs"
    (made / "logits").mkdir(parents=True)
    for file in (folder / "logits").iterdir():
        z = np.load(file).astype(np.float64)
        np.save(made / "logits" / file.name, np.exp(z - z.max(0)) / np.exp(z - z.max(0)).sum(0))
    (made / "labels").symlink_to(folder / "labels")
    return made


@pytest.mark.slow
def test_the_model_as_it_is_is_what_methods_are_compared_with(calibrant, store, tmp_path):
    """Whichever methods are named, and in whichever order, the model itself has the first row."""
    report, figures = tmp_path / "report.html", tmp_path / "figures.json"
    for named in ("temperature,vector", "temperature,uncalibrated,vector"):
        given = ["--methods", named, "--num-seeds", 1, "--num-cases", 1, "-o", report, "--json", figures]
        code, out, _ = calibrant("compare", store, *given, "--tallies", tmp_path / named)
        assert code == 0
        assert out.index("uncalibrated") < out.index("temperature")
        found = json.loads(figures.read_text())
        assert found["baseline"] == "uncalibrated" == next(iter(found["values"]))
        assert found["differences_to_baseline"]["uncalibrated"]["nll"]["value"] == 0
        assert found["differences_to_baseline"]["temperature scaling"]["nll"]["high"] < 0
        text = report.read_text()
        assert "As it is (uncalibrated)" in text
        assert "As it is (temperature" not in text


@pytest.mark.slow
def test_a_report_without_the_model_itself_does_not_call_a_method_the_model(calibrant, store, tmp_path):
    given = ["--methods", "temperature,vector", "--num-seeds", 1, "--num-cases", 0, "-o", tmp_path / "all.html"]
    assert calibrant("compare", store, *given, "--tallies", tmp_path / "tallies")[0] == 0
    files = sorted((tmp_path / "tallies/all").glob("0[12]-*.measurement"))
    assert len(files) == 2
    assert calibrant("report", *files, "-o", tmp_path / "two.html")[0] == 0
    text = (tmp_path / "two.html").read_text()
    assert "With temperature scaling: " in text
    assert "As it is" not in text
    assert "the model as it is" not in text


def page_of(path) -> str:
    """A report, without the command and the time at which it was drawn."""
    return re.sub(r"<dt>command</dt>.*?<dt>versions</dt>", "", path.read_text(), flags=re.S)


@pytest.mark.slow
def test_a_report_is_drawn_again_whole_with_its_images(calibrant, store, tmp_path):
    """From what compare left, without models and stores; what was made from what stands on it."""
    given = ["--methods", "temperature", "--num-seeds", 1, "--num-cases", 2, "--tallies", tmp_path / "t"]
    assert calibrant("compare", store, *given, "-o", tmp_path / "one.html")[0] == 0
    assert calibrant("report", tmp_path / "t/one", "-o", tmp_path / "again.html")[0] == 0
    one, again = page_of(tmp_path / "one.html"), page_of(tmp_path / "again.html")
    assert one == again
    assert one.count('<article class="case"') == 2
    assert all(
        f"<dt>{name}</dt>" in one for name in ("store", "method temperature scaling", "--num-seeds", "--num-bins")
    )
    assert "<dt>command</dt>" in (tmp_path / "again.html").read_text()
    code, out, _ = calibrant("verify", tmp_path / "t/one")
    assert (code, "2 images of a report" in out) == (0, True)


@pytest.mark.slow
def test_images_of_measured_stores_are_shown_and_others_refused(calibrant, store, temperature, stores, tmp_path):
    assert calibrant("measure", store, "--calibrator", temperature, "-o", tmp_path / "m")[0] == 0
    page, given = tmp_path / "r.html", ("report", tmp_path / "m", "-o", tmp_path / "r.html")
    assert calibrant(*given, "--store", store, "--calibrator", temperature, "--num-cases", 1)[0] == 0
    text = page.read_text()
    assert text.count('data-layer="confidence" data-method') == 2
    page.unlink()
    for words, said in (
        (("--store", stores[0]), "expected the store that was measured; another was measured"),
        (("--calibrator", temperature), "expected the store whose images the calibrator is to be shown on"),
        (("--store", store, "--calibrator", tmp_path / "m"), "expected a calibrator that was measured"),
    ):
        code, _, err = calibrant(*given, *words)
        assert (code, page.exists()) == (2, False)
        assert said in err


def test_a_page_of_samplers(calibrant, store, temperature, stores, tmp_path):
    behind = ("--calibrator", temperature)
    for name, more in (("pixels", ()), ("others", ("--seed", 1))):
        given = ("sample", store, *behind, *more, "--num-samples", 4, "-o", tmp_path / name)
        assert calibrant(*given)[0] == 0
    page = tmp_path / "samples.html"
    given = ("report", tmp_path / "pixels", tmp_path / "others", "-o", page)
    code, _, err = calibrant(*given, "--store", store, *behind, "--num-cases", 2)
    assert (code, err) == (0, "")
    text = page.read_text()
    assert text.count('<article class="case"') == 4  # two images, two samplers
    assert text.count('data-layer="hypothesis" data-method') == 4 * 4
    assert "<small>floor " in text
    assert "Areas of pixels" in text
    assert "<dt>calibrator of others</dt>" in text
    page.unlink()
    for words, said in (
        ((), "expected the store that label maps were drawn of"),
        (("--store", stores[0], *behind), "expected the store that pixels was drawn of; got another"),
        (("--store", store), "expected the calibrator that pixels was drawn behind; got none"),
    ):
        code, _, err = calibrant(*given, *words)
        assert (code, page.exists(), said in err) == (2, False, True), err
    (npz, *_) = (tmp_path / "pixels").glob("*.npz")
    npz.write_bytes(b"broken")
    code, _, err = calibrant(*given, "--store", store, *behind)
    assert (code, "expected label maps of" in err) == (2, True)


def test_labels_survive_float16_and_the_share_of_near_ties_is_printed(calibrant, store, tmp_path):
    """Held to the model's labels where it would choose others, a calibrator left them a step of float32 ahead."""
    import torch

    from calibrant.calibrators import VectorScaling, save
    from calibrant.data import StoredPredictions

    held = VectorScaling(torch.ones(4), torch.tensor([9.0, 0.0, 0.0, 0.0]), keep_labels=True)
    save(held, tmp_path / "held")
    code, out, _ = calibrant("apply", tmp_path / "held", store, "-o", tmp_path / "out", "--dtype", "float16")
    assert code == 0
    assert "nearly tied: in " in out
    for before, after in zip(StoredPredictions(store), StoredPredictions(tmp_path / "out"), strict=True):
        labels = before.logits.argmax(0)
        assert torch.equal(after.logits.argmax(0), labels)
        assert torch.equal(after.logits.float().softmax(0).half().argmax(0), labels)
        assert not torch.equal(held(before.logits[None])[0].half().argmax(0), labels)
    code, out, _ = calibrant("measure", store, "--calibrator", tmp_path / "held")
    assert code == 0
    assert "With held the two largest probabilities are nearly tied in" in out


@pytest.mark.slow
def test_a_condition_that_holds_is_exit_code_one(calibrant, store, temperature, tmp_path):
    through = ["--calibrator", temperature]
    assert calibrant("measure", store, "--fail-if", "ece>0.9")[0] == 0
    code, _, err = calibrant("measure", store, "--fail-if", "ece > 0.001", "--fail-if", "miou<0")
    assert code == 1
    assert "failed: ece > 0.001 holds, ece is" in err
    assert "miou" not in err
    before = 0.15  # the model is worse than this, and the calibrator better: it is the one that counts
    assert calibrant("measure", store, "--fail-if", f"ece>{before}")[0] == 1
    assert calibrant("measure", store, *through, "--fail-if", f"ece>{before}")[0] == 0
    given = ["--methods", "temperature", "--num-seeds", 1, "--num-cases", 0, "-o", tmp_path / "r.html"]
    assert calibrant("compare", store, *given, "--fail-if", f"ece>{before}")[0] == 0  # one method is good enough
    assert calibrant("compare", store, *given, "--fail-if", "nll>0")[0] == 1
    for wrong in ("ece", "ece>x", "ecee>1", "ece>1 or miou<1"):
        code, _, err = calibrant("measure", store, "--fail-if", wrong)
        assert code == 2, wrong
        assert "expected" in err


def test_help_methods_and_quiet(calibrant, store):
    assert "Print the scores" in calibrant("measure", "-h")[1]
    code, out, _ = calibrant("methods")
    assert code == 0
    assert {line.split()[0] for line in out.splitlines()} >= {*METHODS, "all", "published"}
    assert calibrant("measure", store, "--quiet")[:2] == (0, "")
    code, out, err = calibrant("measure", store, "--quiet", "--json", "-")
    assert code == 0
    assert json.loads(out)["facts"]
    assert err == ""
    assert "uncalibrated" in calibrant("measure", store)[1]
