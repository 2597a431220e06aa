"""``calibrant onnx``: a calibrator, alone or behind its model, as one file for a server."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from calibrant.cli import _options
from calibrant.cli._made_from import calibrator_origin, check_outside
from calibrant.cli._own import Kinds, described, open_calibrator

TOLERANCE = 1e-4
"""How far a probability of the file may lie from that of torch."""
FEW = 1e-3
"""The share of pixels in which it may lie further, or the label may be another: where two logits are all but equal."""
TRACED = {2: ((256, 320), (260, 292)), 3: ((64, 64, 96),)}
"""The sizes that a model is traced at, the next if the file answers otherwise than torch at other sizes.

At the second, a model that pads what it cuts into windows of 4, 7, 8 or 12, such as Swin, pads at all of its scales.
Tracing leaves out of the file what the model does not do at that size.
"""
STEPS = (1, 4, 32)
"""Sizes that a file may be held to multiples of."""


def onnx(
    calibrator: Annotated[str, typer.Argument(help="A calibrator, as calibrant fit made it.")],
    model: Annotated[
        str | None, typer.Argument(help="The model that it was fitted to, as for calibrant predict; none: logits in.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file, such as calibrated.onnx.")] = Path(
        "model.onnx"
    ),
    class_names: Annotated[
        str, typer.Option(help="Names with commas between, or a text file; those of the model if not said.")
    ] = "",
    num_classes: Annotated[
        int | None, _options.count("How many classes, where neither CALIBRATOR nor MODEL nor names say it.", least=2)
    ] = None,
    channels: Annotated[int, _options.count("MODEL: channels of an image.", most=10_000)] = 3,
    size: Annotated[
        str | None,
        _options.numbers(
            "MODEL: images of this size alone, such as 512,1024; of any size if not said.", int, least=1, most=100_000
        ),
    ] = None,
    dims: Annotated[int, _options.count("2 for images, 3 for volumes.", least=2, most=3)] = 2,
    normalise: Annotated[str | None, typer.Option(help="MODEL: none, imagenet, or means/deviations.")] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Let code run that comes with the model, or names it.")
    ] = False,
    kinds: Kinds = None,
) -> None:
    """Write an ONNX file that gives calibrated probabilities and labels, and compare it with torch.

    Images in [0, 1] go in, of any number and size; normalisation and upsampling are inside. The file names its classes
    and what it was made from. It is run at another number and size of images before it takes its place.
    Example: calibrant onnx runs/ts runs/segformer -o calibrated.onnx
    """
    from calibrant._storage.files import replacing
    from calibrant.calibrators import export_onnx
    from calibrant.cli._console import console
    from calibrant.cli.import_ import names_in
    from calibrant.errors import CalibrantError
    from calibrant.models import open_model

    loaded = open_calibrator(calibrator, kinds)
    check_outside(output, calibrator, None if model is None or not Path(model).is_dir() else model)
    opened = None if model is None else open_model(model, trust_code=trust, normalise=normalise)
    names = names_in(class_names) or (() if opened is None else tuple(opened.class_names))
    space = _options.numbers_in(size or "", int)
    tried = [space] if space else TRACED[dims] if opened is not None else [(32, 48, 24)[:dims]]
    answered = None if opened is None else _answered(opened, _images(1, channels, tried[0], seed=0), space)
    count = _count(names, num_classes, answered, loaded)
    about = {
        "calibrant.calibrator": described(loaded),
        "calibrant.calibrator_digest": calibrator_origin(calibrator, kinds)["calibrator"],
    }
    about |= {"calibrant.class_names": ",".join(names)} if names else {}
    if opened is not None:
        about |= {"calibrant.model": opened.description, "calibrant.input": "images in [0, 1], normalised inside"}
    channels = count if opened is None else channels
    run = None if opened is None else opened.run
    with replacing(output) as temporary:

        def write(traced: Sequence[int]) -> None:
            given = _images(2, channels, traced, seed=0)
            export_onnx(
                loaded,
                temporary,
                num_classes=count,
                model=run,
                example=given,
                spatial_dims=dims,
                any_size=not space,
                metadata=about,
            )

        def compared(size: Sequence[int]) -> str:
            return _compared(temporary, loaded, run, _images(3, channels, size, seed=1))

        try:
            sizes, how_far = _written(write, compared, tried, any_size=not space)
        except CalibrantError:
            raise
        except (RuntimeError, ValueError, TypeError, NotImplementedError, AttributeError) as error:
            raise _cannot(model, error, space) from error
    console.print(f"{count} classes, images of {sizes}; probabilities {how_far} → {output}", highlight=False)


def _written(
    write: Callable[[Sequence[int]], None],
    compared: Callable[[Sequence[int]], str],
    tried: Sequence[Sequence[int]],
    *,
    any_size: bool,
) -> tuple[str, str]:
    """Write the file as traced at one size after the other, until it answers as torch does at another number and size.

    Return in words for which sizes it does, and how closely.

    :raises InputError: it does for none.
    """
    from calibrant.errors import InputError

    refused: InputError | None = None
    for traced in tried:
        write(traced)
        for step in STEPS if any_size else (1,):
            size = [((length + 32) // step | 1) * step for length in traced] if any_size else traced
            try:
                how_far = compared(size)
            except InputError as error:
                refused = error
                continue
            every = "any size" if step == 1 else f"sides that are multiples of {step} alone"
            return every if any_size else " x ".join(map(str, traced)), how_far
    assert refused is not None
    raise refused


def _answered(opened: Any, images: Any, space: Sequence[int]) -> int:
    """How many classes a model answers with; a sigmoid head has one channel for two.

    :raises InputError: it raises, or answers with something else than finite logits.
    """
    import torch

    from calibrant._input.checks import check_finite
    from calibrant.errors import CalibrantError
    from calibrant.models._answer import answer_of, evaluating

    try:
        with evaluating(opened.run), torch.no_grad():
            answer = answer_of(opened.run, images)
    except CalibrantError:
        raise
    except (RuntimeError, ValueError) as error:
        raise _cannot("the model", error, space) from error
    check_finite(answer, "the model")
    return max(2, answer.shape[1])


def _count(names: Sequence[str], said: int | None, answered: int | None, calibrator: Any) -> int:
    """How many classes there are.

    :raises InputError: nobody says, or two say different numbers.
    """
    from calibrant.calibrators.calibrator import num_classes_of
    from calibrant.errors import InputError

    asked = {
        "the calibrator": num_classes_of(calibrator),
        "the model": answered,
        "the names": len(names),
        "--num-classes": said,
    }
    known = {who: number for who, number in asked.items() if number}
    if len(set(known.values())) != 1:
        got = " and ".join(f"{number} of {who}" for who, number in known.items()) or "none"
        raise InputError(
            f"expected one number of classes; got {got}. Say it: --num-classes, or name the classes: --class-names."
        )
    return next(iter(known.values()))


def _images(count: int, channels: int, space: Sequence[int], *, seed: int) -> Any:
    import torch

    return torch.rand(count, channels, *space, generator=torch.Generator().manual_seed(seed))


def _compared(path: Path, calibrator: Any, run: Any, given: Any) -> str:
    """Run a file and torch on the same images, and return in words how far their probabilities lie apart.

    Rounding tips a label where two logits of the model are all but equal, and with it what a calibrator that looks
    around makes of the pixels nearby: a few may differ by more.

    :raises InputError: labels differ, or probabilities by more than rounding, in more than a few pixels.
    """
    import torch

    from calibrant._input.checks import needs
    from calibrant.calibrators.export import probabilities_and_labels
    from calibrant.errors import InputError

    runtime = needs("onnxruntime", "runs the file before it is said to be done", name=str(path))
    try:
        expected, labels = probabilities_and_labels(calibrator, run, given)
        session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        probs, found = map(torch.from_numpy, session.run(None, {session.get_inputs()[0].name: given.numpy()}))
    except Exception as error:  # of the model, or of onnxruntime, which raises kinds of its own
        raise _cannot(None, error, ()) from error
    alike = probs.shape == expected.shape and found.shape == labels.shape
    apart = (probs - expected).abs().amax(1) if alike else torch.ones(1)
    off, others = float(apart.max()), ~(apart <= TOLERANCE)
    further = float(others.float().mean())
    changed = float((found != labels).float().mean()) if alike else 1.0
    if further > FEW or changed > FEW:
        raise InputError(
            f"expected a file that answers as torch does on images {tuple(given.shape)}; its probabilities are off by "
            f"{off:.2g}, and {changed:.2%} of its labels are others. The model may do for one size alone: --size."
        )
    if not further:
        return f"within {off:.1g} of torch's"
    return (
        f"within {float(apart[~others].max()):.1g} of torch's, but for {further:.2%} of pixels, off by up to {off:.1g}"
    )


def _cannot(model: str | None, error: Exception, space: Sequence[int]) -> Exception:
    """The sentence for a model that the exporter, or onnxruntime, cannot take."""
    from calibrant.errors import InputError

    first = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
    do = (
        "Its operations may be unknown to ONNX"
        if space
        else "Another size or number of channels may do: --size 512,512, --channels 4"
    )
    return InputError(f"{model or 'the file'}: expected a model that ONNX can hold and run; {first}. {do}.")
