"""Contracts that a user can run on an own calibrator, and small made predictions to run them on.

:func:`check_calibrator` and :func:`check_sampler` raise an ``AssertionError`` that names the promise that was broken.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import replace

import torch

from calibrant._shapes import IGNORE, Float, Int, Tensor
from calibrant.calibrators import Calibrator, EntropyAbove, Fit, SelectiveScaling, TemperatureScaling, load, save
from calibrant.errors import FitError, ShapeError
from calibrant.predictions import Prediction, Predictions
from calibrant.samplers import Sampler

__all__ = [
    "check_calibrator",
    "check_sampler",
    "tied_logits",
    "toy_predictions",
]


def toy_predictions(
    *,
    num_images: int = 4,
    num_classes: int = 3,
    size: Sequence[int] = (12, 16),
    overconfidence: float = 2.0,
    void: float = 0.1,
    spread: float = 2.0,
    num_annotators: int = 1,
    seed: int = 0,
) -> list[Prediction]:
    """Return predictions whose labels are drawn from softmax(logits / overconfidence): that temperature is the truth.

    Each has an image of two channels, which say nothing.

    :param size: two or three numbers.
    :param void: the share of unlabelled pixels.
    :param spread: the standard deviation of the true logits: the larger, the more accurate.

    >>> toy_predictions(size=(4, 5, 6))[0].logits.shape
    torch.Size([3, 4, 5, 6])
    """
    generator = torch.Generator().manual_seed(seed)
    predictions = []
    for number in range(num_images):
        true = spread * torch.randn(num_classes, *size, generator=generator)
        shape = (num_annotators, num_classes, *size)
        gumbel = -torch.empty(shape).exponential_(generator=generator).log()
        labels = (true + gumbel).argmax(1)
        labels[torch.rand(labels.shape, generator=generator) < void] = IGNORE
        image = torch.rand(2, *size, generator=generator)
        predictions.append(Prediction(f"toy{number}", overconfidence * true, labels, image))
    return predictions


def tied_logits(num_classes: int = 3, *, seed: int = 0) -> Float[Tensor, "n c h w"]:
    """Return logits with every trouble for an argmax: ties, neighbours one step apart, denormals, huge and equal ones.

    In float32; cast to float16 or bfloat16 they tie still more often.
    """
    generator = torch.Generator().manual_seed(seed)
    scales = torch.tensor([0.0, 1e-42, 1e-30, 1e-5, 1.0, 8.0, 300.0, 3e4]).reshape(-1, 1, 1, 1)
    z = scales * torch.randn(len(scales), num_classes, 6, 8, generator=generator)
    top = z.amax(1)
    z[:, 0, 0], z[:, -1, 0] = top[:, 0], top[:, 0]  # the first row: the first and the last class tie
    z[:, 0, 1] = torch.nextafter(top[:, 1], torch.tensor(-torch.inf))  # the second: the last wins by one step
    z[:, -1, 1] = top[:, 1]
    z[:, 1:, 1] = torch.minimum(z[:, 1:, 1], top[:, None, 1])
    z[:, :, 2] = top[:, None, 2]  # the third: all alike
    z[:, 0, 3], z[:, -1, 3] = torch.nextafter(top[:, 3], torch.tensor(-torch.inf)), top[:, 3]
    z[:, 1:-1, 3] = torch.nextafter(top[:, 3], torch.tensor(-torch.inf))[:, None]
    return z.clamp(-6e4, 6e4)  # within float16


def check_calibrator(fit: Fit, *, num_classes: int = 3, storable: bool = True, onnx: bool = False) -> None:
    """Raise unless a fit and the calibrators it makes keep the promises of the house.

    It fits on predictions that are ordinary, three-dimensional, of one image, of a single class, without mistakes,
    and of mistakes only; on the odd ones a :class:`~calibrant.errors.FitError` is a right answer, too. Each
    calibrator is held to: shape kept, float32, finite, ``keeps_labels``, each image by itself, training mode and
    evaluation mode alike, saved and loaded without a change, input left alone, the same fit for the same data. The
    ordinary one also to: any order of the axes in memory, a single pixel, a row of pixels, an empty batch, and being
    a branch of :class:`~calibrant.calibrators.SelectiveScaling`, which then keeps the label map and is stored whole.

    :param fit: from predictions to a calibrator, seeded.
    :param storable: false for a calibrator of your own, which :func:`calibrant.calibrators.save` does not know.
    :param onnx: whether its ONNX file must answer as it does, for one that needs no image (with the extra ``onnx``;
        takes seconds).

    >>> from calibrant.calibrators import Identity
    >>> check_calibrator(Identity.fit)
    """
    usual = toy_predictions(num_classes=num_classes)
    calibrator = fit(usual)
    _check_map(calibrator, usual, storable)
    _check_ties(calibrator, num_classes)
    _check_alike(calibrator, fit(toy_predictions(num_classes=num_classes)), usual, "a second fit to the same data")
    _check_layouts(calibrator, usual)
    composed = SelectiveScaling(EntropyAbove(0.5), TemperatureScaling(3.0), calibrator)
    _check_map(composed, usual, storable)
    _check_ties(composed, num_classes)
    if onnx:
        _check_onnx(calibrator, num_classes)
    solid = toy_predictions(num_classes=num_classes, size=(4, 5, 6))
    _check_map(fit(solid), solid, storable)
    for what, odd in _odd(num_classes).items():
        try:
            fitted = fit(odd)
        except FitError as error:
            if len(str(error)) < 20:
                raise AssertionError(f"fitting on {what} raised a FitError without a sentence") from error
            continue
        try:
            _check_map(fitted, odd, storable)
            _check_ties(fitted, num_classes)
        except AssertionError as error:
            raise AssertionError(f"fitted on {what}: {error}") from error


def check_sampler(
    sampler: Sampler, *, num_classes: int = 3, spatial_dims: Sequence[int] = (2, 3), num_samples: int = 1500
) -> None:
    """Raise unless a sampler keeps the promises of the house.

    It is held to: the shape (m, n, *s), integer classes and no other, the same maps for the same state of the
    generator and other maps for another, images of a batch drawn independently of each other and as they are drawn
    alone, training mode and evaluation mode alike, input left alone, float16 accepted, and ``keeps_marginals``.

    :param num_samples: drawn for each comparison of frequencies; they may differ by six standard errors.

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
    found = _frequencies(drawn, probs.shape[1])
    spread = (probs * (1 - probs)).clamp_min(0) * (1 / len(drawn) + noise)
    excess = (found - probs).abs() - 6 * spread.sqrt() - 8 / len(drawn)
    worst = int(excess.argmax())
    assert float(excess.max()) <= 0, (
        f"{what}: {float(found.flatten()[worst]):.4f} of {len(drawn)} samples show a class of probability "
        f"{float(probs.flatten()[worst]):.4f}"
    )


def _odd(num_classes: int) -> dict[str, Predictions]:
    usual = toy_predictions(num_classes=num_classes)
    right = [replace(p, labels=p.logits.argmax(0)[None]) for p in usual]
    wrong = [replace(p, labels=p.logits.argmin(0)[None]) for p in usual]
    single = [replace(p, labels=torch.where(p.labels == IGNORE, IGNORE, 1)) for p in usual]
    void = [replace(p, labels=torch.full_like(p.labels, IGNORE)) for p in usual]
    return {
        "one image": usual[:1],
        "images without a mistake": right,
        "mistakes only": wrong,
        "a single class": single,
        "some images without labels": [*usual[:2], *void[2:]],
    }


def _apply(calibrator: Calibrator, logits: Tensor, image: Tensor | None) -> Tensor:
    with torch.no_grad():
        return calibrator(logits, image)


def _check_map(calibrator: Calibrator, predictions: Predictions, storable: bool) -> None:
    logits = torch.stack([p.logits for p in predictions])
    image = torch.stack([p.image for p in predictions if p.image is not None])
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        z = logits.to(dtype)
        before = z.clone()
        out = _apply(calibrator, z, image)
        assert torch.equal(z, before), f"the logits passed in were changed ({dtype})"
        assert out.shape == z.shape, f"expected the shape {tuple(z.shape)} back; got {tuple(out.shape)} ({dtype})"
        assert out.dtype == torch.float32, f"expected float32 from {dtype}; got {out.dtype}"
        assert bool(out.isfinite().all()), f"expected finite logits; got {out[~out.isfinite()][:3]} ({dtype})"
        if calibrator.keeps_labels:
            assert torch.equal(out.argmax(1), z.argmax(1)), f"keeps_labels is broken for {dtype}"
    out = _apply(calibrator, logits, image)
    for i in range(len(logits)):
        alone = _apply(calibrator, logits[i : i + 1], image[i : i + 1])
        assert torch.allclose(alone[0], out[i], rtol=1e-5, atol=1e-5), "an image's result depends on the others"
    calibrator.train()
    trained = _apply(calibrator, logits, image)
    calibrator.eval()
    assert torch.equal(trained, _apply(calibrator, logits, image)), "training mode differs from evaluation mode"
    if storable:
        with tempfile.TemporaryDirectory() as folder:
            save(calibrator, folder)
            loaded = load(folder)
        assert type(loaded) is type(calibrator), "loaded as another kind"
        assert loaded.notes == calibrator.notes, "the notes changed in storage"
        assert torch.equal(_apply(loaded, logits, image), out), "a saved and loaded calibrator differs"


def _check_layouts(calibrator: Calibrator, predictions: Predictions) -> None:
    logits = torch.stack([p.logits for p in predictions])
    image = torch.stack([p.image for p in predictions if p.image is not None])
    out = _apply(calibrator, logits, image)
    last = _apply(calibrator, logits.movedim(1, -1).contiguous().movedim(-1, 1), image)
    assert torch.allclose(last, out, rtol=1e-4, atol=1e-4), "classes last in memory give another result"
    first = slice(1)
    parts = {"a single pixel": (..., first, first), "a row": (..., first, slice(None)), "an empty batch": slice(0)}
    for what, part in parts.items():
        z = logits[part]
        try:
            small = _apply(calibrator, z, image[part])
        except ShapeError:  # a network may say that it needs more than this
            continue
        assert small.shape == z.shape, f"{what}: expected the shape {tuple(z.shape)} back; got {tuple(small.shape)}"
        assert bool(small.isfinite().all()), f"{what}: expected finite logits"
        kept = not calibrator.keeps_labels or torch.equal(small.argmax(1), z.argmax(1))
        assert kept, f"{what}: keeps_labels is broken"


def _check_onnx(calibrator: Calibrator, num_classes: int) -> None:
    import onnxruntime

    from calibrant.calibrators import export_onnx

    given = (3 * torch.randn(3, num_classes, 21, 37, generator=torch.Generator().manual_seed(1))).round()  # with ties
    with tempfile.TemporaryDirectory() as folder:
        export_onnx(calibrator, path := f"{folder}/file.onnx", num_classes=num_classes)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    probs, labels = map(torch.from_numpy, session.run(None, {"logits": given.numpy()}))
    out = _apply(calibrator, given, None)
    off = float((probs - out.softmax(1)).abs().max())
    assert off < 1e-4, f"the probabilities of the ONNX file are off by {off:.2g}"
    assert torch.equal(labels, out.argmax(1)), "the labels of the ONNX file are others"


def _check_ties(calibrator: Calibrator, num_classes: int) -> None:
    raw = tied_logits(num_classes)
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        z = raw.to(dtype)
        out = _apply(calibrator, z, torch.zeros(len(z), 2, *z.shape[2:]))
        assert bool(out.isfinite().all()), f"expected finite logits at any size of input ({dtype})"
        if calibrator.keeps_labels:
            changed = int((out.argmax(1) != z.argmax(1)).sum())
            assert changed == 0, f"keeps_labels is broken at {changed} pixels with ties or near ties ({dtype})"


def _check_alike(one: Calibrator, two: Calibrator, predictions: Predictions, what: str) -> None:
    for p in predictions:
        image = None if p.image is None else p.image[None]
        same = torch.equal(_apply(one, p.logits[None], image), _apply(two, p.logits[None], image))
        assert same, f"{what} gives other logits: seed everything that is drawn"
