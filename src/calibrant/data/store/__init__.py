"""Predictions on disk or at any fsspec URL: one file an image and a manifest."""

from calibrant.data.store.store import Provenance, StoredPredictions, write_store

__all__ = [
    "Provenance",
    "StoredPredictions",
    "write_store",
]
