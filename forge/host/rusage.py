"""What macOS counts of one process: proc_pid_rusage(2), by ctypes.

The layout is that of struct rusage_info_v2 in <sys/resource.h>, which every macOS since 10.9 fills.
Only our user's processes are told of (EPERM). Nothing is loaded before the first question.
"""

import ctypes
import errno
import os
from typing import Any, Protocol

_RUSAGE_INFO_V2 = 2


class RusageInfo(ctypes.Structure):
    """struct rusage_info_v2. Memory and reads are bytes, pageins are page faults from files."""

    _fields_ = (
        ("uuid", ctypes.c_uint8 * 16),
        ("user_time", ctypes.c_uint64),
        ("system_time", ctypes.c_uint64),
        ("pkg_idle_wkups", ctypes.c_uint64),
        ("interrupt_wkups", ctypes.c_uint64),
        ("pageins", ctypes.c_uint64),
        ("wired_size", ctypes.c_uint64),
        ("resident_size", ctypes.c_uint64),
        ("phys_footprint", ctypes.c_uint64),
        ("proc_start_abstime", ctypes.c_uint64),
        ("proc_exit_abstime", ctypes.c_uint64),
        ("child_user_time", ctypes.c_uint64),
        ("child_system_time", ctypes.c_uint64),
        ("child_pkg_idle_wkups", ctypes.c_uint64),
        ("child_interrupt_wkups", ctypes.c_uint64),
        ("child_pageins", ctypes.c_uint64),
        ("child_elapsed_abstime", ctypes.c_uint64),
        ("diskio_bytesread", ctypes.c_uint64),
        ("diskio_byteswritten", ctypes.c_uint64),
    )


assert ctypes.sizeof(RusageInfo) == 160, "struct rusage_info_v2 has another layout"


class Rusage(Protocol):
    """The question, answered by the bytes of a `RusageInfo` or by an OSError."""

    def ask(self, pid: int) -> bytes:
        """Return what is counted of a process."""
        ...


class LibprocRusage:
    """The kernel that we run on."""

    def ask(self, pid: int) -> bytes:
        """Ask libSystem. Raises OSError; ENOSYS where this is not macOS."""
        library: Any = ctypes.CDLL(None, use_errno=True)
        try:
            proc_pid_rusage = library.proc_pid_rusage
        except AttributeError as error:
            raise OSError(errno.ENOSYS, f"this is not macOS: {error}") from None
        proc_pid_rusage.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_void_p]
        value = RusageInfo()
        if proc_pid_rusage(pid, _RUSAGE_INFO_V2, ctypes.byref(value)) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return bytes(value)
