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


@pytest.mark.slow
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


@pytest.mark.slow
def test_pages_and_samplers_may_go_to_an_address(calibrant, bucket, store, tmp_path):
    assert calibrant("measure", store, "-o", tmp_path / "measured")[0] == 0
    code, out, err = calibrant("report", tmp_path / "measured", "-o", "memory://bucket/pages/report.html")
    assert (code, err) == (0, "")
    assert "report: memory://bucket/pages/report.html" in out
    assert bucket.cat_file("bucket/pages/report.html").startswith(b"<!DOCTYPE html>")
    for nowhere, words in (("memory://bucket/", "it names none"), ("nowhere://b/r.html", "Protocol not known")):
        code, _, err = calibrant("report", tmp_path / "measured", "-o", nowhere)
        assert (code, words in err) == (2, True), err
    fit = ("refine", store, "--method", "copula", "--num-samples", 2, "-o")
    assert calibrant(*fit, "memory://bucket/copula")[0] == 0
    assert "which was there already" in calibrant(*fit, "memory://bucket/copula")[1]
    sample = ("sample", store, "--sampler", "memory://bucket/copula", "--num-samples", 2, "-o", tmp_path / "maps")
    assert calibrant(*sample)[0] == 0
    code, _, err = calibrant("refine", store, "--method", "energy", "-o", "memory://bucket/energy")
    assert (code, "keeps the checkpoints of its training" in err) == (2, True)


def test_label_maps_at_an_address_are_those_of_a_folder(calibrant, bucket, store, tmp_path):
    command = ("sample", store, "--num-samples", 2, "-o")
    there = "memory://bucket/maps"
    assert calibrant(*command, tmp_path / "maps")[0] == 0
    bucket.pipe_file("bucket/maps/old.npz", b"of nobody knows what")
    code, _, err = calibrant(*command, there)
    assert (code, "such as old.npz" in err) == (2, True)
    assert calibrant(*command, there, "--overwrite")[0] == 0
    same = {path.name: path.read_bytes() for path in (tmp_path / "maps").iterdir()}
    assert {name.split("/")[-1]: bucket.cat_file(name) for name in bucket.find("bucket/maps")} == same
    code, _, err = calibrant(*command, there, "--seed", 1)
    assert (code, "--seed is 0 there and 1 now" in err) == (2, True)
    code, _, err = calibrant(*command, there, "--part", "1/2")
    assert (code, "expected a folder that all parts reach" in err) == (2, True)


@pytest.mark.slow
def test_label_maps_at_an_address_are_read_back(calibrant, bucket, store, tmp_path):
    there = "memory://bucket/maps"
    for place in (tmp_path / "maps", there):
        assert calibrant("sample", store, "--num-samples", 2, "-o", place)[0] == 0
    told = [calibrant("verify", place)[1].split(", ", 1)[1] for place in (tmp_path / "maps", there)]
    assert told[0] == told[1]
    assert "samples of" in told[0]
    pages = []
    for number, place in enumerate((tmp_path / "maps", there)):
        code, _, err = calibrant("report", place, "--store", store, "-o", tmp_path / f"{number}.html")
        assert code == 0, err
        text = (tmp_path / f"{number}.html").read_text()
        pages.append(text.split('<section id="provenance"')[0])
    assert pages[0] == pages[1]
    maps = next(name for name in bucket.find("bucket/maps") if name.endswith(".npz"))
    bucket.pipe_file(maps, bucket.cat_file(maps)[:-9])
    code, _, err = calibrant("verify", there)
    assert (code, "memory://bucket/maps/" in err and "it has changed" in err) == (2, True), err
    whole, here = bucket.cat_file(maps), tmp_path / "maps" / maps.split("/")[-1]
    middle = len(whole) // 2
    for damaged in (whole, b"", whole[:middle], whole[:middle] + bytes(40) + whole[middle + 40 :], b"PK" + whole[9:]):
        bucket.pipe_file(maps, damaged)
        here.write_bytes(damaged)
        for place in (tmp_path / "maps", there):
            code, _, err = calibrant("report", place, "--store", store, "-o", tmp_path / "2.html")
            assert (code, f"{here.name}: expected label maps of" in err) == (2, True), err
    code, _, err = calibrant("report", "memory://bucket/none", "-o", tmp_path / "2.html")
    assert (code, "expected measurements on this machine" in err) == (2, True), err
    assert not (tmp_path / "2.html").exists()


def test_label_maps_of_a_command_that_was_killed_are_gone_on_with(calibrant, bucket, store, monkeypatch):
    from calibrant._storage.place import Place

    command, write = ("sample", store, "--num-samples", 2, "-o", "memory://bucket/maps"), Place.write
    written = []

    def broken(place, name, content):
        written.append(name)
        if len(written) == 4:
            raise OSError(28, "No space left on device", name)
        write(place, name, content)

    monkeypatch.setattr(Place, "write", broken)
    assert calibrant(*command)[0] == 2
    assert not any(name.endswith("samples.json") for name in bucket.find("bucket/maps"))
    code, _, err = calibrant(*command, "--seed", 1)
    assert (code, "--seed is 0 there and 1 now" in err) == (2, True)
    assert calibrant(*command)[0] == 0
    assert len(bucket.find("bucket/maps")) == 9


@pytest.mark.parametrize(
    "words",
    [
        ("measure", "STORE", "-o", "s3://bucket/measured"),
        ("measure", "STORE", "--json", "s3://bucket/figures.json"),
        ("compare", "STORE", "-o", "s3://bucket/report.html"),
        ("report", "measured", "--beside", "s3://bucket/measured", "-o", "here.html"),
        ("import", "s3://bucket/arrays", "-o", "store"),
    ],
)
def test_addresses_are_no_paths(calibrant, store, tmp_path, monkeypatch, words):
    """Python makes the path of a folder ``s3:`` of them, in which nobody would look."""
    monkeypatch.chdir(tmp_path)
    code, _, err = calibrant(*(store if word == "STORE" else word for word in words))
    assert code == 2
    assert "expected a path of this machine; got the address s3://bucket/" in err
    assert not list(tmp_path.iterdir())
