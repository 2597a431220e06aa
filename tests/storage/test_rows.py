"""Very many rows: in files of their own, and written without a copy of all."""

import os

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save

from calibrant._storage import rows
from calibrant._storage.tensors import write_tensors
from calibrant.metrics import CalibrationBins


@pytest.mark.parametrize("room", [True, False])
def test_rows_in_files_are_those_in_memory(monkeypatch, tmp_path, room):
    def tallies():
        generator = torch.Generator().manual_seed(0)
        for i, key in enumerate("cab"):
            logits = torch.randn(1, 3, 4, 5, generator=generator)
            labels = torch.full((1, 1, 4, 5), i)
            yield CalibrationBins.of(logits, labels).mapped(torch.clone), key

    made = [type(tally)(*tally.columns(), keys=(key,)) for tally, key in tallies()]
    expected = CalibrationBins.stack(made)
    monkeypatch.setattr(rows, "LARGE", 8)
    monkeypatch.setattr(rows.tempfile, "tempdir", str(tmp_path))
    if not room:

        def full(handle, begin, length):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "posix_fallocate", full)
    found = CalibrationBins.stack(made)
    assert found.keys == expected.keys == ("a", "b", "c")
    assert all(torch.equal(a, b) for a, b in zip(found.columns(), expected.columns(), strict=True))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("about", ["plain", 'with "quotes", \\ and\nlines', "Straße\u2028\x00\x7f\x1f"])
def test_tensors_written_one_by_one_are_the_bytes_of_the_library(tmp_path, about):
    kinds = (torch.float64, torch.int32, torch.int64, torch.float32, torch.bool, torch.float16, torch.uint8)
    tensors = {
        f"{name}.{i}": torch.arange(i * 3).reshape(i, 3).to(kind)
        for i, kind in enumerate(kinds)
        for name in ("b", "a", "ü")
    }
    tensors["scalar"] = torch.tensor(3.0)
    write_tensors(tmp_path / "file", tensors, {"about": about})
    assert (tmp_path / "file").read_bytes() == save(tensors, {"about": about})
    write_tensors(tmp_path / "file", {}, {"about": about})
    with safe_open(tmp_path / "file", "pt") as file:  # the library's bytes of none differ from version to version
        assert (file.metadata(), list(file.keys())) == ({"about": about}, [])
