"""What a header says is looked at before memory is taken for it."""

import io
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest

from calibrant.data._formats.pictures import opened_picture
from calibrant.data._formats.reading import read_label_file, read_scores
from calibrant.data._formats.room import LIMIT, limit
from calibrant.errors import DataError, InputError


def header(shape):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return stream.getvalue()


def npy(path):
    path.write_bytes(header((3, 1_000_000, 1_000_000)) + bytes(64))


def npz(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("logits.npy", "w") as stream:
        stream.write(header((100_000, 100_000)) + bytes(1_000_000))


def nifti(path):
    nibabel = pytest.importorskip("nibabel")
    made = nibabel.Nifti1Image(np.zeros((2, 2, 2), np.float32), np.eye(4))
    made.header.set_data_shape((32767, 32767, 32767))
    with path.open("wb") as stream:
        stream.write(made.header.binaryblock + bytes(64))


def tiff(path):
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(path, np.zeros((64, 64), np.uint8))
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[0].tags["ImageWidth"].overwrite(2**20)
        file.pages[0].tags["ImageLength"].overwrite(2**20)


def png(path):
    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    start = struct.pack(">IIBBBBB", 2**16, 2**16, 16, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", start) + chunk(b"IDAT", zlib.compress(b"")))


BOMBS = {"a.npy": npy, "a.npz": npz, "a.nii": nifti, "a.tif": tiff}


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("read", [read_scores, read_label_file])
def test_a_header_that_asks_for_too_much_is_a_sentence_and_takes_nothing(tmp_path, name, read):
    path = tmp_path / name
    BOMBS[name](path)
    tracemalloc.start()
    with pytest.raises(
        DataError, match=rf"{name}: expected .* of 16 GiB at most; its header says .* CALIBRANT_MAX_GIB="
    ):
        read(path)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def deflated(path, numbers):
    """A TIFF of 64 x 64 pixels whose one deflated strip holds so many."""
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(path, np.zeros((numbers // 64, 64), np.uint8), compression="zlib", rowsperstrip=numbers // 64)
    with tifffile.TiffFile(path, mode="r+") as file:
        for name in ("ImageLength", "RowsPerStrip"):
            file.pages[0].tags[name].overwrite(64)


@pytest.mark.parametrize("read", [read_scores, read_label_file])
def test_a_tiff_that_unpacks_to_more_than_its_header_says_takes_nothing(tmp_path, monkeypatch, read):
    monkeypatch.setenv(LIMIT, "0.001")
    deflated(tmp_path / "a.tif", 2**25)
    tracemalloc.start()
    with pytest.raises(DataError, match=r"a\.tif: expected 4096 bytes in a compressed part.*made to fill memory"):
        read(tmp_path / "a.tif")
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


def test_a_tiff_that_compresses_well_is_read(tmp_path, monkeypatch):
    monkeypatch.setenv(LIMIT, "0.001")
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((1000, 1000), np.uint8), compression="zlib", rowsperstrip=1000)
    assert read_label_file(tmp_path / "a.tif").values.shape == (1000, 1000)


def test_a_picture_that_asks_for_too_much_is_a_sentence(tmp_path):
    png(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png"):
        read_label_file(tmp_path / "a.png")


def test_the_limit_is_the_environments(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", np.zeros((3, 300, 300), np.float32))
    assert read_scores(tmp_path / "a.npy").values.shape == (3, 300, 300)
    monkeypatch.setenv(LIMIT, "0.001")
    assert limit() == 0.001 * 2**30
    with pytest.raises(DataError, match=r"3 x 300 x 300, which is 0\.001006 GiB.*CALIBRANT_MAX_GIB=1"):
        read_scores(tmp_path / "a.npy")
    for wrong in ("nan", "-1", "much"):
        monkeypatch.setenv(LIMIT, wrong)
        with pytest.raises(InputError, match="positive number of GiB"):
            limit()


@pytest.mark.parametrize(
    "values",
    [
        np.array([["a", "b"]]),
        np.zeros((2, 2), "datetime64[s]"),
        np.zeros((2, 2), [("a", "f4"), ("b", "i4")]),
        np.zeros((2, 2), np.complex64),
        np.zeros((2, 2), "S3"),
    ],
    ids=lambda values: str(values.dtype),
)
@pytest.mark.parametrize("read", [read_scores, read_label_file])
def test_arrays_that_hold_no_numbers_are_told(tmp_path, values, read):
    np.save(tmp_path / "a.npy", values)
    with pytest.raises((DataError, InputError), match=r"a\.npy: expected (scores as real|whole) numbers"):
        read(tmp_path / "a.npy")


def test_longdouble_is_read_as_float64(tmp_path):
    np.save(tmp_path / "a.npy", np.full((2, 2), 0.5, np.longdouble))
    assert read_scores(tmp_path / "a.npy").values.dtype == np.float64


def test_a_picture_is_no_longer_than_the_limit(tmp_path, monkeypatch):
    from PIL import Image

    Image.new("L", (600, 600)).save(tmp_path / "a.png")
    monkeypatch.setenv(LIMIT, "0.001")
    with pytest.raises(DataError, match=r"a picture of 0\.001 GiB at most"):
        opened_picture(tmp_path / "a.png")
