"""Predictions on disk or at any fsspec URL: one file an image and a manifest."""

from calibrant.data.store._parts import run_numbers
from calibrant.data.store._settings import Provenance
from calibrant.data.store.stored import StoredPredictions
from calibrant.data.store.writing import merge_store_parts, write_store, write_store_part

__all__ = [
    "Provenance",
    "StoredPredictions",
    "merge_store_parts",
    "run_numbers",
    "write_store",
    "write_store_part",
]
