"""Asking the kernel of macOS by ctypes, without a process: sysctlbyname(3), host_statistics64.

The layouts are those of <mach/vm_statistics.h> (revision 1: newer kernels append to it and answer
the shorter question as before) and <sys/sysctl.h>. Nothing is loaded before the first question, so
that this imports everywhere.
"""

import ctypes
import errno
import os
from typing import Any, Protocol

_HOST_VM_INFO64 = 4
_WORDS = 38  # HOST_VM_INFO64_REV1_COUNT: the length of the answer in 32-bit words


class VmStatistics(ctypes.Structure):
    """struct vm_statistics64, revision 1: counts of pages, and of events since boot."""

    _fields_ = (
        ("free_count", ctypes.c_uint32),
        ("active_count", ctypes.c_uint32),
        ("inactive_count", ctypes.c_uint32),
        ("wire_count", ctypes.c_uint32),
        ("zero_fill_count", ctypes.c_uint64),
        ("reactivations", ctypes.c_uint64),
        ("pageins", ctypes.c_uint64),
        ("pageouts", ctypes.c_uint64),
        ("faults", ctypes.c_uint64),
        ("cow_faults", ctypes.c_uint64),
        ("lookups", ctypes.c_uint64),
        ("hits", ctypes.c_uint64),
        ("purges", ctypes.c_uint64),
        ("purgeable_count", ctypes.c_uint32),
        ("speculative_count", ctypes.c_uint32),
        ("decompressions", ctypes.c_uint64),
        ("compressions", ctypes.c_uint64),
        ("swapins", ctypes.c_uint64),
        ("swapouts", ctypes.c_uint64),
        ("compressor_page_count", ctypes.c_uint32),
        ("throttled_count", ctypes.c_uint32),
        ("external_page_count", ctypes.c_uint32),
        ("internal_page_count", ctypes.c_uint32),
        ("total_uncompressed_pages_in_compressor", ctypes.c_uint64),
    )


class SwapUsage(ctypes.Structure):
    """struct xsw_usage: bytes."""

    _fields_ = (
        ("total", ctypes.c_uint64),
        ("available", ctypes.c_uint64),
        ("used", ctypes.c_uint64),
        ("page_size", ctypes.c_uint32),
        ("encrypted", ctypes.c_int32),
    )


assert ctypes.sizeof(VmStatistics) == _WORDS * 4, "struct vm_statistics64 has another layout"
assert ctypes.sizeof(SwapUsage) == 32, "struct xsw_usage has another layout"


class Kernel(Protocol):
    """The two questions, each answered by the bytes of a struct or by an OSError."""

    def sysctl(self, name: str) -> bytes:
        """Return the value of a sysctl as the kernel lays it out."""
        ...

    def vm_statistics(self) -> bytes:
        """Return a `VmStatistics`."""
        ...


class MachKernel:
    """The kernel that we run on. Raises OSError from the start where that is not macOS's."""

    def __init__(self) -> None:
        self._libc: Any = ctypes.CDLL(None, use_errno=True)
        try:
            self._sysctlbyname = self._libc.sysctlbyname
            self._statistics = self._libc.host_statistics64
            host_self = self._libc.mach_host_self
        except AttributeError as error:
            raise OSError(errno.ENOSYS, f"this is not macOS: {error}") from None
        host_self.restype = ctypes.c_uint32
        self._host = ctypes.c_uint32(host_self())  # asked once: each answer is a right to give back
        size = ctypes.POINTER(ctypes.c_size_t)
        self._sysctlbyname.argtypes = [
            ctypes.c_char_p, ctypes.c_void_p, size, ctypes.c_void_p, ctypes.c_size_t,
        ]  # fmt: skip
        self._statistics.argtypes = [
            ctypes.c_uint32, ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_uint32),
        ]  # fmt: skip

    def sysctl(self, name: str) -> bytes:
        """Ask for one value of at most 64 bytes."""
        value = ctypes.create_string_buffer(64)
        size = ctypes.c_size_t(len(value))
        if self._sysctlbyname(name.encode(), value, ctypes.byref(size), None, 0) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), name)
        return value.raw[: size.value]

    def vm_statistics(self) -> bytes:
        """Ask for the counts. The answer may be a second old: macOS caches it for programs."""
        value = VmStatistics()
        words = ctypes.c_uint32(_WORDS)
        code = self._statistics(
            self._host, _HOST_VM_INFO64, ctypes.byref(value), ctypes.byref(words)
        )
        if code != 0:
            raise OSError(errno.EIO, f"host_statistics64 answers {code}")
        if words.value < _WORDS:
            raise OSError(errno.EIO, f"host_statistics64 gives {words.value} words of {_WORDS}")
        return bytes(value)
