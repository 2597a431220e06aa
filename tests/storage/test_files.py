"""A file is written whole or not at all."""

import errno
import fcntl
import os
import stat
import time
from pathlib import Path

import pytest

import calibrant
from calibrant._storage.files import only_writer, remove_leftovers, replacing


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "made" / "on the way" / "table.txt"
    for content in (b"first", b"second"):
        with replacing(path) as temporary:
            assert temporary.parent == path.parent
            assert temporary.suffix == path.suffix
            temporary.write_bytes(content)
        assert path.read_bytes() == content
        assert list(path.parent.iterdir()) == [path]


def write_half(path, error):
    path.write_bytes(b"half of the new o")
    raise error("stopped")


@pytest.mark.parametrize("error", [RuntimeError, OSError, KeyboardInterrupt])
def test_what_was_there_stays_when_the_block_raises(tmp_path, error):
    path = tmp_path / "table.txt"
    path.write_bytes(b"old")
    with pytest.raises(error), replacing(path) as temporary:
        write_half(temporary, error)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_left_when_the_name_is_taken_by_a_folder(tmp_path):
    (tmp_path / "table.txt").mkdir()
    with pytest.raises(OSError), replacing(tmp_path / "table.txt") as temporary:
        temporary.write_bytes(b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["table.txt"]


def test_a_writer_that_is_killed_leaves_the_old_file_and_a_leftover_that_can_be_removed(tmp_path):
    path = tmp_path / "table.txt"
    path.write_bytes(b"old")
    child = os.fork()
    if child == 0:
        with replacing(path) as temporary:
            temporary.write_bytes(b"half")
            os._exit(0)
    os.waitpid(child, 0)
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 2
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_being_written_is_no_leftover(tmp_path):
    with replacing(tmp_path / "table.txt") as temporary:
        remove_leftovers(tmp_path)
        temporary.write_bytes(b"new")
    assert (tmp_path / "table.txt").read_bytes() == b"new"


@pytest.mark.parametrize("missing", ["locks of the file system", "locks of the system"])
def test_without_locks_a_leftover_is_told_by_its_age(tmp_path, monkeypatch, missing):
    if missing == "locks of the system":
        monkeypatch.setattr("calibrant._storage.files.fcntl", None)
    else:
        monkeypatch.setattr("fcntl.flock", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOLCK, "no locks")))
    for name, age in {".calibrant-old.txt": 7200, ".calibrant-new.txt": 60}.items():
        (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    with replacing(tmp_path / "table.txt") as temporary:
        temporary.write_bytes(b"new")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".calibrant-new.txt", "table.txt"]


def test_a_temporary_file_that_another_removed_before_it_was_locked_is_made_anew(tmp_path, monkeypatch):
    real, calls = fcntl.flock, []

    def late(handle, how):
        calls.append(handle)
        if len(calls) == 1:
            (found,) = tmp_path.glob(".calibrant-*")
            found.unlink()
        real(handle, how)

    monkeypatch.setattr("fcntl.flock", late)
    with replacing(tmp_path / "table.txt") as temporary:
        temporary.write_bytes(b"new")
    assert len(calls) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["table.txt"]


def test_a_link_in_the_way_of_the_temporary_file_is_not_followed(tmp_path, monkeypatch):
    monkeypatch.setattr("secrets.token_hex", lambda size: "guessed")
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / ".calibrant-guessed.txt").symlink_to(tmp_path / "victim")
    with pytest.raises(FileExistsError), replacing(tmp_path / "table.txt"):
        pass
    assert (tmp_path / "victim").read_bytes() == b"precious"


def test_a_link_is_replaced_and_its_target_stays(tmp_path):
    (tmp_path / "target").write_bytes(b"precious")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with replacing(tmp_path / "link") as temporary:
        temporary.write_bytes(b"new")
    assert (tmp_path / "target").read_bytes() == b"precious"
    assert not (tmp_path / "link").is_symlink()


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o000, 0o644)])
def test_the_mode_is_that_of_any_file_less_the_umask(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        with replacing(tmp_path / "a") as temporary:
            temporary.write_bytes(b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode


def test_content_and_name_reach_the_disk_in_this_order(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr("os.fsync", lambda handle: (done.append(stat.S_ISDIR(os.fstat(handle).st_mode)), fsync(handle)))
    monkeypatch.setattr("os.replace", lambda source, target: (done.append("renamed"), replace(source, target)))
    with replacing(tmp_path / "a") as temporary:
        temporary.write_bytes(b"new")
    assert done == [False, "renamed", True], "the file, the renaming, the folder"


def test_every_writer_of_the_library_goes_through_the_one_helper():
    root = Path(calibrant.__file__).parent
    files = [path for path in root.rglob("*.py") if path != root / "_storage" / "files.py"]
    assert len(files) > 100
    words = ("os.replace(", "mkstemp(", "NamedTemporaryFile(", "os.rename(")
    assert [str(path.relative_to(root)) for path in files if any(word in path.read_text() for word in words)] == []


def test_a_folder_that_was_made_for_nothing_is_removed_again(tmp_path):
    def fail(*parts, kept=""):
        with only_writer(tmp_path.joinpath(*parts)):
            if kept:
                (tmp_path / kept).touch()
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail("a", "b")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="no"):
        fail("a", "b", kept="a/file")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["file"]
    with pytest.raises(ValueError, match="no"):
        fail("a")
    assert (tmp_path / "a" / "file").is_file()
