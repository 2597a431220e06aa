"""The nearest distribution in which the raw winner still wins."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from calibrant.calibrators import DirichletScaling, TemperatureScaling, VectorScaling
from calibrant.calibrators._projections import EXCLUDED, keep_labels, nearest_with_confidence, nearest_with_winner
from calibrant.calibrators.pixels import Pixels
from calibrant.predictions import Prediction
from calibrant.testing import tied_logits


def by_sorting(p, w):
    """The reference, one pixel: share with the largest others, one after the other, until none is above the share."""
    q, rest = p.clone(), sorted((i for i in range(len(p)) if i != w), key=lambda i: -float(p[i]))
    group = [w]
    for i in rest:
        if p[i] <= p[group].mean():
            break
        group.append(i)
    q[group] = p[group].mean()
    return q


@pytest.mark.parametrize("c", [2, 3, 7, 40])
def test_agrees_with_a_slow_loop(c):
    generator = torch.Generator().manual_seed(c)
    raw = torch.randn(2, c, 60, generator=generator)
    mapped = raw + 1.5 * torch.randn(2, c, 60, generator=generator)
    ours = nearest_with_winner(raw, mapped).double().softmax(1)
    for n in range(2):
        for i in range(60):
            wanted = by_sorting(mapped[n, :, i].double().softmax(0), int(raw[n, :, i].argmax()))
            torch.testing.assert_close(ours[n, :, i], wanted, rtol=1e-5, atol=1e-7)


def test_no_distribution_with_that_winner_is_nearer():
    p = np.array([0.1, 0.45, 0.25, 0.2])
    ours = nearest_with_winner(torch.tensor([[[9.0], [0], [0], [0]]]), torch.tensor(p).log().float()[None, :, None])
    ours = ours.double().softmax(1)[0, :, 0].numpy()

    def kl(q):
        return float((p * np.log(p / q)).sum())

    found = minimize(
        kl,
        np.full(4, 0.25),
        bounds=[(1e-6, 1)] * 4,
        constraints=[{"type": "eq", "fun": lambda q: q.sum() - 1}]
        + [{"type": "ineq", "fun": lambda q, k=k: q[0] - q[k]} for k in (1, 2, 3)],
    )
    np.testing.assert_allclose(ours, found.x, atol=1e-3)
    assert kl(ours) <= found.fun + 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_argmax_is_kept_with_ties(dtype):
    z = tied_logits(4).to(dtype)
    weight, bias = torch.tensor([1.0, -2.0, 0.1, 3.0]), torch.tensor([5.0, 0.0, -3.0, 1.0])
    matrix = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    for calibrator in (VectorScaling(weight, bias, keep_labels=True), DirichletScaling(matrix, bias, keep_labels=True)):
        assert calibrator.keeps_labels
        out = calibrator(z)
        assert bool(out.isfinite().all())
        assert torch.equal(out.argmax(1), z.argmax(1))
        assert torch.equal(out == out.amax(1, keepdim=True), z == z.amax(1, keepdim=True))


def test_other_pixels_are_left_alone():
    z = torch.randn(1, 5, 200, generator=torch.Generator().manual_seed(1))
    vector = VectorScaling(torch.full((5,), 0.7), torch.tensor([1.0, 0, 0, 0, -1]))
    moved = vector(z)
    same = moved.argmax(1) == z.argmax(1)
    kept = VectorScaling(vector.weight, vector.bias, keep_labels=True)(z)
    assert 0 < int(same.sum()) < 200
    torch.testing.assert_close(kept.movedim(1, 0)[:, same], moved.movedim(1, 0)[:, same])


def distorted(count, seed):
    """Labels from a known softmax of three like classes; the model is biased by class."""
    generator = torch.Generator().manual_seed(seed)
    predictions = []
    for number in range(count):
        true = 1.5 * torch.randn(4, 24, 30, generator=generator)
        labels = (true - torch.empty_like(true).exponential_(generator=generator).log()).argmax(0)
        bias = torch.tensor([1.0, 0.0, -0.5, 0.0])[:, None, None]
        predictions.append(Prediction(f"{seed}-{number}", 1.8 * (true + bias), labels[None]))
    return predictions


def test_it_beats_temperature_scaling_and_a_lifted_winner_without_a_changed_label():
    fitted, tested = distorted(8, 0), distorted(8, 1)
    pixels = Pixels.draw(tested, per_image=None)

    def nll(logits):
        return float(torch.nn.functional.cross_entropy(logits[0].T, pixels.labels))

    z = pixels.logits[None]
    plain = VectorScaling.fit(fitted)
    kept = VectorScaling.fit(fitted, keep_labels=True)
    assert torch.equal(kept(z).argmax(1), z.argmax(1))
    assert not torch.equal(plain(z).argmax(1), z.argmax(1))
    assert nll(kept(z)) < nll(keep_labels(z, plain(z), lift=True)) < nll(TemperatureScaling.fit(fitted)(z))


def test_the_nearest_distribution_at_the_extremes():
    """All classes level, one class with all but everything, and hardly any class beside the winner to take the rest."""
    others = torch.tensor([[0.25, 0.25, 0.25, 0.25], [1 - 3e-30, 1e-30, 1e-30, 1e-30], [1 - 1e-6, 1e-6, 0, 0]]).log()
    others = torch.cat([torch.full((3, 1), EXCLUDED), others.clamp_min(EXCLUDED)], 1)[..., None]
    winners = torch.arange(5)[None, :, None].expand(3, 5, 1) == 0
    level = nearest_with_confidence(torch.full((3, 1, 1), math.log(4.0) + 1e-6), others, winners)[..., 0]
    torch.testing.assert_close(level[:2], torch.zeros(2, 5))
    half = nearest_with_confidence(torch.full((3, 1, 1), math.log(2.5)), others, winners)[..., 0].softmax(1)
    torch.testing.assert_close(half[0], torch.tensor([0.4, 0.25, 0.25, 0.25, 0.25]) / 1.4)
    torch.testing.assert_close(half[1], torch.tensor([1.0, 1.0, 0.5, 0.5, 0.5]) / 3.5)
    assert half.isfinite().all()
    alone = torch.tensor([[[EXCLUDED], [0.0]]])
    one = nearest_with_confidence(torch.zeros(1, 1, 1), alone, torch.tensor([[[True], [False]]]))
    torch.testing.assert_close(one, torch.zeros(1, 2, 1))
