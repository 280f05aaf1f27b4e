"""How much of a file is in memory, whoever has read it.

Linux tells it at once (cachestat(2), since 6.5: 0.1 ms for each GiB). Where it does not, a mapping
without access is asked for page by page (mincore(2): 15 ms for each GiB), of a large file in
samples at even distances, since page cache is lost in stretches. Both tell it only to those who own
the file or may write it; to others mincore calls everything resident.
"""

import ctypes
import mmap
import os
import sys
from typing import Any

WHOLE_BYTES = 1 << 30
"""A range of at most so many bytes is looked at as a whole; of a larger one, so many are."""

WINDOW_BYTES = 4 << 20
CACHESTAT = 451
"""The number of the system call, which is the same everywhere; the C library has no name for it."""

_PROT_NONE = 0
_RESIDENT = bytes(byte & 1 for byte in range(256))  # other bits mean other things on macOS


class _Range(ctypes.Structure):
    """struct cachestat_range."""

    _fields_ = (("offset", ctypes.c_uint64), ("length", ctypes.c_uint64))


class _Cached(ctypes.Structure):
    """struct cachestat, in pages."""

    _fields_ = (
        ("cached", ctypes.c_uint64),
        ("dirty", ctypes.c_uint64),
        ("writeback", ctypes.c_uint64),
        ("evicted", ctypes.c_uint64),
        ("recently_evicted", ctypes.c_uint64),
    )


class NotTold(OSError):
    """The kernel does not tell us of this file."""


def resident_bytes(path: str, start: int = 0, length: int | None = None) -> int:
    """Return how much of a file is in memory, or of a range that begins with a page of it.

    Raises OSError, NotTold.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        status = os.fstat(fd)
        if os.geteuid() not in (0, status.st_uid) and not os.access(path, os.W_OK):
            raise NotTold(0, "only its owner is told", path)
        if length is None:
            length = status.st_size - start
        return _resident(fd, start, length) if length > 0 else 0
    finally:
        os.close(fd)


def _resident(fd: int, start: int, length: int) -> int:
    libc = _libc()
    cached = _cached(libc, fd, start, length) if sys.platform == "linux" else None
    if cached is not None:
        return min(length, cached)
    address = libc.mmap(None, length, _PROT_NONE, mmap.MAP_SHARED, fd, start)
    if address in (None, ctypes.c_void_p(-1).value):
        raise _failure()
    try:
        return _count(libc, address, length)
    finally:
        libc.munmap(address, length)


def _cached(libc: Any, fd: int, start: int, length: int) -> int | None:
    """Ask cachestat; None where it is not to be had: an old kernel, a container, huge pages."""
    wanted, told = _Range(start, length), _Cached()
    if libc.syscall(CACHESTAT, fd, ctypes.byref(wanted), ctypes.byref(told), 0) != 0:
        return None
    return int(told.cached) * mmap.PAGESIZE


def _count(libc: Any, address: int, length: int) -> int:
    every = max(1, -(-length // WHOLE_BYTES))
    vector = ctypes.create_string_buffer(WINDOW_BYTES // mmap.PAGESIZE)
    looked = resident = 0
    for offset in range(0, length, WINDOW_BYTES * every):
        window = min(WINDOW_BYTES, length - offset)
        if libc.mincore(address + offset, window, vector) != 0:
            raise _failure()
        pages = -(-window // mmap.PAGESIZE)
        count = vector.raw[:pages].translate(_RESIDENT).count(1)
        resident += window if count == pages else count * mmap.PAGESIZE
        looked += window
    return min(length, resident * length // looked)


def _failure() -> OSError:
    code = ctypes.get_errno()
    return OSError(code, os.strerror(code))


def _libc() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [
        ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
    ]  # fmt: skip
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
    return libc
