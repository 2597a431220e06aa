"""Single images of a page: what the model said, where it was wrong, how sure it was before and after."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from calibrant._shapes import IGNORE, Float, Int, Tensor
from calibrant.errors import InputError
from calibrant.metrics import Score, Tally
from calibrant.predictions import Prediction
from calibrant.report.columns import percent
from calibrant.report.palette import class_colors

WIDTH = 320
"""Pixels of a picture's longer side, about: smaller maps are enlarged by a whole number, larger ones thinned."""


@dataclass(frozen=True)
class Case:
    """One image of the test set, shown on the page.

    :param key: its name.
    :param labels: the reference; ``IGNORE`` where unlabelled.
    :param prediction: the model's label map.
    :param confidence: each method's largest probability, the first method being the model as it is.
    :param image: the picture itself, in [0, 1], with one or three channels.
    :param scores: numbers for the caption: method, then name of a score in the comparison, then value.
    """

    key: str
    labels: Int[Tensor, "h w"]
    prediction: Int[Tensor, "h w"]
    confidence: Mapping[str, Float[Tensor, "h w"]]
    image: Float[Tensor, "k h w"] | None = None
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Picture:
    """One picture of a case: where it is embedded, what it shows in words, and its heading.

    :param heading: what stands above it.
    :param alt: what it shows, in words, for who cannot see it.
    :param source: the picture itself, as a data URL.
    :param width: pixels of the picture from left to right.
    :param height: pixels of the picture from top to bottom.
    """

    heading: str
    alt: str
    source: str
    width: int
    height: int


def case_of(
    prediction: Prediction,
    logits: Mapping[str, Float[Tensor, "c h w"]],
    *,
    scores: Mapping[str, Mapping[str, float]] | None = None,
) -> Case:
    """Return a case from a prediction and the logits that each method made of it.

    The first annotator's labels are shown. The label map is the first method's; the image is brought into [0, 1].

    :param prediction: one of two dimensions.
    :param logits: by method, the model as it is first; (c, h, w).
    :param scores: numbers for the caption: method, then name of a score in the comparison, then value.
    """
    image = prediction.image
    if image is not None:
        image = image.detach().cpu().float()[: 3 if len(image) >= 3 else 1]
        low, high = (float(bound) for bound in torch.aminmax(image))
        if low < 0 or high > 1:
            image = (image - low) / max(high - low, 1e-9)
    confidence = {method: z.detach().float().softmax(0).amax(0).cpu() for method, z in logits.items()}
    first = next(iter(logits.values())).argmax(0).cpu()
    return Case(prediction.key, prediction.labels[0].cpu(), first, confidence, image, scores or {})


def worst_images(tally: Tally, score: Score, *, count: int = 6) -> list[str]:
    """Return the keys of the images with the worst values of a score, the worst first.

    :param tally: one row an image, with keys.
    :param score: the worst values are the highest, unless higher is better; images without a value are left out.
    :param count: how many images, at most.
    :raises InputError: the rows have no names.

    >>> from dataclasses import replace
    >>> from calibrant.metrics import SCORES, Measurement
    >>> labels = torch.tensor([[[0, 0]], [[0, 1]]])
    >>> rows = Measurement.of(torch.tensor([[5.0, 5.0], [0.0, 0.0]])[None, :, None].repeat(2, 1, 1, 1), labels)
    >>> worst_images(replace(rows, keys=("right", "half wrong")), SCORES["ece_images"], count=1)
    ['half wrong']
    """
    if len(tally.keys) != len(tally):
        raise InputError(
            f"expected the names of {len(tally)} images; got {len(tally.keys)} keys. Count with "
            "calibrant.evaluation.tally, which names the rows."
        )
    values = score.of(tally).double()
    sign = -1 if score.better == "higher" else 1
    order = torch.argsort((sign * values).nan_to_num(nan=-torch.inf), descending=True, stable=True)
    return [tally.keys[i] for i in order[:count].tolist() if not values[i].isnan()]


def pictures(case: Case, class_names: Sequence[str], methods: Sequence[str]) -> list[Picture]:
    """Return the pictures of a case: image, reference, prediction, mistakes, and each method's confidence.

    :param case: what is shown.
    :param class_names: one a class.
    :param methods: those whose confidence is shown, if the case has it.
    """
    step = max(1, -(-max(case.labels.shape) // (2 * WIDTH)))
    labels, prediction = (classes[::step, ::step].numpy() for classes in (case.labels, case.prediction))
    scale = max(1, round(WIDTH / max(labels.shape)))
    void, wrong = labels == IGNORE, (labels != prediction) & (labels != IGNORE)
    number_wrong = int(((case.labels != case.prediction) & (case.labels != IGNORE)).sum())
    labelled = int((case.labels != IGNORE).sum())
    error = percent(number_wrong / labelled if labelled else float("nan"), 1)
    photo = None if case.image is None else _photo(case.image[:, ::step, ::step], scale)
    shown = []
    if photo is not None:
        shown.append(_picture("Image", f"The image {case.key}.", photo, palette=256))
    for heading, classes in (("Reference", labels), ("Prediction", prediction)):
        largest = _largest_classes(classes, class_names)
        shown.append(
            _picture(heading, f"{heading} for {case.key}: {largest}.", _class_map(classes, len(class_names), scale))
        )
    alt = f"Mistakes in {case.key}; share of the labelled pixels that are wrong: {error}."
    shown.append(_picture(f"Mistakes: {error}", alt, _mistakes(photo, void, wrong, scale), palette=64))
    for method in methods:
        if method in case.confidence:
            sure = case.confidence[method]
            shown.append(_confidence_picture(case, method, sure, _sure(sure[::step, ::step].numpy(), void, scale)))
    return shown


def color_key(class_names: Sequence[str], cases: Sequence[Case]) -> list[tuple[int, str, str]]:
    """Return (number, name, colour) of the classes that appear in the cases.

    :param class_names: names of all classes, in the order of their numbers.
    :param cases: the cases that are shown.
    """
    present = set()
    for case in cases:
        present |= set(case.labels.unique().tolist()) | set(case.prediction.unique().tolist())
    colors = class_colors(len(class_names))
    return [(i, name, "#{:02x}{:02x}{:02x}".format(*colors[i])) for i, name in enumerate(class_names) if i in present]


def confidence_ramp() -> str:
    """Return the colours of the confidence maps, from 0 to 1, as a CSS gradient."""
    stops = _ramp(np.linspace(0, 1, 9))
    return "linear-gradient(to right," + ",".join("#{:02x}{:02x}{:02x}".format(*stop) for stop in stops.tolist()) + ")"


def _confidence_picture(case: Case, method: str, sure: Tensor, drawn: np.ndarray) -> Picture:
    known = case.labels != IGNORE
    wrong = known & (case.labels != case.prediction)
    words = f"{percent(float(sure[known].double().mean()))} on average"
    if bool(wrong.any()):
        words += f", {percent(float(sure[wrong].double().mean()))} on the mistakes"
    alt = f"Confidence of {method} in {case.key}: {words}."
    return _picture(f"Confidence, {method}: {words}", alt, drawn, palette=128)


def _largest_classes(labels: np.ndarray, class_names: Sequence[str]) -> str:
    known = labels[labels != IGNORE]
    if known.size == 0:
        return "nothing is labelled"
    counts = np.bincount(known, minlength=len(class_names))
    order = np.argsort(-counts, kind="stable")[:4]
    return ", ".join(f"{class_names[i]} {100 * counts[i] / known.size:.0f} %" for i in order if counts[i] > 0)


def _enlarged(array: np.ndarray, scale: int) -> np.ndarray:
    return array.repeat(scale, 0).repeat(scale, 1)


def _stripes(shape: tuple[int, ...], *, period: int = 8, falling: bool = False) -> np.ndarray:
    rows, cols = np.indices(shape[:2])
    return ((cols - rows if falling else cols + rows) % period) < period * 0.4


def _hatched(picture: np.ndarray, void: np.ndarray) -> None:
    """Make unlabelled pixels grey with lighter stripes, in place."""
    picture[void] = 120
    picture[void & _stripes(void.shape)] = 165


def _class_map(labels: np.ndarray, num_classes: int, scale: int) -> np.ndarray:
    colors = np.array(class_colors(num_classes), dtype=np.uint8)
    void = _enlarged(labels == IGNORE, scale)
    picture = colors[_enlarged(np.where(labels == IGNORE, 0, labels), scale)]
    _hatched(picture, void)
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=18)
    for number in np.unique(labels[labels != IGNORE]).tolist():
        regions, count = ndimage.label(labels == number)
        if not count:
            continue
        # The number goes to the place deepest inside the class's largest region, if it fits there.
        sizes = np.bincount(regions.ravel())[1:]
        inside = np.pad(regions == 1 + int(sizes.argmax()), 1)
        depth = ndimage.distance_transform_cdt(inside, metric="chessboard")[1:-1, 1:-1]
        y, x = np.unravel_index(int(depth.argmax()), depth.shape)
        if depth[y, x] * scale >= 12:
            dark = np.dot(colors[number], (0.299, 0.587, 0.114)) > 128
            where = (scale * (int(x) + 0.5), scale * (int(y) + 0.5))
            draw.text(where, str(number), fill="black" if dark else "white", font=font, anchor="mm")
    return np.asarray(image)


def _photo(image: Tensor, scale: int) -> np.ndarray:
    pixels = (image.clamp(0, 1) * 255).round().byte().numpy().transpose(1, 2, 0)
    if pixels.shape[2] == 1:
        pixels = pixels.repeat(3, 2)
    picture = Image.fromarray(np.ascontiguousarray(pixels[..., :3]))
    size = (picture.width * scale, picture.height * scale)
    return np.asarray(picture.resize(size, Image.Resampling.BILINEAR) if scale > 1 else picture)


def _mistakes(photo: np.ndarray | None, void: np.ndarray, wrong: np.ndarray, scale: int) -> np.ndarray:
    void, wrong = _enlarged(void, scale), _enlarged(wrong, scale)
    grey = np.full(void.shape, 235.0) if photo is None else 150 + photo.mean(2) * 0.4
    picture = np.repeat(grey[..., None], 3, 2).astype(np.uint8)
    _hatched(picture, void)
    picture[wrong] = (213, 94, 0)
    picture[wrong & _stripes(wrong.shape, period=6, falling=True)] = (60, 20, 0)
    return picture


def _ramp(values: np.ndarray) -> np.ndarray:
    """Return cividis colours, made for readers with and without colour blindness, as bytes."""
    import matplotlib as mpl

    return mpl.colormaps["cividis"](np.clip(values, 0, 1), bytes=True)[..., :3]


def _sure(confidence: np.ndarray, void: np.ndarray, scale: int) -> np.ndarray:
    picture = _ramp(_enlarged(confidence, scale)).copy()
    _hatched(picture, _enlarged(void, scale))
    return picture


def _picture(heading: str, alt: str, pixels: np.ndarray, *, palette: int | None = None) -> Picture:
    image = Image.fromarray(pixels)
    if palette is not None or len(np.unique(pixels.reshape(-1, 3), axis=0)) <= 256:
        image = image.quantize(palette or 256, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return Picture(heading, alt, f"data:image/png;base64,{data}", image.width, image.height)
