"""Stores that a command reads labels from: one, or several as one."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from calibrant.data import JoinedStores, StoredPredictions


def open_labelled(urls: Sequence[str], what: str) -> "StoredPredictions | JoinedStores":
    """Return a store, or several as one source.

    :param urls: where they are.
    :param what: what is to be done with their labels, after "to".
    :raises InputError: one has no labels, or they do not belong together.
    :raises StoreError: there is no such store.
    """
    from calibrant.data import JoinedStores, StoredPredictions
    from calibrant.errors import InputError

    stores = [StoredPredictions(url) for url in urls]
    for store in stores:
        if not store.has_labels:
            raise InputError(
                f"{store.url}: expected a store of predictions with labels to {what}; it was written without any. "
                "Apply a calibrator to it (calibrant apply), or write it into files (calibrant export)."
            )
    return stores[0] if len(stores) == 1 else JoinedStores(stores)
