"""Signals as something to read from: what happens to a full-screen view is told in one place."""

import os
import signal
from types import FrameType, TracebackType
from typing import Any, Self

HEARD = (
    signal.SIGWINCH, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP, signal.SIGCONT,
)  # fmt: skip


class Signals:
    """While it is entered, the signals `HEARD` do nothing but arrive here."""

    def __init__(self) -> None:
        self._found: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._read, self._write = os.pipe()
        for end in (self._read, self._write):
            os.set_blocking(end, False)
        self._woken = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in HEARD:
            self._found[number] = signal.signal(number, _note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        signal.set_wakeup_fd(self._woken)
        for number, was in self._found.items():
            signal.signal(number, was)
        os.close(self._read)
        os.close(self._write)

    def fileno(self) -> int:
        """Return the descriptor, for select."""
        return self._read

    def arrived(self) -> list[int]:
        """Return the signals that have come, without waiting."""
        try:
            return list(os.read(self._read, 1024))
        except BlockingIOError:
            return []


def _note(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: the number is in the pipe already."""
