"""Sources: what has a length and is read by number, image by image, more than once if asked."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from calibrant._statistics.left_out import kept_and_held
from calibrant.errors import FitError
from calibrant.predictions.prediction import Example, Prediction

Read = TypeVar("Read", covariant=True)


@runtime_checkable
class Examples(Protocol):
    """A source of examples, read by number: a list, or what reads files when asked."""

    def __len__(self) -> int:
        """Return the number of images."""
        ...

    def __getitem__(self, i: int, /) -> Example:
        """Read one image and its labels."""
        ...


@runtime_checkable
class Predictions(Protocol):
    """A source of predictions: one image at a time, more than once if asked.

    A list is one. A source that knows the names of its images without reading them says them in ``keys``, a sequence
    of strings in the order of the images; :func:`keys_of` asks either kind.
    """

    def __len__(self) -> int:
        """Return the number of images."""
        ...

    def __iter__(self) -> Iterator[Prediction]:
        """Read the images in order."""
        ...

    def __getitem__(self, i: int, /) -> Prediction:
        """Read one image."""
        ...


def known_keys(source: Any) -> tuple[str, ...] | None:
    """Return the names of a source's images if they are known without reading any, else None.

    :param source: examples or predictions; or any iterable of them, whose names are not known.

    >>> import torch
    >>> known_keys([Prediction("a", torch.zeros(2, 1), torch.zeros(1, 1, dtype=torch.long))]) is None
    True
    """
    keys = getattr(source, "keys", None)
    return tuple(keys) if isinstance(keys, Sequence) and hasattr(source, "__getitem__") else None


def keys_of(source: Any) -> tuple[str, ...]:
    """Return the names of a source's images, in order, without reading any if the source has ``keys``.

    :param source: examples or predictions, a list for instance.

    >>> import torch
    >>> keys_of([Prediction(key, torch.zeros(2, 1), torch.zeros(1, 1, dtype=torch.long)) for key in "ab"])
    ('a', 'b')
    """
    keys = known_keys(source)
    return tuple(source[i].key for i in range(len(source))) if keys is None else keys


@dataclass(frozen=True)
class Mapped(Generic[Read]):
    """A source seen through a function of one image, which is applied whenever an image is read.

    Length, order and names are those of the source; read in order, the source is read in order (in batches, if that is
    how it runs a model). It can be pickled if source and function can: a function of a module, or an object of a
    frozen dataclass with ``__call__``.

    :param source: examples, predictions, or any sequence of what the function takes, such as files.
    :param function: from an item of the source to what is read in its place.
    :param names: the names of the images, if the items of the source have none.
    :param class_names: one name a class; None for those of the source, if it has any.

    >>> import torch
    >>> predictions = [Prediction(key, torch.ones(2, 1), torch.zeros(1, 1, dtype=torch.long)) for key in "ab"]
    >>> from dataclasses import replace
    >>> halved = Mapped(predictions, lambda p: replace(p, logits=p.logits / 2))
    >>> len(halved), halved.keys, halved[1].logits.tolist()
    (2, ('a', 'b'), [[0.5], [0.5]])
    >>> Mapped(range(2), predictions.__getitem__, names=("a", "b")).keys
    ('a', 'b')
    """

    source: Any
    function: Callable[[Any], Read]
    _: KW_ONLY
    names: tuple[str, ...] | None = None
    class_names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.class_names is None:
            object.__setattr__(self, "class_names", class_names_of(self.source))

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of the images, without reading any if the source has ``keys``."""
        return keys_of(self.source) if self.names is None else self.names

    @property
    def num_classes(self) -> int:
        """The number of class names: 0 if there are none."""
        return len(self.class_names or ())

    @property
    def in_parts(self) -> Callable[[int], Any] | None:
        """Reads an image in parts, where the source can and the function has a method ``in_parts`` for such images."""
        read, function = getattr(self.source, "in_parts", None), getattr(self.function, "in_parts", None)
        return None if read is None or function is None else lambda i: function(read(i))

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.source)

    def __iter__(self) -> Iterator[Read]:
        """Read the images in order."""
        return map(self.function, in_order(self.source))

    def __getitem__(self, i: int, /) -> Read:
        """Read one image.

        :raises IndexError: there are not so many images.
        """
        return self.function(self.source[i])


@dataclass(frozen=True)
class Subset:
    """Some images of a source, by number, read when asked for.

    :param predictions: the source: predictions, or examples.
    :param numbers: which of its images, in the order in which they are to be read.

    >>> import torch
    >>> predictions = [Prediction(key, torch.zeros(2, 1), torch.zeros(1, 1, dtype=torch.long)) for key in "abc"]
    >>> [p.key for p in Subset(predictions, (2, 0))]
    ['c', 'a']
    """

    predictions: Predictions
    numbers: Sequence[int]

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of the images, without reading any if the source has ``keys``."""
        keys = known_keys(self.predictions)
        return tuple(self[i].key if keys is None else keys[n] for i, n in enumerate(self.numbers))

    @property
    def class_names(self) -> tuple[str, ...]:
        """The class names of the source; empty if it has none."""
        return class_names_of(self.predictions)

    @property
    def strided(self) -> Callable[[int], Any]:
        """Read one image, by number, at the network's own stride; only there if the source has it."""
        read = getattr(self.predictions, "strided")  # noqa: B009 the protocol lacks it
        return lambda index: read(self.numbers[index])

    @property
    def in_parts(self) -> Callable[[int], Any] | None:
        """Reads an image in parts, where the source can."""
        read = getattr(self.predictions, "in_parts", None)
        return None if read is None else lambda i: read(self.numbers[i])

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.numbers)

    def __iter__(self) -> Iterator[Prediction]:
        """Read the images in order."""
        return (self.predictions[i] for i in self.numbers)

    def __getitem__(self, i: int, /) -> Prediction:
        """Read one image."""
        return self.predictions[self.numbers[i]]


def class_names_of(source: Any) -> tuple[str, ...]:
    """Return the class names that a source has; empty if it has none.

    :param source: examples or predictions, of any kind.
    """
    return tuple(getattr(source, "class_names", None) or ())


def in_order(source: Any) -> Iterator[Any]:
    """Read a source in order, in its own way if it has one, else by number.

    :param source: a source that can be read in order, or by number.
    """
    return iter(source) if hasattr(source, "__iter__") else (source[i] for i in range(len(source)))


def split(predictions: Predictions, fraction: float, *, seed: int) -> tuple[Subset, Subset]:
    """Split the images at random into two parts, the first with ``fraction`` of them.

    :param predictions: the source to be split.
    :param fraction: the part of the images that the first of the two gets, between 0 and 1.
    :param seed: decides which images; the same seed and number of images give the same split.
    :returns: two sources, in each of which images keep their order.
    :raises FitError: one part would be empty.

    >>> import torch
    >>> predictions = [Prediction(key, torch.zeros(2, 1), torch.zeros(1, 1, dtype=torch.long)) for key in "abcd"]
    >>> [len(part) for part in split(predictions, 0.75, seed=0)]
    [3, 1]
    """
    count = round(fraction * len(predictions))
    if not 0 < count < len(predictions):
        raise FitError(
            f"expected a fraction that leaves images on both sides; got {fraction:g} of {len(predictions)} images. "
            "Add images or change the fraction."
        )
    kept, held = kept_and_held(len(predictions), fraction, seed=seed)
    return Subset(predictions, kept), Subset(predictions, held)
