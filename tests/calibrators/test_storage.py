"""What is saved is what is loaded; what is broken is named; what is exported gives the same numbers."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from calibrant._storage.saved import _digest
from calibrant.calibrators import (
    Identity,
    IsotonicScaling,
    LearntSelector,
    NoSelector,
    SelectiveScaling,
    SelectorQuality,
    StackedScaling,
    TemperatureScaling,
    VectorScaling,
    export_onnx,
    load,
    save,
    storage,
)
from calibrant.calibrators.correctness import TemperatureNetwork
from calibrant.calibrators.stacked import ConfidenceNetwork, Gate
from calibrant.errors import StoreError
from calibrant.networks import TemperatureTree
from calibrant.predictions import with_margin

QUALITY = SelectorQuality(None, 0.25, 0.5, 0.75, 0.8, 3, 100)
RNG = torch.Generator().manual_seed(4)
WEIGHTS = [torch.randn(out, into, generator=RNG) for into, out in ((3, 3), (3, 6), (6, 3), (3, 1))]
LEARNT = LearntSelector(WEIGHTS, [torch.randn(len(w), generator=RNG) for w in WEIGHTS], quality=QUALITY)
VECTOR = VectorScaling(torch.tensor([1.0, 0.5, 2.0]), torch.tensor([0.0, 3.0, -1.0]))
CALIBRATORS = {
    "identity": Identity(),
    "temperature": TemperatureScaling(1.7, notes=("a note",)),
    "vector": VECTOR,
    "selective": SelectiveScaling(LEARNT, TemperatureScaling(1e10), TemperatureScaling(1.3)),
    "selective over vector": SelectiveScaling(LEARNT, TemperatureScaling(3.0), VECTOR),
    "nothing flagged": SelectiveScaling(NoSelector(quality=QUALITY), Identity(), Identity()),
    "nested": SelectiveScaling(LEARNT, SelectiveScaling(LEARNT, VECTOR, VECTOR), TemperatureScaling(0.5)),
}


@pytest.mark.parametrize("name", CALIBRATORS)
def test_round_trip(name, tmp_path):
    calibrator, z = CALIBRATORS[name], 3 * torch.randn(2, 3, 9, 7, generator=torch.Generator().manual_seed(0))
    save(calibrator, tmp_path / "a" / "b")
    loaded = load(tmp_path / "a" / "b")
    assert type(loaded) is type(calibrator)
    assert loaded.notes == calibrator.notes
    assert torch.equal(loaded(z), calibrator(z))
    if isinstance(calibrator, SelectiveScaling):
        assert loaded.quality == calibrator.quality
    assert [p.suffix for p in sorted((tmp_path / "a" / "b").iterdir())] == [".safetensors", ".json"]


def test_the_json_is_readable(tmp_path):
    save(CALIBRATORS["selective"], tmp_path)
    stored = json.loads((tmp_path / "calibrator.json").read_text())
    assert stored["format"] == 2
    assert stored["calibrator"]["kind"] == "selective scaling"
    assert stored["calibrator"]["arguments"]["others"] == {
        "kind": "temperature scaling",
        "arguments": {"temperature": pytest.approx(1.3)},
        "notes": [],
    }


def test_saving_again_replaces(tmp_path):
    save(CALIBRATORS["selective"], tmp_path)
    save(TemperatureScaling(3.0), tmp_path)
    assert load(tmp_path).temperature == 3.0


def test_a_failed_save_leaves_the_old_one(tmp_path, monkeypatch):
    save(TemperatureScaling(3.0), tmp_path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(StoreError, match="No space left"):
        save(VECTOR, tmp_path)
    assert load(tmp_path).temperature == 3.0
    assert len(list(tmp_path.iterdir())) == 2


def edit(folder, **changes):
    path = folder / "calibrator.json"
    changed = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(changed | {"digest": _digest(changed)}))


class TestBroken:
    def test_missing(self, tmp_path):
        with pytest.raises(StoreError, match=r"calibrator\.json is missing"):
            load(tmp_path / "nowhere")

    def test_newer(self, tmp_path):
        save(VECTOR, tmp_path)
        edit(tmp_path, format=3)
        with pytest.raises(StoreError, match=r"newer calibrant\. Upgrade"):
            load(tmp_path)

    def test_unknown_kind(self, tmp_path):
        save(VECTOR, tmp_path)
        edit(tmp_path, calibrator={"kind": "vector scalign", "arguments": {}})
        with pytest.raises(StoreError, match="Did you mean 'vector scaling'"):
            load(tmp_path)

    def test_a_part_is_no_calibrator(self, tmp_path):
        save(VECTOR, tmp_path)
        edit(tmp_path, calibrator={"kind": "no selector", "arguments": {}})
        with pytest.raises(StoreError, match="expected a calibrator; got a no selector"):
            load(tmp_path)

    @pytest.mark.parametrize("name", ["calibrator.json", "calibrator-*.safetensors"])
    @pytest.mark.parametrize("share", [0.0, 0.5])
    def test_truncated(self, name, share, tmp_path):
        save(VECTOR, tmp_path)
        (file,) = tmp_path.glob(name)
        data = file.read_bytes()
        file.write_bytes(data[: int(share * len(data))])
        with pytest.raises(StoreError):
            load(tmp_path)

    def test_halves_of_two_saves(self, tmp_path):
        save(VECTOR, tmp_path / "a")
        save(CALIBRATORS["selective"], tmp_path / "b")
        (one,), (other,) = (tuple((tmp_path / name).glob("*.safetensors")) for name in "ab")
        one.replace(other)
        with pytest.raises(StoreError, match="got others: the file is truncated or has changed"):
            load(tmp_path / "b")

    def test_a_number_of_the_json_changed(self, tmp_path):
        save(TemperatureScaling(1.98), tmp_path)
        path = tmp_path / "calibrator.json"
        text = path.read_text()
        path.write_text(text.replace('"notes": []', '"notes": ["better"]'))
        with pytest.raises(StoreError, match="has changed since it was written"):
            load(tmp_path)

    def test_wrong_arguments(self, tmp_path):
        save(VECTOR, tmp_path)
        edit(tmp_path, calibrator={"kind": "temperature scaling", "arguments": {"temperature": -1.0}})
        with pytest.raises(StoreError, match="positive temperature"):
            load(tmp_path)

    def test_a_calibrator_of_ones_own_that_is_not_passed(self, tmp_path):
        class Own(Identity):
            pass

        save(Own(), tmp_path)
        with pytest.raises(StoreError, match="expected the classes of your own"):
            load(tmp_path)


def run(path, given):
    ort = pytest.importorskip("onnxruntime")
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    probs, labels = session.run(["probabilities", "labels"], {session.get_inputs()[0].name: given.numpy()})
    return torch.from_numpy(probs), torch.from_numpy(labels)


@pytest.mark.slow  # one ONNX file of each kind of graph is made by the contract tests
@pytest.mark.parametrize(
    ("name", "behind"),
    [("temperature", False), ("selective", False), ("temperature", True), ("vector", True), ("selective", True)],
)
def test_onnx_gives_the_same(name, behind, tmp_path):
    """SingleDevice and behind a small model, at other sizes than the traced one, with ties."""
    pytest.importorskip("onnxscript")
    calibrator, generator = CALIBRATORS[name], torch.Generator().manual_seed(1)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 1)).eval() if behind else None
    given = (3 * torch.randn(3, 3, 21, 37, generator=generator)).round()
    export_onnx(calibrator, tmp_path / "file.onnx", num_classes=3, model=model)
    probs, labels = run(tmp_path / "file.onnx", given)
    with torch.no_grad():
        raw = given if model is None else model(given)
        logits = calibrator(raw)
    torch.testing.assert_close(probs, with_margin(logits).softmax(1), rtol=0, atol=1e-5)
    assert torch.equal(labels, logits.argmax(1))
    assert torch.equal(labels, probs.half().argmax(1))
    assert [p.name for p in tmp_path.iterdir()] == ["file.onnx"]


@pytest.mark.slow
def test_onnx_in_three_dimensions(tmp_path):
    pytest.importorskip("onnxscript")
    export_onnx(CALIBRATORS["selective over vector"], tmp_path / "solid.onnx", num_classes=3, spatial_dims=3)
    z = 3 * torch.randn(1, 3, 5, 6, 7, generator=torch.Generator().manual_seed(1))
    probs, labels = run(tmp_path / "solid.onnx", z)
    expected = with_margin(CALIBRATORS["selective over vector"](z)).softmax(1)
    torch.testing.assert_close(probs, expected, rtol=0, atol=1e-5)
    assert np.array_equal(labels, z.argmax(1))


OLD = Path(__file__).parent.parent / "golden" / "version1" / "calibrators"
DEFINED = {"correctness": TemperatureNetwork, "local": TemperatureTree, "isotonic": IsotonicScaling}
"""A calibrator of version 0.1.0 that holds each kind whose tensors depend on constants of the code."""


def definitions_in(stored):
    """Every definition in the JSON of a calibrator."""
    parts = stored.values() if isinstance(stored, dict) else stored if isinstance(stored, list) else ()
    own = [stored["definition"]] if isinstance(stored, dict) and "definition" in stored else []
    return own + [each for part in parts for each in definitions_in(part)]


def test_each_kind_that_depends_on_constants_is_tried():
    since = {ConfidenceNetwork, Gate}  # not in version 0.1.0: they always record their constants
    assert {kind for kind in storage.KINDS.values() if hasattr(kind, "definition")} == {*DEFINED.values(), *since}


@pytest.mark.parametrize("part", [ConfidenceNetwork, Gate])
def test_a_stacked_scaling_with_other_constants_is_refused(part, tmp_path, monkeypatch):
    f, c = 26, 3
    network = ConfidenceNetwork(
        *(torch.zeros(f), torch.ones(f), torch.zeros(2, f), torch.zeros(c, 2), torch.zeros(2)),
        *(torch.zeros(2, 2), torch.zeros(2)),
    )
    gate = Gate(torch.zeros(6 + 2 * c), torch.ones(6 + 2 * c), torch.eye(6 + 2 * c), 1.0)
    save(StackedScaling(TemperatureScaling(2.0), [], torch.ones(1), network, gate), tmp_path)
    assert load(tmp_path).gate.limit == 1
    monkeypatch.setattr(part, "definition", {**part.definition, "radii": (1, 2)})
    with pytest.raises(StoreError, match=r"fitted with radii = \[1, 2\]; this one was fitted with"):
        load(tmp_path)


def test_a_gate_from_before_shares_had_an_end_has_none(tmp_path):
    parts = (torch.zeros(12), torch.ones(12), torch.eye(12))
    save(StackedScaling(TemperatureScaling(2.0), [], torch.ones(1), gate=Gate(*parts, 1.0, 2.0)), tmp_path)
    assert load(tmp_path).gate.end == 2
    file = tmp_path / "calibrator.json"
    stored = json.loads(file.read_text())
    del stored["calibrator"]["arguments"]["gate"]["arguments"]["end"]
    file.write_text(json.dumps(stored | {"digest": _digest(stored)}))
    older = load(tmp_path).gate
    assert older.end is None
    assert older.share(torch.tensor([2.0, 4.0])).tolist() == [0.25, 0.0625]


@pytest.mark.parametrize("name", DEFINED)
def test_a_file_with_other_constants_is_refused(name, tmp_path):
    save(load(OLD / name), tmp_path)
    text = (tmp_path / "calibrator.json").read_text()
    (definition,) = definitions_in(json.loads(text)["calibrator"])
    for constant in definition:
        stored = json.loads(text)
        definitions_in(stored["calibrator"])[0][constant] = [1, 2, 4, 8, 16, 24]
        (tmp_path / "calibrator.json").write_text(json.dumps(stored | {"digest": _digest(stored)}))
        refused = rf"fitted with {constant} = .*; this one was fitted with \[1, 2, 4, 8, 16, 24\].*Fit it again"
        with pytest.raises(StoreError, match=refused):
            load(tmp_path)
    (tmp_path / "calibrator.json").write_text(text)
    assert type(load(tmp_path)) is type(load(OLD / name))


@pytest.mark.parametrize("name", DEFINED)
def test_a_file_is_refused_where_a_constant_has_changed_since(name, tmp_path, monkeypatch):
    """One that records its constants, and one of version 0.1.0, which does not."""
    save(load(OLD / name), tmp_path)
    kind = DEFINED[name]
    monkeypatch.setattr(kind, "definition", {**kind.definition, next(iter(kind.definition)): 24})
    for folder in (tmp_path, OLD / name):
        with pytest.raises(StoreError, match=r"= 24; this one was fitted with"):
            load(folder)
