"""What every sampler promises."""

from collections.abc import Sequence

import torch

from calibrant._shapes import Float, Int, Tensor
from calibrant.samplers import Sampler
from calibrant.testing.toys import toy_predictions


def check_sampler(
    sampler: Sampler, *, num_classes: int = 3, spatial_dims: Sequence[int] = (2, 3), num_samples: int = 1500
) -> None:
    """Raise unless a sampler keeps the promises of the library.

    It is held to: the shape (m, n, *s), integer classes and no other, the same maps for the same state of the
    generator and other maps for another, images of a batch drawn independently of each other and as they are drawn
    alone, training mode and evaluation mode alike, input left alone, float16 accepted, and ``keeps_marginals``.

    :param sampler: what is held to the promises; a sampler that was trained has its own number of classes.
    :param num_classes: how many classes the logits have that it is given.
    :param spatial_dims: 2 for images, 3 for volumes, or both.
    :param num_samples: drawn for each comparison of frequencies; they may differ by six standard errors.
    :raises AssertionError: a promise is broken; the message says which.

    >>> from calibrant.samplers import IndependentSampler
    >>> check_sampler(IndependentSampler(), num_samples=200)
    """
    for dims in spatial_dims:
        usual = toy_predictions(num_images=2, num_classes=num_classes, size=(4, 6, 8)[-dims:], overconfidence=1.0)
        logits = torch.stack([p.logits for p in usual])
        image = torch.stack([p.image for p in usual if p.image is not None])
        before = logits.clone()
        drawn = _draw(sampler, logits, image, num_samples, 0)
        assert torch.equal(logits, before), "the logits passed in were changed"
        expected = (num_samples, len(logits), *logits.shape[2:])
        assert drawn.shape == expected, f"expected maps {expected}, samples first; got {tuple(drawn.shape)}"
        assert drawn.dtype == torch.int64, f"expected int64 maps; got {drawn.dtype}"
        low, high = int(drawn.min()), int(drawn.max())
        assert 0 <= low <= high < num_classes, f"expected classes 0..{num_classes - 1}; got {low} to {high}"
        assert torch.equal(drawn, _draw(sampler, logits, image, num_samples, 0)), "one state, two sets of maps"
        other = _draw(sampler, logits, image, num_samples, 1)
        assert not torch.equal(drawn, other), "another seed gives the same maps: something else is drawn from"
        _check_modes(sampler, logits, image)
        _check_batch(sampler, logits, image, drawn)
        assert _draw(sampler, logits.half(), image, 2, 0).dtype == torch.int64, "float16 logits are refused"
        if sampler.keeps_marginals:
            _check_frequencies(drawn, logits.softmax(1), 0.0, "keeps_marginals is broken")


def _draw(sampler: Sampler, logits: Tensor, image: Tensor, num_samples: int, seed: int) -> Int[Tensor, "m n *s"]:
    generator = torch.Generator().manual_seed(seed)
    return sampler.sample(logits, image, num_samples=num_samples, generator=generator)


def _check_modes(sampler: Sampler, logits: Tensor, image: Tensor) -> None:
    mode = sampler.training
    trained = _draw(sampler.train(), logits, image, 4, 0)
    evaluated = _draw(sampler.eval(), logits, image, 4, 0)
    sampler.train(mode)
    assert torch.equal(trained, evaluated), "training mode differs from evaluation mode"


def _check_batch(sampler: Sampler, logits: Tensor, image: Tensor, drawn: Tensor) -> None:
    num_samples = len(drawn)
    twins = _draw(sampler, logits[:1].expand(2, *logits.shape[1:]), image[:1].expand(2, *image.shape[1:]), 64, 0)
    assert not torch.equal(twins[:, 0], twins[:, 1]), "images of a batch share what is drawn: give each its own noise"
    for i in range(len(logits)):
        alone = _draw(sampler, logits[i : i + 1], image[i : i + 1], num_samples, 2)
        frequencies = _frequencies(alone, logits.shape[1])
        what = "an image is drawn otherwise alone than in a batch"
        _check_frequencies(drawn[:, i : i + 1], frequencies, 1 / num_samples, what)


def _frequencies(drawn: Int[Tensor, "m n *s"], num_classes: int) -> Float[Tensor, "n c *s"]:
    return torch.stack([(drawn == k).double().mean(0) for k in range(num_classes)], 1)


def _check_frequencies(drawn: Tensor, probs: Tensor, noise: float, what: str) -> None:
    """Compare frequencies to probabilities, themselves with a variance of p (1 - p) ``noise``, by a normal bound.

    A few draws more than it are let pass, for rare classes, whose counts are not normal.
    """
    frequencies = _frequencies(drawn, probs.shape[1])
    spread = (probs * (1 - probs)).clamp_min(0) * (1 / len(drawn) + noise)
    excess = (frequencies - probs).abs() - 6 * spread.sqrt() - 8 / len(drawn)
    worst = int(excess.argmax())
    assert float(excess.max()) <= 0, (
        f"{what}: {float(frequencies.flatten()[worst]):.4f} of {len(drawn)} samples show a class of probability "
        f"{float(probs.flatten()[worst]):.4f}"
    )
