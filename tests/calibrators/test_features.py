"""The features of a pixel, against a slow loop."""

import itertools
import math

import pytest
import torch

from calibrant.calibrators.correctness.features import NAMES, features_of
from calibrant.calibrators.stacked.context import NAMES as CONTEXT
from calibrant.calibrators.stacked.context import context_of
from calibrant.calibrators.stacked.surroundings import RADII, STEPS

SPACES = [(6, 7), (3, 4, 5), (8,)]


def made(space, *, seed=0, c=4):
    return 2 * torch.randn(2, c, *space, generator=torch.Generator().manual_seed(seed)).double().float()


def slow(logits):
    """One image (c, *s), pixel by pixel, in Python."""
    _, *space = logits.shape
    places = list(itertools.product(*map(range, space)))
    z = {at: logits[(slice(None), *at)].double() for at in places}
    label = {at: int(z[at].argmax()) for at in places}
    margin, second, own = {}, {}, {}
    for at in places:
        order = z[at].sort(descending=True)
        others = torch.cat([z[at][: label[at]], z[at][label[at] + 1 :]])
        margin[at] = float(z[at][label[at]] - others.logsumexp(0))
        second[at] = int(order.indices[1])
        p = z[at].softmax(0)
        top = order.values
        own[at] = [margin[at], top[0] - top[1], top[1] - top[2], (-(p * p.log()).sum()).log(), p.max()]
    dims = len(space)
    axes = [tuple(s * (k == a) for k in range(dims)) for a in range(dims) for s in (-1, 1)]
    diagonals = list(itertools.product((-1, 1), repeat=dims)) if dims > 1 else []

    def near(at, directions, radius):
        moved = [tuple(x + radius * d for x, d in zip(at, direction, strict=True)) for direction in directions]
        return [label[other] for other in moved if other in label]

    edge = {at: any(other != label[at] for other in near(at, axes, 1)) for at in places}
    rows = []
    for at in places:
        row = list(own[at])
        around = [near(at, [*axes, *diagonals], r) for r in RADII]
        row += [sum(o == label[at] for o in each) / max(1, len(each)) for each in around]
        row += [sum(o == second[at] for o in each) / max(1, len(each)) for each in around]
        windows = [
            [o for o in places if all(abs(x - y) <= r for x, y in zip(at, o, strict=True))]
            for r in (step * 3 // 2 for step in STEPS)
        ]
        row += [sum(margin[o] for o in w) / len(w) for w in windows]
        shares = [sum(edge[o] for o in w) / len(w) for w in windows]
        row += shares
        row.append(sum(share == 0 for share in shares) + (not edge[at]))
        of_class = [o for o in places if label[o] == label[at]]
        row.append(math.log((len(of_class) + 1) / len(places)))
        row.append(sum(margin[o] for o in of_class) / len(of_class))
        along = [(2 * x + 1) / size - 1 for x, size in zip(at, space, strict=True)]
        row += [along[-2] if dims > 1 else 0.0, abs(along[-1])]
        rows.append([float(x) for x in row])
    return torch.tensor(rows).T, torch.tensor([label[at] for at in places]), torch.tensor([second[at] for at in places])


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_numbers_agree_with_a_slow_loop(space):
    logits = made(space)
    features = features_of(logits)
    for i in range(len(logits)):
        numbers, winner, runner_up = slow(logits[i])
        assert len(numbers) == len(NAMES)
        assert torch.equal(features.winner[i], winner)
        assert torch.equal(features.runner_up[i], runner_up)
        for name, ours, theirs in zip(NAMES, features.values[i], numbers, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_context_is_among_the_features(space):
    context, features = context_of(made(space)), features_of(made(space))
    at = [NAMES.index("first gap" if name == "gap" else name) for name in CONTEXT]
    torch.testing.assert_close(context.values, features.values[:, at], rtol=1e-4, atol=1e-5)
    assert torch.equal(context.winner, features.winner)


def test_a_constant_of_a_pixel_changes_nothing():
    logits = made((9, 7)).double().mul(8).round().div(8).float()  # so that sums with small integers are exact
    shift = torch.randint(-9, 9, (2, 1, 9, 7), generator=torch.Generator().manual_seed(1)).float()
    assert torch.equal(features_of(logits).values, features_of(logits + shift).values)


def test_the_winner_is_the_first_of_those_that_tie():
    logits = torch.tensor([[0.0, 2.0, 2.0, 1.0, 2.0], [1.0, 1.0, 1.0, 1.0, 1.0]]).T[None]
    features = features_of(logits)
    assert features.winner.tolist() == [[1, 0]]
    assert features.runner_up.tolist() == [[2, 1]]
    assert bool(features.values.isfinite().all())


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e4, 1e37])
def test_numbers_are_finite_at_any_scale(scale):
    assert bool(features_of(scale * made((9, 7), c=2)).values.isfinite().all())
