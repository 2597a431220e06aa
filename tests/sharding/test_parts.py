"""Parts that know nothing of each other, and their whole: the bytes of one process."""

import pytest
from robustness.worlds import arrays, contents

from calibrant.data import merge_store_parts, write_store, write_store_part
from calibrant.errors import DataError, StoreError
from calibrant.metrics import Measurement
from calibrant.metrics.part import TallyPart
from calibrant.testing import uneven_predictions


class Named(list):
    @property
    def keys(self):
        return [image.key for image in self]


def test_a_store_of_parts_is_the_store_of_one_process(tmp_path):
    images = Named(uneven_predictions(10))
    write_store(images, tmp_path / "whole")
    counts = [write_store_part(images, tmp_path / "parts", (number, 4)) for number in (3, 1, 4, 2)]
    assert sum(counts) == 10
    assert write_store_part(images, tmp_path / "parts", (3, 4)) == counts[0]  # it is there
    assert len(merge_store_parts(tmp_path / "parts")) == 10
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    assert len(merge_store_parts(tmp_path / "parts")) == 10  # and once more
    assert write_store_part(images, tmp_path / "parts", (3, 4)) == counts[0]


def test_a_part_goes_on_where_it_was(tmp_path, monkeypatch):
    images = Named(uneven_predictions(6))
    write_store(images, tmp_path / "whole")
    broken = Named([*images[:2], None, *images[3:]])
    monkeypatch.setattr(Named, "keys", [image.key for image in images])
    with pytest.raises(AttributeError):
        write_store_part(broken, tmp_path / "parts", (1, 1))
    assert len(list((tmp_path / "parts").glob("*.safetensors"))) == 2
    write_store_part(images, tmp_path / "parts", (1, 1))
    merge_store_parts(tmp_path / "parts")
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_one_process_may_go_on_with_parts(tmp_path):
    images = Named(uneven_predictions(6))
    write_store(images, tmp_path / "whole")
    write_store_part(images, tmp_path / "parts", (2, 2))
    write_store(images, tmp_path / "parts")
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_parts_of_a_store_that_do_not_belong_together(tmp_path):
    images = Named(uneven_predictions(6))
    with pytest.raises(StoreError, match="parts of a store, as --part writes them; there is none"):
        merge_store_parts(tmp_path)
    write_store_part(images, tmp_path / "parts", (1, 3))
    with pytest.raises(StoreError, match="expected all 3 parts; 2 are missing, such as 2/3"):
        merge_store_parts(tmp_path / "parts")
    with pytest.raises(StoreError, match="dtype is None there and 'float16' now"):
        write_store_part(images, tmp_path / "parts", (2, 3), dtype="float16")
    write_store_part(images, tmp_path / "parts", (2, 2))
    with pytest.raises(StoreError, match="parts of one run; got those of 2"):
        merge_store_parts(tmp_path / "parts")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("hello")
    with pytest.raises(StoreError, match=r"other files, such as letter\.txt"):
        write_store_part(images, tmp_path / "other", (1, 2))


def test_a_file_that_a_part_lost_is_named(tmp_path):
    images = Named(uneven_predictions(4))
    for number in (1, 2):
        write_store_part(images, tmp_path, (number, 2))
    next(tmp_path.glob("street-*.safetensors")).unlink()
    with pytest.raises(StoreError, match="the file of image 'street'"):
        merge_store_parts(tmp_path)


@pytest.mark.slow
def test_commands_in_parts(calibrant, tmp_path):
    def ran(*command):
        code, out, err = calibrant(*command)
        assert (code, err) == (0, "")
        return out

    source, one, parts = arrays(tmp_path / "arrays"), tmp_path / "one", tmp_path / "parts"
    made = {
        "store": ("import", source),
        "calibrated": ("apply", one / "ts", one / "store"),
        "samples": ("sample", one / "store", "--num-samples", 3),
        "measured": ("measure", one / "store", "--calibrator", one / "ts"),
    }
    printed = {}
    for name, command in made.items():
        printed[name] = ran(*command, "-o", one / name)
        if name == "store":
            ran("fit", one / "store", "--method", "temperature", "-o", one / "ts")
    for name, command in made.items():
        rows = parts / "rows" if name == "measured" else parts / name
        for part in ("2/3", "3/3", "1/3", "2/3"):
            assert f"part {part[0]} of 3" in ran(*command, "--part", part, "-o", rows)
        told = ran("merge", rows, *(("-o", parts / name) if name == "measured" else ()))
        assert contents(parts / name) == contents(one / name)
        if name in ("measured", "samples"):
            assert told.replace(str(parts), "").split() == printed[name].replace(str(one), "").split()


def test_parts_of_measurements_that_do_not_belong_together(calibrant, tmp_path):
    store, rows = tmp_path / "store", tmp_path / "rows"
    assert calibrant("import", arrays(tmp_path / "arrays"), "-o", store)[0] == 0
    assert calibrant("measure", store, "--part", "1/5", "-o", rows)[0] == 0
    code, _, err = calibrant("merge", rows)
    assert (code, "expected all 5 parts; 4 are missing, such as 2/5" in err) == (2, True)
    assert calibrant("measure", store, "--part", "1/5", "--num-bins", 7, "-o", rows)[0] == 0
    code, _, err = calibrant("merge", rows)
    assert (code, "expected parts of one run" in err) == (2, True)
    for wrong in ("0/3", "4/3", "1", "a/b"):
        code, _, err = calibrant("measure", store, "--part", wrong, "-o", rows)
        assert (code, "expected a part from 1 to as many as there are" in err) == (2, True)
    code, _, err = calibrant("measure", store, "--part", "1/3")
    assert (code, "expected a folder for the part" in err) == (2, True)
    file = next(rows.glob("*.part"))
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match="as --part writes it"):
        TallyPart.load(file, Measurement)
