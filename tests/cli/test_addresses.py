"""Calibrators at addresses, as stores are: what every command says of them is what it says of folders."""

import fsspec
import pytest
from robustness.worlds import arrays

from calibrant.calibrators import TemperatureScaling, load, save
from calibrant.errors import StoreError


@pytest.fixture
def bucket():
    files = fsspec.filesystem("memory")
    files.store.clear()
    yield files
    files.store.clear()


def test_a_calibrator_may_lie_at_an_address(calibrant, bucket, tmp_path):
    def ran(*words):
        code, out, err = calibrant(*words)
        assert (code, err) == (0, ""), err
        return out

    ran("import", arrays(tmp_path / "arrays"), "-o", tmp_path / "store")
    fit = ("fit", tmp_path / "store", "--method", "temperature", "-o")
    ran(*fit, tmp_path / "ts")
    ran(*fit, "memory://bucket/ts")
    assert "which was there already" in ran(*fit, "memory://bucket/ts")
    code, _, err = calibrant(*fit[:-1], "--seed", 1, "-o", "memory://bucket/ts")
    assert code == 2
    assert "--seed" in err
    for name in (path.name for path in (tmp_path / "ts").iterdir()):
        assert bucket.cat_file(f"bucket/ts/{name}") == (tmp_path / "ts" / name).read_bytes()
    here, there = (
        ran("measure", tmp_path / "store", "--calibrator", place) for place in (tmp_path / "ts", "memory://bucket/ts")
    )
    assert here.splitlines()[1:] == there.splitlines()[1:]
    ran("apply", "memory://bucket/ts", tmp_path / "store", "-o", tmp_path / "calibrated")
    ran("sample", tmp_path / "store", "--calibrator", "memory://bucket/ts", "--num-samples", 2, "-o", tmp_path / "s")
    assert "calibrator" in ran("verify", "memory://bucket/ts")


def test_a_save_replaces_and_leaves_nothing_behind(bucket):
    save(TemperatureScaling(2.0), "memory://bucket/ts")
    save(TemperatureScaling(3.0), "memory://bucket/ts")
    assert load("memory://bucket/ts").temperature == pytest.approx(3.0)
    assert len(bucket.ls("bucket/ts")) == 2


def test_what_is_missing_or_damaged_at_an_address_is_a_sentence(bucket):
    with pytest.raises(StoreError, match=r"memory://bucket/none: .*memory://bucket/none/calibrator\.json is missing"):
        load("memory://bucket/none")
    save(TemperatureScaling(2.0), "memory://bucket/ts")
    tensors = next(name for name in bucket.find("bucket/ts") if name.endswith("safetensors"))
    bucket.pipe_file(tensors, bucket.cat_file(tensors)[:-1])
    with pytest.raises(StoreError, match=r"expected the tensors that calibrator\.json was written with"):
        load("memory://bucket/ts")
    with pytest.raises(StoreError, match="nowhere://x: expected a folder or an address that fsspec can reach"):
        load("nowhere://x")
