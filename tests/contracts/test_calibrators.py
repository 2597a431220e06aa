"""Every calibrator keeps the promises of the house."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from quick_methods import QUICK, fit_of

from calibrant.calibrators import (
    DirichletScaling,
    Fit,
    Identity,
    NoSelector,
    OracleSelector,
    SelectiveScaling,
    Selector,
    StackedScaling,
    TemperatureScaling,
    VectorScaling,
)
from calibrant.calibrators.correctness import CorrectnessScaling, MistakeModel, Recalibration, TemperatureNetwork
from calibrant.calibrators.correctness.features import NAMES
from calibrant.calibrators.stacked import ConfidenceNetwork, Gate
from calibrant.calibrators.stacked.context import NAMES as CONTEXT
from calibrant.testing import check_calibrator, tied_logits

FURTHER = (
    "temperature:pixels_per_image=none",
    "vector:pixels_per_image=none",
    "vector-kept:strength=0,safe=false",
    "meta-cal-star:accuracy=0.9",
    "meta-cal:base=vector",
    "selective:base=vector,num_epochs=3",
    "selective:mistaken=vector,others=dirichlet,num_epochs=2",
    "selective-published:base=vector,num_epochs=3",
    "stacked:anchor=vector-kept,members=isotonic,use_gate=false,num_epochs=1",
    "stacked:members=vector-kept+local,use_context=false",
)
"""Options and compositions that go other ways than the methods by themselves."""

FITS: dict[str, Fit] = {
    **{name: fit_of(text) for name, text in QUICK.items()},
    **{text: fit_of(text) for text in FURTHER},
    "selective between isotonic and local": partial(
        SelectiveScaling.fit, mistaken=fit_of("isotonic"), others=fit_of(QUICK["local"]), num_epochs=2
    ),
    "stacked over selective": partial(fit_of(QUICK["stacked"]), anchor=fit_of("selective:num_epochs=2")),
    "the oracle": lambda predictions: SelectiveScaling(
        OracleSelector(), TemperatureScaling(1e10), VectorScaling.fit(predictions, strength=0.1, safe=False)
    ),
}
"""Every method of the library, so that a new one is held to the contract by being in the table; and some more."""


SLOW = {*FITS} - {*QUICK} - {"the oracle"}
"""Those that make anew what others here make already: eight fits each, so they are left to test-all."""

EXPORTED = {"dirichlet-kept", "meta-cal-star", "stacked"}
"""One of each kind of ONNX graph: an affine map, a choice by pixel, and what looks around."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in FITS]
)
def test_calibrator_keeps_the_contract(name):
    check_calibrator(FITS[name], num_classes=4)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(EXPORTED))
def test_its_onnx_file_answers_as_it_does(name):
    check_calibrator(FITS[name], num_classes=4, onnx=True)


@pytest.mark.parametrize("name", ["selective", "isotonic", "dirichlet-kept", "meta-cal-star"])
def test_two_classes(name):
    check_calibrator(FITS[name], num_classes=2)


def without_images(fit):
    return lambda predictions: fit([replace(p, image=None) for p in predictions])


@pytest.mark.slow
def test_the_onnx_file_of_a_network_answers_alike():
    check_calibrator(without_images(FITS["local"]), onnx=True)


class Every(Selector):
    """Flag every second pixel of the last axis."""

    def forward(self, logits, image=None):
        flags = torch.zeros_like(logits[:, 0], dtype=torch.bool)
        flags[..., ::2] = True
        return flags

    def arguments(self):
        return {}


def correctness(alternatives, opinion=None, recalibration=None):
    """Correctness scaling with random networks: temperatures all over the place."""
    rng = torch.Generator().manual_seed(0)

    def drawn(*shape):
        return torch.randn(shape, generator=rng)

    f, hidden, c = len(NAMES), 6, 3
    network = (drawn(hidden, f), drawn(c, hidden), drawn(c, hidden), drawn(hidden), drawn(hidden), drawn())
    softening = TemperatureNetwork(drawn(f), drawn(f).abs() + 0.1, *network)
    habits = MistakeModel(drawn(c), drawn(c), 3 * drawn(c, c)) if alternatives else None
    return CorrectnessScaling(TemperatureScaling(1.7), softening, habits, opinion, recalibration)


def stacked(limit, end=2.0):
    """Stacked scaling with random parts; images keep little of it where the limit is low."""
    rng = torch.Generator().manual_seed(1)

    def drawn(*shape):
        return torch.randn(shape, generator=rng)

    f, hidden, c = len(CONTEXT) + 2, 6, 3
    tensors = (drawn(f), drawn(f).abs() + 0.1, drawn(hidden, f), drawn(c, hidden), drawn(hidden), drawn(2, hidden))
    members = [VectorScaling(drawn(c), drawn(c)), DirichletScaling(drawn(c, c), drawn(c))]
    described = 6 + 2 * c
    gate = Gate(torch.zeros(described), torch.ones(described), torch.eye(described), limit, end)
    weights = torch.tensor([0.2, 0.5, 0.7])
    return StackedScaling(TemperatureScaling(1.7), members, weights, ConfidenceNetwork(*tensors, drawn(2)), gate)


KEEPING = {
    "stacked": stacked(1e9),
    "stacked, drawn back": stacked(1e-3, end=None),
    "stacked, left to the anchor": stacked(1e-3),
    **{f"T={t:g}": TemperatureScaling(t) for t in (1e10, 1e3, 7.3, 1.7, 1.0, 0.3, 1e-3)},
    "uniform and cold": SelectiveScaling(Every(), TemperatureScaling(1e10), TemperatureScaling(1e-3)),
    "uniform and vector": SelectiveScaling(
        Every(), TemperatureScaling(1e10), VectorScaling(torch.tensor([1.0, -2.0, 0.1]), torch.tensor([5.0, 0.0, -3.0]))
    ),
    "nothing flagged": SelectiveScaling(NoSelector(), Identity(), TemperatureScaling(2.3)),
    "correctness": correctness(True),
    "correctness, order kept": correctness(False),
    "correctness, second opinion": correctness(
        True,
        DirichletScaling(
            torch.tensor([[1.0, -2.0, 0.1], [0.3, -1.0, 4.0], [0.0, 2.0, 1.0]]), torch.arange(3.0), keep_labels=True
        ),
        Recalibration(torch.linspace(0.35, 1, 1001)),
    ),
}


@pytest.mark.parametrize("name", KEEPING)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("grad", [False, True])
def test_argmax_is_kept_bit_for_bit(name, dtype, grad):
    z = tied_logits(3).to(dtype)
    out = KEEPING[name](z.requires_grad_(grad)).detach()
    assert bool(out.isfinite().all())
    assert torch.equal(out.argmax(1), z.argmax(1))
    # The winners tie exactly where they tied: the argmax does not hang on who is asked.
    assert torch.equal(out == out.amax(1, keepdim=True), (z == z.amax(1, keepdim=True)).detach())


@given(
    rows=st.lists(
        st.lists(st.floats(width=32, min_value=-(2.0**126), max_value=2.0**126), min_size=3, max_size=3),
        min_size=1,
        max_size=8,
    ),
    step=st.lists(st.sampled_from([-1, 0, 0, 1]), min_size=3, max_size=3),
    log_temperature=st.floats(-7, 23),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
    close=st.booleans(),
)
def test_argmax_survives_any_temperature(rows, step, log_temperature, dtype, close):
    z = torch.tensor(rows).T[None]
    if close:  # three logits within a step or two of one another
        z = z[:, :1].expand(1, 3, -1).clone()
    for c, s in enumerate(step):
        if s:
            z[:, c] = torch.nextafter(z[:, c], torch.tensor(s * torch.inf)).clamp(-(2.0**126), 2.0**126)
    z = z.to(dtype).clamp(-6e4, 6e4) if dtype == torch.float16 else z.to(dtype)
    out = TemperatureScaling(2.718281828**log_temperature)(z)
    assert torch.equal(out.argmax(1), z.argmax(1))
    assert bool(out.isfinite().all())


def test_a_broken_calibrator_is_found_out():
    class Swapping(TemperatureScaling):
        """Promises to keep the argmax and does not."""

        def forward(self, logits, image=None):
            return logits.float() / 1e10

    with pytest.raises(AssertionError, match="keeps_labels is broken"):
        check_calibrator(lambda predictions: Swapping(2.0), storable=False)
