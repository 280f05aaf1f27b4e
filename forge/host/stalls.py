"""Time lost waiting for memory, as Linux counts it (PSI), and a descriptor that tells of it.

Source: Documentation/accounting/psi.rst. A trigger is a line such as `some 150000 1000000` written
to a pressure file: the descriptor then becomes exceptional (EPOLLPRI) when tasks waited for 150 ms
within 1 s, at most once in such a window, and EPOLLERR says that the file is gone. It lives as long
as the descriptor is open.
"""

import contextlib
import errno
import os

from forge.core.memory import Missing, Stalls
from forge.host.small_files import read_text, reason_of

STALL_US = 150_000
WINDOW_US = 1_000_000
_UNPRIVILEGED_STEP_US = 2_000_000  # without CAP_SYS_RESOURCE a window is a multiple of this


def read_stalls(path: str) -> Stalls | Missing:
    """Read a pressure file, or say why it cannot be."""
    try:
        text = read_text(path)
    except OSError as error:
        return Missing("stalls", _reason(error))
    try:
        return _parse(path, text)
    except (ValueError, KeyError):
        return Missing("stalls", f"{path}: this is not how stalls are told")


class StallTrigger:
    """A trigger on one pressure file. `descriptor` is None where there is none, by `reason`.

    Where `window_us` is refused, whole steps of 2 s are tried with the same share of stalls.
    """

    def __init__(self, path: str, stall_us: int = STALL_US, window_us: int = WINDOW_US) -> None:
        self.descriptor: int | None = None
        self.reason: str | None = None
        coarse_us = -(-window_us // _UNPRIVILEGED_STEP_US) * _UNPRIVILEGED_STEP_US
        for self.window_us in dict.fromkeys((window_us, coarse_us)):
            try:
                stalled_us = stall_us * self.window_us // window_us
                self.descriptor = _register(path, stalled_us, self.window_us)
            except OSError as error:
                self.reason = _reason(error)
                continue
            self.reason = None
            return

    def close(self) -> None:
        """Give the trigger back; safe to call again."""
        if self.descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(self.descriptor)
            self.descriptor = None


def _register(path: str, stall_us: int, window_us: int) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.write(descriptor, f"some {stall_us} {window_us}\0".encode())
    except OSError as error:
        os.close(descriptor)
        error.filename = path
        raise
    return descriptor


def _parse(path: str, text: str) -> Stalls:
    rows = {}
    for line in text.splitlines():
        kind, *pairs = line.split()
        rows[kind] = dict(pair.split("=", 1) for pair in pairs)
    return Stalls(
        source=path,
        some_avg10_percent=float(rows["some"]["avg10"]),
        full_avg10_percent=float(rows["full"]["avg10"]),
        some_total_us=int(rows["some"]["total"]),
        full_total_us=int(rows["full"]["total"]),
    )


def _reason(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{error.filename}: this kernel does not count stalls here"
    if error.errno == errno.EOPNOTSUPP:
        return "stalls are not counted: boot with psi=1"
    return reason_of(error)
