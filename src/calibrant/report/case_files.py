"""The single images of a page on disk, beside the measurements: a page is drawn again without model and store."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from calibrant._shapes import Tensor
from calibrant._storage.tensors import read_described, write_described
from calibrant.errors import DataError
from calibrant.report.cases import Case, Sureness

FORMAT, VERSION = "calibrant images", 1
_ALONE = ("labels", "prediction", "entropy", "image")
_BY_METHOD = ("confidence", "relabelled")


def save_cases(cases: Sequence[Case], path: str | Path) -> None:
    """Write cases to one safetensors file, whole or not at all.

    :param cases: all that pages show of single images.
    :param path: the file to write; one that is there is replaced.
    :raises DataError: it cannot be written.
    """
    tensors = {name: each for number, case in enumerate(cases) for name, each in _tensors(case, str(number)).items()}
    about: dict[str, Any] = {"format": FORMAT, "version": VERSION, "cases": [_described(case) for case in cases]}
    try:
        write_described(path, tensors, about)
    except OSError as error:
        raise DataError(f"{path}: expected to write images; {error}. Make room, or choose another place.") from error


def load_cases(path: str | Path) -> list[Case]:
    """Return the cases of a file.

    :param path: a file that ``save_cases`` wrote.
    :raises DataError: the file is missing, broken, of something else, changed since, or written by a newer version.
    """
    again = "Remove it to have a page without images, or compare again."
    try:
        about, columns = read_described(path, FORMAT, VERSION, "images")
        return [_built(described, columns, str(number)) for number, described in enumerate(about["cases"])]
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise DataError(f"{path}: expected images of a report; {error}. {again}") from error


def _tensors(case: Case, number: str) -> dict[str, Tensor]:
    """The maps of a case by name; label maps as short as they can be."""
    alone = {f"{number}.{name}": getattr(case, name) for name in _ALONE if getattr(case, name) is not None}
    by_method = {
        f"{number}.{name}.{i}": each for name in _BY_METHOD for i, each in enumerate(getattr(case, name).values())
    }
    return {name: _short(each) for name, each in (alone | by_method).items()}


def _short(values: Tensor) -> Tensor:
    if values.dtype == torch.int64:
        values = values.to(torch.int16 if int(values.max()) < 2**15 else torch.int32)
    return values.clone(memory_format=torch.contiguous_format)  # cases may share maps; files may not


def _described(case: Case) -> dict[str, Any]:
    return {
        "key": case.key,
        "wrong": _or_none(case.wrong),
        "sureness": {method: [_or_none(v) for v in asdict(each).values()] for method, each in case.sureness.items()},
        "scores": {m: {name: _or_none(v) for name, v in row.items()} for m, row in case.scores.items()},
        "part": case.part,
        "why": case.why,
        "num_annotators": case.num_annotators,
        **{name: list(getattr(case, name)) for name in _BY_METHOD},
    }


def _built(described: Mapping[str, Any], columns: Mapping[str, Tensor], number: str) -> Case:
    def label_map(name: str) -> Tensor:
        return columns[f"{number}.{name}"].long()

    return Case(
        described["key"],
        label_map("labels"),
        label_map("prediction"),
        {method: columns[f"{number}.confidence.{i}"] for i, method in enumerate(described["confidence"])},
        columns[f"{number}.entropy"],
        _or_nan(described["wrong"]),
        {method: Sureness(*map(_or_nan, each)) for method, each in described["sureness"].items()},
        {method: label_map(f"relabelled.{i}") for i, method in enumerate(described["relabelled"])},
        columns.get(f"{number}.image"),
        {m: {name: _or_nan(v) for name, v in row.items()} for m, row in described["scores"].items()},
        described["part"],
        described["why"],
        int(described["num_annotators"]),
    )


def _or_none(value: float) -> float | None:
    return None if value != value else value


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else float(value)
