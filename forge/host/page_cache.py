"""How much of a file is in memory, whoever has read it: mincore(2) of a mapping without access.

Large files are looked at in samples, at even distances: a question costs some 15 ms for each GiB,
and page cache is lost in stretches. The kernel tells it only to those who may write the file or own
it; to others it calls everything resident.
"""

import ctypes
import mmap
import os
from typing import Any

WHOLE_BYTES = 1 << 30
"""A range of at most so many bytes is looked at as a whole; of a larger one, so many are."""

WINDOW_BYTES = 4 << 20
_PROT_NONE = 0
_RESIDENT = bytes(byte & 1 for byte in range(256))  # other bits mean other things on macOS


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
    address = libc.mmap(None, length, _PROT_NONE, mmap.MAP_SHARED, fd, start)
    if address in (None, ctypes.c_void_p(-1).value):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    try:
        return _count(libc, address, length)
    finally:
        libc.munmap(address, length)


def _count(libc: Any, address: int, length: int) -> int:
    every = max(1, -(-length // WHOLE_BYTES))
    vector = ctypes.create_string_buffer(WINDOW_BYTES // mmap.PAGESIZE)
    looked = resident = 0
    for offset in range(0, length, WINDOW_BYTES * every):
        window = min(WINDOW_BYTES, length - offset)
        if libc.mincore(address + offset, window, vector) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        pages = -(-window // mmap.PAGESIZE)
        count = vector.raw[:pages].translate(_RESIDENT).count(1)
        resident += window if count == pages else count * mmap.PAGESIZE
        looked += window
    return min(length, resident * length // looked)


def _libc() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [
        ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
    ]  # fmt: skip
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
    return libc
