"""How much of a file is in memory: real files, of which the page cache is told to let go."""

import mmap
import os
import sys

import pytest

from forge.host import page_cache
from forge.host.page_cache import NotTold, resident_bytes

MIB = 1 << 20
PAGE = mmap.PAGESIZE
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="posix_fadvise drops page cache")


@pytest.fixture(params=["at once", "page by page"])
def way(request, monkeypatch):
    """Both ways to ask; an unknown system call is what an older kernel knows."""
    if request.param == "page by page":
        monkeypatch.setattr(page_cache, "CACHESTAT", 100_000)


def written(path, size_bytes):
    """Write a file that the disk has, so that its pages can be dropped."""
    with path.open("wb") as out:
        out.write(os.urandom(size_bytes))
        out.flush()
        os.fsync(out.fileno())
    return str(path)


def drop(path, start=0, length=0):
    fd = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(fd, start, length, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


@pytest.mark.parametrize("size_bytes", [1, PAGE - 1, PAGE, 3 * PAGE + 5, 9 * MIB + 1])
def test_what_was_just_written_is_resident_to_the_last_byte(tmp_path, way, size_bytes):
    assert resident_bytes(written(tmp_path / "a", size_bytes)) == size_bytes


@on_linux
def test_what_is_dropped_is_not(tmp_path, way):
    path = written(tmp_path / "a", 16 * MIB)
    drop(path, 8 * MIB, 8 * MIB)
    if resident_bytes(path) == 16 * MIB:
        pytest.skip("this file system keeps its pages in memory")
    assert resident_bytes(path) == 8 * MIB
    assert resident_bytes(path, 8 * MIB, 4 * MIB) == 0
    assert resident_bytes(path, 4 * MIB, 8 * MIB) == 4 * MIB


@on_linux
def test_a_large_file_is_looked_at_in_samples(tmp_path, monkeypatch):
    path = written(tmp_path / "a", 32 * MIB)
    monkeypatch.setattr(page_cache, "CACHESTAT", 100_000)
    monkeypatch.setattr(page_cache, "WHOLE_BYTES", 8 * MIB)
    monkeypatch.setattr(page_cache, "WINDOW_BYTES", MIB)
    assert resident_bytes(path) == 32 * MIB
    drop(path, 0, 16 * MIB)
    if resident_bytes(path) == 32 * MIB:
        pytest.skip("this file system keeps its pages in memory")
    assert resident_bytes(path) == 16 * MIB
    drop(path, 17 * MIB, MIB)  # between two samples: nobody looks there
    assert resident_bytes(path) == 16 * MIB


def test_an_empty_file_has_nothing_resident(tmp_path, way):
    assert resident_bytes(written(tmp_path / "a", 0)) == 0


def test_looking_leaves_nothing_behind(tmp_path, way):
    path = written(tmp_path / "a", MIB)
    before = len(os.listdir("/dev/fd"))
    for _ in range(20):
        resident_bytes(path)
    assert len(os.listdir("/dev/fd")) == before
    if sys.platform == "linux":
        with open("/proc/self/maps") as maps:
            assert path not in maps.read()


def test_a_file_that_is_gone_is_said(tmp_path):
    with pytest.raises(FileNotFoundError):
        resident_bytes(str(tmp_path / "gone"))


def test_a_pipe_holds_nobody_up(tmp_path, way):
    os.mkfifo(tmp_path / "pipe")
    assert resident_bytes(str(tmp_path / "pipe")) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
def test_of_others_files_nothing_is_told(tmp_path):
    path = written(tmp_path / "a", MIB)
    os.chmod(path, 0o644)
    tmp_path.chmod(0o755)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            fd = os.open(path, os.O_RDONLY)  # before, as it may not go through the directories
            os.setresuid(65534, 65534, 65534)
            resident_bytes(f"/dev/fd/{fd}")
        except NotTold:
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
