"""Measurements on disk: every figure of a report can be drawn again from a small file."""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import torch
from safetensors import SafetensorError

from calibrant._input.checks import check_version
from calibrant._shapes import Tensor
from calibrant._storage.files import parse_json
from calibrant._storage.tensors import digest_of, read_tensors, write_described
from calibrant.errors import DataError
from calibrant.metrics.measurement import Measurement
from calibrant.metrics.tally import Tally

FORMAT = "calibrant measurement"
"""What a file says that it holds."""
VERSION = 3
"""Of the files that are written; a change that an older reader would get wrong raises it."""


def save_measurement(measurement: Measurement, path: str | Path, *, facts: Mapping[str, Any]) -> None:
    """Write a measurement and what is known about it to one safetensors file, whole or not at all.

    :param measurement: all its tensors, keys and images left out are kept.
    :param path: the file to write; one that is there is replaced.
    :param facts: what JSON can hold; comes back from ``load_measurement``.
    :raises DataError: it cannot be written.
    """
    tensors = dict(named(measurement))
    about: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "keys": measurement.keys,
        "left_out": measurement.left_out,
        "facts": dict(facts),
    }
    try:
        write_described(path, tensors, about)
    except OSError as error:
        raise DataError(f"{path}: expected to write a measurement; {error}. Make room, or choose another.") from error


def load_measurement(path: str | Path) -> tuple[Measurement, dict[str, Any]]:
    """Return a measurement and its facts.

    :param path: a file that ``save_measurement`` wrote.
    :raises DataError: the file is missing, broken, no measurement, changed since, or written by a newer version.
    """
    try:
        metadata, columns = read_tensors(path)
    except FileNotFoundError as error:
        raise DataError(
            f"{path}: expected a measurement; there is no such file. Write one: calibrant measure."
        ) from error
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path}: expected a whole measurement; cannot read it ({error}). Measure again.") from error
    try:
        about = parse_json(metadata.get("about", "{}"))
        if FORMAT not in (metadata.get("format"), about.get("format")):  # version 1 had it beside the rest
            raise DataError(f"{path}: expected a measurement (calibrant measure -o); got another safetensors file.")
        check_version(about["version"], VERSION, str(path))
        if set(about) - {"format", "version", "keys", "left_out", "facts", "digest"}:
            raise ValueError(f"it says {', '.join(about)}")
        if about["version"] > 1 and about["digest"] != digest_of(about, columns):
            raise DataError(
                f"{path}: expected the content with the digest that it names; it has changed since it was written. "
                "Copy it again, or measure again."
            )
        if about["version"] < 3:
            columns = _since_version_3(columns)
        measurement = built(Measurement, columns, "", keys=tuple(about["keys"]), left_out=tuple(about["left_out"]))
        return measurement, dict(about["facts"])
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise DataError(f"{path}: expected a whole measurement; {error!r}. Measure again.") from error


def _since_version_3(columns: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The columns of an older file, which counted by the class labelled, and no nearly tied pixels."""
    names = [name for name in columns if name.startswith("by_class.")]
    new = {name: column for name, column in columns.items() if name not in names}
    for name in names:
        column = name.removeprefix("by_class.")
        new[f"bins.{column}"] = columns[name].sum(1, dtype=columns[name].dtype)
        new[f"by_prediction.{column}"] = torch.zeros_like(columns[name])
    return new | {"near_ties": torch.full((len(new["bins.count"]),), torch.nan, dtype=torch.float64)}


def named(tally: Tally, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield the columns of a tally with names.

    :param tally: any tally.
    :param prefix: what the names begin with.
    """
    for column in fields(tally):
        value = getattr(tally, column.name)
        if isinstance(value, Tally):
            yield from named(value, f"{prefix}{column.name}.")
        elif isinstance(value, Tensor):
            yield f"{prefix}{column.name}", value.contiguous()


def built(kind: type[Tally], columns: Mapping[str, torch.Tensor], prefix: str, **names: Any) -> Any:
    """Return a tally from named columns.

    :param kind: what is built.
    :param columns: by name, as :func:`named` names them.
    :param prefix: what the names begin with.
    :param names: ``keys`` and ``left_out`` of the tally.
    :raises KeyError: a column is missing.
    """
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    for column in fields(kind):
        hint = hints[column.name]
        if isinstance(hint, type) and issubclass(hint, Tally):
            values[column.name] = built(hint, columns, f"{prefix}{column.name}.")
        elif column.name not in ("keys", "left_out"):
            values[column.name] = columns[f"{prefix}{column.name}"]
    return kind(**values, **names)
