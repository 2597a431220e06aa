"""Descent keeps the best state, stops in time, and moves as torch's AdamW does."""

import logging

import pytest
import torch

from calibrant.calibrators import TemperatureScaling, _descend
from calibrant.errors import FitError
from calibrant.testing import toy_predictions


def test_adamw_is_torchs():
    generator = torch.Generator().manual_seed(0)
    ours = torch.randn(5, generator=generator).requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    one = _descend.AdamW([ours], 1e-2, 0.1)
    two = torch.optim.AdamW([theirs], lr=1e-2, weight_decay=0.1)
    for _ in range(20):
        one.step(torch.autograd.grad((ours - 3).square().sum(), [ours]))
        two.zero_grad()
        (theirs - 3).square().sum().backward()
        two.step()
    torch.testing.assert_close(ours, theirs)


def test_the_best_state_is_kept_and_patience_ends_it():
    x, path = torch.zeros(1, requires_grad=True), []

    def score():
        path.append(float(x))
        return (path[-1] - 0.25) ** 2

    best = _descend.descend(
        [x],
        loss=lambda batch: -x.sum(),
        batches=lambda generator: [None],
        score=score,
        num_epochs=100,
        learning_rate=0.1,
        patience=3,
    )
    assert float(x.detach()) == pytest.approx(0.25, abs=0.06)
    assert best == min((value - 0.25) ** 2 for value in path)
    assert len(path) < 10


def test_a_loss_that_is_never_finite_is_a_fit_error():
    x = torch.zeros(1, requires_grad=True)
    with pytest.raises(FitError, match="finite held-out loss"):
        _descend.descend(
            [x],
            loss=lambda _: x.sum(),
            batches=lambda _: [0],
            score=lambda: float("nan"),
            num_epochs=2,
            learning_rate=1.0,
        )


def test_progress_is_logged(caplog):
    with caplog.at_level(logging.INFO, logger="calibrant"):
        TemperatureScaling.fit_as_published(toy_predictions(), num_epochs=2)
    assert "epoch 2 of 2" in caplog.text
