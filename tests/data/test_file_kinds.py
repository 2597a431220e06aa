"""What files say of themselves is used or refused by name: depth, white, pages, packing, formats, names of arrays."""

import struct
import zlib

import nibabel
import numpy as np
import pytest
import tifffile
import torch
from made_folders import check_read, folder_of, labels_of, logits_of, npy, png, softmax
from PIL import Image
from safetensors.numpy import save_file

from calibrant.data import image_folder, open_folder
from calibrant.errors import DataError, LabelError


def read(path, labels, *, scores=None, **options):
    return open_folder(folder_of(path, scores=scores or npy(logits_of), labels=labels), **options)


def grey_png(path, rows, width, height, depth, kind=0, palette=b""):
    """Write a PNG by hand, of a depth that Pillow does not write."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    body = chunk(b"PLTE", palette) if palette else b""
    content = chunk(b"IHDR", head) + body + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    with open(f"{path}.png", "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n" + content)


def packed(labels, depth):
    """Return rows of a PNG with several pixels a byte, each with its filter byte."""
    bits = ((labels[..., None] >> np.arange(depth)[::-1]) & 1).reshape(len(labels), -1).astype(np.uint8)
    return b"".join(b"\0" + np.packbits(row).tobytes() for row in bits)


# -- depth


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("kind", ["grey", "palette"])
def test_pngs_of_few_bits_hold_the_numbers_stored(tmp_path, depth, kind):
    classes = 2 if depth == 1 else 3

    def write(path, i):
        labels = labels_of(i, classes=classes)
        colours = bytes(range(3 * 2**depth)) if kind == "palette" else b""
        grey_png(path, packed(labels, depth), 15, 12, depth, 3 if colours else 0, colours)

    found = read(tmp_path, write, scores=npy(lambda i: logits_of(i, classes=classes)))
    check_read(found, logits=lambda i: logits_of(i, classes=classes), labels=lambda i: labels_of(i, classes=classes))


def test_pngs_of_16_bits(tmp_path):
    def write(path, i):
        Image.fromarray(labels_of(i).astype(np.uint16) * 150).save(f"{path}.png")

    scores = npy(lambda i: np.zeros((301, 12, 15), np.float32))
    assert read(tmp_path, write, scores=scores, ignore_index=None)[0].labels.max() == 300


def test_pictures_of_16_bits_are_refused(tmp_path):
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
    Image.fromarray(np.zeros((4, 5), np.uint16)).save(tmp_path / "images" / "a.png")
    Image.new("L", (5, 4)).save(tmp_path / "labels" / "a.png")
    with pytest.raises(DataError, match="eight bits a channel; got mode I"):
        image_folder(tmp_path, class_names="ab")[0]


# -- formats


@pytest.mark.parametrize("content", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 4\n", b"GIF89a" + bytes(40)])
@pytest.mark.parametrize("part", ["images", "labels"])
def test_no_other_format_is_opened_under_the_name_of_png(tmp_path, content, part, monkeypatch):
    import subprocess

    monkeypatch.setattr(subprocess, "check_call", lambda *a, **k: pytest.fail("a program was started"))
    for each in ("images", "labels"):
        (tmp_path / each).mkdir()
        Image.new("RGB" if each == "images" else "L", (5, 4)).save(tmp_path / each / "a.png")
    (tmp_path / part / "a.png").write_bytes(content)
    with pytest.raises(
        DataError, match=r"expected a whole file of numbers or colours, in the format PNG.*another format"
    ):
        image_folder(tmp_path, class_names="ab")[0]


def test_a_jpeg_called_png_is_no_label_map(tmp_path):
    def write(path, i):
        Image.fromarray(labels_of(i)).save(f"{path}.png", format="JPEG")

    with pytest.raises(DataError, match="in the format PNG"):
        read(tmp_path, write)[0]


# -- TIFF


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "raw"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_packed_tiffs(tmp_path, compression, dtype):
    def write(path, i):
        Image.fromarray(labels_of(i).astype(dtype)).save(f"{path}.tif", compression=compression)

    check_read(read(tmp_path, write))


def test_packed_scores_of_several_pages(tmp_path):
    def write(path, i):
        first, *others = [Image.fromarray(page) for page in logits_of(i)]
        first.save(f"{path}.tif", compression="tiff_lzw", save_all=True, append_images=others)

    check_read(read(tmp_path, png(labels_of), scores=write))


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16])
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_zero_may_be_white(tmp_path, dtype, compression):
    top = 1 if dtype is bool else np.iinfo(dtype).max

    def write(path, i):
        stored = (top - labels_of(i, classes=2).astype(np.int64)).astype(dtype)
        if compression is None:
            tifffile.imwrite(f"{path}.tif", stored, photometric="miniswhite")
        else:
            # Pillow itself inverts numbers of one and eight bits as it writes such files.
            shown = stored if dtype is np.uint16 else labels_of(i, classes=2).astype(dtype)
            Image.fromarray(shown).save(f"{path}.tif", compression=compression, tiffinfo={262: 0})

    found = read(tmp_path, write, scores=npy(lambda i: logits_of(i, classes=2)))
    check_read(found, logits=lambda i: logits_of(i, classes=2), labels=lambda i: labels_of(i, classes=2))


def test_floating_point_numbers_whose_zero_is_white_are_refused(tmp_path):
    def write(path, i):
        tifffile.imwrite(f"{path}.tif", logits_of(i), photometric="miniswhite")

    with pytest.raises(DataError, match="0 is white"):
        read(tmp_path, png(labels_of), scores=write)[0]


def test_pages_written_one_by_one_are_all_read(tmp_path):
    def write(path, i):
        with tifffile.TiffWriter(f"{path}.tif") as file:
            for page in logits_of(i):
                file.write(page)

    check_read(read(tmp_path, png(labels_of), scores=write))


def test_smaller_copies_are_passed_over_and_other_pages_refused(tmp_path):
    def write(path, i, reduced):
        with tifffile.TiffWriter(f"{path}.tif") as file:
            file.write(labels_of(i))
            file.write(labels_of(i)[::2, ::2].copy(), subfiletype=1 if reduced else 0)

    check_read(read(tmp_path / "reduced", lambda path, i: write(path, i, True)))
    with pytest.raises(DataError, match=r"pages of one size and kind"):
        read(tmp_path / "other", lambda path, i: write(path, i, False))[0]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "CMYK"])
def test_colours_in_a_tiff_are_no_labels(tmp_path, mode):
    def write(path, i):
        Image.fromarray(labels_of(i) * 100).convert("RGB").convert(mode).save(f"{path}.tif")

    with pytest.raises(LabelError, match=r"which hold colours. Turn the colours into class numbers first"):
        read(tmp_path, write)[0]


def test_a_palette_in_a_tiff_is_passed_over(tmp_path):
    def write(path, i):
        tifffile.imwrite(f"{path}.tif", labels_of(i), photometric="palette", colormap=np.zeros((3, 256), np.uint16) + 7)

    check_read(read(tmp_path, write))


@pytest.mark.parametrize("orientation", [3, 4, 6, 8])
def test_a_tiff_is_turned_as_its_tag_says(tmp_path, orientation):
    stored = {3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1], 6: lambda a: a[:, ::-1].T, 8: lambda a: a.T[:, ::-1]}

    def write(path, i):
        array = np.ascontiguousarray(stored[orientation](labels_of(i)))
        tifffile.imwrite(f"{path}.tif", array, extratags=[(274, "H", 1, orientation, True)])

    check_read(read(tmp_path, write))


def test_probabilities_of_ilastik(tmp_path):
    def write(path, i):
        bytes_ = np.round(255 * softmax(logits_of(i))).astype(np.uint8)
        tifffile.imwrite(f"{path}.tif", bytes_.transpose(1, 2, 0), photometric="minisblack")

    for options in ({"scores": "bytes"}, {"scores": "probabilities"}, {"probabilities": True}):
        made = folder_of(tmp_path, scores=write, labels=png(labels_of))
        check_read(open_folder(made, class_axis=-1, **options), close=True)


# -- several arrays in one file


def archive(*arrays, **named):
    return lambda path, i: np.savez(f"{path}.npz", *[a(i) for a in arrays], **{k: a(i) for k, a in named.items()})


def test_unnamed_arrays_are_told_by_their_numbers_or_asked_for(tmp_path):
    check_read(read(tmp_path / "plain", png(labels_of), scores=archive(logits_of, labels_of)))
    check_read(read(tmp_path / "labels", archive(logits_of, labels_of)))
    check_read(read(tmp_path / "named", png(labels_of), scores=archive(logits=logits_of, other=softmax_of)))
    with pytest.raises(DataError, match="got logits, softmax"):
        read(tmp_path / "both", png(labels_of), scores=archive(logits=logits_of, softmax=softmax_of))[0]
    two = archive(lambda i: logits_of(i + 7), logits_of)
    with pytest.raises(DataError, match=r"got arr_0, arr_1 of shapes.*--array NAME"):
        read(tmp_path / "two", png(labels_of), scores=two)[0]
    check_read(read(tmp_path / "two", png(labels_of), scores=two, array="arr_1"))
    with pytest.raises(DataError, match=r"an array called 'x'"):
        read(tmp_path / "two", png(labels_of), scores=two, array="x")[0]
    maps = archive(first=lambda i: labels_of(i + 7), second=labels_of)
    with pytest.raises(DataError, match=r"Name the one that holds the labels.*--label-array NAME"):
        read(tmp_path / "maps", maps)[0]
    check_read(read(tmp_path / "maps", maps, label_array="second"))


def softmax_of(i):
    return softmax(logits_of(i)).astype(np.float32)


def test_safetensors_of_several_arrays(tmp_path):
    def write(path, i):
        save_file({"x": logits_of(i), "y": logits_of(i + 5), "z": labels_of(i)}, f"{path}.safetensors")

    with pytest.raises(DataError, match="--array NAME"):
        read(tmp_path, png(labels_of), scores=write)[0]
    check_read(read(tmp_path, png(labels_of), scores=write, array="x"))


def test_an_array_larger_than_memory_is_told(tmp_path):
    def write(path, i):
        with open(f"{path}.npy", "wb") as file:
            np.lib.format.write_array_header_1_0(
                file, {"descr": "<f4", "fortran_order": False, "shape": (3, 10**6, 10**6)}
            )

    with pytest.raises(DataError, match=r"a\.npy: expected"):
        read(tmp_path, png(labels_of), scores=write)[0]


def test_nifti_of_vectors_keeps_its_classes(tmp_path):
    def write(path, i):
        array = logits_of(i, shape=(2, 12, 15)).T[:, :, :, None]
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), f"{path}.nii.gz")

    def write_labels(path, i):
        nibabel.save(nibabel.Nifti1Image(labels_of(i, shape=(2, 12, 15)).T, np.eye(4)), f"{path}.nii.gz")

    found = read(tmp_path, write_labels, scores=write)[1]
    assert torch.equal(found.logits, torch.as_tensor(logits_of(1, shape=(2, 12, 15))))
