"""One temperature a pixel for a confidence."""

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from calibrant.calibrators._solve import DELTA, MAX_CONFIDENCE, reachable, temperature_for, with_confidence


def drawn(c, scale, *size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    z = scale * torch.randn(2, c, *size, generator=generator)
    wanted = (1 + DELTA) / c + (MAX_CONFIDENCE - (1 + DELTA) / c) * torch.rand(2, 1, *size, generator=generator)
    return z, wanted


def by_bisection(z, wanted):
    """The reference: halve an interval of log T in float64 sixty times."""
    z, low, high = z.double(), torch.full_like(wanted, -30.0).double(), torch.full_like(wanted, 30.0).double()
    for _ in range(60):
        middle = (low + high) / 2
        sure = (z / middle.exp()).softmax(1).amax(1, keepdim=True) > wanted
        low, high = torch.where(sure, middle, low), torch.where(sure, high, middle)
    return middle.exp()


@pytest.mark.parametrize("c", [2, 3, 19, 150, 171])
@pytest.mark.parametrize("scale", [0.01, 1.0, 5.0, 30.0])
def test_the_confidence_is_reached_and_the_order_kept(c, scale):
    z, wanted = drawn(c, scale, 12, 13)
    out = with_confidence(z, wanted)
    assert (out.double().softmax(1).amax(1, keepdim=True) - wanted).abs().max() < 1e-4
    assert torch.equal(out.argmax(1), z.argmax(1))
    ordered = out.gather(1, z.argsort(1))
    assert bool((ordered.diff(dim=1) >= 0).all())


@pytest.mark.parametrize("c", [2, 7, 150])
@pytest.mark.parametrize("near", [0.2, 1.0, 3.0])
def test_agrees_with_bisection(c, near):
    z, wanted = drawn(c, 4.0, 5, 6, 3)
    assert torch.allclose(temperature_for(z, wanted, near=near).double(), by_bisection(z, wanted), rtol=3e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    z, wanted = drawn(19, 4.0, 9, 9)
    z = z.to(dtype)
    out = with_confidence(z, wanted)
    assert out.dtype == torch.float32
    unique = (z == z.amax(1, keepdim=True)).sum(1, keepdim=True) == 1
    reached = out.softmax(1).amax(1, keepdim=True)
    assert (reached - wanted)[unique].abs().max() < 1e-4
    assert torch.equal(out.argmax(1), z.argmax(1))


def test_ties_reach_what_can_be_reached():
    pixels = [[1.0, 1.0, 0.0, 0.0], [2.0, 2.0, 2.0, 2.0], [0.0, -1e-45, 0.0, -1e4], [-1e34, 0.0, 1e34, 1e-3]]
    z = torch.tensor(pixels).T[None].contiguous()
    wanted = torch.tensor([[[0.9, 0.4, 0.6, 0.7]]])
    out = with_confidence(z, wanted)
    assert bool(out.isfinite().all())
    assert torch.equal(out.argmax(1), z.argmax(1))
    probs = out.softmax(1).amax(1)[0]
    assert torch.allclose(probs[[0, 1, 3]], torch.tensor([0.5, 0.25, 0.7]), atol=1e-4)
    assert torch.equal(temperature_for(z, wanted)[0, 0, 1], torch.tensor(1.0))
    half = with_confidence(torch.tensor([[[1.0], [1.0], [0.0]]]), torch.tensor([[[0.45]]])).softmax(1)
    assert torch.allclose(half.squeeze(), torch.tensor([0.45, 0.45, 0.1]), atol=1e-4)


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e4, 1e15, 1e34])
def test_any_scale_of_logits(scale):
    z, wanted = drawn(5, 1.0, 40)
    reached = with_confidence(z * scale, wanted).softmax(1).amax(1, keepdim=True)
    assert (reached - wanted).abs().max() < 1e-4


def test_saturated_logits_are_softened():
    z = torch.tensor([[[0.0], [-1e4], [-2e4]]])
    assert torch.allclose(with_confidence(z, torch.tensor([[[0.6]]])).softmax(1)[0, 0], torch.tensor([0.6]), atol=1e-4)


@given(
    rows=st.lists(st.lists(st.floats(-60, 60, width=32), min_size=4, max_size=4), min_size=1, max_size=6),
    wanted=st.floats(0.0, 1.0),
)
@settings(max_examples=300, deadline=None)
@example(rows=[[0.0, 0.0, 1.0, 11.0]], wanted=0.9995)
@example(rows=[[0.0, 0.0, 11.0, 11.0]], wanted=0.4997245045877313)
def test_never_far_off(rows, wanted):
    z = torch.tensor(rows).T[None]
    r = torch.full((1, 1, z.shape[2]), wanted)
    out = with_confidence(z, r)
    assert torch.equal(out.argmax(1), z.argmax(1))
    gap = z.amax(1, keepdim=True) - z
    ties = (gap == 0).sum(1, keepdim=True)
    clear = (ties < 4) & ((gap == 0) | (gap > 1e-20)).all(1, keepdim=True)
    error = (out.softmax(1).amax(1, keepdim=True) - torch.minimum(reachable(r, 4), 1 / ties)).abs()
    assert bool((error < 2e-4)[clear].all())


@pytest.mark.parametrize("apart", [0.0, 1e-7, 1e-5, 1e-3, 1e-1])
def test_two_that_nearly_tie_far_above_the_others(apart):
    z = torch.tensor([[0.0, 0.0, top - apart, top] for top in (1.0, 5.0, 11.0, 20.0, 60.0, 119.0)]).T[None]
    for wanted in (0.4999, 0.4997, 0.4995, 0.499, 0.49, 0.4):
        reached = with_confidence(z, torch.full((1, 1, 6), wanted)).softmax(1).amax(1)
        assert (reached - wanted).abs().max() < 2e-4


@pytest.mark.parametrize("c", [3, 4, 19])
def test_many_that_nearly_tie(c):
    generator = torch.Generator().manual_seed(c)

    def exponents(low, high):
        return 10 ** torch.empty(1, 1, 4000).uniform_(low, high, generator=generator)

    z = torch.randn(1, c, 4000, generator=generator) * exponents(-1, 1.7)
    for number in range(2):
        z[:, number] = z.amax(1) - exponents(-8, 1)[:, 0]
    wanted = torch.cat([1 / m - exponents(-6, -1)[..., ::2] for m in (2, 3)], 2)
    out = with_confidence(z, wanted)
    ties = (z == z.amax(1, keepdim=True)).sum(1, keepdim=True)
    error = (out.softmax(1).amax(1, keepdim=True) - torch.minimum(reachable(wanted, c), 1 / ties)).abs()
    assert float(error.max()) < 2e-4


def test_gradients_are_those_of_the_implicit_function():
    z, wanted = drawn(4, 2.0, 6)
    z, wanted = z.double().float().requires_grad_(), wanted.clamp(0.4, 0.9).requires_grad_()
    temperature_for(z, wanted).log().sum().backward()
    step = 1e-3
    with torch.no_grad():
        up, down = by_bisection(z, wanted + step).log(), by_bisection(z, wanted - step).log()
        assert torch.allclose(wanted.grad.double(), (up - down) / (2 * step), rtol=1e-2)
        nudged = torch.zeros_like(z)
        nudged[:, 1] = step
        change = (by_bisection(z + nudged, wanted).log() - by_bisection(z - nudged, wanted).log()) / (2 * step)
        assert torch.allclose(z.grad[:, 1:2].double(), change, rtol=2e-2, atol=1e-3)


def test_pixels_do_not_depend_on_one_another():
    z, wanted = drawn(150, 5.0, 40, 40)
    whole = with_confidence(z, wanted)
    assert torch.allclose(whole[1:, :, 7:9], with_confidence(z[1:, :, 7:9], wanted[1:, :, 7:9]), atol=1e-3, rtol=1e-3)


def test_no_pixels():
    assert with_confidence(torch.zeros(1, 3, 0), torch.zeros(1, 1, 0)).shape == (1, 3, 0)
