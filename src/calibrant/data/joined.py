"""Several stores as one source: the folds of a cross-validation, or parts that several machines wrote."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from calibrant._storage.origin import digest_of_bytes
from calibrant.data.geometry import Geometry
from calibrant.data.store import Provenance, StoredPredictions
from calibrant.errors import InputError
from calibrant.predictions import Prediction, StridedPrediction


@dataclass(frozen=True)
class JoinedStores:
    """The predictions of several stores, one after the other, read when asked for.

    :param stores: the stores that are read one after the other, of one label space and of different images.
    :raises InputError: there is none, classes differ, or an image is in two of them.

    >>> import torch
    >>> from calibrant.data import write_store
    >>> maps = torch.zeros(2, 1, 1), torch.zeros(1, 1, 1, dtype=torch.long)
    >>> folds = [write_store([Prediction(key, *maps)], f"memory://doctest/joined-{key}") for key in "ab"]
    >>> JoinedStores(folds).keys, JoinedStores(folds)[1].key
    (('a', 'b'), 'b')
    """

    stores: Sequence[StoredPredictions]

    def __post_init__(self) -> None:
        if not self.stores:
            raise InputError("expected one store or more; got none. Name some.")
        first = self.stores[0]
        for store in self.stores[1:]:
            if (store.num_classes, store.class_names) != (first.num_classes, first.class_names):
                raise InputError(
                    f"expected stores of one label space; {first.url} has {_classes(first)} and {store.url} has "
                    f"{_classes(store)}. Join only predictions of the same classes."
                )
        twice = [key for key, count in Counter(self.keys).items() if count > 1]
        if twice:
            where = [store.url for store in self.stores if twice[0] in store.keys]
            raise InputError(
                f"expected stores of different images; {len(twice)} are in several, such as {twice[0]!r} in "
                f"{' and '.join(where)}. Leave one of them out."
            )

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of the images, in order; known without reading any."""
        return tuple(key for store in self.stores for key in store.keys)

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name a class; empty if nobody said."""
        return self.stores[0].class_names

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return self.stores[0].num_classes

    @property
    def provenance(self) -> Provenance:
        """What the stores say of themselves, each thing once."""
        about = [store.provenance for store in self.stores]

        def joined(name: str) -> str:
            return " and ".join(dict.fromkeys(filter(None, (getattr(each, name) for each in about))))

        words = {name: joined(name) for name in ("model", "data", "resolution", "ignore")}
        taken = tuple(dict.fromkeys(line for each in about for line in each.taken_for))
        return replace(about[0], **words, taken_for=taken)

    @property
    def digest(self) -> str:
        """The digest of all that is read from the stores, in their order."""
        return digest_of_bytes(*(store.digest.encode() for store in self.stores))

    @property
    def geometry(self) -> Mapping[str, Geometry]:
        """Where the pixels of images lie, by key."""
        return {key: place for store in self.stores for key, place in store.geometry.items()}

    def __len__(self) -> int:
        """Return the number of images."""
        return sum(map(len, self.stores))

    def __iter__(self) -> Iterator[Prediction]:
        """Read the images in order."""
        return (prediction for store in self.stores for prediction in store)

    def __getitem__(self, i: int, /) -> Prediction:
        """Read one image.

        :raises IndexError: there are not so many images.
        """
        store, number = self._place(i)
        return store[number]

    def strided(self, index: int) -> StridedPrediction:
        """Read one image as it is stored, the logits at the network's own stride.

        :param index: the number of the image.
        """
        store, number = self._place(index)
        return store.strided(number)

    def _place(self, i: int) -> tuple[StoredPredictions, int]:
        number = range(len(self))[i]
        ends = list(accumulate(map(len, self.stores)))
        which = bisect_right(ends, number)
        return self.stores[which], number - (ends[which - 1] if which else 0)


def _classes(store: StoredPredictions) -> str:
    names = ", ".join(store.class_names[:4]) + (", …" if store.class_names[4:] else "")
    return f"{store.num_classes} classes{f' ({names})' if names else ''}"
