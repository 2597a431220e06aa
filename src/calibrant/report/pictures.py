"""Cases as pictures: what the page shows of an image, and what its script reads from the very same files.

Every map is drawn pixel by pixel and without loss, one colour a class or level, so that a colour tells the class or
the level again; where nothing is labelled it is transparent, and the page's hatching shows through.
"""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from calibrant._shapes import IGNORE, Tensor
from calibrant.report.cases import LONGEST, Case
from calibrant.report.columns import percent
from calibrant.report.palette import class_colors
from calibrant.report.scale import colors

CONFIDENCE, ENTROPY = "cividis", "magma"
"""The colours of confidence and of entropy, by matplotlib's names."""

MOST_BYTES = 1_500_000
"""What the pictures of a page may weigh together: maps are thinned until they do."""

MOST_NUMBERS = 12
"""Numbers of classes written into a map, at most, those of the largest regions."""

SMALLEST = 0.035
"""How deep a region must be for the number of its class, as a share of the longer side."""


@dataclass(frozen=True)
class Number:
    """The number of a class, where it is written into a map.

    :param text: the number.
    :param x: percent of the width, from the left.
    :param y: percent of the height, from the top.
    :param dark: whether it is written in black.
    """

    text: str
    x: float
    y: float
    dark: bool


@dataclass(frozen=True)
class Picture:
    """One picture of a case.

    :param layer: what it is: image, reference, prediction, relabelled, mistakes, entropy, confidence or hypothesis.
    :param method: whose it is; empty if of none.
    :param heading: what stands under it.
    :param alt: what it shows, in words, for who cannot see it.
    :param source: the picture itself, as a data URL.
    :param width: pixels from left to right.
    :param height: pixels from top to bottom.
    :param numbers: numbers of classes in it.
    """

    layer: str
    method: str
    heading: str
    alt: str
    source: str
    width: int
    height: int
    numbers: Sequence[Number] = ()


def pictures_within(
    cases: Sequence[Case], class_names: Sequence[str], methods: Sequence[str], *, most: int = MOST_BYTES
) -> list[list[Picture]]:
    """Return the pictures of all cases, thinned alike until they weigh no more than a page can hold.

    :param cases: what is shown.
    :param class_names: one a class.
    :param methods: those whose confidence is shown, if a case has it.
    :param most: bytes, of all together.
    """
    longest, drawn = LONGEST, [pictures(case, class_names, methods) for case in cases]
    while (weight := weight_of(drawn)) > most and longest > 48:
        longest = max(48, int(longest * min(0.9, (most / weight) ** 0.5)))
        drawn = [pictures(case, class_names, methods, longest=longest) for case in cases]
    return drawn


def weight_of(drawn: Iterable[Iterable[Picture]]) -> int:
    """Return the bytes of pictures as a page holds them.

    :param drawn: of each case its pictures.
    """
    return sum(len(picture.source) for each in drawn for picture in each)


def pictures(
    case: Case, class_names: Sequence[str], methods: Sequence[str], *, longest: int = LONGEST
) -> list[Picture]:
    """Return the pictures of a case: image, reference, label maps, mistakes, confidence of each method, entropy.

    :param case: what is shown.
    :param class_names: one a class.
    :param methods: those whose confidence is shown, if the case has it.
    :param longest: pixels of the longer side, at most.
    """
    step = max(1, -(-max(case.labels.shape) // longest))
    labels, prediction = (_thinned(each, step) for each in (case.labels, case.prediction))
    void = labels == IGNORE
    photo = None if case.image is None else _photo(case.image[:, ::step, ::step])
    name, shown = case.title, []
    if photo is not None:
        shown.append(_picture("image", "", "Image", f"The image {name}.", photo, lossy=True))
    of = f", by the first of {case.num_annotators} annotators" if case.num_annotators > 1 else ""
    shown.append(_class_map("reference", "", f"Reference{of}", name, labels, class_names))
    shown.append(_class_map("prediction", "", "Prediction", name, prediction, class_names))
    shown += [
        _class_map("relabelled", method, f"Labels by {method}", name, _thinned(each, step), class_names)
        for method, each in case.relabelled.items()
        if method in methods
    ]
    error = percent(case.wrong, 1)
    alt = f"Mistakes in {name}; share of the labelled pixels that are wrong: {error}."
    shown.append(
        _picture("mistakes", "", f"Mistakes: {error}", alt, _mistakes(photo, void, labels, prediction), lossy=True)
    )
    ramp = colors(CONFIDENCE)
    for method in methods:
        if method in case.confidence:
            words = _sureness(case, method)
            drawn = _with_void(ramp[_thinned(case.confidence[method], step)], void)
            alt = f"Confidence of {method} in {name}: {words}."
            shown.append(_picture("confidence", method, f"Confidence, {method}: {words}", alt, drawn))
    alt = f"Entropy of the probabilities in {name}: bright where several classes are possible."
    shown.append(
        _picture("entropy", "", "Entropy", alt, _with_void(colors(ENTROPY)[_thinned(case.entropy, step)], void))
    )
    return shown


def color_key(class_names: Sequence[str], maps: Iterable[Tensor]) -> list[tuple[int, str, str]]:
    """Return (number, name, colour) of the classes that appear in label maps.

    :param class_names: names of all classes, in the order of their numbers.
    :param maps: the label maps that are shown.
    """
    present = {number for each in maps for number in each.unique().tolist()}
    shades = class_colors(len(class_names))
    return [(i, name, "#{:02x}{:02x}{:02x}".format(*shades[i])) for i, name in enumerate(class_names) if i in present]


def label_maps(cases: Iterable[Case]) -> list[Tensor]:
    """Return every label map of cases.

    :param cases: what is shown.
    """
    return [each for case in cases for each in (case.labels, case.prediction, *case.relabelled.values())]


def class_picture(
    layer: str, heading: str, name: str, labels: Tensor, class_names: Sequence[str], *, longest: int = LONGEST
) -> Picture:
    """Return a label map as a picture.

    :param layer: what it is.
    :param heading: what stands under it.
    :param name: of the image.
    :param labels: (h, w); ``IGNORE`` where unlabelled.
    :param class_names: one a class.
    :param longest: pixels of the longer side, at most.
    """
    step = max(1, -(-max(labels.shape) // longest))
    return _class_map(layer, "", heading, name, _thinned(labels, step), class_names)


def level_picture(
    layer: str, heading: str, alt: str, levels: Tensor, void: Tensor, *, ramp: str, longest: int = LONGEST
) -> Picture:
    """Return a map of levels as a picture.

    :param layer: what it is.
    :param heading: what stands under it.
    :param alt: what it shows, in words.
    :param levels: (h, w), of ``scale``.
    :param void: where nothing is labelled.
    :param ramp: the colours, by matplotlib's name.
    :param longest: pixels of the longer side, at most.
    """
    step = max(1, -(-max(levels.shape) // longest))
    drawn = _with_void(colors(ramp)[_thinned(levels, step)], _thinned(void, step))
    return _picture(layer, "", heading, alt, drawn)


def photo_picture(image: Tensor, name: str, *, longest: int = LONGEST) -> Picture:
    """Return the picture of an image.

    :param image: bytes, (c, h, w), of one or three channels.
    :param name: of the image.
    :param longest: pixels of the longer side, at most.
    """
    step = max(1, -(-max(image.shape[1:]) // longest))
    return _picture("image", "", "Image", f"The image {name}.", _photo(image[:, ::step, ::step]), lossy=True)


def _thinned(values: Tensor, step: int) -> np.ndarray:
    return values[::step, ::step].numpy()


def _sureness(case: Case, method: str) -> str:
    sure = case.sureness[method]
    words = f"{percent(sure.everywhere)} on average"
    return words + ("" if np.isnan(sure.on_mistakes) else f", {percent(sure.on_mistakes)} on the mistakes")


def _class_map(
    layer: str, method: str, heading: str, name: str, labels: np.ndarray, class_names: Sequence[str]
) -> Picture:
    shades = np.array(class_colors(len(class_names)), dtype=np.uint8)
    void = labels == IGNORE
    drawn = _with_void(shades[np.where(void, 0, labels)], void)
    alt = f"{heading} for {name}: {_largest_classes(labels, class_names)}."
    return _picture(layer, method, heading, alt, drawn, numbers=_numbers(labels, shades))


def _numbers(labels: np.ndarray, shades: np.ndarray) -> list[Number]:
    """The number of each class, at the place deepest inside its largest region, if it fits there."""
    found: list[tuple[float, Number]] = []
    height, width = labels.shape
    for number in np.unique(labels[labels != IGNORE]).tolist():
        regions, _ = ndimage.label(labels == number)
        inside = np.pad(regions == 1 + int(np.bincount(regions.ravel())[1:].argmax()), 1)
        depth = ndimage.distance_transform_cdt(inside, metric="chessboard")[1:-1, 1:-1]
        y, x = np.unravel_index(int(depth.argmax()), depth.shape)
        deep = float(depth[y, x]) / max(height, width)
        if deep >= SMALLEST:
            dark = float(np.dot(shades[number], (0.299, 0.587, 0.114))) > 128
            place = (round(100 * (int(x) + 0.5) / width, 1), round(100 * (int(y) + 0.5) / height, 1))
            found.append((-deep, Number(str(number), *place, dark)))
    return [number for _, number in sorted(found, key=lambda each: each[0])[:MOST_NUMBERS]]


def _largest_classes(labels: np.ndarray, class_names: Sequence[str]) -> str:
    known = labels[labels != IGNORE]
    if known.size == 0:
        return "nothing is labelled"
    counts = np.bincount(known, minlength=len(class_names))
    order = np.argsort(-counts, kind="stable")[:4]
    return ", ".join(f"{class_names[i]} {100 * counts[i] / known.size:.0f} %" for i in order if counts[i] > 0)


def _photo(image: Tensor) -> np.ndarray:
    return np.ascontiguousarray(image.expand(3, -1, -1).numpy().transpose(1, 2, 0))


def _mistakes(photo: np.ndarray | None, void: np.ndarray, labels: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    grey = np.full(void.shape, 235.0) if photo is None else 150 + photo.mean(2) * 0.4
    picture = np.repeat(grey[..., None], 3, 2).astype(np.uint8)
    picture[(labels != prediction) & ~void] = (196, 70, 0)
    return _with_void(picture, void)


def _with_void(pixels: np.ndarray, void: np.ndarray) -> np.ndarray:
    """Make unlabelled pixels transparent, if there are any."""
    if not void.any():
        return pixels
    clear = np.where(void, 0, 255).astype(np.uint8)[..., None]
    return np.concatenate([np.where(void[..., None], 0, pixels).astype(np.uint8), clear], 2)


def _picture(
    layer: str,
    method: str,
    heading: str,
    alt: str,
    pixels: np.ndarray,
    *,
    lossy: bool = False,
    numbers: Sequence[Number] = (),
) -> Picture:
    image, buffer = Image.fromarray(pixels), io.BytesIO()
    how: Mapping[str, object] = {"quality": 80} if lossy and max(image.size) > 96 else {"lossless": True}
    image.save(buffer, "WEBP", method=4, **how)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    source = f"data:image/webp;base64,{data}"
    return Picture(layer, method, heading, alt, source, image.width, image.height, numbers)
