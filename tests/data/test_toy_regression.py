"""The regression task against eq. (8), its own draws, and numerical integrals."""

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from calibrant.data import REGRESSION_SETTINGS, BimodalRegression
from calibrant.errors import InputError


def by_the_paper(x: float, b: int) -> float:
    if x < 0.4:
        return 0.5 - b
    return (-1) ** b * (-1.25 * x + 1) if x < 0.8 else 0.0


def test_settings_are_those_of_figure_3():
    assert {(each.lower, each.noise) for each in REGRESSION_SETTINGS} == {
        (lower, noise) for lower in (0.5, 0.6, 0.9) for noise in (0.01, 0.02, 0.03)
    }


@pytest.mark.parametrize("x", [0.0, 0.2, 0.4, 0.55, 0.7, 0.8, 0.93, 1.0])
def test_law_is_that_of_the_paper(x):
    task = BimodalRegression(lower=0.9, noise=0.03)
    y = torch.linspace(-1, 1, 20_001, dtype=torch.float64)
    at = torch.full_like(y, x)
    slow = sum(share * stats.norm.pdf(y.numpy(), by_the_paper(x, b), 0.03) for b, share in ((0, 0.1), (1, 0.9)))
    density = task.log_density(y, at).exp().numpy()
    np.testing.assert_allclose(density, slow, atol=1e-9)
    assert integrate.trapezoid(density, y.numpy()) == pytest.approx(1, abs=1e-6)
    assert integrate.trapezoid(density * y.numpy(), y.numpy()) == pytest.approx(float(task.mean(at[:1])), abs=1e-6)
    cumulative = np.cumsum(density) * 1e-4
    np.testing.assert_allclose(task.distribution(y, at).numpy(), cumulative, atol=1e-3)


def test_draws_follow_the_law_and_a_collapsed_model_does_not():
    task = REGRESSION_SETTINGS[-1]
    rng = torch.Generator().manual_seed(0)
    x, y = task.draw(20_000, generator=rng)
    assert stats.kstest(x.numpy(), "uniform").pvalue > 1e-3
    assert stats.kstest(task.distribution(y, x).numpy(), "uniform").pvalue > 1e-3
    collapsed = task.modes(x)[1]
    assert float(task.log_density(collapsed, x).mean()) > float(task.log_density(y, x).mean())
    assert stats.kstest(task.distribution(collapsed, x).numpy(), "uniform").pvalue < 1e-6
    assert float((y[x < 0.4] < 0).double().mean()) == pytest.approx(0.9, abs=0.015)


def test_floor_is_the_published_one():
    task = REGRESSION_SETTINGS[0]
    far, x = torch.tensor([50.0]), torch.tensor([0.1])
    assert float(task.log_density(far, x, floor=1e-11)) == pytest.approx(-25.328, abs=1e-3)
    assert float(task.log_density(far, x)) < -1e5
    near = torch.tensor([0.5])
    torch.testing.assert_close(task.log_density(near, x, floor=1e-11), task.log_density(near, x))


@pytest.mark.parametrize("bad", [{"lower": 1.1, "noise": 0.1}, {"lower": 0.5, "noise": 0.0}])
def test_laws_that_cannot_be_are_told(bad):
    with pytest.raises(InputError, match="noise above 0"):
        BimodalRegression(**bad)
