"""What every calibrator promises."""

import tempfile
from dataclasses import replace
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from calibrant._shapes import IGNORE, Tensor
from calibrant.calibrators import (
    Calibrator,
    EntropyAbove,
    Fit,
    SelectiveScaling,
    TemperatureScaling,
    load,
    own_kinds,
    save,
)
from calibrant.errors import FitError, ShapeError
from calibrant.predictions import Predictions, with_margin
from calibrant.testing.toys import tied_logits, toy_predictions

MASKED_TOLERANCE = 0.01
"""Nats by which one logit of -1e30 and one of -3.4e38 may move a fit to four images, beyond what -1000 does."""


def check_calibrator(fit: Fit, *, num_classes: int = 3, storable: bool = True, onnx: bool = False) -> None:
    """Raise unless a fit and the calibrators it makes keep the promises of the library.

    It fits on predictions that are ordinary, three-dimensional, of one image, of a single class, without mistakes,
    and of mistakes only; on the odd ones a :class:`~calibrant.errors.FitError` is a right answer, too. Each
    calibrator is held to: shape kept, float32, finite, ``keeps_labels``, each image by itself, training mode and
    evaluation mode alike, saved and loaded without a change, input left alone, the same fit for the same data. The
    ordinary one also to: any order of the axes in memory, a single pixel, a row of pixels, an empty batch, and being
    a branch of :class:`~calibrant.calibrators.SelectiveScaling`, which then keeps the label map and is stored whole.
    What it says of how far it looks (``reach``) must be so. Logits of -1e30 and -3.4e38, which models and
    ``nan_to_num`` put where a class is left out, must do no more to a fit than -1000 does: the mean negative
    log-likelihood through it stays within :data:`MASKED_TOLERANCE`.

    :param fit: from predictions to a calibrator, seeded.
    :param num_classes: how many classes the predictions have that it is fitted to.
    :param storable: false for a calibrator that cannot be stored, such as one whose ``arguments()`` is not complete.
    :param onnx: whether its ONNX file must answer as it does, for one that needs no image (with the extra ``onnx``;
        takes seconds).
    :raises AssertionError: a promise is broken; the message says which.

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
    _check_masked(fit, num_classes)
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
    _check_reach(calibrator, logits, image, out)
    calibrator.train()
    trained = _apply(calibrator, logits, image)
    calibrator.eval()
    assert torch.equal(trained, _apply(calibrator, logits, image)), "training mode differs from evaluation mode"
    if storable:
        with tempfile.TemporaryDirectory() as folder:
            save(calibrator, folder)
            loaded = load(folder, kinds=own_kinds(calibrator))
        assert type(loaded) is type(calibrator), "loaded as another kind"
        assert loaded.notes == calibrator.notes, "the notes changed in storage"
        assert torch.equal(_apply(loaded, logits, image), out), "a saved and loaded calibrator differs"


def _check_reach(calibrator: Calibrator, logits: Tensor, image: Tensor, out: Tensor) -> None:
    """Large images are calibrated in parts, which rests on what a calibrator says of how far it looks."""
    reach = calibrator.reach
    if reach is None:
        return
    first = logits.shape[2] - 2
    begin = max(0, first - reach)
    part = _apply(calibrator, logits[:, :, begin:], image[:, :, begin:])[:, :, first - begin :]
    close = torch.allclose(part, out[:, :, first:], rtol=1e-5, atol=1e-5)
    assert close, f"a pixel's result depends on pixels that are farther away than reach = {reach}"
    if reach == 0:
        flat = _apply(calibrator, logits.flatten(2), image.flatten(2)).view_as(out)
        assert torch.allclose(flat, out, rtol=1e-5, atol=1e-5), "pixel by pixel (reach = 0), but their order matters"


def _check_layouts(calibrator: Calibrator, predictions: Predictions) -> None:
    logits = torch.stack([p.logits for p in predictions])
    image = torch.stack([p.image for p in predictions if p.image is not None])
    out = _apply(calibrator, logits, image)
    last = _apply(calibrator, logits.movedim(1, -1).contiguous().movedim(-1, 1), image)
    assert torch.allclose(last, out, rtol=1e-4, atol=1e-4), "classes last in memory give another result"
    first = slice(1)
    parts: dict[str, Any] = {
        "a single pixel": (..., first, first),
        "a row": (..., first, slice(None)),
        "an empty batch": slice(0),
    }
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
    off = float((probs - with_margin(out).softmax(1)).abs().max())
    assert off < 1e-4, f"the probabilities of the ONNX file are off by {off:.2g}"
    assert torch.equal(labels, out.argmax(1)), "the labels of the ONNX file are others"
    assert torch.equal(labels, probs.half().argmax(1)), "the largest probabilities of the ONNX file are others"


def _check_ties(calibrator: Calibrator, num_classes: int) -> None:
    raw = tied_logits(num_classes)
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        z = raw.to(dtype)
        out = _apply(calibrator, z, torch.zeros(len(z), 2, *z.shape[2:]))
        assert bool(out.isfinite().all()), f"expected finite logits at any size of input ({dtype})"
        if calibrator.keeps_labels:
            changed = int((out.argmax(1) != z.argmax(1)).sum())
            assert changed == 0, f"keeps_labels is broken at {changed} pixels with ties or near ties ({dtype})"


def _check_masked(fit: Fit, num_classes: int) -> None:
    usual = toy_predictions(num_classes=num_classes)
    losses = []
    for masked in ((-1e3, -1e3), (-1e30, torch.finfo(torch.float32).min)):
        z, labels = usual[0].logits.clone(), usual[0].labels[0]
        right = (labels == z.argmax(0)).nonzero().tolist()
        for value, (y, x) in zip(masked, right[len(right) // 2 :], strict=False):
            z[(int(labels[y, x]) + 1) % num_classes, y, x] = value
        predictions = [replace(usual[0], logits=z), *usual[1:]]
        calibrator = fit(predictions)
        _check_finite_answers(calibrator, predictions)
        losses.append(_mean_nll(calibrator, usual))
    moved = abs(losses[1] - losses[0])
    assert moved <= MASKED_TOLERANCE, (
        f"one logit of -1e30 and one of -3.4e38 move the fit by {moved:.3g} nats, more than {MASKED_TOLERANCE}"
    )


def _check_finite_answers(calibrator: Calibrator, predictions: Predictions) -> None:
    for p in predictions:
        out = _apply(calibrator, p.logits[None], None if p.image is None else p.image[None])
        assert bool(out.isfinite().all()), "expected finite logits where a class is left out by a logit of -3.4e38"


def _mean_nll(calibrator: Calibrator, predictions: Predictions) -> float:
    logits = torch.stack([p.logits for p in predictions])
    image = torch.stack([p.image for p in predictions if p.image is not None])
    labels = torch.cat([p.labels for p in predictions])
    return float(cross_entropy(_apply(calibrator, logits, image), labels, ignore_index=IGNORE))


def _check_alike(one: Calibrator, two: Calibrator, predictions: Predictions, what: str) -> None:
    for p in predictions:
        image = None if p.image is None else p.image[None]
        same = torch.equal(_apply(one, p.logits[None], image), _apply(two, p.logits[None], image))
        assert same, f"{what} gives other logits: seed everything that is drawn"
