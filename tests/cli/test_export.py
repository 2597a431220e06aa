"""``calibrant export`` into arrays that others open."""

import os
import shutil

import numpy as np
import pytest

MAPS = "labels,confidence,probabilities,entropy,hypotheses"


def test_formats_on_the_command_line_are_those_of_the_library():
    from calibrant.cli.export import KINDS, WHAT
    from calibrant.data.export import FORMATS, MAPS

    assert set(KINDS) == set(FORMATS)
    assert set(WHAT) == {*MAPS, "hypotheses"}


@pytest.mark.slow
def test_zarr_holds_the_numbers_of_npy(calibrant, store, temperature, tmp_path):
    zarr = pytest.importorskip("zarr")
    for kind in ("npy", "zarr"):
        given = ["--calibrator", temperature, "--as", kind, "--what", MAPS, "--num-samples", 3]
        code, _, err = calibrant("export", store, *given, "-o", tmp_path / kind)
        assert code == 0, err
    assert len(list((tmp_path / "zarr").glob("*.zarr"))) == 8
    group = zarr.open_group(tmp_path / "zarr/3.zarr", mode="r")
    for name in MAPS.split(","):
        expected = np.load(tmp_path / f"npy/{name}/3.npy")
        assert group[name].dtype == expected.dtype
        assert np.array_equal(group[name][:], expected)
    assert group["probabilities"].metadata.dimension_names == ("class", "y", "x")
    assert group["hypotheses"].metadata.dimension_names == ("sample", "y", "x")
    assert group["probabilities"].chunks == (1, 20, 24)
    assert group.attrs["num_classes"] == 4
    assert calibrant("verify", tmp_path / "zarr")[0] == 0, "every file of every group has its checksum"
    shutil.rmtree(tmp_path / "zarr/3.zarr/entropy/c")
    assert calibrant("verify", tmp_path / "zarr")[0] == 2


def test_maps_that_are_replaced_leave_no_folder_behind(calibrant, store, tmp_path):
    pytest.importorskip("zarr")
    for what, more in (("labels,entropy", []), ("labels", ["--overwrite"])):
        code, _, err = calibrant("export", store, "--as", "zarr", "--what", what, *more, "-o", tmp_path / "z")
        assert code == 0, err
        assert sorted(os.listdir(tmp_path / "z/0.zarr")) == sorted([*what.split(","), "zarr.json"])


def test_zarr_says_where_the_pixels_lie_and_replaces_what_is_there(tmp_path):
    zarr = pytest.importorskip("zarr")
    from calibrant.data import Geometry
    from calibrant.data.export import write_image

    affine = ((2.0, 0, 0, 9), (0, 1, 0, 9), (0, 0, 5, 9))
    place = Geometry("nifti", (2, 3, 4), affine, "mm", 1.0)
    for value in (1, 2):
        labels = np.full((2, 3, 4), value, np.uint8)
        (folder,) = write_image(tmp_path, "a/b", "zarr", {"labels": labels}, place, 3)
    group = zarr.open_group(folder, mode="r")
    assert folder == tmp_path / "a/b.zarr"
    assert os.listdir(tmp_path / "a") == ["b.zarr"]
    assert np.array_equal(group["labels"][:], labels)
    assert group["labels"].metadata.dimension_names == ("z", "y", "x")
    assert group.attrs["affine"] == [list(row) for row in affine]
    assert (group.attrs["affine_of"], group.attrs["unit"]) == ("x, y, z", "mm")


def test_zarr_of_a_full_disk_leaves_what_was_there(monkeypatch, tmp_path):
    zarr = pytest.importorskip("zarr")
    from calibrant.data.export import write_image

    maps = {"labels": np.ones((3, 4), np.uint8)}
    write_image(tmp_path, "a", "zarr", maps, None, 2)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zarr.Group, "create_array", full)
    with pytest.raises(OSError, match="No space left"):
        write_image(tmp_path, "a", "zarr", {"labels": maps["labels"] * 0}, None, 2)
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["a.zarr"]
    assert zarr.open_group(tmp_path / "a.zarr", mode="r")["labels"][:].all()
